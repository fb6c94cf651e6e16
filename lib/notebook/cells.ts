/**
 * A notebook's code cells as one TypeScript module, with the place of every line.
 *
 * The kernel does not type-check cells; the module can be checked and linted. Imports go to its top.
 * Where a cell declares a name again, as the kernel allows, a block opens that shadows the first.
 *
 * @module
 */
import type { CodeCell, Notebook } from "./notebook_file.ts";

/** A place in a notebook; cell and line count from 1, cells among the code cells. */
export interface CellPlace {
  readonly cell: number;
  readonly line: number;
}

/** Something wrong in a cell. */
export interface CellProblem extends CellPlace {
  readonly notebook: string;
  /** Column from 1. */
  readonly column: number;
  /** `TS2305`, the name of a lint rule, `syntax` or `notebook`. */
  readonly code: string;
  readonly message: string;
}

/** The joined cells. */
export interface NotebookModule {
  readonly source: string;
  /** Place of each line of `source`; `undefined` for lines that no cell wrote. */
  readonly places: readonly (CellPlace | undefined)[];
  /** What the kernel would refuse, found while joining. */
  readonly problems: readonly CellProblem[];
}

/** The parts of the syntax tree that are read. */
interface SyntaxNode {
  readonly type: string;
  readonly start: number;
  readonly end: number;
  readonly loc: { readonly start: { readonly line: number; readonly column: number } };
  readonly [key: string]: unknown;
}

/** How a name is declared: names may be declared again in the same way only. */
type DeclarationKind = "const" | "let" | "var" | "function" | "class" | "type";

interface Declaration {
  readonly name: string;
  readonly kind: DeclarationKind;
  readonly node: SyntaxNode;
}

interface ParsedCell {
  readonly number: number;
  readonly source: string;
  readonly imports: readonly SyntaxNode[];
  readonly declarations: readonly Declaration[];
}

type Parse = (source: string) => readonly SyntaxNode[];
type Problem = Omit<CellProblem, "notebook" | "cell">;

function isNode(value: unknown): value is SyntaxNode {
  return typeof value === "object" && value !== null && "type" in value && "loc" in value;
}

const nodesIn = (value: unknown): readonly SyntaxNode[] =>
  Array.isArray(value) ? value.filter(isNode) : isNode(value) ? [value] : [];

/** A parser of cells, loaded when the first notebook is checked. */
async function loadParser(): Promise<Parse> {
  // deno-lint-ignore no-import-prefix -- the only use; the notebooks themselves never load it
  const { parse } = await import("npm:@babel/parser@8.1.2");
  return (source) => {
    const file: unknown = parse(source, {
      sourceType: "module",
      allowAwaitOutsideFunction: true,
      plugins: ["typescript"],
    });
    const program = isNode(file) ? file.program : undefined;
    return isNode(program) ? nodesIn(program.body) : [];
  };
}

/** Names that a binding pattern declares: `a`, `{ a, b: c = 1 }`, `[a, ...rest]`. */
function namesIn(pattern: SyntaxNode): readonly string[] {
  switch (pattern.type) {
    case "Identifier":
      return [String(pattern.name)];
    case "ObjectPattern":
      return nodesIn(pattern.properties).flatMap((property) =>
        nodesIn(property.type === "RestElement" ? property.argument : property.value)
          .flatMap(namesIn)
      );
    case "ArrayPattern":
      return nodesIn(pattern.elements).flatMap(namesIn);
    case "AssignmentPattern":
      return nodesIn(pattern.left).flatMap(namesIn);
    case "RestElement":
      return nodesIn(pattern.argument).flatMap(namesIn);
    default:
      return [];
  }
}

const KINDS: Readonly<Record<string, DeclarationKind>> = {
  FunctionDeclaration: "function",
  ClassDeclaration: "class",
  TSInterfaceDeclaration: "type",
  TSTypeAliasDeclaration: "type",
  TSEnumDeclaration: "class",
};

function declarationsOf(node: SyntaxNode): readonly Declaration[] {
  if (node.type === "VariableDeclaration") {
    const kind = node.kind === "let" || node.kind === "var" ? node.kind : "const";
    return nodesIn(node.declarations).flatMap((declarator) =>
      nodesIn(declarator.id).flatMap(namesIn).map((name) => ({ name, kind, node }))
    );
  }
  const kind = KINDS[node.type];
  const [id] = nodesIn(node.id);
  return kind && id ? [{ name: String(id.name), kind, node }] : [];
}

/** Every `import.meta` and `new.target` below a node. */
function metaProperties(node: SyntaxNode): readonly SyntaxNode[] {
  if (node.type === "MetaProperty") return [node];
  return Object.values(node).flatMap(nodesIn).flatMap(metaProperties);
}

function at(node: SyntaxNode, code: string, message: string): Problem {
  const { line, column } = node.loc.start;
  return { line, column: column + 1, code, message };
}

function syntaxProblem(error: unknown): Problem {
  const loc: unknown = error instanceof Error ? Reflect.get(error, "loc") : undefined;
  const [line, column] = typeof loc === "object" && loc !== null
    ? [Reflect.get(loc, "line"), Reflect.get(loc, "column")].map(Number)
    : [];
  const message = error instanceof Error ? error.message : String(error);
  return { line: line || 1, column: (column ?? 0) + 1, code: "syntax", message };
}

/** What the kernel accepts but does not do, or refuses though TypeScript allows it. */
function kernelProblems(nodes: readonly SyntaxNode[], source: string): readonly Problem[] {
  const problems = nodes.flatMap((node) =>
    node.type === "VariableDeclaration" && String(node.kind).includes("using")
      ? [at(
        node,
        "notebook",
        "a top-level `using` is never disposed in a notebook: put it inside { }",
      )]
      : []
  );
  const metas = nodes.flatMap(metaProperties).filter(({ start, end }) =>
    source.slice(start, end).replaceAll(/\s/g, "") === "import.meta"
  ).map((node) =>
    at(node, "notebook", "`import.meta` is a syntax error in a cell: use the setup's `root`")
  );
  return [...problems, ...metas];
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

function parseCell(number: number, cell: CodeCell, parse: Parse): ParsedCell & {
  readonly problems: readonly Problem[];
} {
  const { source } = cell;
  try {
    const nodes = parse(source);
    return {
      number,
      source,
      imports: nodes.filter(({ type }) => type === "ImportDeclaration"),
      declarations: nodes.flatMap(declarationsOf),
      problems: kernelProblems(nodes, source),
    };
  } catch (error) {
    return { number, source: "", imports: [], declarations: [], problems: [syntaxProblem(error)] };
  }
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
