import { assertEquals, assertThrows } from "@std/assert";
import { matchKey } from "@lib/corpus/text_key.ts";
import { nearestNeighbours } from "@lib/corpus/nearest.ts";
import { pick, randomInt, seededRandom } from "@lib/random.ts";

/** Jaccard similarity by the definition. */
function jaccard(a: string, b: string): number {
  const grams = (text: string) => {
    const key = matchKey(text);
    const count = Math.max(1, key.length - 4);
    return new Set(Array.from({ length: count }, (_, at) => key.slice(at, at + 5)));
  };
  const [x, y] = [grams(a), grams(b)];
  return x.intersection(y).size / x.union(y).size;
}

Deno.test("the neighbour is the most similar text, by brute force", () => {
  const random = seededRandom(7);
  const vocabulary = ["মন", "ভালো", "নেই", "আজ", "খুব", "একা", "লাগছে", "কেউ", "বোঝে", "না।"];
  const sentence = () =>
    Array.from({ length: 1 + randomInt(random, 6) }, () => pick(random, vocabulary)).join(" ");
  const pool = Array.from({ length: 60 }, sentence);
  const queries = Array.from({ length: 40 }, sentence);
  nearestNeighbours(queries, pool).forEach(({ index, similarity }, at) => {
    const all = pool.map((text) => jaccard(queries[at] ?? "", text));
    assertEquals(similarity, Math.max(...all));
    if (similarity > 0) assertEquals(index, all.indexOf(similarity));
  });
});

Deno.test("an empty pool has no neighbour", () => {
  assertThrows(() => nearestNeighbours(["মন"], []), RangeError, "found none");
});
