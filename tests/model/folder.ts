import { z } from "zod";

/** The folder of the embedded base model. */
export const MODEL_FOLDER = new URL("../../data/tiny-llama/", import.meta.url);

const Golden = z.strictObject({
  madeBy: z.string(),
  texts: z.array(z.strictObject({
    text: z.string(),
    ids: z.array(z.int()),
    decoded: z.string(),
  })),
  chats: z.array(z.strictObject({
    messages: z.array(z.strictObject({ role: z.string(), content: z.string() })),
    addGenerationPrompt: z.boolean(),
    text: z.string(),
    ids: z.array(z.int()),
  })),
});

/** What transformers makes of odd texts and of conversations with the folder's tokenizer. */
export async function loadGolden(): Promise<z.infer<typeof Golden>> {
  const text = await Deno.readTextFile(new URL("golden.json", import.meta.url));
  return Golden.parse(JSON.parse(text));
}

/** A JSON file of the model folder. */
export async function loadModelJson(name: string): Promise<Record<string, unknown>> {
  const text = await Deno.readTextFile(new URL(name, MODEL_FOLDER));
  return z.record(z.string(), z.unknown()).parse(JSON.parse(text));
}
