/** A conversation as token ids with the place where the answer begins. */
import { encodeMessages, encodePrompt, promptMessages } from "@lib/chat/prompt.ts";
import { type Message, TemplateError, withoutSystem } from "@lib/chat/template.ts";
import type { Tokenizer } from "@lib/chat/tokenizer.ts";

/** One training or evaluation sample. */
export interface Sample {
  /** The record's own number; keys the dropout mask. */
  readonly id: number;
  /** Template, system prompt, question, answer, end token. */
  readonly tokens: Int32Array<ArrayBuffer>;
  /** Index of the first answer token; everything before is prompt. */
  readonly answerStart: number;
}

/** What becomes a sample. */
export interface Conversation {
  readonly id: number;
  readonly user: string;
  readonly answer: string;
}

/**
 * Encodes a conversation. Answer tokens run from `answerStart` to the end; the last is the token
 * that ends the turn (`<|eot_id|>`).
 *
 * @throws {TemplateError} a template whose full rendering does not begin with its prompt
 */
export function encodeSample(
  tokenizer: Tokenizer,
  system: string,
  conversation: Conversation,
): Sample {
  const messages = promptMessages(system, conversation.user);
  const prompt = encodePrompt(tokenizer, messages);
  const turns: Message[] = [...messages, { role: "assistant", content: conversation.answer }];
  let full = encodeMessages(tokenizer, turns, false);
  // Mistral 0.3's writes the system prompt before the last question, and not once it is answered.
  if (!startsWith(full, prompt)) full = encodeMessages(tokenizer, withoutSystem(turns), false);
  if (!startsWith(full, prompt)) {
    throw new TemplateError(
      `${tokenizer.folder}: expected the rendered conversation to begin with its prompt; ` +
        "this template changes earlier turns when an answer follows and cannot be trained on.",
    );
  }
  // Some templates put a line break after the turn's end token: the answer ends at the token.
  const end = full.findLastIndex((id) => tokenizer.stopIds.includes(id));
  if (end >= prompt.length) full = full.slice(0, end + 1);
  return {
    id: conversation.id,
    tokens: Int32Array.from(full),
    answerStart: prompt.length,
  };
}

function startsWith(ids: readonly number[], prefix: readonly number[]): boolean {
  return prefix.length <= ids.length && prefix.every((id, i) => ids[i] === id);
}

/** Samples that fit, and those that do not. */
export interface EncodedSamples {
  readonly samples: readonly Sample[];
  /** Left out, never truncated: id and length in tokens. */
  readonly tooLong: readonly { readonly id: number; readonly tokens: number }[];
}

/**
 * Encodes many conversations.
 *
 * @param maxTokens longest sample kept
 * @param onProgress called with the number done, now and then
 */
export function encodeSamples(
  tokenizer: Tokenizer,
  system: string,
  conversations: readonly Conversation[],
  maxTokens: number,
  onProgress?: (done: number) => void,
): EncodedSamples {
  const samples: Sample[] = [];
  const tooLong: { id: number; tokens: number }[] = [];
  conversations.forEach((conversation, i) => {
    const sample = encodeSample(tokenizer, system, conversation);
    if (sample.tokens.length <= maxTokens) samples.push(sample);
    else tooLong.push({ id: sample.id, tokens: sample.tokens.length });
    if (i % 500 === 499) onProgress?.(i + 1);
  });
  onProgress?.(conversations.length);
  return { samples, tooLong };
}
