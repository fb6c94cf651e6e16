import { assert, assertEquals } from "@std/assert";
import { cellWidth, wrapRow } from "@lib/chat/terminal/graphemes.ts";
import { type Key, type KeyName, KeyReader } from "@lib/chat/terminal/keys.ts";
import { type EditorState, emptyEditor, pressKey } from "@lib/chat/terminal/line_editor.ts";

const key = (name: KeyName): Key => ({ type: "key", name });
const text = (typed: string): Key => ({ type: "text", text: typed });

/** What the keys make of an empty line, the cursor written as `|`. */
function typed(...keys: readonly (string | Key)[]): string {
  return shown(after(emptyEditor(), ...keys));
}

function after(state: EditorState, ...keys: readonly (string | Key)[]): EditorState {
  return keys.reduce<EditorState>(
    (s, k) => pressKey(s, typeof k === "string" ? text(k) : k).state,
    state,
  );
}

const shown = ({ text, cursor }: EditorState) => `${text.slice(0, cursor)}|${text.slice(cursor)}`;
const [left, right, back] = [key("left"), key("right"), key("backspace")];

Deno.test("the cursor moves and erases by what a reader takes for one letter", () => {
  assertEquals(typed("কষ্ট", left), "ক|ষ্ট");
  assertEquals(typed("কষ্ট", back), "ক|");
  assertEquals(typed("র‍্যাব", left, left), "|র‍্যাব");
  assertEquals(typed("কি", back), "|");
  assertEquals(typed("👩‍👩‍👧ক", left, back), "|ক");
  assertEquals(typed("e\u0301x", left, back), "|x");
  assertEquals(typed("কখ", left, left, left, right), "ক|খ");
  assertEquals(typed("ক্ষ", key("home"), key("delete")), "|");
  assertEquals(typed("আমি", left, "র"), "আর|মি");
});

Deno.test("a conjunct can be typed in front of a letter", () => {
  assertEquals(typed("ণ", left, "ক", "্", "ষ"), "ক্ষ|ণ");
  assertEquals(typed("আ", "ম", "ি", " ", "ভ", "া", "ল", "ো"), "আমি ভালো|");
});

Deno.test("words, ends of lines, cutting and putting back", () => {
  const [wl, wr] = [key("word_left"), key("word_right")];
  assertEquals(typed("আমি ভালো আছি", wl), "আমি ভালো |আছি");
  assertEquals(typed("আমি ভালো আছি", wl, wl, wr), "আমি ভালো| আছি");
  assertEquals(typed("আমি ভালো আছি", key("kill_word")), "আমি ভালো |");
  assertEquals(typed("এক দুই", wl, key("kill_to_start")), "|দুই");
  assertEquals(typed("এক দুই", wl, key("kill_to_end"), key("home"), key("yank")), "দুই|এক ");
  assertEquals(typed("এক\nদুই", key("home")), "এক\n|দুই");
  assertEquals(typed("এক\nদুই", key("up"), key("end")), "এক|\nদুই");
});

Deno.test("enter sends; Alt-Enter and a backslash begin a new line", () => {
  assertEquals(typed("এক", key("newline"), "দুই"), "এক\nদুই|");
  assertEquals(typed("এক\\", key("enter"), "দুই"), "এক\nদুই|");
  const { state, action } = pressKey(after(emptyEditor(), "এক"), key("enter"));
  assertEquals(action, { type: "submit", text: "এক" });
  assertEquals([state.text, state.history], ["", ["এক"]]);
});

Deno.test("up and down go through lines first, then through earlier inputs, and lose no draft", () => {
  const [up, down, enter] = [key("up"), key("down"), key("enter")];
  const state = after(emptyEditor(), "এক", enter, "দুই", enter, "দুই", enter, " ", enter, "খসড়া");
  assertEquals(state.history, ["এক", "দুই"]);
  assertEquals(shown(after(state, up)), "দুই|");
  assertEquals(shown(after(state, up, up, up)), "এক|");
  assertEquals(shown(after(state, up, up, down, down, down)), "খসড়া|");
  const lines = after(emptyEditor(["আগে"]), "কষ্টের কথা", key("newline"), "বলি", left);
  assertEquals(shown(after(lines, up)), "ক|ষ্টের কথা\nবলি");
  assertEquals(shown(after(lines, up, down)), shown(lines));
  assertEquals(shown(after(lines, up, up)), "আগে|");
});

Deno.test("Ctrl-C clears the line, Ctrl-D ends the input only when the line is empty", () => {
  const interrupted = pressKey(after(emptyEditor(["ক"]), "abc"), key("interrupt"));
  assertEquals([interrupted.action, interrupted.state.text], [{ type: "interrupt" }, ""]);
  assertEquals(pressKey(emptyEditor(), key("end_of_input")).action, { type: "end_of_input" });
  assertEquals(typed("ab", key("home"), key("end_of_input")), "|b");
});

const KEYS: readonly [bytes: string, keys: readonly (KeyName | { readonly text: string })[]][] = [
  ["\x1b[A\x1bOB\x1b[1;5D\x1b[3~", ["up", "down", "word_left", "delete"]],
  ["\x1b\r\x1b[13;2u\n\r", ["newline", "newline", "newline", "enter"]],
  ["\x01\x05\x0b\x15\x17\x7f\x08", [
    "home",
    "end",
    "kill_to_end",
    "kill_to_start",
    "kill_word",
    "backspace",
    "backspace",
  ]],
  ["\x1b[200~এক\r\nদুই\x1b[A\x03\ttab\x1b[201~\x03", [{ text: "এক\nদুই[A tab" }, "interrupt"]],
  ["\x1b[99;99X\x1b[Zক\x07", [{ text: "ক" }]],
  ["কষ্ট 😀\x1bb", [{ text: "কষ্ট 😀" }, "word_left"]],
];

Deno.test("keys are read whole wherever the bytes are cut", () => {
  for (const [bytes, wanted] of KEYS) {
    const all = new TextEncoder().encode(bytes);
    for (let cut = 0; cut <= all.length; cut++) {
      const reader = new KeyReader();
      const keys = [...reader.push(all.subarray(0, cut)), ...reader.push(all.subarray(cut))];
      // Text may come in two runs; together it is the same.
      const joined: (string | { text: string })[] = [];
      for (const one of keys) {
        const last = joined.at(-1);
        if (one.type === "key") joined.push(one.name);
        else if (typeof last === "object") last.text += one.text;
        else joined.push({ text: one.text });
      }
      assertEquals(joined, [...wanted], `${JSON.stringify(bytes)} cut at ${cut}`);
    }
  }
});

Deno.test("rows are broken between letters and never wider than the terminal", () => {
  const line = "আমার চাকরি চলে গেছে এবং আমি হতাশ। 漢字 😀 ক্ষ্ম".repeat(3);
  for (let columns = 2; columns < 60; columns++) {
    const rows = wrapRow(line, columns);
    assertEquals(rows.join(""), line);
    for (const row of rows) {
      const graphemes = Array.from(new Intl.Segmenter("bn").segment(row)).length;
      assert(cellWidth(row) <= columns || graphemes === 1, `${row} in ${columns}`);
    }
  }
  assertEquals(wrapRow("", 10), [""]);
});
