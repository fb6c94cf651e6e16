/** Answers to many prompts, decoded together behind their common prefix. */
import { sharedPrefixLength } from "@lib/chat/prefix.ts";
import type { Tokenizer } from "@lib/chat/tokenizer.ts";
import type { Config } from "@lib/config.ts";
import { type Finish, Generator, type Sampling } from "@lib/engine/generator.ts";
import type { Model } from "@lib/engine/model.ts";

/** One finished answer. */
export interface Answer {
  /** Position of its prompt. */
  readonly index: number;
  readonly text: string;
  /** Generated tokens, the end token included. */
  readonly tokens: number;
  /** `stop`: the model ended its turn; `length`: the cap cut it. */
  readonly finish: Finish;
  /** Sum over the tokens under the unmodified distribution, nats. */
  readonly logprob: number;
  /** From the start of the whole call to this answer's last token. */
  readonly seconds: number;
}

/** How answers are made. */
export interface AnswerOptions {
  readonly sampling: Omit<Sampling, "stopIds" | "seed">;
  /** Seed of prompt i is `seed + i`. @default {0} */
  readonly seed?: number;
  /** Sequences decoded together. @default {16} */
  readonly batchSize?: number;
  readonly signal?: AbortSignal | undefined;
}

/** Sampling settings of a configuration. */
export function samplingOf(config: Config): AnswerOptions["sampling"] {
  const g = config.generation;
  return {
    maxNewTokens: g.max_new_tokens,
    temperature: g.temperature,
    topP: g.top_p,
    topK: g.top_k,
    minP: g.min_p,
    repetitionPenalty: g.repetition_penalty,
  };
}

/** Decode steps between two looks at finished answers and at the signal. */
const STEPS_A_CALL = 16;

/**
 * Generates an answer to each prompt, yielding them as they finish.
 *
 * @param prompts token ids ending where the answer begins
 * @throws the signal's reason when it aborts
 */
export async function* generateAnswers(
  model: Model,
  tokenizer: Tokenizer,
  prompts: readonly (readonly number[])[],
  options: AnswerOptions,
): AsyncGenerator<Answer> {
  if (prompts.length === 0) return;
  // Each prompt keeps at least one token of its own: the answer hangs on it.
  const prefix = sharedPrefixLength(prompts, Math.min(...prompts.map((p) => p.length)) - 1);
  const longest = Math.max(...prompts.map((p) => p.length)) - prefix;
  const generator = await Generator.create(model, {
    maxSequences: Math.min(options.batchSize ?? 16, prompts.length),
    maxSequenceTokens: longest + options.sampling.maxNewTokens,
    maxPrefixTokens: prefix,
  });
  try {
    if (prefix > 0) {
      await generator.setPrefix(
        Int32Array.from(prompts[0]?.slice(0, prefix) ?? []),
        options.signal,
      );
    }
    yield* decodeAll(generator, tokenizer, prompts, prefix, options);
  } finally {
    await generator.close();
  }
}

/** One answer under way. */
interface Pending {
  readonly index: number;
  readonly ids: number[];
  logprob: number;
}

async function* decodeAll(
  generator: Generator,
  tokenizer: Tokenizer,
  prompts: readonly (readonly number[])[],
  prefix: number,
  options: AnswerOptions,
): AsyncGenerator<Answer> {
  const begun = performance.now();
  const pending = new Map<number, Pending>();
  let next = 0;
  while (next < prompts.length || pending.size > 0) {
    while (next < prompts.length && pending.size < generator.options.maxSequences) {
      const sequence = await generator.add(Int32Array.from(prompts[next]?.slice(prefix) ?? []), {
        ...options.sampling,
        stopIds: tokenizer.stopIds,
        seed: (options.seed ?? 0) + next,
      });
      pending.set(sequence, { index: next++, ids: [], logprob: 0 });
    }
    const { tokens } = await generator.run(STEPS_A_CALL, options.signal);
    for (const { sequence, token, logprob, finish } of tokens) {
      const entry = pending.get(sequence);
      if (entry === undefined) continue;
      entry.ids.push(token);
      entry.logprob += logprob;
      if (finish === "none") continue;
      pending.delete(sequence);
      yield {
        index: entry.index,
        text: tokenizer.decode(entry.ids).replace(/\uFFFD+$/, "").trim(),
        tokens: entry.ids.length,
        finish,
        logprob: entry.logprob,
        seconds: (performance.now() - begun) / 1000,
      };
    }
  }
}
