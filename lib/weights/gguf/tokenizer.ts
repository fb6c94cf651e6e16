/** A model folder's BPE tokenizer, byte-level or SentencePiece's, as GGUF metadata. */
import { z } from "zod";
import { exists, loadJson } from "@lib/files.ts";
import { GgufError, type GgufValue } from "@lib/weights/gguf/format.ts";
import {
  addsSpacePrefix,
  isBytePiece,
  scoresOf,
  unlistedMerges,
} from "@lib/weights/gguf/sentencepiece.ts";

const TokenizerJson = z.looseObject({
  added_tokens: z.array(z.looseObject({
    id: z.number().int().min(0),
    content: z.string(),
    special: z.boolean(),
  })).default([]),
  normalizer: z.unknown().optional(),
  pre_tokenizer: z.unknown().optional(),
  post_processor: z.unknown().optional(),
  model: z.looseObject({
    type: z.string(),
    byte_fallback: z.boolean().nullish(),
    unk_token: z.string().nullish(),
    vocab: z.record(z.string(), z.number().int().min(0)),
    merges: z.array(z.union([z.string(), z.tuple([z.string(), z.string()])])),
  }),
});
type TokenizerJson = z.infer<typeof TokenizerJson>;

const TokenField = z.union([z.string(), z.looseObject({ content: z.string() })]).nullish();
const TokenizerConfig = z.looseObject({
  bos_token: TokenField,
  eos_token: TokenField,
  unk_token: TokenField,
  pad_token: TokenField,
  chat_template: z.unknown().optional(),
});

const CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|";
const SPACES = String.raw`\s*[\r\n]+|\s+(?!\S)|\s+`;
const LLAMA_3 = CONTRACTIONS +
  String.raw`[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|` + SPACES;
const QWEN_2 = CONTRACTIONS +
  String.raw`[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|` + SPACES;
const LLAMA_3_WITH_MARKS = CONTRACTIONS +
  String.raw`[^\r\n\p{L}\p{M}\p{N}]?[\p{L}\p{M}]+|\p{N}{1,3}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|` +
  SPACES;

/** The splitting expression → llama.cpp's name for it. */
const PRE_TOKENIZERS: ReadonlyMap<string, { readonly name: string; readonly note?: string }> =
  new Map([
    [LLAMA_3, { name: "llama-bpe" }],
    [QWEN_2, { name: "qwen2" }],
    [LLAMA_3_WITH_MARKS, {
      name: "granite-embed-multi-97m",
      note: "llama.cpp has no pre-tokeniser of exactly this model's expression (Llama 3's with " +
        "combining marks). The nearest, granite-embed-multi-97m, cuts Bengali alike; Latin words in " +
        "mixed case and contractions may get other tokens. It needs a llama.cpp of 2026.",
    }],
  ]);

/** A tokenizer's metadata. */
export interface TokenizerFields {
  readonly fields: ReadonlyMap<string, GgufValue>;
  /** Where llama.cpp will read text differently; null: nowhere. */
  readonly note: string | null;
}

/**
 * Reads the tokenizer of a model folder.
 *
 * @param vocabSize rows of the embedding; ids without a token become unused ones
 * @throws {GgufError} a tokenizer that is no BPE, or splits text in a way llama.cpp has no name for
 */
