/** `deno task batch`: a file of prompts, answered together. */
import { encodePrompt, promptMessages } from "@lib/chat/prompt.ts";
import type { Tokenizer } from "@lib/chat/tokenizer.ts";
import type { Config } from "@lib/config.ts";
import { PROJECT_ROOT } from "@lib/experiment/run.ts";
import type { BatchRecord, BatchResults } from "@lib/generation/batch_record.ts";
import { loadPrompts } from "@lib/generation/prompt_file.ts";
import type { SystemName } from "@lib/generation/request.ts";
import {
  ANSWERING_OPTIONS,
  openTaskAnswering,
  regionOf,
  systemPromptOf,
} from "@lib/tasks/answering_options.ts";
import { runTask, type TaskContext, UsageError } from "@lib/tasks/cli.ts";
import { DEFAULT_CONTEXT_TOKENS } from "@lib/workflow/answering.ts";
import { answerBatch } from "@lib/workflow/batch.ts";

/** Which systems `--answers` names. @throws {UsageError} */
function systemsOf({ values }: TaskContext, hasAdapter: boolean): readonly SystemName[] {
  const { answers = hasAdapter ? "tuned" : "base" } = values;
  if (answers === "base") return ["base"];
  if (answers !== "tuned" && answers !== "both") {
    throw new UsageError(`--answers: expected tuned, base or both, found '${answers}'.`);
  }
  if (!hasAdapter) {
    throw new UsageError(
      `--answers ${answers}: expected an adapter, found none. Train one (deno task train), give ` +
        "one with --adapter DIR, or leave the option out.",
    );
  }
  return answers === "tuned" ? ["tuned"] : ["base", "tuned"];
}

function promptFileOf({ positionals }: TaskContext): string {
  if (positionals.length > 1) {
    throw new UsageError(`Expected one file of prompts, found ${positionals.length}.`);
  }
  return positionals[0] ?? `${PROJECT_ROOT}data/prompts.json`;
}

/** Tokens that a guardrail's note may add to a prompt. */
const NOTE_TOKENS = 512;

/** What the longest prompt takes with its answer, so that the caches hold no more. */
function contextOf(
  tokenizer: Tokenizer,
  prompts: readonly string[],
  system: string,
  config: Config,
): number {
  const lengths = prompts.map((prompt) =>
    encodePrompt(tokenizer, promptMessages(system, prompt)).length
  );
  const longest = lengths.reduce((a, b) => Math.max(a, b), 0);
  const tokens = longest + NOTE_TOKENS + config.generation.max_new_tokens;
  return Math.min(tokens, DEFAULT_CONTEXT_TOKENS);
}

/** Counts of a batch, for the person at the terminal. */
function summary(records: readonly BatchRecord[], seconds: number): string[] {
  const count = (holds: (record: BatchRecord) => boolean) => records.filter(holds).length;
  const tokens = records.reduce((sum, record) => sum + record.tokens, 0);
  const levels = [0, 1, 2, 3, 4].map((level) => `L${level} ${count((r) => r.level === level)}`);
  const failed = count((record) => record.error !== null);
  return [
    `${records.length} records, ${tokens} tokens in ${seconds.toFixed(1)} s; ${levels.join(", ")}`,
    `fixed replies ${count((r) => r.action === "fixed_reply")}, ` +
    `replaced ${count((r) => r.action === "replaced")}; ` +
    `gates: form ${count((r) => r.gates.form)}, safety ${count((r) => r.gates.safety)} passed` +
    (failed === 0 ? "" : `; ${failed} could not be answered, see their "error"`),
  ];
}

async function runBatchTask(context: TaskContext): Promise<BatchResults> {
  const { run, config, values, say, progress, signal } = context;
  const source = promptFileOf(context);
  const prompts = await loadPrompts(source);
  const region = regionOf(context);
  const out = typeof values["out"] === "string"
    ? values["out"]
    : `${run.folder}/batch_results.json`;
  await using answering = await openTaskAnswering(context, {
    maxSequences: Math.min(config.generation.batch_size, prompts.length),
    contextTokens: (tokenizer) => contextOf(tokenizer, prompts, systemPromptOf(context), config),
  });
  const systems = systemsOf(context, answering.adapter !== null);
  const total = prompts.length * systems.length;
  const bar = progress("answers", { total, unit: "answers" });
  const begun = performance.now();
  const fresh: BatchRecord[] = [];
  let done = 0;
  const results = await answerBatch(answering, config, {
    ...{ source, prompts, systems, region, out, signal },
    systemPrompt: systemPromptOf(context),
    onRecord(record, isEarlier) {
      if (!isEarlier) fresh.push(record);
      bar.update(++done, isEarlier ? "from the journal" : "");
    },
  });
  await bar.finish();
  if (fresh.length < total) say(`${total - fresh.length} were in the journal already.`);
  for (const line of summary(results.results, (performance.now() - begun) / 1000)) say(line);
  say(out);
  return results;
}

if (import.meta.main) {
  await runTask({
    name: "batch",
    summary:
      "Answers a file of prompts (.txt, .csv, .jsonl, .json), guardrails included, and keeps\n" +
      "one record a prompt. Without a file: the ten of data/prompts.json. Interrupted or repeated,\n" +
      "it answers only what its journal beside the results does not have.",
    options: {
      out: { type: "string", value: "FILE.json", help: "results (outputs/RUN/batch_results.json)" },
      answers: { type: "string", value: "WHO", help: "tuned, base or both (default: tuned)" },
      ...ANSWERING_OPTIONS,
    },
    positionals: "[FILE]",
    run: runBatchTask,
  });
}
