/**
 * SentencePiece BPE (Llama 2, TinyLlama, Mistral) as llama.cpp reads it: pieces with scores. tokenizer.json
 * keeps the merges instead, in the order of those scores: llama.cpp joins, among neighbours whose union
 * is a piece, those of the best score first, so a piece's score is minus the rank of its first merge.
 */
import { GgufError } from "@lib/weights/gguf/format.ts";

/** What is read of `tokenizer.json`. */
export interface SentencePieceJson {
  readonly normalizer?: unknown;
  readonly pre_tokenizer?: unknown;
  readonly model: {
    readonly vocab: Readonly<Record<string, number>>;
    readonly merges: readonly (string | readonly [string, string])[];
  };
}

const BYTE = /^<0x[0-9A-F]{2}>$/;

/** Whether a piece stands for one byte. */
export function isBytePiece(piece: string): boolean {
  return BYTE.test(piece);
}

function pairsOf(json: SentencePieceJson): [string, string][] {
  return json.model.merges.map((merge) => {
    if (typeof merge !== "string") return [merge[0], merge[1]];
    const space = merge.indexOf(" ");
    return [merge.slice(0, space), merge.slice(space + 1)];
  });
}

/**
 * Score of every piece by id: 0 for bytes and special tokens, below every merge for single letters.
 *
 * @param size rows of the embedding
 */
export function scoresOf(json: SentencePieceJson, size: number): Float32Array {
  const pairs = pairsOf(json);
  const scores = new Float32Array(size);
  for (const [piece, id] of Object.entries(json.model.vocab)) {
    if (id < size && !isBytePiece(piece)) scores[id] = -pairs.length;
  }
  for (const [rank, [left, right]] of [...pairs.entries()].reverse()) {
    const id = json.model.vocab[left + right];
    if (id !== undefined && id < size) scores[id] = -rank;
  }
  return scores;
}

/**
 * Pieces that llama.cpp would join from two others and tokenizer.json would not. SentencePiece's own
 * models, as Hugging Face converts them, have none.
 */
export function unlistedMerges(json: SentencePieceJson): string[] {
  const listed = new Set(pairsOf(json).map(([left, right]) => `${left} ${right}`));
  const { vocab } = json.model;
  const has = (piece: string) => Object.hasOwn(vocab, piece) && !isBytePiece(piece);
  return Object.keys(vocab).filter((piece) => {
    if (isBytePiece(piece)) return false;
    const letters = [...piece];
    // Pieces that no merge makes are special tokens or letters: nothing is joined to them.
    return letters.some((_, cut) => {
      const left = letters.slice(0, cut).join("");
      const right = letters.slice(cut).join("");
      return cut > 0 && has(left) && has(right) && !listed.has(`${left} ${right}`);
    });
  });
}

/**
 * Whether a text gets a space in front before it is cut.
 *
 * @throws {GgufError} a normaliser or splitter SentencePiece's converters do not write
 */
export function addsSpacePrefix(json: SentencePieceJson, path: string): boolean {
  const rules = [json.normalizer, json.pre_tokenizer].flatMap(stepsOf);
  let marks = false;
  let prefix = false;
  for (const rule of rules) {
    if (rule["type"] === "Metaspace") {
      marks = true;
      prefix ||= rule["prepend_scheme"] !== "never" && rule["add_prefix_space"] !== false;
    } else if (rule["type"] === "Prepend") prefix ||= rule["prepend"] === "▁";
    else if (rule["type"] === "Replace" && rule["content"] === "▁") marks = true;
    else {
      throw new GgufError(
        `${path}: expected the rules of a SentencePiece tokenizer (Prepend, Replace, Metaspace), ` +
          `found ${JSON.stringify(rule)}. Run llama.cpp's convert_hf_to_gguf.py on the merged ` +
          "folder; the adapter can be exported here.",
      );
    }
  }
  if (marks) return prefix;
  throw new GgufError(
    `${path}: expected spaces to become "▁", as in a SentencePiece tokenizer; found no such rule.`,
  );
}

function stepsOf(value: unknown): Record<string, unknown>[] {
  if (typeof value !== "object" || value === null) return [];
  const step = value as Record<string, unknown>;
  const inner = step["normalizers"] ?? step["pretokenizers"];
  return Array.isArray(inner) ? inner.flatMap(stepsOf) : [step];
}
