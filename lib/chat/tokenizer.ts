/** A model folder's own tokenizer (`tokenizer.json`), through @huggingface/tokenizers. */
import { Tokenizer as HuggingFaceTokenizer } from "@huggingface/tokenizers";
import { z } from "zod";
import { exists, loadJson } from "@lib/files.ts";
import { ChatTemplate } from "@lib/chat/template.ts";

const AddedToken = z.looseObject({
  id: z.number().int(),
  content: z.string(),
  special: z.boolean(),
});
const TokenizerJson = z.looseObject({
  added_tokens: z.array(AddedToken).default([]),
  model: z.looseObject({ type: z.string() }),
  pre_tokenizer: z.unknown(),
});
const TokenField = z.union([z.string(), z.looseObject({ content: z.string() })]).nullish();
const TokenizerConfig = z.looseObject({
  chat_template: z.union([
    z.string(),
    z.array(z.looseObject({ name: z.string(), template: z.string() })),
  ]).nullish(),
  bos_token: TokenField,
  eos_token: TokenField,
  pad_token: TokenField,
});
const GenerationConfig = z.looseObject({
  eos_token_id: z.union([z.number().int(), z.array(z.number().int())]).nullish(),
});

/** A tokenizer folder that lacks something. */
export class TokenizerError extends Error {
  override readonly name = "TokenizerError";
}

/** Segments remembered between calls: headers and system prompts repeat in every sample. */
const MAX_CACHED_SEGMENTS = 4096;

/**
 * Text ↔ token ids, and the model's chat template.
 *
 * Ids equal those of transformers. Special tokens written in the text are recognised; none is added.
 */
export class Tokenizer {
  readonly #inner: HuggingFaceTokenizer;
  readonly #special: ReadonlyMap<string, number>;
  readonly #splitter: RegExp | null;
  readonly #cache = new Map<string, readonly number[]>();

  private constructor(
    readonly folder: string,
    inner: HuggingFaceTokenizer,
    special: ReadonlyMap<string, number>,
    readonly template: ChatTemplate,
    /** Ids that end an answer, from generation_config.json or config.json. */
    readonly stopIds: readonly number[],
    /** Id written at the very beginning; null when the model has none. */
    readonly bosId: number | null,
    /** Whether a stretch of text gives the same ids at the beginning and behind a special token. */
    divisible: boolean,
  ) {
    this.#inner = inner;
    this.#special = special;
    if (!divisible) {
      this.#splitter = null;
      return;
    }
    const patterns = [...special.keys()].sort((a, b) => b.length - a.length).map(escapeRegExp);
    this.#splitter = patterns.length === 0 ? null : new RegExp(`(${patterns.join("|")})`);
  }

  /**
   * Loads `tokenizer.json`, `tokenizer_config.json` and the chat template of a model folder.
   *
   * @throws {TokenizerError | FileReadError} naming the file that is missing or broken
   */
  static async load(folder: string): Promise<Tokenizer> {
    const hint = "Fetch the model again, or give another folder with --model DIR.";
    const json = await loadJson(`${folder}/tokenizer.json`, hint);
    const parsed = TokenizerJson.safeParse(json);
    if (!parsed.success) {
      throw new TokenizerError(`${folder}/tokenizer.json: ${z.prettifyError(parsed.error)}`);
    }
    const configJson = await loadJson(`${folder}/tokenizer_config.json`, hint);
    const config = TokenizerConfig.safeParse(configJson);
    if (!config.success) {
      throw new TokenizerError(`${folder}/tokenizer_config.json: ${z.prettifyError(config.error)}`);
    }
    const special = new Map(
      parsed.data.added_tokens.filter((t) => t.special).map((t) => [t.content, t.id]),
    );
    const bos = tokenText(config.data.bos_token);
    const eos = tokenText(config.data.eos_token);
    const template = new ChatTemplate(await loadTemplate(folder, config.data), {
      bos_token: bos ?? "",
      eos_token: eos ?? "",
    }, folder);
    const inner = new HuggingFaceTokenizer(parsed.data, config.data);
    const eosId = eos === null ? undefined : special.get(eos) ?? inner.token_to_id(eos);
    const stopIds = await loadStopIds(folder, eosId);
    const bosId = bos === null ? null : special.get(bos) ?? null;
    return new Tokenizer(
      folder,
      inner,
      special,
      template,
      stopIds,
      bosId,
      !marksTheFirst(parsed.data.pre_tokenizer),
    );
  }

