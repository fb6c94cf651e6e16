/** The streaming decoder against whole decoding, for every family's tokenizer. */
import { assert, assertEquals } from "@std/assert";
import { Tokenizer as HuggingFaceTokenizer } from "@huggingface/tokenizers";
import type { Tokenizer } from "@lib/chat/tokenizer.ts";
import { StreamDecoder } from "@lib/generation/decoder.ts";
import { randomInt, seededRandom } from "@lib/random.ts";

const GOLDEN = decodeURIComponent(new URL("../golden/tokenizers", import.meta.url).pathname);
const FAMILIES = ["llama32", "mistral", "mistral3", "qwen25", "qwen3", "smollm2", "tinyllama"];
const TEXT = "ক্ষুধা 😀 র‍্যাব ড়  দুই  ফাঁক।\nHello, World! 漢字 ১২৩ «»";

/** A family's tokenizer as far as decoding goes. */
async function decoderOf(family: string) {
  const read = async (name: string) =>
    JSON.parse(await Deno.readTextFile(`${GOLDEN}/${family}/${name}`));
  const inner = new HuggingFaceTokenizer(
    await read("tokenizer.json"),
    await read("tokenizer_config.json"),
  );
  const decode = (ids: readonly number[]) =>
    ids.length === 0 ? "" : inner.decode([...ids], {
      skip_special_tokens: true,
      clean_up_tokenization_spaces: false,
    });
  return { inner, decode };
}

for (const family of FAMILIES) {
  Deno.test(`${family}: streamed text is the whole text, no character cut`, async () => {
    const { inner, decode } = await decoderOf(family);
    const tokenizer = { decode } as Pick<Tokenizer, "decode"> as Tokenizer;
    const stream = (ids: readonly number[]) => {
      const decoder = new StreamDecoder(tokenizer);
      const pieces = ids.map((id) => decoder.push(id));
      assertEquals(pieces.join(""), decoder.text);
      return pieces;
    };
    const { ids } = inner.encode(TEXT, { add_special_tokens: false });
    const pieces = stream(ids);
    assertEquals(pieces.join(""), decode(ids));
    for (const piece of pieces) assert(piece.isWellFormed() && !piece.includes("\uFFFD"), piece);
    // Any tokens in any order, as a model at a high temperature writes them.
    const random = seededRandom(5);
    const size = inner.get_vocab(true).size;
    for (let round = 0; round < 20; round++) {
      const any = Array.from({ length: 60 }, () => randomInt(random, size));
      assertEquals(stream(any).join(""), decode(any).replace(/\uFFFD+$/, ""));
    }
  });
}
