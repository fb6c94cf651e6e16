/** Against transformers' `generate`: tests/golden/generation.json, made by tests/golden/make.py. */
import { assert, assertEquals } from "@std/assert";
import { z } from "zod";
import { Generator, type Sampling } from "@lib/engine/generator.ts";
import type { Model } from "@lib/engine/model.ts";
import { nextTokenLogits, nextTokenProbabilities } from "@lib/generation/distribution.ts";
import { loadGoldenModel } from "./golden_model.ts";

const Ids = z.array(z.number().int());
const SamplingNames = z.strictObject({
  temperature: z.number().default(1),
  top_k: z.number().default(0),
  top_p: z.number().default(1),
  min_p: z.number().default(0),
  repetition_penalty: z.number().default(1),
});
const Golden = z.object({
  penalties: z.array(z.number()),
  greedy: z.record(z.string(), z.array(z.object({ prompt: Ids, answers: z.array(Ids) }))),
  sampled: z.object({
    case: z.string(),
    prompt: Ids,
    logits: z.array(z.number()),
    settings: z.array(z.object({
      sampling: SamplingNames,
      probabilities: z.array(z.number()),
      draws: z.array(z.tuple([z.number().int(), z.number().int()])),
    })),
  }),
});
const golden = Golden.parse(
  JSON.parse(await Deno.readTextFile(new URL("../golden/generation.json", import.meta.url))),
);

const TOLERANCE = 1e-5;

/** Answers to several (prompt, settings), decoded together. */
async function generate(
  model: Model,
  asked: readonly (readonly [prompt: readonly number[], sampling: Sampling])[],
): Promise<number[][]> {
  await using generator = await Generator.create(model, {
    maxSequences: asked.length,
    maxSequenceTokens: 60,
  });
  const answers = new Map<number, number[]>();
  for (const [prompt, sampling] of asked) {
    answers.set(await generator.add(Int32Array.from(prompt), sampling), []);
  }
  for (let live = 1; live > 0;) {
    const run = await generator.run(16);
    for (const { sequence, token } of run.tokens) answers.get(sequence)?.push(token);
    live = run.live;
  }
  return [...answers.values()];
}

for (const [name, prompts] of Object.entries(golden.greedy)) {
  Deno.test(`greedy answers of ${name} are those of transformers, token for token`, async () => {
    await using model = await loadGoldenModel(name);
    const asked = prompts.flatMap(({ prompt }) =>
      golden.penalties.map((repetitionPenalty) =>
        [prompt, { maxNewTokens: 40, stopIds: [], repetitionPenalty }] as const
      )
    );
    assertEquals(await generate(model, asked), prompts.flatMap(({ answers }) => answers));
  });
}

function samplingOf(names: z.infer<typeof SamplingNames>) {
  return {
    temperature: names.temperature,
    topK: names.top_k,
    topP: names.top_p,
    minP: names.min_p,
    repetitionPenalty: names.repetition_penalty,
  };
}

Deno.test("distributions after all settings are those of transformers", async () => {
  await using model = await loadGoldenModel(golden.sampled.case);
  const { prompt, logits, settings } = golden.sampled;
  const own = await nextTokenLogits(model, prompt);
  const off = Math.max(...logits.map((value, i) => Math.abs(value - (own[i] ?? NaN))));
  assert(off < TOLERANCE, `logits differ by ${off}`);
  for (const { sampling, probabilities } of settings) {
    const got = nextTokenProbabilities(own, samplingOf(sampling), prompt);
    const error = Math.max(...probabilities.map((p, i) => Math.abs(p - (got[i] ?? NaN))));
    assert(error < TOLERANCE, `${JSON.stringify(sampling)}: ${error}`);
  }
});

Deno.test("the engine draws by them: at every boundary, to 1e-5 on both sides", async () => {
  await using model = await loadGoldenModel(golden.sampled.case);
  const { prompt, settings } = golden.sampled;
  for (const { sampling, draws } of settings) {
    assert(draws.length > 0);
    const shared = { ...samplingOf(sampling), maxNewTokens: 1, stopIds: [] };
    const asked = draws.map(([seed]) => [prompt, { ...shared, seed }] as const);
    const got = await generate(model, asked);
    assertEquals(got.flat(), draws.map(([, token]) => token), JSON.stringify(sampling));
  }
});
