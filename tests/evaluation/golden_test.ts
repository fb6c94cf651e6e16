import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { bleu, type BleuOptions } from "@lib/evaluation/bleu.ts";
import { chrf } from "@lib/evaluation/chrf.ts";
import { splitFields } from "@lib/evaluation/ngrams.ts";
import { rougePair } from "@lib/evaluation/rouge.ts";
import golden from "../golden/metrics/metrics.json" with { type: "json" };
import unicode from "../golden/metrics/unicode_classes.json" with { type: "json" };

const TOLERANCE = 1e-6;
const BLEU_VARIANTS = {
  bleu_13a: { tokenize: "13a" },
  bleu_intl: { tokenize: "intl" },
  bleu_char: { tokenize: "char" },
  bleu_none: { tokenize: "none" },
  bleu1_intl: { tokenize: "intl", maxOrder: 1 },
  bleu_intl_effective: { tokenize: "intl", effectiveOrder: true },
} as const satisfies Record<string, BleuOptions>;
const NAMES = Object.keys(BLEU_VARIANTS) as (keyof typeof BLEU_VARIANTS)[];

Deno.test("there are at least 300 odd pairs, and no score is the same for all", () => {
  assert(golden.pairs.length >= 300);
  for (const name of [...NAMES, "chrf", "chrf++", "rouge1", "rouge2", "rougeL"] as const) {
    assert(new Set(golden.pairs.map((pair) => pair[name])).size > 50, name);
  }
});

Deno.test("BLEU equals sacreBLEU, pair by pair", () => {
  for (const pair of golden.pairs) {
    for (const name of NAMES) {
      const { score } = bleu([pair.hypothesis], [pair.reference], BLEU_VARIANTS[name]);
      assertAlmostEquals(score, pair[name], TOLERANCE, `${name}: ${JSON.stringify(pair)}`);
    }
  }
});

Deno.test("chrF and chrF++ equal sacreBLEU, pair by pair", () => {
  for (const pair of golden.pairs) {
    const { hypothesis, reference } = pair;
    const plain = chrf([hypothesis], [reference], { wordOrder: 0 }).score;
    assertAlmostEquals(plain, pair.chrf, TOLERANCE, JSON.stringify(pair));
    const words = chrf([hypothesis], [reference]).score;
    assertAlmostEquals(words, pair["chrf++"], TOLERANCE, JSON.stringify(pair));
  }
});

Deno.test("ROUGE equals the independent implementation, pair by pair", () => {
  for (const pair of golden.pairs) {
    const scores = rougePair(pair.hypothesis, pair.reference);
    for (const name of ["rouge1", "rouge2", "rougeL"] as const) {
      assertAlmostEquals(scores[name], pair[name], TOLERANCE, `${name}: ${JSON.stringify(pair)}`);
    }
  }
});

Deno.test("corpus scores equal sacreBLEU", () => {
  for (const corpus of golden.corpora) {
    const part = golden.pairs.slice(corpus.start, corpus.end);
    const hyps = part.map((pair) => pair.hypothesis);
    const refs = part.map((pair) => pair.reference);
    for (const name of NAMES) {
      assertAlmostEquals(
        bleu(hyps, refs, BLEU_VARIANTS[name]).score,
        corpus[name],
        TOLERANCE,
        name,
      );
    }
    assertAlmostEquals(chrf(hyps, refs, { wordOrder: 0 }).score, corpus.chrf, TOLERANCE);
    assertAlmostEquals(chrf(hyps, refs).score, corpus["chrf++"], TOLERANCE);
  }
});

Deno.test("signatures are sacreBLEU's own", () => {
  for (const name of NAMES) {
    assertEquals(bleu(["মন"], ["মন"], BLEU_VARIANTS[name]).signature, golden.signatures[name]);
  }
  assertEquals(chrf(["মন"], ["মন"], { wordOrder: 0 }).signature, golden.signatures.chrf);
  assertEquals(chrf(["মন"], ["মন"]).signature, golden.signatures["chrf++"]);
});

Deno.test("JavaScript's \\p{P} \\p{S} \\p{N} differ from Python's only where it knows no character", () => {
  const expected = new Map<number, string>();
  for (const [name, ranges] of Object.entries(unicode.classes)) {
    for (const [first = 0, last = -1] of ranges) {
      for (let point = first; point <= last; point++) expected.set(point, name);
    }
  }
  let unknown = 0;
  for (let point = 0; point < 0x110000; point++) {
    if (point >= 0xd800 && point < 0xe000) continue;
    const text = String.fromCodePoint(point);
    const found = /\p{P}/u.test(text)
      ? "P"
      : /\p{S}/u.test(text)
      ? "S"
      : /\p{N}/u.test(text)
      ? "N"
      : undefined;
    if (found === expected.get(point)) continue;
    assert(/\p{Cn}/u.test(text), `U+${point.toString(16)}: ${found} and ${expected.get(point)}`);
    assert(!/\p{Script=Bengali}/u.test(text));
    unknown++;
  }
  assert(unknown < 2000, `${unknown} characters newer than this runtime's Unicode`);
});

Deno.test("white space is what Python splits at", () => {
  for (let point = 0; point < 0x110000; point++) {
    if (point >= 0xd800 && point < 0xe000) continue;
    const splits = splitFields(`a${String.fromCodePoint(point)}b`).length === 2;
    assertEquals(splits, unicode.spaces.includes(point), `U+${point.toString(16)}`);
  }
});
