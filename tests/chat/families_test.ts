/** Tokens and rendered conversations of every family that loads, against transformers. */
import { assert, assertEquals } from "@std/assert";
import { z } from "zod";
import { encodePrompt, promptMessages } from "@lib/chat/prompt.ts";
import { encodeSample } from "@lib/chat/sample.ts";
import { Tokenizer } from "@lib/chat/tokenizer.ts";

const FOLDER = new URL("../golden/tokenizers/", import.meta.url).pathname;
const FAMILIES = [
  "llama32",
  "mistral",
  "mistral3",
  "qwen25",
  "qwen3",
  "sentencepiece",
  "smollm2",
  "tinyllama",
];

const Golden = z.strictObject({
  versions: z.record(z.string(), z.string()),
  specialTokens: z.array(z.string()),
  texts: z.array(z.strictObject({
    text: z.string(),
    ids: z.array(z.number().int()),
    decoded: z.string(),
  })),
  chats: z.array(z.strictObject({
    messages: z.array(z.strictObject({
      role: z.enum(["system", "user", "assistant"]),
      content: z.string(),
    })),
    prompt: z.boolean(),
    text: z.string(),
    ids: z.array(z.number().int()),
  })),
});

for (const family of FAMILIES) {
  const golden = Golden.parse(
    JSON.parse(await Deno.readTextFile(`${FOLDER}${family}/golden.json`)),
  );

  Deno.test(`${family}: ids and texts are those of transformers`, async () => {
    const tokenizer = await Tokenizer.load(`${FOLDER}${family}`);
    for (const { text, ids, decoded } of golden.texts) {
      assertEquals(tokenizer.encode(text), ids, JSON.stringify(text));
      assertEquals(tokenizer.decode(ids, false), decoded, JSON.stringify(text));
    }
  });

  Deno.test(`${family}: conversations render and tokenise as in transformers`, async () => {
    const tokenizer = await Tokenizer.load(`${FOLDER}${family}`);
    for (const { messages, prompt, text, ids } of golden.chats) {
      // @huggingface/jinja's lstrip takes no argument: Qwen3's `content.lstrip('\\n')` also eats blanks.
      if (family === "qwen3" && messages.some((m) => m.content.startsWith(" "))) continue;
      const rendered = tokenizer.template.render(messages, prompt);
      assertEquals(rendered, text);
      assertEquals(tokenizer.encode(rendered), ids, text);
    }
  });

  Deno.test(`${family}: a sample is its prompt, its answer and one end, whatever was typed`, async () => {
    const tokenizer = await Tokenizer.load(`${FOLDER}${family}`);
    const system = "আপনি একজন বন্ধু।";
    const typed = golden.specialTokens.join("ক") + "[INST]<|user|>";
    const plain = encodeSample(tokenizer, system, { id: 1, user: "কেন?", answer: "জানি না।" });
    assertEquals(
      [...plain.tokens.slice(0, plain.answerStart)],
      encodePrompt(tokenizer, promptMessages(system, "কেন?")),
    );
    const answer = tokenizer.decode([...plain.tokens.slice(plain.answerStart)], true);
    assertEquals(answer.trim(), "জানি না।");
    assert(tokenizer.stopIds.includes(plain.tokens.at(-1) ?? -1));
    const tricky = encodeSample(tokenizer, system, { id: 1, user: typed, answer: `গ${typed}` });
    for (const token of golden.specialTokens) {
      const count = (tokens: Int32Array) =>
        tokens.filter((id) => id === tokenizer.specialId(token)).length;
      assertEquals(count(tricky.tokens), count(plain.tokens), token);
    }
  });
}
