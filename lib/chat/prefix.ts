/** What several token sequences have in common at their beginning. */
import { encodePrompt, promptMessages } from "@lib/chat/prompt.ts";
import type { Tokenizer } from "@lib/chat/tokenizer.ts";

/**
 * Length of the longest common prefix, at most `limit`.
 *
 * @returns 0 for fewer than two sequences: there is nothing to share
 *
 * @example
 * ```ts
 * import { sharedPrefixLength } from "@lib/chat/prefix.ts";
 * import { assertEquals } from "@std/assert";
 * assertEquals(sharedPrefixLength([[1, 2, 3], [1, 2, 4]], 9), 2);
 * ```
 */
export function sharedPrefixLength(
  sequences: readonly ArrayLike<number>[],
  limit: number,
): number {
  const first = sequences[0];
  if (first === undefined || sequences.length < 2) return 0;
  let length = Math.min(limit, first.length);
  for (const sequence of sequences) {
    let i = 0;
    while (i < length && sequence[i] === first[i]) i++;
    length = i;
  }
  return Math.max(0, length);
}

/**
 * What every prompt under a system prompt begins with, also when an instruction is added to the
 * system prompt's end: what is computed once for all of them.
 */
export function systemPromptPrefix(tokenizer: Tokenizer, system: string): number[] {
  const ids = (text: string, user: string) => encodePrompt(tokenizer, promptMessages(text, user));
  const prompts = [
    ids(system, "ক"),
    ids(system, "1"),
    ...(system === "" ? [] : [ids(`${system}\n\nক`, "ক"), ids(`${system}\n\n1`, "ক")]),
  ];
  const [first = []] = prompts;
  return first.slice(0, sharedPrefixLength(prompts, first.length - 1));
}
