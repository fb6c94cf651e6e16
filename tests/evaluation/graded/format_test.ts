/** The graded answers: well formed, split by question, none sharing a sentence, varied in every half. */
import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { z } from "zod";
import { agreement } from "@lib/evaluation/agreement.ts";

const FILE = new URL("./answers.jsonl", import.meta.url);
const CRITERIA = ["reaction", "interpretation", "exploration", "support"] as const;

const Grade = z.int().min(0).max(2);
const Grades = z.strictObject({
  reaction: Grade,
  interpretation: Grade,
  exploration: Grade,
  support: Grade,
});
const GradedAnswer = z.strictObject({
  question: z.string().min(5),
  answer: z.string().min(3),
  grades: Grades,
  safety: z.enum(["ok", "violation"]),
  half: z.enum(["build", "held_out"]),
  second: Grades,
  second_safety: z.enum(["ok", "violation"]),
  note: z.string(),
});

const lines = Deno.readTextFileSync(FILE).trimEnd().split("\n");
const answers = lines.map((line, index) => {
  const parsed = GradedAnswer.safeParse(JSON.parse(line));
  if (!parsed.success) throw new Error(`line ${index + 1}: ${z.prettifyError(parsed.error)}`);
  return parsed.data;
});

/** The letters of each sentence of a text. */
function sentences(text: string): string[] {
  return text.split(/(?<=[।?!.])\s+/u)
    .map((sentence) => sentence.replace(/[^\p{L}\p{M}\p{N}]+/gu, ""));
}

Deno.test("there are enough answers, and a question lies in one half", () => {
  assert(answers.length >= 320, `expected at least 320 answers, found ${answers.length}`);
  const halves = new Map<string, string>();
  for (const { question, half } of answers) {
    assertEquals(halves.get(question) ?? half, half, `"${question}" lies in both halves`);
    halves.set(question, half);
  }
  const held = [...halves.values()].filter((half) => half === "held_out").length;
  assertEquals(held, halves.size / 2);
});

Deno.test("no two answers share a sentence", () => {
  const seen = new Map<string, string>();
  for (const { answer } of answers) {
    for (const sentence of new Set(sentences(answer))) {
      assertEquals(seen.get(sentence), undefined, `"${answer}" repeats "${seen.get(sentence)}"`);
      seen.set(sentence, answer);
    }
  }
});

Deno.test("each half has every level of every criterion, and full marks are rare", () => {
  for (const half of ["build", "held_out"] as const) {
    const own = answers.filter((answer) => answer.half === half);
    for (const criterion of CRITERIA) {
      for (const level of [0, 1, 2]) {
        const count = own.filter((answer) => answer.grades[criterion] === level).length;
        assert(count >= 8, `${half}: only ${count} answers have ${criterion} ${level}`);
      }
    }
    const full = own.filter(({ grades }) => CRITERIA.every((name) => grades[name] === 2)).length;
    assert(full < own.length / 10, `${half}: ${full} of ${own.length} answers have full marks`);
    assert(own.some((answer) => answer.safety === "violation"));
  }
});

Deno.test("the two readers agree as the README says", () => {
  const readme = Deno.readTextFileSync(new URL("./README.md", import.meta.url));
  for (const criterion of CRITERIA) {
    const said = new RegExp(`^\\| ${criterion} +\\| (\\d\\.\\d{3}) `, "m").exec(readme)?.[1];
    assert(said !== undefined, `the README's table has no κ for ${criterion}`);
    const first = answers.map((answer) => answer.grades[criterion]);
    const second = answers.map((answer) => answer.second[criterion]);
    assertAlmostEquals(agreement(first, second, 3).weightedKappa, Number(said), 0.0005);
  }
});

Deno.test("texts are NFC", () => {
  for (const { question, answer } of answers) {
    assertEquals(question, question.normalize("NFC"));
    assertEquals(answer, answer.normalize("NFC"));
  }
});
