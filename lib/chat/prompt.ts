/** What the model is asked, in one place: training, generation and evaluation use the same. */
import type { Config } from "@lib/config.ts";
import type { Message } from "@lib/chat/template.ts";
import type { Tokenizer } from "@lib/chat/tokenizer.ts";

/** The parts of a corpus record that a prompt may use. */
export interface PromptRecord {
  readonly topic: string;
  readonly title: string;
  readonly question: string;
}

/**
 * The user's turn.
 *
 * `topic_title_question` is the seed's training input `[Topic] Title Question`; a topic that already
 * stands in brackets keeps them.
 */
export function userText(record: PromptRecord, input: Config["prompt"]["input"]): string {
  if (input === "question") return record.question;
  const topic = /^\[.*\]$/.test(record.topic) ? record.topic : `[${record.topic}]`;
  return [record.topic === "" ? "" : topic, record.title, record.question]
    .filter((part) => part !== "").join(" ");
}

/** What chat templates write around turns as plain text, without a special token for it. */
const PLAIN_MARKUP = ["[INST]", "[/INST]", "<<SYS>>", "<</SYS>>"];

/**
 * Takes the meaning out of special tokens and template marks a person has typed, so that no text can
 * end its own turn: a space goes behind their first character, and into every `<|` and `|>`.
 *
 * @param specialTokens those of the tokenizer, such as `</s>`
 * @example
 * ```ts
 * import { neutralizeSpecialTokens } from "@lib/chat/prompt.ts";
 * import { assertEquals } from "@std/assert";
 * assertEquals(neutralizeSpecialTokens("ক<|eot_id|>খ"), "ক< |eot_id| >খ");
 * assertEquals(neutralizeSpecialTokens("ক</s>খ", ["</s>"]), "ক< /s>খ");
 * ```
 */
export function neutralizeSpecialTokens(
  text: string,
  specialTokens: readonly string[] = [],
): string {
  let safe = text.replaceAll("<|", "< |").replaceAll("|>", "| >");
  for (const mark of [...PLAIN_MARKUP, ...specialTokens]) {
    safe = safe.replaceAll(mark, `${mark.slice(0, 1)} ${mark.slice(1)}`);
  }
  return safe;
}

/** System prompt and user's turn. An empty system prompt is left out. */
export function promptMessages(system: string, user: string): Message[] {
  const turn: Message = { role: "user", content: user };
  return system === "" ? [turn] : [{ role: "system", content: system }, turn];
}

/**
 * Token ids of a conversation in the model's template; what people typed cannot end a turn.
 *
 * @param addGenerationPrompt end where the answer begins
 */
export function encodeMessages(
  tokenizer: Tokenizer,
  messages: readonly Message[],
  addGenerationPrompt: boolean,
): number[] {
  const safe = messages.map(({ role, content }) => ({
    role,
    content: neutralizeSpecialTokens(content, tokenizer.specialTokens),
  }));
  return tokenizer.encode(tokenizer.template.render(safe, addGenerationPrompt));
}

/** Token ids of a prompt that ends where the answer begins. */
export function encodePrompt(tokenizer: Tokenizer, messages: readonly Message[]): number[] {
  return encodeMessages(tokenizer, messages, true);
}
