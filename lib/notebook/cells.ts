/**
 * A notebook's code cells as one TypeScript module, with the place of every line.
 *
 * The kernel does not type-check cells; the module can be checked and linted. Imports go to its top.
 * Where a cell declares a name again, as the kernel allows, a block opens that shadows the first.
 *
 * @module
 */
import {
  at,
  type CellPlace,
  type CellProblem,
  type DeclarationKind,
  loadParser,
  nodesIn,
  parseCell,
  type ParsedCell,
} from "./cell_syntax.ts";
import type { Notebook } from "./notebook_file.ts";

/** The joined cells. */
export interface NotebookModule {
  readonly source: string;
  /** Place of each line of `source`; `undefined` for lines that no cell wrote. */
  readonly places: readonly (CellPlace | undefined)[];
  /** What the kernel would refuse, found while joining. */
  readonly problems: readonly CellProblem[];
}

/** Collects the module's lines with their places. */
class ModuleWriter {
  readonly #lines: string[] = [];
  readonly #places: (CellPlace | undefined)[] = [];

  write(text: string, cell?: number, firstLine = 1): void {
    text.split("\n").forEach((line, at) => {
      this.#lines.push(line);
      this.#places.push(cell === undefined ? undefined : { cell, line: firstLine + at });
    });
  }

  finish(problems: readonly CellProblem[]): NotebookModule {
    return { source: this.#lines.join("\n") + "\n", places: this.#places, problems };
  }
}

/** Replaces a cell's imports by spaces, so that every other place stays as it is. */
function withoutImports({ source, imports }: ParsedCell): string {
  let text = source;
  for (const { start, end } of imports) {
    const blank = text.slice(start, end).replaceAll(/[^\n]/g, " ");
    text = text.slice(0, start) + blank + text.slice(end);
  }
  return text;
}

/** Writes imports at the top; the same one imported by a later cell again is left out. */
function writeImports(writer: ModuleWriter, cells: readonly ParsedCell[]): void {
  const seen = new Set<string>();
  for (const { number, source, imports } of cells) {
    for (const node of imports) {
      const specifiers = nodesIn(node.specifiers);
      const [from] = nodesIn(node.source);
      const keys = specifiers.map(({ start, end }) => `${source.slice(start, end)} ${from?.value}`);
      if (keys.length > 0 && keys.every((key) => seen.has(key))) continue;
      keys.forEach((key) => seen.add(key));
      const { line, column } = node.loc.start;
      const text = " ".repeat(column) + source.slice(node.start, node.end);
      writer.write(text, number, line);
    }
  }
}

/**
 * Joins a notebook's code cells into one module.
 *
 * @param path the notebook's name in the problems
 */
export async function joinCells(notebook: Notebook, path: string): Promise<NotebookModule> {
  const parse = await loadParser();
  const problems: CellProblem[] = [];
  const cells = notebook.cells.filter((cell) => cell.cell_type === "code")
    .map((cell, index) => {
      const parsed = parseCell(index + 1, cell, parse);
      const place = { notebook: path, cell: parsed.number };
      problems.push(...parsed.problems.map((problem) => ({ ...place, ...problem })));
      return parsed;
    });
  const writer = new ModuleWriter();
  writeImports(writer, cells);
  writer.write("export {};");
  const first = new Map<string, { kind: DeclarationKind; cell: number }>();
  let scope = new Set<string>();
  let depth = 0;
  for (const cell of cells) {
    if (cell.declarations.some(({ name }) => scope.has(name))) {
      writer.write("{");
      depth++;
      scope = new Set();
    }
    for (const { name, kind, node } of cell.declarations) {
      scope.add(name);
      const before = first.get(name);
      if (!before) first.set(name, { kind, cell: cell.number });
      else if (before.kind !== kind && before.cell !== cell.number) {
        const message = `"${name}" was declared by \`${before.kind}\` in cell ${before.cell}; ` +
          `declaring it by \`${kind}\` is a syntax error in the kernel: choose another name`;
        const place = { notebook: path, cell: cell.number };
        problems.push({ ...place, ...at(node, "notebook", message) });
      }
    }
    writer.write(withoutImports(cell), cell.number);
    writer.write(";");
  }
  writer.write("}".repeat(depth));
  return writer.finish(problems);
}