export async function loadTokenizerFields(
  folder: string,
  vocabSize: number,
): Promise<TokenizerFields> {
  const path = `${folder}/tokenizer.json`;
  const parsed = TokenizerJson.safeParse(await loadJson(path, "Fetch the model again."));
  if (!parsed.success) throw new GgufError(`${path}: ${z.prettifyError(parsed.error)}`);
  const { type } = parsed.data.model;
  if (type !== "BPE") {
    throw new GgufError(
      `${path}: expected a BPE tokenizer, found ${type}. Export the merged safetensors and run ` +
        "llama.cpp's convert_hf_to_gguf.py on that folder; the adapter can be exported here.",
    );
  }
  const configPath = `${folder}/tokenizer_config.json`;
  const config = TokenizerConfig.safeParse(await loadJson(configPath, "Fetch the model again."));
  if (!config.success) throw new GgufError(`${configPath}: ${z.prettifyError(config.error)}`);
  const { tokens, types } = vocabulary(parsed.data, vocabSize, path);
  const pieces = parsed.data.model.byte_fallback === true;
  const { own, note } = pieces
    ? sentencePiece(parsed.data, contentOf(config.data.unk_token), types, vocabSize, path)
    : byteLevel(parsed.data, path);
  const fields = new Map<string, GgufValue>([
    ["tokenizer.ggml.tokens", { type: "array", of: "string", values: tokens }],
    ["tokenizer.ggml.token_type", { type: "array", of: "i32", values: types }],
    ...own,
    ...specialIds(parsed.data, config.data),
  ]);
  const template = await loadTemplate(folder, config.data.chat_template);
  if (template !== null) fields.set("tokenizer.chat_template", { type: "string", value: template });
  return { fields, note };
}

/** Fields of one kind of tokenizer. */
interface Kind {
  readonly own: readonly [string, GgufValue][];
  readonly note: string | null;
}

function byteLevel(json: TokenizerJson, path: string): Kind {
  const pre = preTokenizer(json, path);
  return {
    own: [
      ["tokenizer.ggml.model", { type: "string", value: "gpt2" }],
      ["tokenizer.ggml.pre", { type: "string", value: pre.name }],
      ["tokenizer.ggml.merges", { type: "array", of: "string", values: mergeLines(json) }],
    ],
    note: pre.note ?? null,
  };
}

/** @param types of the tokens, in which bytes and the unknown token get their own */
function sentencePiece(
  json: TokenizerJson,
  unknown: string | undefined,
  types: number[],
  vocabSize: number,
  path: string,
): Kind {
  const prefix = addsSpacePrefix(json, path);
  for (const [piece, id] of Object.entries(json.model.vocab)) {
    if (isBytePiece(piece)) types[id] = TOKEN_TYPES.byte;
    if (piece === (json.model.unk_token ?? unknown)) types[id] = TOKEN_TYPES.unknown;
  }
  const scores = scoresOf(json, vocabSize);
  for (const { id } of json.added_tokens) scores[id] = 0;
  const unlisted = unlistedMerges(json);
  const note = unlisted.length === 0
    ? null
    : `llama.cpp will join ${unlisted.length} pieces from ` +
      `parts that this tokenizer does not join (such as "${
        unlisted[0]
      }"), so some texts get other ` +
      "tokens there.";
  return {
    own: [
      ["tokenizer.ggml.model", { type: "string", value: "llama" }],
      ["tokenizer.ggml.pre", { type: "string", value: "default" }],
      ["tokenizer.ggml.scores", { type: "array", of: "f32", values: [...scores] }],
      ["tokenizer.ggml.add_space_prefix", { type: "bool", value: prefix }],
    ],
    note,
  };
}

function preTokenizer(json: TokenizerJson, path: string): { name: string; note?: string } {
  const steps = stepsOf(json.pre_tokenizer, "pretokenizers");
  const pattern = steps.map((step) =>
    z.object({ pattern: z.object({ Regex: z.string() }) })
      .safeParse(step).data?.pattern.Regex
  ).find((regex) => regex !== undefined);
  const known = pattern === undefined ? undefined : PRE_TOKENIZERS.get(pattern);
  if (known !== undefined) return known;
  const digits = steps.some((step) => step["type"] === "Digits");
  const bytes = steps.some((step) => step["type"] === "ByteLevel" && step["use_regex"] !== false);
  if (pattern === undefined && digits && bytes) return { name: "smollm" };
  throw new GgufError(
    `${path}: expected a pre-tokeniser llama.cpp has a name for (Llama 3, Qwen2, SmolLM), found ` +
      `${
        JSON.stringify(json.pre_tokenizer)
      }. Run llama.cpp's convert_hf_to_gguf.py on the merged ` +
      "folder; the adapter can be exported here.",
  );
}

