/** Texts that grow side by side, such as two models' answers to one question. */
import { displayId, escapeHtml, html } from "./display.ts";

const CELL = '<td style="vertical-align:top;width:50%">';
const bold = (text: string) => `<b>${escapeHtml(text)}</b><br>`;

/** A table of one row, redrawn in place as its texts grow. */
export class SideBySide {
  readonly #heading: string;
  readonly #texts: Map<string, string>;
  readonly #id = displayId();

  /** @param names heads of the columns */
  constructor(heading: string, names: readonly string[]) {
    this.#heading = heading;
    this.#texts = new Map(names.map((name) => [name, ""]));
  }

  /** Adds to one text and draws; resolves once it is shown. */
  add(name: string, text: string): Promise<void> {
    this.#texts.set(name, (this.#texts.get(name) ?? "") + text);
    return html(this.markup, { id: this.#id });
  }

  /** The table as it stands. */
  get markup(): string {
    const cells = [...this.#texts].map(([name, text]) =>
      `${CELL}${bold(name)}${escapeHtml(text)}</td>`
    );
    return `${bold(this.#heading)}<table><tr>${cells.join("")}</tr></table>`;
  }
}
