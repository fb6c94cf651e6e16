/**
 * The cells that a piece of code rests on, directly or through others.
 *
 * Grading 100 students must not train 100 models: only what an exercise uses is run.
 *
 * @module
 */
import { nodesIn, type SyntaxNode } from "@lib/notebook/cell_syntax.ts";
import type { CellStatements, Statement } from "./exercises.ts";
import { changedNames, freeNames } from "./free_names.ts";

const isImport = ({ node }: Statement) => node.type === "ImportDeclaration";

/** Functions that only show or check: what they do, nothing later needs. */
const SHOWING: ReadonlySet<string> = new Set([
  "check",
  "checkThat",
  "html",
  "json",
  "markdown",
  "show",
  "svg",
  "table",
]);

/** Whether a statement leaves nothing behind: a value to show, or a call that shows one. */
function onlyShows({ node }: Statement): boolean {
  if (node.type !== "ExpressionStatement") return false;
  const [expression] = nodesIn(node.expression);
  const [inner] = expression?.type === "AwaitExpression"
    ? nodesIn(expression.argument)
    : [expression];
  if (inner?.type === "AssignmentExpression" || inner?.type === "UpdateExpression") return false;
  if (inner?.type !== "CallExpression") return expression?.type !== "AwaitExpression";
  const [callee] = nodesIn(inner.callee);
  if (callee?.type === "Identifier") return SHOWING.has(String(callee.name));
  return nodesIn(callee?.object).some(({ name }) => name === "console");
}

/** Names that an import statement brings, with the text of each specifier. */
function specifiersOf({ node, text }: Statement): readonly (readonly [string, string])[] {
  return nodesIn(node.specifiers).map((specifier: SyntaxNode) => {
    const [local] = nodesIn(specifier.local);
    const at = specifier.start - node.start;
    return [String(local?.name), text.slice(at, at + specifier.end - specifier.start)] as const;
  });
}

/** An import statement cut down to some of its names; `undefined` where none of them is its. */
export function importOf(statement: Statement, names: ReadonlySet<string>): string | undefined {
  const wanted = specifiersOf(statement).filter(([local]) => names.has(local));
  if (wanted.length === 0) return undefined;
  const [from] = nodesIn(statement.node.source);
  const types = statement.node.importKind === "type" ? "type " : "";
  const whole =
    nodesIn(statement.node.specifiers).filter(({ type }) => type !== "ImportSpecifier").length > 0;
  if (whole) return statement.text;
  return `import ${types}{ ${wanted.map(([, text]) => text).join(", ")} } from ${
    JSON.stringify(from?.value)
  };`;
}

const isDeclaration = ({ node }: Statement) => /Declaration$/.test(node.type);

/** What `own` opens has a state, to which the rest of its cell belongs. */
const opens = ({ text }: Statement) => /\bown\(/.test(text);

/** Whether a statement must run for the sake of the needed names. */
function isNeeded(
  one: Statement,
  needed: ReadonlySet<string>,
  cellmates: ReadonlySet<Statement>,
): boolean {
  if (isDeclaration(one)) {
    return one.names.some((name) => needed.has(name)) || [...cellmates].some(opens);
  }
  return cellmates.size > 0 || [...changedNames([one.node])].some((name) => needed.has(name));
}

/**
 * Finds what must run before code that uses `names`: declarations of what is used, and in the cells
 * of those every statement that is not a mere display.
 *
 * @param cells all code cells before it, in order
 * @returns the sources of the cells needed, cut down to what is used
 */
export function sliceFor(
  names: ReadonlySet<string>,
  cells: readonly CellStatements[],
): readonly string[] {
  const declared = new Set(
    cells.flatMap(({ statements }) => statements.flatMap((one) => one.names)),
  );
  const needed = new Set(names);
  const changeable = () => needed.intersection(declared); // not Math, not an import
  const chosen = new Map<number, Set<Statement>>();
  for (let grown = true; grown;) {
    grown = false;
    for (const [at, { statements }] of [...cells.entries()].toReversed()) {
      for (const one of statements.toReversed()) {
        const cellmates = chosen.get(at) ?? new Set();
        if (isImport(one) || onlyShows(one) || cellmates.has(one)) continue;
        if (!isNeeded(one, changeable(), cellmates)) continue;
        chosen.set(at, cellmates.add(one));
        for (const name of freeNames([one.node])) needed.add(name);
        grown = true;
      }
    }
  }
  return cells.flatMap(({ statements }, at) => {
    const text = statements.flatMap((one) =>
      isImport(one) ? importOf(one, needed) ?? [] : chosen.get(at)?.has(one) ? [one.text] : []
    ).join("\n");
    return text === "" ? [] : [text];
  });
}
