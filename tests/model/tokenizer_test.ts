import { Tokenizer } from "@huggingface/tokenizers";
import { Template } from "@huggingface/jinja";
import { assert, assertEquals } from "@std/assert";
import { loadGolden, loadModelJson, MODEL_FOLDER } from "./folder.ts";

async function loadTokenizer(): Promise<Tokenizer> {
  return new Tokenizer(
    await loadModelJson("tokenizer.json"),
    await loadModelJson("tokenizer_config.json"),
  );
}

Deno.test("tokenizer.json gives the ids of transformers, odd texts included", async () => {
  const tokenizer = await loadTokenizer();
  for (const { text, ids } of (await loadGolden()).texts) {
    assertEquals(tokenizer.encode(text).ids, ids, JSON.stringify(text));
  }
});

Deno.test("decoding gives the text back", async () => {
  const tokenizer = await loadTokenizer();
  const options = { add_special_tokens: false };
  for (const { text, decoded } of (await loadGolden()).texts) {
    const ids = tokenizer.encode(text, options).ids;
    assertEquals(decoded, text);
    if (text === "") {
      assertEquals(ids, []); // the library refuses to decode nothing
      continue;
    }
    assertEquals(
      tokenizer.decode(ids, { skip_special_tokens: false, clean_up_tokenization_spaces: false }),
      decoded,
    );
  }
});

Deno.test("the chat template renders and tokenises as in transformers, with one BOS", async () => {
  const tokenizer = await loadTokenizer();
  const template = new Template(
    await Deno.readTextFile(new URL("chat_template.jinja", MODEL_FOLDER)),
  );
  for (const { messages, addGenerationPrompt, text, ids } of (await loadGolden()).chats) {
    const rendered = template.render({
      messages,
      bos_token: "<|begin_of_text|>",
      add_generation_prompt: addGenerationPrompt,
    });
    assertEquals(rendered, text);
    const found = tokenizer.encode(rendered, { add_special_tokens: false }).ids;
    assertEquals(found, ids);
    assertEquals(found.filter((id) => id === 3840).length, 1);
  }
});

Deno.test("the rendered conversation is Llama 3.1's, to the letter", async () => {
  const template = new Template(
    await Deno.readTextFile(new URL("chat_template.jinja", MODEL_FOLDER)),
  );
  const rendered = template.render({
    messages: [{ role: "system", content: " ক " }, { role: "user", content: "খ\n" }],
    bos_token: "<|begin_of_text|>",
    add_generation_prompt: true,
  });
  assertEquals(
    rendered,
    "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\n" +
      "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\nক<|eot_id|>" +
      "<|start_header_id|>user<|end_header_id|>\n\nখ<|eot_id|>" +
      "<|start_header_id|>assistant<|end_header_id|>\n\n",
  );
});

Deno.test("Bengali costs few tokens and the template's header does not blow up", async () => {
  const tokenizer = await loadTokenizer();
  const count = (text: string) => tokenizer.encode(text, { add_special_tokens: false }).ids.length;
  const story = "গত সপ্তাহে আমরা নৌকায় করে নদীর ওপারে বেড়াতে গিয়েছিলাম। সেখানে কাশফুল ফুটেছে।";
  const perToken = story.length / count(story);
  assert(perToken >= 3, `expected at least 3 characters a token, found ${perToken}`);
  const header = "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n";
  assert(count(header) <= 24, `expected at most 24 tokens, found ${count(header)}`);
});
