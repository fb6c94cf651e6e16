/** Answers to many prompts, decoded together behind their common prefix. */
import { sharedPrefixLength } from "@lib/chat/prefix.ts";
import type { Tokenizer } from "@lib/chat/tokenizer.ts";
import type { Model } from "@lib/engine/model.ts";
import type { AnswerFinish, SystemName } from "@lib/generation/request.ts";
import type { SamplingSettings } from "@lib/generation/sampling.ts";
import { Scheduler } from "@lib/generation/scheduler.ts";

/** One finished answer. */
export interface Answer {
  /** Position of its prompt. */
  readonly index: number;
  readonly text: string;
  /** Generated tokens, the end token included. */
  readonly tokens: number;
  /** `stop`: the model ended its turn; `length`: the cap cut it. */
  readonly finish: AnswerFinish;
  /** Sum over the tokens under the unmodified distribution, nats. */
  readonly logprob: number;
  /** From the start of the whole call to this answer's last token. */
  readonly seconds: number;
}

/** How answers are made. */
export interface AnswerOptions {
  readonly sampling: SamplingSettings;
  /** Which model answers. @default {"tuned"} where there is an adapter, else `"base"` */
  readonly system?: SystemName;
  /** Seed of prompt i is `seed + i`. @default {0} */
  readonly seed?: number;
  /** Texts that end an answer. @default {[]} */
  readonly stop?: readonly string[];
  /** Sequences decoded together. @default {16} */
  readonly batchSize?: number;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Generates an answer to each prompt, yielding them as they finish.
 *
 * @param prompts token ids ending where the answer begins
 * @throws the signal's reason when it aborts
 * @throws {RequestError | SamplingError} a prompt or setting that cannot be used
 */
export async function* generateAnswers(
  model: Model,
  tokenizer: Tokenizer,
  prompts: readonly (readonly number[])[],
  options: AnswerOptions,
): AsyncGenerator<Answer> {
  if (prompts.length === 0) return;
  options.signal?.throwIfAborted();
  const lengths = prompts.map((prompt) => prompt.length);
  // Each prompt keeps at least one token of its own: the answer hangs on it.
  const prefix = sharedPrefixLength(prompts, Math.min(...lengths) - 1);
  await using scheduler = await Scheduler.create(model, tokenizer, {
    maxSequences: Math.min(options.batchSize ?? 16, prompts.length),
    maxSequenceTokens: Math.max(...lengths) + options.sampling.maxNewTokens,
    prefixIds: [prompts[0]?.slice(0, prefix) ?? []],
  });
  const begun = performance.now();
  const system = options.system ?? (scheduler.hasAdapter ? "tuned" : "base");
  const answers = new ReadableStream<Answer>({
    async start(controller) {
      try {
        await Promise.all(prompts.map(async (_, index) => {
          const answer = await answerOne(scheduler, prompts, index, system, options);
          controller.enqueue({ ...answer, seconds: (performance.now() - begun) / 1000 });
        }));
        controller.close();
      } catch (error) {
        controller.error(error);
      }
    },
  });
  yield* answers;
}

async function answerOne(
  scheduler: Scheduler,
  prompts: readonly (readonly number[])[],
  index: number,
  system: SystemName,
  { sampling, seed = 0, stop = [], signal }: AnswerOptions,
): Promise<Omit<Answer, "seconds">> {
  const promptIds = prompts[index] ?? [];
  const { stopIds } = scheduler.tokenizer;
  let text = "";
  const events = scheduler.submit({
    ...{ system, promptIds, stop, signal },
    sampling: { ...sampling, stopIds, seed: seed + index },
  });
  for await (const { text: fresh, tokens, logprob, finish } of events) {
    text += fresh;
    if (finish !== null) return { index, text: text.trim(), tokens, finish, logprob };
  }
  throw new Error("An answer ended without its last event: a defect of the scheduler.");
}
