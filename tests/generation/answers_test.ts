import { assert, assertEquals, assertRejects } from "@std/assert";
import type { Model } from "@lib/engine/model.ts";
import { type Answer, type AnswerOptions, generateAnswers } from "@lib/generation/answers.ts";
import { StreamDecoder } from "@lib/generation/decoder.ts";
import { PROMPTS, tokenizer, withModel, withTunedModel } from "./fixture.ts";

const GREEDY: AnswerOptions = { sampling: { maxNewTokens: 20 } };

async function answers(
  model: Model,
  prompts: readonly (readonly number[])[],
  options: AnswerOptions,
): Promise<Answer[]> {
  const all: Answer[] = [];
  for await (const answer of generateAnswers(model, tokenizer, prompts, options)) all.push(answer);
  return all.sort((a, b) => a.index - b.index);
}

Deno.test("answers do not depend on how many are decoded together", () =>
  withModel(async (model) => {
    const together = await answers(model, PROMPTS, { ...GREEDY, batchSize: 3 });
    assertEquals(together.map((a) => a.index), [0, 1, 2, 3, 4]);
    for (const [i, prompt] of PROMPTS.entries()) {
      const [alone] = await answers(model, [prompt], GREEDY);
      assertEquals(together[i]?.text, alone?.text);
    }
  }));

Deno.test("greedy answers take the most likely token at every step", () =>
  withModel(async (model) => {
    const [prompt = []] = PROMPTS;
    const [answer] = await answers(model, [prompt], { sampling: { maxNewTokens: 6 } });
    const ids = [...prompt];
    for (let n = 0; n < (answer?.tokens ?? 0); n++) {
      const logits = await model.logits({
        tokenIds: Int32Array.from(ids),
        prefixLength: 0,
        cuSeqlens: Int32Array.from([0, ids.length]),
        sequenceKeys: Int32Array.from([0]),
        targetRows: Int32Array.from([ids.length - 1]),
        targetIds: Int32Array.from([0]),
      });
      ids.push(logits.indexOf(Math.max(...logits)));
    }
    const expected = tokenizer.decode(ids.slice(prompt.length)).replace(/\uFFFD+$/, "").trim();
    assertEquals(answer?.text, expected);
  }));

Deno.test("the same seed gives the same text, another seed another one", () =>
  withModel(async (model) => {
    const sampled = { sampling: { maxNewTokens: 24, temperature: 1, topP: 0.95 }, seed: 5 };
    const texts = async (options: AnswerOptions) =>
      (await answers(model, PROMPTS, options)).map((a) => a.text);
    assertEquals(await texts(sampled), await texts({ ...sampled, batchSize: 2 }));
    assert((await texts(sampled)).join() !== (await texts({ ...sampled, seed: 900 })).join());
  }));

Deno.test("an abort stops generation and frees the generator", () =>
  withModel(async (model) => {
    const stop = AbortSignal.abort(new Error("enough"));
    await assertRejects(
      () => answers(model, PROMPTS, { ...GREEDY, signal: stop }),
      Error,
      "enough",
    );
    assertEquals((await answers(model, PROMPTS, GREEDY)).length, 5);
  }));

Deno.test("a stream never shows half a character", () => {
  const text = "ক্ষুধা 😀 র‍্যাব ড়";
  const decoder = new StreamDecoder(tokenizer);
  let shown = "";
  for (const id of tokenizer.encode(text)) {
    shown += decoder.push(id);
    assert(!shown.includes("\uFFFD"), shown);
    assert(text.startsWith(shown), shown);
  }
  assertEquals([shown, decoder.text], [text, text]);
});

Deno.test("the asked model answers; by default the tuned one where there is one", () =>
  withTunedModel(async (model) => {
    const texts = async (options: AnswerOptions) =>
      (await answers(model, PROMPTS, options)).map((answer) => answer.text);
    const tuned = await texts({ ...GREEDY, system: "tuned" });
    const base = await texts({ ...GREEDY, system: "base" });
    assert(base.join() !== tuned.join());
    assertEquals(await texts(GREEDY), tuned);
  }));

Deno.test("whoever stops reading answers stops the rest", () =>
  withModel(async (model) => {
    for await (const answer of generateAnswers(model, tokenizer, PROMPTS, GREEDY)) {
      assert(answer.tokens > 0);
      break;
    }
    assertEquals((await answers(model, PROMPTS, GREEDY)).length, PROMPTS.length);
  }));
