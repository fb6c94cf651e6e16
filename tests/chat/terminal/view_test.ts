import { assert, assertEquals } from "@std/assert";
import type { Key, KeyName } from "@lib/chat/terminal/keys.ts";
import { emptyEditor, pressKey } from "@lib/chat/terminal/line_editor.ts";
import { drawLine, leaveLine, NOTHING_DRAWN } from "@lib/chat/terminal/line_view.ts";
import { pick, randomInt, seededRandom } from "@lib/random.ts";

/** Cells of a character: terminals differ in vowel signs that stand beside their letter. */
type Widths = (character: string) => number;
const TERMINALS: Readonly<Record<string, Widths>> = {
  "signs take a cell": (c) => /[\p{Mn}\p{Cf}]/u.test(c) ? 0 : /[\u4e00-\u9fff]/.test(c) ? 2 : 1,
  "signs take none": (c) => /[\p{M}\p{Cf}]/u.test(c) ? 0 : /[\u4e00-\u9fff]/.test(c) ? 2 : 1,
};

/** As much of a terminal as the drawing uses. It never wraps: rows that are too long show. */
class Screen {
  readonly rows: { text: string; width: number }[][] = [[]];
  row = 0;
  column = 0;

  constructor(readonly widthOf: Widths) {}

  write(output: string): void {
    // deno-lint-ignore no-control-regex -- control sequences are what is looked for
    for (const [part] of output.matchAll(/\x1b\[(\d*)([ABJ])|[^]/gu)) {
      if (part.length > 1 && part.startsWith("\x1b")) this.#control(part);
      else if (part === "\r") this.column = 0;
      else if (part === "\n") this.rows[++this.row] ??= [];
      else this.#put(part);
    }
  }

  #control(sequence: string): void {
    const count = Number(/\d+/.exec(sequence)?.[0] ?? 1);
    if (sequence.endsWith("A")) this.row -= count;
    else if (sequence.endsWith("B")) this.row += count;
    else {
      this.rows.length = this.row + 1;
      this.rows[this.row] = this.#upTo(this.column);
    }
  }

  /** What of the current row lies before a column. */
  #upTo(column: number): { text: string; width: number }[] {
    let used = 0;
    const cells = this.rows[this.row] ?? [];
    const end = cells.findIndex((cell) => (used += cell.width) > column);
    return end < 0 ? [...cells] : cells.slice(0, end);
  }

  #put(character: string): void {
    const width = this.widthOf(character);
    const row = this.rows[this.row] ??= [];
    const before = this.#upTo(this.column);
    if (width === 0) {
      const last = before.at(-1);
      if (last !== undefined && !last.text.slice(1).includes(character)) last.text += character;
      return;
    }
    row.splice(before.length, 1, { text: character, width });
    this.column += width;
  }

  get text(): string[] {
    return this.rows.map((row) => row.map((cell) => cell.text).join("").trimEnd());
  }
}

const NAMES: readonly KeyName[] = [
  "left",
  "right",
  "up",
  "down",
  "home",
  "end",
  "backspace",
  "delete",
  "newline",
  "word_left",
  "kill_word",
  "yank",
];
const TEXTS = ["ক", "আমার চাকরি চলে গেছে ", "ষ্ট", "ি", "x", "漢字", "হতাশ।", " "];

for (const [name, widthOf] of Object.entries(TERMINALS)) {
  Deno.test(`what is drawn is what is being written, the cursor in its place: ${name}`, () => {
    const random = seededRandom(11);
    for (let round = 0; round < 20; round++) {
      const screen = new Screen(widthOf);
      let state = emptyEditor();
      let drawn = NOTHING_DRAWN;
      for (let press = 0; press < 60; press++) {
        const key: Key = randomInt(random, 2) === 0
          ? { type: "text", text: pick(random, TEXTS) }
          : { type: "key", name: pick(random, NAMES) };
        state = pressKey(state, key).state;
        const drawing = drawLine(state, "> ", 24, drawn);
        screen.write(drawing.output);
        drawn = drawing.drawn;
        const rows = screen.rows.map((row) => row.map((cell) => cell.text).join(""));
        for (const row of screen.rows) {
          assert(row.reduce((sum, cell) => sum + cell.width, 0) < 24, "the terminal would wrap");
        }
        const written = rows.map((row) => row.slice(2)).join("");
        assertEquals(bare(written), bare(state.text));
        const before = rows.slice(0, screen.row).map((row) => row.slice(2)).join("");
        const here = cellsBefore(screen).slice(2);
        assertEquals(bare(before + here), bare(state.text.slice(0, state.cursor)));
      }
      screen.write(leaveLine(drawn));
      assertEquals([screen.row, screen.column], [screen.rows.length - 1, 0]);
    }
  });
}

/** Without what a cell grid cannot keep: line breaks, signs (they lie on their letter's cell). */
const bare = (text: string) => text.replace(/[\n\p{M}\p{Cf}]/gu, "");

function cellsBefore({ rows, row, column }: Screen): string {
  let used = 0;
  return (rows[row] ?? []).filter((cell) => (used += cell.width) <= column).map((c) => c.text)
    .join("");
}