  /** Number of ids, special tokens included. */
  get size(): number {
    return this.#inner.get_vocab(true).size;
  }

  /**
   * Ids of a text; special tokens in it become their ids, nothing is added.
   *
   * Special tokens split the text before anything else looks at it, so each stretch between them is
   * encoded by itself and remembered, unless the tokenizer treats the first in a way of its own.
   */
  encode(text: string): number[] {
    if (text === "") return [];
    const parts = this.#splitter === null ? [text] : text.split(this.#splitter);
    const ids: number[] = [];
    for (const part of parts) {
      if (part === "") continue;
      const special = this.#special.get(part);
      if (special !== undefined) ids.push(special);
      else for (const id of this.#encodeSegment(part)) ids.push(id);
    }
    return ids;
  }

  #encodeSegment(text: string): readonly number[] {
    const known = this.#cache.get(text);
    if (known !== undefined) return known;
    const { ids } = this.#inner.encode(text, { add_special_tokens: false });
    if (this.#cache.size >= MAX_CACHED_SEGMENTS) this.#cache.clear();
    this.#cache.set(text, ids);
    return ids;
  }

  /**
   * Text of ids. A sequence that ends inside a character yields U+FFFD there.
   *
   * @param skipSpecial leave special tokens out
   */
  decode(ids: readonly number[], skipSpecial = true): string {
    if (ids.length === 0) return "";
    return this.#inner.decode([...ids], {
      skip_special_tokens: skipSpecial,
      clean_up_tokenization_spaces: false,
    });
  }

  /** The token behind an id, as the vocabulary spells it. */
  token(id: number): string {
    return this.#inner.id_to_token(id) ?? `<unknown ${id}>`;
  }

  /** Special tokens as they are written. */
  get specialTokens(): readonly string[] {
    return [...this.#special.keys()];
  }

  /** Id of a special token such as `<|eot_id|>`, or null. */
  specialId(token: string): number | null {
    return this.#special.get(token) ?? null;
  }
}

/**
 * Whether a splitting rule puts its mark before the first stretch alone: Metaspace with
 * `prepend_scheme: "first"`, as Mistral 0.3's; possibly one of a sequence.
 */
function marksTheFirst(rule: unknown): boolean {
  if (typeof rule !== "object" || rule === null) return false;
  const { prepend_scheme, pretokenizers } = rule as Record<string, unknown>;
  if (prepend_scheme === "first") return true;
  return Array.isArray(pretokenizers) && pretokenizers.some(marksTheFirst);
}

function escapeRegExp(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
}

function tokenText(field: z.infer<typeof TokenField>): string | null {
  if (field === null || field === undefined) return null;
  return typeof field === "string" ? field : field.content;
}

async function loadTemplate(
  folder: string,
  config: z.infer<typeof TokenizerConfig>,
): Promise<string> {
  if (await exists(`${folder}/chat_template.jinja`)) {
    return await Deno.readTextFile(`${folder}/chat_template.jinja`);
  }
  const inline = config.chat_template;
  if (typeof inline === "string") return inline;
  const named = inline?.find((t) => t.name === "default")?.template;
  if (named !== undefined) return named;
  throw new TokenizerError(
    `${folder}: expected a chat template in chat_template.jinja or tokenizer_config.json, ` +
      "found none. Use an instruction-tuned (Instruct, Chat) model.",
  );
}

async function loadStopIds(folder: string, eosId: number | undefined): Promise<number[]> {
  const ids = new Set<number>();
  for (const file of ["generation_config.json", "config.json"]) {
    if (ids.size > 0 || !await exists(`${folder}/${file}`)) continue;
    const value = GenerationConfig.safeParse(await loadJson(`${folder}/${file}`, ""));
    const eos = value.success ? value.data.eos_token_id ?? [] : [];
    for (const id of Array.isArray(eos) ? eos : [eos]) ids.add(id);
  }
  if (eosId !== undefined) ids.add(eosId);
  if (ids.size === 0) {
    throw new TokenizerError(`${folder}: expected an end token (eos_token_id), found none.`);
  }
  return [...ids];
}
