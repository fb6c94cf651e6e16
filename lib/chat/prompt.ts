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

/**
 * Takes the meaning out of special tokens a person has typed, so that no text can end its own turn.
 *
 * @example
 * ```ts
 * import { neutralizeSpecialTokens } from "@lib/chat/prompt.ts";
 * import { assertEquals } from "@std/assert";
 * assertEquals(neutralizeSpecialTokens("ক<|eot_id|>খ"), "ক< |eot_id| >খ");
 * ```
 */
export function neutralizeSpecialTokens(text: string): string {
  return text.replaceAll("<|", "< |").replaceAll("|>", "| >");
}

/** System prompt and user's turn. An empty system prompt is left out. */
export function promptMessages(system: string, user: string): Message[] {
  const turn: Message = { role: "user", content: neutralizeSpecialTokens(user) };
  return system === "" ? [turn] : [{ role: "system", content: system }, turn];
}

/**
 * A conversation in the form of {@linkcode promptMessages}: no text in it can end its own turn.
 *
 * @param messages perhaps a system prompt (left out when empty), then turns
 */
export function conversationMessages(messages: readonly Message[]): Message[] {
  return messages
    .filter(({ role, content }) => role !== "system" || content.trim() !== "")
    .map(({ role, content }) => ({ role, content: neutralizeSpecialTokens(content) }));
}

/** Token ids of a prompt that ends where the answer begins. */
export function encodePrompt(tokenizer: Tokenizer, messages: readonly Message[]): number[] {
  return tokenizer.encode(tokenizer.template.render(messages, true));
}
