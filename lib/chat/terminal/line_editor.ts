/** The line editor's core: a state and what each key makes of it. No terminal in it. */
import {
  boundaries,
  nextBoundary,
  nextWord,
  previousBoundary,
  previousWord,
} from "@lib/chat/terminal/graphemes.ts";
import type { Key, KeyName } from "@lib/chat/terminal/keys.ts";

/** A text under way, possibly of several lines. */
export interface EditorState {
  readonly text: string;
  /** UTF-16 offset in the text. */
  readonly cursor: number;
  /** Earlier inputs, oldest first. */
  readonly history: readonly string[];
  /** Place in the history; `history.length`: the text under way. */
  readonly at: number;
  /** The text under way while an earlier one is shown. */
  readonly draft: string;
  /** What was cut last. */
  readonly cut: string;
}

/** What a key asks of whoever holds the editor. */
export type EditorAction =
  | { readonly type: "submit"; readonly text: string }
  | { readonly type: "interrupt" }
  | { readonly type: "end_of_input" }
  | { readonly type: "redraw" };

/** A key's effect. */
export interface EditorStep {
  readonly state: EditorState;
  readonly action: EditorAction | null;
}

const MAX_HISTORY = 500;

/** An empty line. */
export function emptyEditor(history: readonly string[] = []): EditorState {
  return { text: "", cursor: 0, history, at: history.length, draft: "", cut: "" };
}

/** The state after a text was sent: an empty line, the text in the history. */
function submitted(state: EditorState): EditorState {
  const { text, history } = state;
  const isNew = text.trim() !== "" && history.at(-1) !== text;
  const longer = isNew ? [...history, text].slice(-MAX_HISTORY) : history;
  return { ...emptyEditor(longer), cut: state.cut };
}

function replaced(state: EditorState, from: number, to: number, by: string): EditorState {
  const text = state.text.slice(0, from) + by + state.text.slice(to);
  return { ...state, text, cursor: from + by.length };
}

function cutOut(state: EditorState, from: number, to: number): EditorState {
  if (from === to) return state;
  return { ...replaced(state, from, to, ""), cut: state.text.slice(from, to) };
}

const lineStart = ({ text, cursor }: EditorState) => text.lastIndexOf("\n", cursor - 1) + 1;
const lineEnd = ({ text, cursor }: EditorState) => {
  const end = text.indexOf("\n", cursor);
  return end < 0 ? text.length : end;
};

function recalled(state: EditorState, at: number): EditorState {
  if (at < 0 || at > state.history.length || at === state.at) return state;
  const draft = state.at === state.history.length ? state.text : state.draft;
  const text = at === state.history.length ? draft : state.history[at] ?? "";
  return { ...state, text, cursor: text.length, at, draft };
}

/** The cursor in the line that begins at `start`, as many graphemes in as it is now. */
function atColumn(state: EditorState, start: number): EditorState {
  const column = boundaries(state.text.slice(lineStart(state), state.cursor)).length - 1;
  const line = state.text.slice(start).split("\n", 1)[0] ?? "";
  const places = boundaries(line);
  return { ...state, cursor: start + (places[Math.min(column, places.length - 1)] ?? 0) };
}

function up(state: EditorState): EditorState {
  const start = lineStart(state);
  if (start === 0) return recalled(state, state.at - 1);
  return atColumn(state, state.text.lastIndexOf("\n", start - 2) + 1);
}

function down(state: EditorState): EditorState {
  const end = lineEnd(state);
  return end === state.text.length ? recalled(state, state.at + 1) : atColumn(state, end + 1);
}

/** Enter sends the text; behind a backslash at its end it begins a new line instead. */
function enter(state: EditorState): EditorStep {
  const { text, cursor } = state;
  if (cursor === text.length && text.endsWith("\\")) {
    return { state: replaced(state, cursor - 1, cursor, "\n"), action: null };
  }
  return { state: submitted(state), action: { type: "submit", text } };
}

const MOVES: Readonly<Partial<Record<KeyName, (state: EditorState) => EditorState>>> = {
  newline: (s) => replaced(s, s.cursor, s.cursor, "\n"),
  backspace: (s) => replaced(s, previousBoundary(s.text, s.cursor), s.cursor, ""),
  delete: (s) => replaced(s, s.cursor, nextBoundary(s.text, s.cursor), ""),
  left: (s) => ({ ...s, cursor: previousBoundary(s.text, s.cursor) }),
  right: (s) => ({ ...s, cursor: nextBoundary(s.text, s.cursor) }),
  word_left: (s) => ({ ...s, cursor: previousWord(s.text, s.cursor) }),
  word_right: (s) => ({ ...s, cursor: nextWord(s.text, s.cursor) }),
  home: (s) => ({ ...s, cursor: lineStart(s) }),
  end: (s) => ({ ...s, cursor: lineEnd(s) }),
  kill_to_end: (s) => cutOut(s, s.cursor, lineEnd(s)),
  kill_to_start: (s) => cutOut(s, lineStart(s), s.cursor),
  kill_word: (s) => cutOut(s, previousWord(s.text, s.cursor), s.cursor),
  yank: (s) => replaced(s, s.cursor, s.cursor, s.cut),
  up,
  down,
};

/**
 * What a key does.
 *
 * @example
 * ```ts
 * import { emptyEditor, pressKey } from "@lib/chat/terminal/line_editor.ts";
 * import { assertEquals } from "@std/assert";
 * const typed = pressKey(emptyEditor(), { type: "text", text: "কষ্ট" }).state;
 * const erased = pressKey(typed, { type: "key", name: "backspace" }).state;
 * assertEquals(erased.text, "ক");
 * ```
 */
export function pressKey(state: EditorState, key: Key): EditorStep {
  if (key.type === "text") {
    return { state: replaced(state, state.cursor, state.cursor, key.text), action: null };
  }
  switch (key.name) {
    case "enter":
      return enter(state);
    case "interrupt":
      return {
        state: { ...emptyEditor(state.history), cut: state.cut },
        action: { type: "interrupt" },
      };
    case "end_of_input":
      if (state.text === "") return { state, action: { type: "end_of_input" } };
      return pressKey(state, { type: "key", name: "delete" });
    case "redraw":
      return { state, action: { type: "redraw" } };
    default:
      return { state: MOVES[key.name]?.(state) ?? state, action: null };
  }
}
