/** Step 4, notebook 04_generate and `deno task generate`: answers of base and tuned to the test part. */
import { z } from "zod";
import { encodePrompt, promptMessages, userText } from "@lib/chat/prompt.ts";
import type { Tokenizer } from "@lib/chat/tokenizer.ts";
import { Config } from "@lib/config.ts";
import type { SplitRecord } from "@lib/corpus/mod.ts";
import type { Model } from "@lib/engine/model.ts";
import type { Run } from "@lib/experiment/run.ts";
import { FileReadError, loadJson, saveJson } from "@lib/files.ts";
import { generateAnswers } from "@lib/generation/answers.ts";
import { type SystemName, SYSTEMS } from "@lib/generation/request.ts";
import { samplingOf } from "@lib/generation/sampling.ts";
import { loadSplit } from "@lib/training/data.ts";

export { type SystemName, SYSTEMS };

/** One generated answer beside what it is measured against. */
export const AnswerRecord = z.strictObject({
  row: z.number().int(),
  group: z.number().int(),
  topic: z.string(),
  question: z.string(),
  reference: z.string(),
  system: z.enum(SYSTEMS),
  answer: z.string(),
  tokens: z.number().int(),
  finish: z.enum(["none", "stop", "length", "removed"]),
  logprob: z.number(),
});
export type AnswerRecord = z.infer<typeof AnswerRecord>;

/** The test records that answers are generated for: all, or a fixed number from the beginning. */
export async function testRecords(run: Run, config: Config): Promise<readonly SplitRecord[]> {
  return (await loadSplit(run, "test")).slice(0, config.evaluation.samples ?? undefined);
}

/** Answers of one system to the records, in their order. */
export async function answerRecords(
  system: SystemName,
  model: Model,
  tokenizer: Tokenizer,
  records: readonly SplitRecord[],
  config: Config,
  options: { readonly onAnswer?: (done: number) => void; readonly signal?: AbortSignal } = {},
): Promise<AnswerRecord[]> {
  const prompts = records.map((record) =>
    encodePrompt(
      tokenizer,
      promptMessages(config.prompt.system, userText(record, config.prompt.input)),
    )
  );
  const answers: AnswerRecord[] = [];
  const generated = generateAnswers(model, tokenizer, prompts, {
    system,
    sampling: samplingOf(config),
    seed: config.seed,
    batchSize: config.generation.batch_size,
    signal: options.signal,
  });
  for await (const { index, text, tokens, finish, logprob } of generated) {
    const record = records[index];
    if (record === undefined) continue;
    const { row, group, topic, question, answer: reference } = record;
    answers.push({
      ...{ row, group, topic, question, reference, system },
      ...{ answer: text, tokens, finish, logprob },
    });
    options.onAnswer?.(answers.length);
  }
  const place = new Map(records.map(({ row }, i) => [row, i]));
  return answers.sort((a, b) => (place.get(a.row) ?? 0) - (place.get(b.row) ?? 0));
}

/** `test_results.json`: the answers of both systems with the settings they were made under. */
export const TestResults = z.strictObject({
  format: z.literal(1),
  run: z.string(),
  base_model: z.string(),
  quantization: z.string(),
  system_prompt: z.string(),
  generation: Config.shape.generation,
  seed: z.number().int(),
  answers: z.array(AnswerRecord),
});
export type TestResults = z.infer<typeof TestResults>;

/** Writes the answers of both systems. */
export async function saveTestResults(
  run: Run,
  config: Config,
  answers: readonly AnswerRecord[],
): Promise<void> {
  const results: TestResults = {
    format: 1,
    run: run.name,
    base_model: config.model.base,
    quantization: config.model.quantization,
    system_prompt: config.prompt.system,
    generation: config.generation,
    seed: config.seed,
    answers: [...answers],
  };
  await saveJson(run.testResults, results);
}

/** Reads them. @throws {RunError | FileReadError} when 04_generate has not run, or left no results */
export async function loadTestResults(run: Run): Promise<TestResults> {
  const path = await run.require(run.testResults, "04_generate (deno task generate)");
  const hint = "Run 04_generate (deno task generate) again.";
  const parsed = TestResults.safeParse(await loadJson(path, hint));
  if (parsed.success) return parsed.data;
  throw new FileReadError(`${path}: ${z.prettifyError(parsed.error)}. ${hint}`);
}