/** The steps of a `Sequence`, or the one there is. */
function stepsOf(value: unknown, key: string): Record<string, unknown>[] {
  const step = z.record(z.string(), z.unknown()).safeParse(value).data;
  if (step === undefined) return [];
  const inner = z.array(z.record(z.string(), z.unknown())).safeParse(step[key]).data;
  return inner ?? [step];
}

/** `llama_token_type`. */
const TOKEN_TYPES = {
  normal: 1,
  unknown: 2,
  control: 3,
  userDefined: 4,
  unused: 5,
  byte: 6,
} as const;

function vocabulary(
  json: TokenizerJson,
  vocabSize: number,
  path: string,
): { tokens: string[]; types: number[] } {
  const tokens = Array.from({ length: vocabSize }, (_, id) => `[PAD${id}]`);
  const types = Array.from({ length: vocabSize }, (): number => TOKEN_TYPES.unused);
  const put = (id: number, token: string, type: number) => {
    if (id >= vocabSize) {
      throw new GgufError(
        `${path}: expected ids below vocab_size ${vocabSize}, found ${id} ('${token}'). The ` +
          "tokenizer belongs to another model.",
      );
    }
    tokens[id] = token;
    types[id] = type;
  };
  for (const [token, id] of Object.entries(json.model.vocab)) put(id, token, TOKEN_TYPES.normal);
  for (const { id, content, special } of json.added_tokens) {
    const control = special || /^(<\|.*\|>|<｜.*｜>)$/.test(content);
    put(id, content, control ? TOKEN_TYPES.control : TOKEN_TYPES.userDefined);
  }
  return { tokens, types };
}

function contentOf(field: z.infer<typeof TokenField>): string | undefined {
  return typeof field === "string" ? field : field?.content;
}

/** `left right`, spaces inside a part spelled as byte-level BPE spells them. */
function mergeLines(json: TokenizerJson): string[] {
  return json.model.merges.map((merge) =>
    typeof merge === "string" ? merge : merge.map((part) => part.replaceAll(" ", "Ġ")).join(" ")
  );
}

function specialIds(
  json: TokenizerJson,
  config: z.infer<typeof TokenizerConfig>,
): [string, GgufValue][] {
  const idOf = (field: z.infer<typeof TokenField>): number | undefined => {
    const content = contentOf(field);
    return json.added_tokens.find((token) => token.content === content)?.id;
  };
  const ids = {
    bos: idOf(config.bos_token),
    eos: idOf(config.eos_token),
    unknown: idOf(config.unk_token),
    padding: idOf(config.pad_token),
  };
  const fields = Object.entries(ids).flatMap(([name, id]): [string, GgufValue][] =>
    id === undefined ? [] : [[`tokenizer.ggml.${name}_token_id`, { type: "u32", value: id }]]
  );
  const { first, last } = templateEnds(json.post_processor);
  const adds = (content: string | undefined, id: number | undefined): boolean =>
    content !== undefined && json.added_tokens.some((t) => t.content === content && t.id === id);
  return [
    ...fields,
    ["tokenizer.ggml.add_bos_token", { type: "bool", value: adds(first, ids.bos) }],
    ["tokenizer.ggml.add_eos_token", { type: "bool", value: adds(last, ids.eos) }],
    ["tokenizer.ggml.add_sep_token", { type: "bool", value: false }],
  ];
}

/** The special tokens that the post-processor puts before and after a text. */
function templateEnds(postProcessor: unknown): { first?: string; last?: string } {
  const Entry = z.looseObject({ SpecialToken: z.object({ id: z.string() }).optional() });
  const template = stepsOf(postProcessor, "processors").find((s) =>
    s["type"] === "TemplateProcessing"
  );
  const single = z.array(Entry).safeParse(template?.["single"]).data ?? [];
  const first = single[0]?.SpecialToken?.id;
  const last = single.length > 1 ? single.at(-1)?.SpecialToken?.id : undefined;
  return {
    ...(first === undefined ? {} : { first }),
    ...(last === undefined ? {} : { last }),
  };
}

async function loadTemplate(folder: string, inline: unknown): Promise<string | null> {
  if (typeof inline === "string") return inline;
  const path = `${folder}/chat_template.jinja`;
  return await exists(path) ? await Deno.readTextFile(path) : null;
}
