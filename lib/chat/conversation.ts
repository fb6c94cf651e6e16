/** A conversation as it goes: who is asked, under which system prompt, and what has been said. */
import type { Message } from "@lib/chat/template.ts";
import type { SystemName } from "@lib/generation/request.ts";
import type { TurnResult } from "@lib/generation/turn.ts";

/** One exchange that has happened. */
export interface Exchange {
  /** Which model was to answer. */
  readonly system: SystemName;
  readonly user: string;
  readonly answer: string;
  readonly seed: number;
  /** null: stopped by the person; `answer` is what had been shown. */
  readonly result: TurnResult | null;
}

/** The state of a conversation. */
export interface Conversation {
  readonly system: SystemName;
  readonly systemPrompt: string;
  readonly exchanges: readonly Exchange[];
}

/** The messages that the model is given for another message of the person. */
export function messagesOf({ systemPrompt, exchanges }: Conversation, user: string): Message[] {
  return [
    ...(systemPrompt === "" ? [] : [{ role: "system", content: systemPrompt } as const]),
    ...exchanges.flatMap((said): Message[] => [
      { role: "user", content: said.user },
      { role: "assistant", content: said.answer },
    ]),
    { role: "user", content: user },
  ];
}

/** A conversation as `/save` writes it. */
export interface Transcript {
  readonly format: 1;
  readonly saved: string;
  readonly base_model: string;
  readonly adapter: string | null;
  readonly system_prompt: string;
  readonly sampling: Readonly<Record<string, number>>;
  readonly exchanges: readonly Exchange[];
}
