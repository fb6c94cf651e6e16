/** The model's own chat template (Jinja), rendered by @huggingface/jinja. */
import { Template } from "@huggingface/jinja";

/** One turn of a conversation. */
export interface Message {
  readonly role: "system" | "user" | "assistant";
  readonly content: string;
}

/** A template that cannot render these messages. */
export class TemplateError extends Error {
  override readonly name = "TemplateError";
}

/**
 * What templates ask for beside the turns. Llama 3.2's writes today's date into the system turn: with
 * the clock a model would be trained on one prompt and asked by another the next day, so the date is
 * the one that the family's templates fall back to. Qwen3's leaves its thoughts out when asked to.
 */
const VARIABLES = { date_string: "26 Jul 2024", enable_thinking: false } as const;

/** Stands for a system prompt when asking whether a template writes it. */
const PROBE = "system-prompt-probe";

/**
 * Renders conversations to the text a model was trained on.
 *
 * Where the template knows no system turn (Mistral 0.1 and 0.2), the system prompt goes before the
 * first question, an empty line between them.
 */
export class ChatTemplate {
  readonly #template: Template;
  readonly #variables: Readonly<Record<string, string>>;
  readonly #folder: string;
  readonly #writesSystem: boolean;

  /**
   * @param source Jinja source
   * @param variables `bos_token`, `eos_token`
   * @param folder where it came from, for messages
   */
  constructor(source: string, variables: Readonly<Record<string, string>>, folder: string) {
    this.#variables = variables;
    this.#folder = folder;
    try {
      this.#template = new Template(source);
    } catch (error) {
      throw new TemplateError(`${folder}: the chat template does not parse: ${reason(error)}`);
    }
    this.#writesSystem = this.#takesSystem();
  }

  #takesSystem(): boolean {
    const turns: Message[] = [
      { role: "system", content: PROBE },
      { role: "user", content: "?" },
    ];
    try {
      return this.#text(turns, true).includes(PROBE);
    } catch {
      return false; // it refuses the turn
    }
  }

  #text(messages: readonly Message[], addGenerationPrompt: boolean): string {
    return this.#template.render({
      ...VARIABLES,
      ...this.#variables,
      messages: messages.map((m) => ({ ...m })),
      add_generation_prompt: addGenerationPrompt,
    });
  }

  /**
   * @param addGenerationPrompt end with the header of the assistant's turn
   * @throws {TemplateError} when the template refuses the messages
   */
  render(messages: readonly Message[], addGenerationPrompt: boolean): string {
    const turns = this.#writesSystem ? messages : withoutSystem(messages);
    try {
      return this.#text(turns, addGenerationPrompt);
    } catch (error) {
      const roles = messages.map((m) => m.role).join(", ");
      throw new TemplateError(
        `${this.#folder}: the chat template refuses the turns (${roles}): ${reason(error)}`,
      );
    }
  }
}

/** The same turns with the system prompt at the head of the first question. */
export function withoutSystem(messages: readonly Message[]): readonly Message[] {
  const [system, user, ...rest] = messages;
  if (system?.role !== "system" || user?.role !== "user") return messages;
  return [{ role: "user", content: `${system.content}\n\n${user.content}` }, ...rest];
}

function reason(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
