/**
 * What a cell imports and declares, and what in it the kernel would refuse.
 *
 * @module
 */
import type { CodeCell } from "./notebook_file.ts";

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

/** The parts of the syntax tree that are read. */
export interface SyntaxNode {
  readonly type: string;
  readonly start: number;
  readonly end: number;
  readonly loc: { readonly start: { readonly line: number; readonly column: number } };
  readonly [key: string]: unknown;
}

/** How a name is declared: names may be declared again in the same way only. */
export type DeclarationKind = "const" | "let" | "var" | "function" | "class" | "type";

/** A name with its declaration. */
export interface Declaration {
  readonly name: string;
  readonly kind: DeclarationKind;
  readonly node: SyntaxNode;
}

/** What is known of one cell. */
export interface ParsedCell {
  readonly number: number;
  readonly source: string;
  readonly imports: readonly SyntaxNode[];
  readonly declarations: readonly Declaration[];
}

/** Parses a cell into its top-level statements. */
export type Parse = (source: string) => readonly SyntaxNode[];
/** A problem before its notebook and cell are known. */
export type Problem = Omit<CellProblem, "notebook" | "cell">;

function isNode(value: unknown): value is SyntaxNode {
  return typeof value === "object" && value !== null && "type" in value && "loc" in value;
}

/** The syntax nodes in a value. */
export const nodesIn = (value: unknown): readonly SyntaxNode[] =>
  Array.isArray(value) ? value.filter(isNode) : isNode(value) ? [value] : [];

/** A parser of cells, loaded when the first notebook is checked. */
export async function loadParser(): Promise<Parse> {
  const { parse } = await import("@babel/parser");
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
export function namesIn(pattern: SyntaxNode): readonly string[] {
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

/** What a statement declares. */
export function declarationsOf(node: SyntaxNode): readonly Declaration[] {
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

/** A problem at a node. */
export function at(node: SyntaxNode, code: string, message: string): Problem {
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

/** Parses one cell; a syntax error is a problem, not an exception. */
export function parseCell(number: number, cell: CodeCell, parse: Parse): ParsedCell & {
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
