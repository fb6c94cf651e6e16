import {
  assert,
  assertAlmostEquals,
  assertEquals,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { bleu } from "@lib/evaluation/bleu.ts";
import { PairFileError, parsePairs } from "@lib/evaluation/pair_file.ts";
import { ScoreError, scoreSystems } from "@lib/evaluation/score.ts";
import { alignSystems } from "@lib/evaluation/systems.ts";
import { scoreLines } from "@lib/report/score_text.ts";
import golden from "../golden/metrics/metrics.json" with { type: "json" };

const ROOT = decodeURIComponent(new URL("../../", import.meta.url).pathname);
const REFERENCES = golden.pairs.slice(26, 86).map(({ reference }) => reference);
const pairsOf = (hypotheses: readonly string[]) =>
  hypotheses.map((hypothesis, i) => ({
    hypothesis,
    reference: REFERENCES[i] ?? "",
    prompt: `প্রশ্ন ${i}`,
    group: Math.floor(i / 2),
  }));
const GOOD = { name: "good", pairs: pairsOf(REFERENCES) };
const POOR = { name: "poor", pairs: pairsOf(golden.pairs.slice(26, 86).map((p) => p.hypothesis)) };
const DRAWS = { draws: 100 };

async function score(...args: string[]) {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["task", "--quiet", "score", ...args],
    cwd: ROOT,
    env: { NO_COLOR: "1" },
  }).output();
  const text = new TextDecoder();
  return { code, stdout: text.decode(stdout), stderr: text.decode(stderr) };
}

Deno.test("every bad line of a file is told with its number, and what a line holds", () => {
  const lines = [
    '{"hypothesis":"ক","reference":"খ"}',
    '{"hypothesis":"ক"',
    "",
    '{"hypothesis":"ক","reference":3}',
    '{"hypothesis":"ক","refrence":"খ"}',
    '["ক","খ"]',
    '{"hypothesis":"ক","reference":"খ","group":null}',
  ];
  const { message } = assertThrows(() => parsePairs(lines.join("\n"), "a.jsonl"), PairFileError);
  assertEquals([...message.matchAll(/^line (\d+): /gm)].map(([, n]) => Number(n)), [2, 4, 5, 6, 7]);
  assertStringIncludes(message, 'unknown field "refrence", did you mean "reference"?');
  assertStringIncludes(message, "a.jsonl");
  assertStringIncludes(message, '"hypothesis" and "reference"');
  assertThrows(() => parsePairs("\n \n", "empty.jsonl"), PairFileError, "found none");
  const many = assertThrows(() => parsePairs("x\n".repeat(50), "b.jsonl"), PairFileError).message;
  assertStringIncludes(many, "and 30 more bad lines");
});

Deno.test("systems are scored on the same draws and compared with the first", () => {
  const { systems, differences, n, groups } = scoreSystems([POOR, GOOD], DRAWS);
  assertEquals([n, groups, systems.map(({ name }) => name)], [60, 30, ["poor", "good"]]);
  assertAlmostEquals(systems[1]?.report.metrics.bleu.value ?? 0, 100);
  const [one] = differences;
  assertEquals([one?.baseline, one?.system, differences.length], ["poor", "good", 1]);
  const { baseline, system, difference, low, p_value } = one!.metrics.chrf_pp;
  assertAlmostEquals(difference ?? 0, (system ?? 0) - (baseline ?? 0), 1e-9);
  assert((low ?? 0) > 0 && (p_value ?? 1) < 0.02);
  const turned = scoreSystems([POOR, GOOD], { ...DRAWS, baseline: "good" });
  assertAlmostEquals(turned.differences[0]?.metrics.chrf_pp.difference ?? 0, -(difference ?? 0));
  assertThrows(() => scoreSystems([POOR], { baseline: "no" }), ScoreError, "one of poor");
});

