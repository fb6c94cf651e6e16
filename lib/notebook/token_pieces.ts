/** A sample as pieces of text, token by token, for {@linkcode tokenBoxes}. */
import type { Sample } from "@lib/chat/sample.ts";
import type { Tokenizer } from "@lib/chat/tokenizer.ts";
import type { TokenPiece } from "./token_view.ts";

/**
 * Cuts a sample's text at its tokens. A letter that is spread over several tokens (a Bengali letter has
 * three bytes) is one piece.
 *
 * @param prefixLength tokens that every sample begins with; they are of the kind `prompt`
 */
export function tokenPieces(
  tokenizer: Pick<Tokenizer, "decode">,
  { tokens, answerStart }: Pick<Sample, "tokens" | "answerStart">,
  prefixLength: number,
): TokenPiece[] {
  const pieces: TokenPiece[] = [];
  let waiting: number[] = [];
  tokens.forEach((id, at) => {
    waiting.push(id);
    const text = tokenizer.decode(waiting, false);
    if (text.endsWith("\uFFFD")) return; // in the middle of a letter
    const asked = at < prefixLength ? "prompt" : "question";
    pieces.push({ text, kind: at < answerStart ? asked : "answer" });
    waiting = [];
  });
  return pieces;
}
