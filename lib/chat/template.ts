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

/** Renders conversations to the text a model was trained on. */
export class ChatTemplate {
  readonly #template: Template;
  readonly #variables: Readonly<Record<string, string>>;
  readonly #folder: string;

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
  }

  /**
   * @param addGenerationPrompt end with the header of the assistant's turn
   * @throws {TemplateError} when the template refuses the messages
   */
  render(messages: readonly Message[], addGenerationPrompt: boolean): string {
    try {
      return this.#template.render({
        ...this.#variables,
        messages: messages.map((m) => ({ ...m })),
        add_generation_prompt: addGenerationPrompt,
      });
    } catch (error) {
      const roles = messages.map((m) => m.role).join(", ");
      throw new TemplateError(
        `${this.#folder}: the chat template refuses the turns (${roles}): ${reason(error)}`,
      );
    }
  }
}

function reason(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