Deno.test("raw scores and further tokenisers are sacreBLEU's of the same text", () => {
  const tokenizers = ["13a", "char", "none"] as const;
  const { systems } = scoreSystems([POOR], { ...DRAWS, normalize: false, tokenizers });
  const hyps = POOR.pairs.map(({ hypothesis }) => hypothesis);
  assertAlmostEquals(
    systems[0]?.report.metrics.bleu.value ?? 0,
    bleu(hyps, REFERENCES).score,
    1e-9,
  );
  for (const { tokenizer, value, signature } of systems[0]?.bleu ?? []) {
    const expected = bleu(hyps, REFERENCES, { tokenize: tokenizer });
    assertAlmostEquals(value ?? 0, expected.score, 1e-9);
    assertEquals(signature, expected.signature);
  }
  assertEquals(systems[0]?.bleu.length, 3);
});

Deno.test("systems of one file, or matched by id in any order", () => {
  const line = (id: number, system: string) => ({
    ...{ id, system, hypothesis: `উত্তর ${id}`, reference: `বলুন ${id}` },
  });
  const one = alignSystems([{
    name: "file",
    pairs: [line(1, "a"), line(2, "a"), line(3, "b"), line(2, "b"), line(1, "b")],
  }]);
  assertEquals(one.systems.map(({ items }) => items.map(({ id }) => id)), [[1, 2], [1, 2]]);
  assertEquals([one.unmatched, one.withoutPrompt], [1, 2]);
  assertEquals(one.systems.map(({ name }) => name), ["a", "b"]);
});

Deno.test("systems that cannot be matched are refused with the first difference", () => {
  const other = { name: "other", pairs: GOOD.pairs.toReversed() };
  assertThrows(() => alignSystems([GOOD, other]), PairFileError, "difference at item 1 ");
  const short = { name: "short", pairs: GOOD.pairs.slice(0, 7) };
  assertThrows(() => alignSystems([GOOD, short]), PairFileError, "item 8 (60 and 7 items)");
  assertThrows(() => alignSystems([GOOD, GOOD]), PairFileError, "found 'good' again");
  const twice = [{ ...GOOD.pairs[0]!, id: 1 }, { ...GOOD.pairs[1]!, id: 1 }];
  assertThrows(
    () => alignSystems([{ name: "x", pairs: twice }, { name: "y", pairs: twice }]),
    PairFileError,
    "found '1' twice",
  );
});

Deno.test("without prompts the proxy's weakness is said; lines without a group stand alone", () => {
  const pairs = REFERENCES.slice(0, 5).map((reference) => ({ hypothesis: "শুনছি।", reference }));
  const report = scoreSystems([{ name: "a", pairs }], DRAWS);
  assertEquals(report.groups, 5);
  assertStringIncludes(scoreLines(report).join("\n"), "5 of 5 items have no prompt");
});

Deno.test("the task prints a table or JSON, and fails with the lines at fault", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const save = (name: string, pairs: readonly object[]) =>
      Deno.writeTextFile(
        `${folder}/${name}.jsonl`,
        pairs.map((pair) => `${JSON.stringify(pair)}\n`).join(""),
      );
    await save("good", GOOD.pairs);
    await save("poor", POOR.pairs);
    const files = [`${folder}/poor.jsonl`, `${folder}/good.jsonl`];
    const text = await score("--draws=100", "--tokenize=13a", ...files);
    assertEquals(text.code, 0, text.stderr);
    for (const part of ["60 answers", "good − poor", "Empathy (proxy)", "tok:13a", "floor of"]) {
      assertStringIncludes(text.stdout, part);
    }
    const json = JSON.parse((await score("--draws=100", "--json", ...files)).stdout);
    assertEquals(json.systems.map(({ name }: { name: string }) => name), ["poor", "good"]);
    await Deno.writeTextFile(files[0]!, '{"hypothesis":"ক"}\n');
    const bad = await score(...files);
    assertEquals([bad.code, bad.stdout], [1, ""]);
    assertStringIncludes(bad.stderr, "line 1: reference");
    assertEquals((await score()).code, 2);
    assertEquals((await score("--draws=5", files[1]!)).code, 2);
    assertStringIncludes((await score(`${folder}/none.jsonl`)).stderr, "found nothing");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
