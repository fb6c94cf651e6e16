/** Bytes of a terminal in raw mode, read as keys. */

/** Keys that do something other than write themselves. */
export type KeyName =
  | "enter"
  | "newline"
  | "backspace"
  | "delete"
  | "left"
  | "right"
  | "word_left"
  | "word_right"
  | "up"
  | "down"
  | "home"
  | "end"
  | "kill_to_end"
  | "kill_to_start"
  | "kill_word"
  | "yank"
  | "redraw"
  | "interrupt"
  | "end_of_input";

/** One key, a run of typed text, or a paste. */
export type Key =
  | { readonly type: "key"; readonly name: KeyName }
  | { readonly type: "text"; readonly text: string };

const CONTROL: Readonly<Record<string, KeyName>> = {
  "\x01": "home",
  "\x02": "left",
  "\x03": "interrupt",
  "\x04": "end_of_input",
  "\x05": "end",
  "\x06": "right",
  "\x08": "backspace",
  "\n": "newline",
  "\x0b": "kill_to_end",
  "\x0c": "redraw",
  "\r": "enter",
  "\x0e": "down",
  "\x10": "up",
  "\x15": "kill_to_start",
  "\x17": "kill_word",
  "\x19": "yank",
  "\x7f": "backspace",
};

/** What follows ESC [ or ESC O, as xterm, the Linux console, VT and rxvt send it. */
const SEQUENCES: Readonly<Record<string, KeyName>> = {
  A: "up",
  B: "down",
  C: "right",
  D: "left",
  H: "home",
  F: "end",
  "1~": "home",
  "7~": "home",
  "4~": "end",
  "8~": "end",
  "3~": "delete",
  "1;5C": "word_right",
  "1;5D": "word_left",
  "1;3C": "word_right",
  "1;3D": "word_left",
  "13;2u": "newline",
  "13;3u": "newline",
  "27;2;13~": "newline",
  "27;3;13~": "newline",
};

/** What follows ESC alone: the Alt key. */
const ALT: Readonly<Record<string, KeyName>> = {
  "\r": "newline",
  "\n": "newline",
  b: "word_left",
  f: "word_right",
  "\x7f": "kill_word",
  "\x08": "kill_word",
};

const PASTE_BEGIN = "200~";
const PASTE_END = "\x1b[201~";

/**
 * Reads keys out of a stream of bytes. Characters and sequences may be cut anywhere between chunks; a
 * bracketed paste comes as one text, whatever stands in it.
 *
 * @example
 * ```ts
 * import { KeyReader } from "@lib/chat/terminal/keys.ts";
 * import { assertEquals } from "@std/assert";
 * const keys = new KeyReader().push(new TextEncoder().encode("কী\x1b[D\r"));
 * assertEquals(keys, [
 *   { type: "text", text: "কী" },
 *   { type: "key", name: "left" },
 *   { type: "key", name: "enter" },
 * ]);
 * ```
 */
export class KeyReader {
  readonly #decoder = new TextDecoder();
  #rest = "";

  /** Takes the next bytes; what is not whole yet waits for more. */
  push(bytes: Uint8Array): Key[] {
    this.#rest += this.#decoder.decode(bytes, { stream: true });
    const keys: Key[] = [];
    while (this.#rest !== "") {
      const taken = takeKey(this.#rest);
      if (taken === null) break;
      this.#rest = this.#rest.slice(taken.length);
      if (taken.key !== null) keys.push(taken.key);
    }
    return keys;
  }
}

/** The first key and its length; a null key is to be ignored; null: more is needed. */
type Taken = { readonly key: Key | null; readonly length: number } | null;

function takeKey(input: string): Taken {
  const text = /^\P{Cc}+/u.exec(input)?.[0];
  if (text !== undefined) return { key: { type: "text", text }, length: text.length };
  const first = input[0] ?? "";
  if (first !== "\x1b") {
    if (first === "\t") return { key: { type: "text", text: " " }, length: 1 };
    const name = CONTROL[first];
    return { key: name === undefined ? null : { type: "key", name }, length: 1 };
  }
  return takeEscape(input);
}

function takeEscape(input: string): Taken {
  if (input.length < 2) return null;
  const sequence = /^[[O]([0-9;?]*[^0-9;?])?/.exec(input.slice(1));
  if (sequence === null) {
    const name = ALT[input[1] ?? ""];
    return { key: name === undefined ? null : { type: "key", name }, length: name ? 2 : 1 };
  }
  const code = sequence[1];
  if (code === undefined) return null;
  const length = 1 + sequence[0].length;
  if (code === PASTE_BEGIN) return takePaste(input, length);
  const name = SEQUENCES[code];
  return { key: name === undefined ? null : { type: "key", name }, length };
}

function takePaste(input: string, begin: number): Taken {
  const end = input.indexOf(PASTE_END, begin);
  if (end < 0) return null;
  const text = pastedText(input.slice(begin, end));
  return { key: { type: "text", text }, length: end + PASTE_END.length };
}

/** Line breaks of any kind as line feeds; tabs as spaces; no other control characters. */
function pastedText(text: string): string {
  const lines = text.replace(/\r\n?/g, "\n").replaceAll("\t", " ");
  return lines.replace(/\p{Cc}/gu, (control) => control === "\n" ? control : "");
}
