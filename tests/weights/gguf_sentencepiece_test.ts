/** SentencePiece tokenizers in GGUF: what SentencePiece's own file says, and the ids llama.cpp makes. */
import { assertEquals, assertStringIncludes } from "@std/assert";
import { z } from "zod";
import type { GgufValue } from "@lib/weights/gguf/format.ts";
import { loadTokenizerFields } from "@lib/weights/gguf/tokenizer.ts";

const FOLDER = decodeURIComponent(
  new URL("../golden/tokenizers/sentencepiece", import.meta.url).pathname,
);
const Pieces = z.object({
  pieces: z.array(z.tuple([z.string(), z.number(), z.string()])),
});
const Texts = z.object({
  texts: z.array(z.object({ text: z.string(), ids: z.array(z.number()) })),
});
const { pieces } = Pieces.parse(JSON.parse(await Deno.readTextFile(`${FOLDER}/pieces.json`)));
const { texts } = Texts.parse(JSON.parse(await Deno.readTextFile(`${FOLDER}/golden.json`)));

function listOf(fields: ReadonlyMap<string, GgufValue>, key: string): readonly unknown[] {
  const value = fields.get(`tokenizer.ggml.${key}`);
  return value?.type === "array" ? value.values : [];
}

Deno.test("pieces, types and the order of the scores are SentencePiece's own", async () => {
  const { fields, note } = await loadTokenizerFields(FOLDER, pieces.length + 2);
  assertEquals(note, null);
  assertEquals(fields.get("tokenizer.ggml.model"), { type: "string", value: "llama" });
  assertEquals(fields.get("tokenizer.ggml.add_space_prefix"), { type: "bool", value: true });
  const types = { normal: 1, unknown: 2, control: 3, byte: 6 } as Readonly<Record<string, number>>;
  assertEquals(listOf(fields, "tokens").slice(0, pieces.length), pieces.map(([piece]) => piece));
  assertEquals(
    listOf(fields, "token_type"),
    [...pieces.map(([, , kind]) => types[kind]), 5, 5],
  );
  // The pieces that merges make, best first.
  const scores = listOf(fields, "scores").map(Number);
  const ranked = (scoreOf: (id: number) => number) =>
    pieces.flatMap(([piece, , kind], id) => kind === "normal" && [...piece].length > 1 ? [id] : [])
      .toSorted((a, b) => scoreOf(b) - scoreOf(a));
  assertEquals(ranked((id) => scores[id] ?? NaN), ranked((id) => pieces[id]?.[1] ?? NaN));
});

/** llama.cpp's way: neighbours are joined while their union is a piece, the best score first. */
function joinByScore(text: string, tokens: readonly string[], scores: readonly number[]): number[] {
  const ids = new Map(tokens.map((token, id) => [token, id]));
  const symbols = [...`▁${text.replaceAll(" ", "▁")}`];
  for (;;) {
    let best = -1;
    let bestScore = -Infinity;
    for (let i = 0; i + 1 < symbols.length; i++) {
      const id = ids.get(`${symbols[i]}${symbols[i + 1]}`);
      const score = id === undefined ? -Infinity : scores[id] ?? -Infinity;
      if (score > bestScore) [best, bestScore] = [i, score];
    }
    if (best < 0) break;
    symbols.splice(best, 2, `${symbols[best]}${symbols[best + 1]}`);
  }
  return symbols.flatMap((symbol) => {
    const id = ids.get(symbol);
    if (id !== undefined) return [id];
    return [...new TextEncoder().encode(symbol)].map((byte) =>
      ids.get(`<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`) ?? -1
    );
  });
}

Deno.test("joined by these scores, texts get the ids of transformers", async () => {
  const { fields } = await loadTokenizerFields(FOLDER, pieces.length);
  const tokens = listOf(fields, "tokens").map(String);
  const scores = listOf(fields, "scores").map(Number);
  let compared = 0;
  for (const { text, ids } of texts) {
    // Special tokens are cut out first; a leading space is where Metaspace and llama.cpp differ.
    if (text.includes("</s>") || text.startsWith(" ")) continue;
    assertEquals(joinByScore(text, tokens, scores), ids, text);
    compared++;
  }
  assertEquals(compared > 15, true);
});

Deno.test("pieces that llama.cpp would join and the tokenizer would not are said", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const json = JSON.parse(await Deno.readTextFile(`${FOLDER}/tokenizer.json`));
    json.model.merges = json.model.merges.slice(1);
    await Deno.writeTextFile(`${folder}/tokenizer.json`, JSON.stringify(json));
    await Deno.copyFile(`${FOLDER}/tokenizer_config.json`, `${folder}/tokenizer_config.json`);
    const { note } = await loadTokenizerFields(folder, pieces.length);
    assertStringIncludes(note ?? "", "other");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
