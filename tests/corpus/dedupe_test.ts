import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { findDuplicates, linkDuplicates } from "@lib/corpus/dedupe.ts";
import { gramSets } from "@lib/corpus/grams.ts";
import { pick, randomInt, seededRandom, shuffled } from "@lib/random.ts";
import { similarityJoin } from "@lib/corpus/similarity_join.ts";

const WORDS = "আজ কাল মন ভালো নেই বন্ধু পরীক্ষা ভয় লাগছে খুব একা বাড়ি মা বাবা চাকরি হলো না কেন".split(" ");

/** Jaccard similarity by sets of strings: the definition. */
function jaccard(a: string, b: string): number {
  const grams = (text: string): Set<string> =>
    new Set(
      text.length < 5
        ? [text]
        : Array.from({ length: text.length - 4 }, (_, k) => text.slice(k, k + 5)),
    );
  const [x, y] = [grams(a), grams(b)];
  const common = [...x].filter((gram) => y.has(gram)).length;
  return common / (x.size + y.size - common);
}

/** Texts of 1 to 40 words, two thirds of them small edits of earlier ones. */
function someTexts(seed: number, count: number): string[] {
  const random = seededRandom(seed);
  const texts: string[] = [];
  for (let i = 0; i < count; i++) {
    const tokens = i > 3 && random() < 0.67
      ? pick(random, texts).split(" ")
      : Array.from({ length: 1 + randomInt(random, 40) }, () => pick(random, WORDS));
    const edits = randomInt(random, 3);
    for (let k = 0; k < edits; k++) tokens[randomInt(random, tokens.length)] = pick(random, WORDS);
    texts.push(tokens.join(" "));
  }
  return texts;
}

Deno.test("the join finds exactly the pairs that comparing all pairs finds", () => {
  for (const threshold of [0.5, 0.8, 0.9, 1]) {
    for (let seed = 1; seed <= 4; seed++) {
      const texts = someTexts(seed, 160);
      const { sets, gramCount } = gramSets(texts);
      const found = new Map<string, number>();
      similarityJoin(sets, gramCount, {
        threshold,
        onPair: (a, b, similarity) => {
          assert(!found.has(`${a} ${b}`), "a pair is reported once");
          found.set(`${a} ${b}`, similarity);
        },
      });
      let expected = 0;
      for (let a = 0; a < texts.length; a++) {
        for (let b = a + 1; b < texts.length; b++) {
          const similarity = jaccard(texts[a]!, texts[b]!);
          if (similarity < threshold) continue;
          expected++;
          assertAlmostEquals(
            found.get(`${a} ${b}`) ?? -1,
            similarity,
            1e-12,
            `${texts[a]} / ${texts[b]}`,
          );
        }
      }
      assert(expected > 0, "the texts must contain pairs");
      assertEquals(found.size, expected);
    }
  }
});

Deno.test("similarity exactly at the threshold counts", () => {
  const base = [1, 2, 3, 4, 5, 6, 7, 8, 9];
  const sets = [Int32Array.from(base), Int32Array.from([...base, 10])];
  const pairs: number[] = [];
  similarityJoin(sets, 11, { threshold: 0.9, onPair: (_a, _b, s) => void pairs.push(s) });
  assertEquals(pairs, [0.9]);
});

Deno.test("gram sets: short texts are one gram, letters outside the BMP do not confuse", () => {
  const { sets } = gramSets(["", "কখ", "কখ", "কখগ", "😀😀😀", "😀😀😀ক"]);
  assertEquals(sets.map((set) => set.length), [1, 1, 1, 1, 2, 3]);
  assertEquals(sets[1], sets[2]);
  assert(sets[1]![0] !== sets[3]![0] && sets[0]![0] !== sets[1]![0]);
});

Deno.test("gram numbers survive the growth of their table", () => {
  const random = seededRandom(5);
  const texts = Array.from(
    { length: 400 },
    () =>
      Array.from({ length: 150 }, () => String.fromCharCode(0x985 + randomInt(random, 60))).join(
        "",
      ),
  );
  const { sets, gramCount } = gramSets([...texts, ...texts]);
  assert(gramCount > 40_000);
  for (let i = 0; i < 400; i++) assertEquals(sets[i], sets[i + 400]);
});

Deno.test("duplicates: the first stays, whatever the order of the others", () => {
  const base = someTexts(9, 12).map((text) => `${text} ${text.length} এটা আলাদা`);
  const copies = base.map((text) => `${text} !`);
  const texts = [...base, ...shuffled(seededRandom(1), copies)];
  const duplicates = findDuplicates(texts).filter(({ kind }) => kind === "exact");
  assert(duplicates.length > 0);
  for (const { index, of } of duplicates) assert(of < index);
});

Deno.test("linking reports enough pairs to connect every near-duplicate", () => {
  const texts = someTexts(3, 120);
  const parent = texts.map((_, i) => i);
  const find = (i: number): number => parent[i] === i ? i : find(parent[i]!);
  linkDuplicates(
    texts,
    (a, b) => void (parent[find(a)] = find(b)),
    (a, b) => find(a) === find(b),
  );
  let close = 0;
  for (let a = 0; a < texts.length; a++) {
    for (let b = a + 1; b < texts.length; b++) {
      if (jaccard(texts[a]!.toLowerCase(), texts[b]!.toLowerCase()) < 0.9) continue;
      close++;
      assertEquals(find(a), find(b));
    }
  }
  assert(close > 0);
});
