/** What a person types in the chat: a message, or a command that begins with a slash. */
import { closest } from "@lib/closest.ts";

/** The commands, what they take and do. */
export const COMMANDS = {
  help: { value: "", help: "this list" },
  reset: { value: "", help: "forget the conversation" },
  save: { value: "[FILE]", help: "write the conversation as JSON" },
  system: { value: "[TEXT]", help: "show the system prompt, or set another" },
  base: { value: "", help: "the base model answers from now on" },
  tuned: { value: "", help: "the tuned model answers from now on" },
  quit: { value: "", help: "leave" },
} as const;

export type CommandName = keyof typeof COMMANDS;

/** One line of input, understood. */
export type ChatInput =
  | { readonly type: "message"; readonly text: string }
  | { readonly type: "command"; readonly name: CommandName; readonly value: string }
  | { readonly type: "unknown"; readonly name: string; readonly guess: string | null }
  | { readonly type: "empty" };

/**
 * Reads a line. Only one line that begins with a slash and a letter is a command; a space in front
 * makes it a message.
 *
 * @example
 * ```ts
 * import { parseInput } from "@lib/chat/commands.ts";
 * import { assertEquals } from "@std/assert";
 * assertEquals(parseInput("/save a.json"), { type: "command", name: "save", value: "a.json" });
 * assertEquals(parseInput("/rest"), { type: "unknown", name: "rest", guess: "reset" });
 * assertEquals(parseInput("কেমন আছেন?"), { type: "message", text: "কেমন আছেন?" });
 * ```
 */
export function parseInput(line: string): ChatInput {
  const command = /^\/([a-z]+)(?:[ \t]+(.*))?$/i.exec(line.trimEnd());
  if (command === null) {
    const text = line.trim();
    return text === "" ? { type: "empty" } : { type: "message", text };
  }
  const name = (command[1] ?? "").toLowerCase();
  if (Object.hasOwn(COMMANDS, name)) {
    return { type: "command", name: name as CommandName, value: (command[2] ?? "").trim() };
  }
  return { type: "unknown", name, guess: closest(name, Object.keys(COMMANDS)) };
}

/** The commands, one a line. */
export function commandHelp(): string {
  const rows = Object.entries(COMMANDS).map(([name, { value, help }]) => {
    return [`/${name}${value === "" ? "" : ` ${value}`}`, help] as const;
  });
  const width = Math.max(...rows.map(([left]) => left.length)) + 2;
  return rows.map(([left, help]) => `  ${left.padEnd(width)}${help}`).join("\n");
}
