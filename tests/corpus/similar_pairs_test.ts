import { assertEquals } from "@std/assert";
import { nearestNeighbours } from "@lib/corpus/nearest.ts";
import { similarPairs } from "@lib/corpus/similar_pairs.ts";

Deno.test("pairs are those at or above the threshold, the most similar first", () => {
  const texts = [
    "কাল রাতে খুব একা লাগছিল, ঘুম আসছিল না।",
    "কাল রাতে খুব একা লাগছিল, ঘুম আসছিল না!",
    "কাল রাতে খুব একা লাগছিল, ঘুম এল না।",
    "কাল রাতে আমার খুব একা লাগছিল, ঘুম আসছিল না।",
    "মেয়েটা আজ প্রথম হাঁটল।",
  ];
  const pairs = similarPairs(texts, 0.5);
  const [first] = texts;
  assertEquals(pairs.map(({ a, b }) => [a, b]), [[first, texts[3]], [first, texts[2]]]);
  for (const { a, b, similarity } of pairs) {
    assertEquals(nearestNeighbours([a], [b]), [{ index: 0, similarity }]);
  }
  const least = pairs.at(-1)?.similarity ?? 0;
  assertEquals(similarPairs(texts, least).length, 2);
  assertEquals(similarPairs(texts, least + 1e-9).length, 1);
});
