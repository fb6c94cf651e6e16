/**
 * The tokenisers of BLEU, as sacreBLEU 2.6 defines them (mteval-v13a, mteval-v14 international).
 *
 * `13a` is for Western text: it leaves the danda glued to its word. `intl` splits at every \p{P} and
 * \p{S}, the danda among them, and is the one for Bengali.
 *
 * @module
 */
import { splitFields } from "./ngrams.ts";

/** Names as in sacreBLEU's signature. */
export const BLEU_TOKENIZERS = ["13a", "intl", "char", "none"] as const;
export type BleuTokenizer = (typeof BLEU_TOKENIZERS)[number];

function western(line: string): string {
  let text = line.replaceAll("<skipped>", "").replaceAll("-\n", "").replaceAll("\n", " ");
  text = text.replaceAll("&quot;", '"').replaceAll("&amp;", "&")
    .replaceAll("&lt;", "<").replaceAll("&gt;", ">");
  return ` ${text} `
    .replace(/([{-~[-` -&(-+:-@/])/g, " $1 ")
    .replace(/([^0-9])([.,])/gu, "$1 $2 ")
    .replace(/([.,])([^0-9])/gu, " $1 $2")
    .replace(/([0-9])(-)/g, "$1 $2 ");
}

function international(line: string): string {
  return line
    .replace(/(\P{N})(\p{P})/gu, "$1 $2 ")
    .replace(/(\p{P})(\P{N})/gu, " $1 $2")
    .replace(/(\p{S})/gu, " $1 ");
}

const PREPARE: Readonly<Record<BleuTokenizer, (line: string) => string>> = {
  "13a": western,
  intl: international,
  char: (line) => Array.from(line).join(" "),
  none: (line) => line,
};

/**
 * Splits a line into BLEU's tokens.
 *
 * @example
 * ```ts
 * import { bleuTokens } from "@lib/evaluation/bleu_tokenizers.ts";
 * import { assertEquals } from "@std/assert";
 * assertEquals(bleuTokens("মন ভালো নেই।", "intl"), ["মন", "ভালো", "নেই", "।"]);
 * assertEquals(bleuTokens("মন ভালো নেই।", "13a"), ["মন", "ভালো", "নেই।"]);
 * ```
 */
export function bleuTokens(line: string, tokenizer: BleuTokenizer): string[] {
  return splitFields(PREPARE[tokenizer](line));
}
