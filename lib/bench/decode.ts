/** Decoding speed through the generator. */
import { openRandomModel } from "@lib/bench/random_model.ts";
import { seedConfig } from "@lib/bench/epoch.ts";
import type { Architecture } from "@lib/engine/architecture.ts";
import { Generator } from "@lib/engine/generator.ts";
import type { Backend } from "@lib/engine/library.ts";
import type { Model } from "@lib/engine/model.ts";
import type { OnProgress } from "@lib/phases.ts";
import { randomInt, seededRandom } from "@lib/random.ts";
import { loraOptions, modelOptions } from "@lib/training/plan.ts";

/** One measurement. Lengths in tokens. */
export interface DecodeCase {
  /** Sequences decoded together. */
  readonly batch: number;
  /** Prompt of each sequence, the shared part included. */
  readonly prompt: number;
  /** How much of the prompt is one prefix shared by all. */
  readonly shared: number;
  readonly newTokens: number;
  /** 0: greedy. */
  readonly temperature: number;
}

/** What it took. */
export interface DecodeTimes extends DecodeCase {
  /** New tokens a second, after the first of each sequence. */
  readonly tokensPerSecond: number;
  /** Prefill and the first token of all sequences. */
  readonly firstTokenSeconds: number;
}

/** Decode steps of one native call. */
const STEPS = 16;

async function timeCase(model: Model, one: DecodeCase): Promise<DecodeTimes> {
  const random = seededRandom(7);
  const draw = (count: number) =>
    Int32Array.from({ length: count }, () => randomInt(random, model.architecture.vocabSize));
  const own = one.prompt - one.shared;
  await using generator = await Generator.create(model, {
    maxSequences: one.batch,
    maxSequenceTokens: own + one.newTokens,
    maxPrefixTokens: one.shared,
  });
  if (one.shared > 0) await generator.setPrefix(draw(one.shared));
  let best = Infinity;
  let first = Infinity;
  for (let turn = 0; turn < 2; turn++) { // the first one warms up
    for (let sequence = 0; sequence < one.batch; sequence++) {
      await generator.add(draw(own), {
        maxNewTokens: one.newTokens,
        stopIds: [],
        temperature: one.temperature,
        seed: sequence,
      });
    }
    const begun = performance.now();
    let { live } = await generator.run(1);
    const prefilled = performance.now();
    while (live > 0) ({ live } = await generator.run(STEPS));
    const ended = performance.now();
    best = Math.min(best, (ended - prefilled) / 1000);
    first = Math.min(first, (prefilled - begun) / 1000);
  }
  return {
    ...one,
    tokensPerSecond: one.batch * (one.newTokens - 1) / best,
    firstTokenSeconds: first,
  };
}

/**
 * Times several cases on one model with an adapter.
 *
 * @param onProgress called with the cases done
 * @throws {EngineError}
 */
export async function timeDecode(
  architecture: Architecture,
  backend: Backend,
  cases: readonly DecodeCase[],
  onProgress?: OnProgress,
): Promise<DecodeTimes[]> {
  const config = seedConfig({ backend });
  const model = await openRandomModel(architecture, modelOptions(config), loraOptions(config));
  try {
    const times: DecodeTimes[] = [];
    for (const one of cases) {
      onProgress?.(times.length, cases.length);
      times.push(await timeCase(model, one));
    }
    onProgress?.(cases.length, cases.length);
    return times;
  } finally {
    await model.close();
  }
}
