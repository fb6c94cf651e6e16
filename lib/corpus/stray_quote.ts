/**
 * Finding the quote that makes a CSV unreadable, for the error message.
 *
 * @module
 */

/** Where a stray quote stands; everything counted from 1, `row` without the header. */
export interface StrayQuote {
  readonly row: number;
  readonly line: number;
  readonly column: number;
}

/**
 * The first quote that CSV does not allow: inside a field that does not begin with one, after a
 * quoted field's end, or opening a field that is never closed. `undefined` when there is none.
 *
 * @example
 * ```ts
 * import { findStrayQuote } from "@lib/corpus/stray_quote.ts";
 * import { assertEquals } from "@std/assert";
 * assertEquals(findStrayQuote('a,b\n1,"x\ny"\n2,z"\n'), { row: 2, line: 4, column: 4 });
 * ```
 */
export function findStrayQuote(text: string): StrayQuote | undefined {
  let row = 0;
  let line = 1;
  let lineStart = 0;
  let opened: StrayQuote | undefined;
  let fieldStart = true;
  for (let i = 0; i < text.length; i++) {
    const here = { row, line, column: i - lineStart + 1 };
    const char = text[i];
    if (char === "\n") {
      line++;
      if (opened === undefined && text.slice(lineStart, i).trim() !== "") row++;
      lineStart = i + 1;
    }
    if (opened !== undefined) {
      if (char !== '"') continue;
      if (text[i + 1] === '"') i++;
      else if (/^(?:,|\r?\n|\r?$)/.test(text.slice(i + 1, i + 3))) opened = undefined;
      else return here;
    } else if (char === '"') {
      if (!fieldStart) return here;
      opened = here;
    }
    fieldStart = opened === undefined && (char === "," || char === "\n");
  }
  return opened;
}
