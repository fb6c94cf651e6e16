/** The embedded tiny model, with an adapter that changes what it says. */
import { encodePrompt, promptMessages } from "@lib/chat/prompt.ts";
import { Tokenizer } from "@lib/chat/tokenizer.ts";
import { SYSTEM_PROMPT } from "@lib/config.ts";
import type { Model, ModelOptions } from "@lib/engine/model.ts";
import type { AnswerEvent, AnswerFinish } from "@lib/generation/request.ts";
import { loadModel } from "@lib/weights/folder.ts";

export const FOLDER = decodeURIComponent(
  new URL("../../data/tiny-llama", import.meta.url).pathname,
);
export const tokenizer = await Tokenizer.load(FOLDER);

export const QUESTIONS = [
  "আমার চাকরি চলে গেছে এবং আমি হতাশ।",
  "কাল পরীক্ষা, ভয় লাগছে।",
  "মেয়েটা আজ প্রথম হাঁটল!",
  "পাশের বাড়ির শব্দে ঘুমাতে পারি না, কী করব বুঝতে পারছি না।",
  "বন্ধুটা আর কথা বলে না।",
];

/** A question as the prompt that the model answers. */
export function promptOf(question: string, system = SYSTEM_PROMPT): number[] {
  return encodePrompt(tokenizer, promptMessages(system, question));
}

export const PROMPTS = QUESTIONS.map((question) => promptOf(question));

/** What all prompts begin with. */
export const PREFIX = PROMPTS[0]?.slice(
  0,
  PROMPTS[0].findIndex((id, i) => PROMPTS.some((prompt) => prompt[i] !== id)),
) ?? [];

/** Runs with the tiny model on the CPU. */
export async function withModel(
  run: (model: Model) => Promise<void>,
  options: ModelOptions = {},
): Promise<void> {
  await using model = await loadModel(FOLDER, { backend: "cpu", ...options });
  await run(model);
}

/** Attaches an adapter whose B is not zero. */
export async function attachNoise(model: Model): Promise<void> {
  const { hiddenSize: width, numLayers, numHeads, headDim } = model.architecture;
  await model.attachLora({ r: 4, alpha: 8, dropout: 0, targetModules: ["q_proj"], seed: 3 });
  for (let layer = 0; layer < numLayers; layer++) {
    const b = Float32Array.from(
      { length: numHeads * headDim * 4 },
      (_, i) => Math.sin(1 + 7 * i + layer) * 2 / Math.sqrt(width),
    );
    await model.writeLora(`model.layers.${layer}.self_attn.q_proj.lora_B.weight`, b);
  }
}

/** Runs with the tiny model and an adapter. */
export function withTunedModel(
  run: (model: Model) => Promise<void>,
  options: ModelOptions = {},
): Promise<void> {
  return withModel(async (model) => {
    await attachNoise(model);
    await run(model);
  }, options);
}

/** An answer read to its end. */
export interface Whole {
  readonly text: string;
  readonly ids: readonly number[];
  readonly finish: AnswerFinish | null;
  readonly events: number;
}

/** Reads all events. */
export async function readAll(events: AsyncIterable<AnswerEvent>): Promise<Whole> {
  let whole: Whole = { text: "", ids: [], finish: null, events: 0 };
  for await (const { text, ids, finish } of events) {
    whole = {
      text: whole.text + text,
      ids: [...whole.ids, ...ids],
      finish,
      events: whole.events + 1,
    };
  }
  return whole;
}
