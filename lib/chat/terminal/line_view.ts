/** An editor's state as text for a terminal. */
import { wrapRow } from "@lib/chat/terminal/graphemes.ts";
import type { EditorState } from "@lib/chat/terminal/line_editor.ts";

/** What stands on the screen: enough to draw over it. */
export interface DrawnLine {
  /** Rows it takes. */
  readonly rows: number;
  /** The row the cursor is in, from 0. */
  readonly cursorRow: number;
}

/** Nothing is drawn yet: the cursor is at the beginning of a fresh row. */
export const NOTHING_DRAWN: DrawnLine = { rows: 1, cursorRow: 0 };

interface Layout {
  readonly rows: readonly string[];
  readonly cursorRow: number;
  /** The cursor's row up to the cursor. */
  readonly beforeCursor: string;
}

/** Rows of the whole text, the prompt before the first line and spaces of its width before others. */
function layOut(state: EditorState, prompt: string, columns: number): Layout {
  const rows: string[] = [];
  let cursorRow = 0;
  let beforeCursor = prompt;
  let offset = 0;
  for (const [i, line] of state.text.split("\n").entries()) {
    const indent = i === 0 ? prompt : " ".repeat(prompt.length);
    let from = offset;
    for (const [j, row] of wrapRow(line, columns - prompt.length).entries()) {
      const lead = j === 0 ? indent : " ".repeat(prompt.length);
      if (state.cursor >= from && state.cursor <= from + row.length) {
        cursorRow = rows.length;
        beforeCursor = lead + row.slice(0, state.cursor - from);
      }
      rows.push(lead + row);
      from += row.length;
    }
    offset += line.length + 1;
  }
  return { rows, cursorRow, beforeCursor };
}

/** To the beginning of the first row, everything from there on erased. */
function erase(drawn: DrawnLine): string {
  const up = drawn.cursorRow > 0 ? `\x1b[${drawn.cursorRow}A` : "";
  return `\r${up}\x1b[J`;
}

/** What was written, and what then stands on the screen. */
export interface Drawing {
  readonly output: string;
  readonly drawn: DrawnLine;
}

/**
 * Draws the line over what was drawn before.
 *
 * The cursor is put in its place by writing its row again up to there, so that it stands right in
 * every terminal, however wide that draws a letter; rows are broken by the widest reckoning.
 *
 * @param prompt of one cell a character
 * @param columns of the terminal
 */
export function drawLine(
  state: EditorState,
  prompt: string,
  columns: number,
  before: DrawnLine,
): Drawing {
  const usable = Math.max(prompt.length + 4, columns - 1);
  const { rows, cursorRow, beforeCursor } = layOut(state, prompt, usable);
  const back = rows.length - 1 - cursorRow;
  const up = back > 0 ? `\x1b[${back}A` : "";
  return {
    output: `${erase(before)}${rows.join("\r\n")}\r${up}${beforeCursor}`,
    drawn: { rows: rows.length, cursorRow },
  };
}

/** Moves below what was drawn, to a fresh row. */
export function leaveLine(drawn: DrawnLine): string {
  const down = drawn.rows - 1 - drawn.cursorRow;
  return `${down > 0 ? `\x1b[${down}B` : ""}\r\n`;
}
