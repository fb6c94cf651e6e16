/** Long functions tell how far they are, and what they give does not depend on who listens. */
import { assert, assertEquals } from "@std/assert";
import { cleanStrict } from "@lib/corpus/clean.ts";
import { groupRecords } from "@lib/corpus/groups.ts";
import { findLeaks } from "@lib/corpus/leak_check.ts";
import { splitByGroup } from "@lib/corpus/split.ts";
import { evaluateAnswers } from "@lib/evaluation/evaluate.ts";
import { scoreSystems } from "@lib/evaluation/score.ts";
import type { OnPhase } from "@lib/phases.ts";
import { generateCorpus } from "../data/generator/corpus.ts";
import { loadSources } from "../data/generator/topics.ts";

/** Collects reports; within a phase none may go back, none may exceed the total. */
function listener() {
  const last = new Map<string, { done: number; total: number; reports: number }>();
  const onPhase: OnPhase = (phase, done, total) => {
    const before = last.get(phase);
    assert(done >= (before?.done ?? 0), `${phase} goes back from ${before?.done} to ${done}`);
    assert(done <= total + 1e-9, `${phase}: ${done} of ${total}`);
    last.set(phase, { done, total, reports: 1 + (before?.reports ?? 0) });
  };
  return { onPhase, last };
}

/** Phases that were told, all of them done. */
function finished({ last }: ReturnType<typeof listener>): string[] {
  for (const [phase, { done, total, reports }] of last) {
    assert(Math.abs(done - total) < 1e-6, `${phase} ended at ${done} of ${total}`);
    assert(reports > 3, `${phase} was told ${reports} times`);
  }
  return [...last.keys()];
}

const { rows } = generateCorpus(await loadSources(), 600, 7);
const corpus = rows.map((row, i) => ({ ...row, row: i + 1 }));

Deno.test("cleaning, grouping and the leak check tell every phase to its end", () => {
  const cleaning = listener();
  const cleaned = cleanStrict(corpus, { onPhase: cleaning.onPhase });
  assertEquals(finished(cleaning), ["cleaning", "near-duplicates", "quarantine"]);
  assertEquals(cleaned, cleanStrict(corpus));

  const grouping = listener();
  const grouped = groupRecords(cleaned.records, { onPhase: grouping.onPhase });
  assertEquals(finished(grouping), ["grouping by question", "grouping by answer"]);
  assertEquals(grouped, groupRecords(cleaned.records));

  const checking = listener();
  const split = splitByGroup(grouped);
  assertEquals(findLeaks(split, 0.9, checking.onPhase), findLeaks(split));
  assertEquals(finished(checking), ["leak check by question", "leak check by answer"]);
});

const answers = cleanStrict(corpus).records.slice(0, 24).map(({ question, answer }, group) => ({
  ...{ group, question, reference: answer, hypothesis: question },
}));

Deno.test("scoring tells answers and comparisons tell metrics", () => {
  const scoring = listener();
  const onProgress = (done: number, total: number) => scoring.onPhase("scoring", done, total);
  assertEquals(
    evaluateAnswers(answers, { draws: 100, onProgress }).report,
    evaluateAnswers(answers, { draws: 100 }).report,
  );
  assertEquals(finished(scoring), ["scoring"]);
  const pairs = answers.map(({ question: prompt, ...rest }) => ({ ...rest, prompt }));
  const both = listener();
  scoreSystems([{ name: "a", pairs }, { name: "b", pairs }], { draws: 100, onPhase: both.onPhase });
  assertEquals(finished(both), ["scoring a", "scoring b", "comparing b"]);
});
