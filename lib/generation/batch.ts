/** Many prompts answered as a chat would answer each, decoded together. */
import { createHash } from "node:crypto";
import { WindowError } from "@lib/chat/window.ts";
import { formGate, safetyGate } from "@lib/evaluation/empathy_gates.ts";
import { compileLexicon } from "@lib/evaluation/empathy_lexicon.ts";
import type { BatchJournal } from "@lib/generation/batch_journal.ts";
import type { BatchRecord, BatchSettings } from "@lib/generation/batch_record.ts";
import type { SystemName } from "@lib/generation/request.ts";
import type { SamplingSettings } from "@lib/generation/sampling.ts";
import type { Scheduler } from "@lib/generation/scheduler.ts";
import { answerTurn, type TurnResult } from "@lib/generation/turn.ts";
import { assess } from "@lib/safety/mod.ts";

/** One prompt for one of the two models. */
export interface BatchItem {
  readonly index: number;
  readonly prompt: string;
  readonly system: SystemName;
  readonly seed: number;
}

/** What a batch is made under. */
export interface BatchOptions {
  readonly settings: BatchSettings;
  /** What stands for the weights in the records' keys: other weights, other answers. */
  readonly weights: Readonly<Record<SystemName, string>>;
  readonly onRecord?: (record: BatchRecord, isEarlier: boolean) => void;
  readonly signal?: AbortSignal;
}

/** The sampling of a batch's settings. */
function samplingOf(settings: BatchSettings): SamplingSettings {
  return {
    maxNewTokens: settings.max_new_tokens,
    temperature: settings.temperature,
    topP: settings.top_p,
    topK: settings.top_k,
    minP: settings.min_p,
    repetitionPenalty: settings.repetition_penalty,
  };
}

/** Names an answer by everything that decides about it. */
export function recordKey(item: BatchItem, { settings, weights }: BatchOptions): string {
  const { prompt, system, seed } = item;
  const parts = [weights[system], settings, prompt, system, seed];
  return createHash("sha256").update(JSON.stringify(parts)).digest("hex").slice(0, 32);
}

/**
 * Answers what the journal does not have yet and appends it there.
 *
 * @returns the records of all items, in their order, those of earlier runs included
 * @throws the signal's reason when it aborts; what is finished by then is in the journal
 */
export async function runBatch(
  scheduler: Scheduler,
  items: readonly BatchItem[],
  journal: BatchJournal,
  options: BatchOptions,
): Promise<BatchRecord[]> {
  const records: BatchRecord[] = [];
  const waiting = items.entries();
  const done = (at: number, record: BatchRecord, isEarlier: boolean) => {
    if (!isEarlier) journal.append(record);
    records[at] = record;
    options.onRecord?.(record, isEarlier);
  };
  const stop = new AbortController();
  const signal = AbortSignal.any([stop.signal, ...options.signal ? [options.signal] : []]);
  const work = async () => {
    for (const [at, item] of waiting) {
      signal.throwIfAborted();
      const key = recordKey(item, options);
      const earlier = journal.earlier.get(key);
      if (earlier !== undefined) done(at, { ...earlier, index: item.index }, true);
      else done(at, await answerItem(scheduler, item, key, options.settings, signal), false);
    }
  };
  // Twice as many as have a place: the next ones are ready when a place becomes free.
  const count = Math.min(items.length, 2 * scheduler.options.maxSequences);
  const workers = Array.from({ length: count }, () =>
    work().catch((error) => {
      stop.abort(error);
      throw error;
    }));
  await Promise.allSettled(workers);
  await Promise.all(workers);
  return records;
}

/** The rubric's gates of an answer. */
function gatesOf(prompt: string, answer: string): BatchRecord["gates"] {
  const lexicon = compileLexicon();
  const form = formGate(answer, lexicon);
  const safety = safetyGate(prompt, answer, lexicon);
  const checks = Object.entries(form.checks).filter(([, passed]) => !passed).map(([name]) => name);
  const kinds = new Set(safety.violations.map((violation) => violation.kind));
  return { form: form.pass, safety: safety.pass, failed: [...checks, ...kinds] };
}

async function answerItem(
  scheduler: Scheduler,
  item: BatchItem,
  key: string,
  settings: BatchSettings,
  signal: AbortSignal,
): Promise<BatchRecord> {
  const { prompt, system, seed } = item;
  const common = { key, ...item, settings };
  const messages = [
    ...(settings.system_prompt === ""
      ? []
      : [{ role: "system", content: settings.system_prompt } as const]),
    { role: "user", content: prompt } as const,
  ];
  try {
    const sampling = samplingOf(settings);
    const request = { system, messages, sampling, seed, region: settings.region, signal };
    for await (const { result } of answerTurn(scheduler, request)) {
      if (result !== null) return { ...common, ...answered(prompt, result) };
    }
    throw new Error("A turn ended without its result: a defect.");
  } catch (error) {
    if (!(error instanceof WindowError)) throw error;
    return { ...common, ...refused(prompt, settings, error.message) };
  }
}

type Outcome = Omit<BatchRecord, "key" | keyof BatchItem | "settings">;

function answered(prompt: string, result: TurnResult): Outcome {
  const { text, level, kind, action, findings, finish, promptTokens, tokens, seconds } = result;
  return {
    ...{ answer: text, error: null, level, kind, action, findings: [...findings], finish },
    ...{ prompt_tokens: promptTokens, tokens, seconds },
    gates: gatesOf(prompt, text),
  };
}

function refused(prompt: string, { region }: BatchSettings, error: string): Outcome {
  const { level, kind } = assess(prompt, { region });
  return {
    ...{ answer: "", error, level, kind, action: "none", findings: [], finish: null },
    ...{ prompt_tokens: 0, tokens: 0, seconds: 0 },
    gates: gatesOf(prompt, ""),
  };
}
