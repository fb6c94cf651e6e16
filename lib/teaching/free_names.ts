/**
 * Names that a piece of code uses but does not declare.
 *
 * Used to find the cells on which an exercise rests. A name too many costs time and nothing else, so
 * scopes are read plainly: a declaration counts for the whole function or block around it.
 *
 * @module
 */
import { declarationsOf, namesIn, nodesIn, type SyntaxNode } from "@lib/notebook/cell_syntax.ts";

/** Type-level nodes that hold expressions; every other node of TypeScript's own holds none. */
const WITH_EXPRESSION: ReadonlySet<string> = new Set([
  "TSAsExpression",
  "TSSatisfiesExpression",
  "TSNonNullExpression",
  "TSTypeAssertion",
  "TSInstantiationExpression",
  "TSParameterProperty",
  "TSEnumDeclaration",
]);

const isFunction = ({ type }: SyntaxNode) =>
  /^(FunctionDeclaration|FunctionExpression|ArrowFunctionExpression|ObjectMethod|ClassMethod|ClassPrivateMethod)$/
    .test(type);

/** Names declared by the statements of a block, a function's body or a program. */
const declaredIn = (statements: readonly SyntaxNode[]): readonly string[] =>
  statements.flatMap((statement) => declarationsOf(statement).map(({ name }) => name));

/** Names bound at a node for everything below it. */
function boundAt(node: SyntaxNode): readonly string[] {
  if (isFunction(node)) {
    return [...nodesIn(node.params).flatMap(namesIn), ...nodesIn(node.id).flatMap(namesIn)];
  }
  switch (node.type) {
    case "BlockStatement":
    case "StaticBlock":
      return declaredIn(nodesIn(node.body));
    case "SwitchStatement":
      return declaredIn(nodesIn(node.cases).flatMap((one) => nodesIn(one.consequent)));
    case "ForStatement":
      return declaredIn(nodesIn(node.init));
    case "ForOfStatement":
    case "ForInStatement":
      return declaredIn(nodesIn(node.left));
    case "CatchClause":
      return nodesIn(node.param).flatMap(namesIn);
    case "ClassExpression":
      return nodesIn(node.id).flatMap(namesIn);
    default:
      return [];
  }
}

/** Children that are read when the node runs: not types, not the names of properties. */
function children(node: SyntaxNode): readonly SyntaxNode[] {
  const isKey = (key: string) => (key === "key" || key === "property") && node.computed !== true;
  const isLabel = (key: string) => key === "label" && node.type !== "ExpressionStatement";
  return Object.entries(node)
    .filter(([key]) => !isKey(key) && !isLabel(key) && key !== "loc" && !/comments$/i.test(key))
    .flatMap(([, value]) => nodesIn(value))
    .filter(({ type }) => !type.startsWith("TS") || WITH_EXPRESSION.has(type));
}

function collect(node: SyntaxNode, bound: ReadonlySet<string>, found: Set<string>): void {
  if (node.type === "Identifier") {
    const name = String(node.name);
    if (!bound.has(name)) found.add(name);
    return;
  }
  const here = boundAt(node);
  const inner = here.length === 0 ? bound : new Set([...bound, ...here]);
  for (const child of children(node)) collect(child, inner, found);
}

/**
 * Names used by statements and declared by none of them.
 *
 * @param statements top-level statements in one scope, imports among them
 *
 * @example
 * ```ts
 * import { loadParser } from "@lib/notebook/cell_syntax.ts";
 * import { freeNames } from "@lib/teaching/free_names.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const parse = await loadParser();
 * const code = "const twice = (x: number) => factor * x + { y: 1 }.y;";
 * assertEquals([...freeNames(parse(code))], ["factor"]);
 * ```
 */
export function freeNames(statements: readonly SyntaxNode[]): ReadonlySet<string> {
  const found = new Set<string>();
  const imported = statements.filter(({ type }) => type === "ImportDeclaration")
    .flatMap(({ specifiers }) => nodesIn(specifiers).flatMap(({ local }) => nodesIn(local)));
  const bound = new Set([...declaredIn(statements), ...imported.flatMap(namesIn)]);
  for (const statement of statements) {
    if (statement.type !== "ImportDeclaration") collect(statement, bound, found);
  }
  return found;
}

/** Names whose value statements change by assigning, counting, or calling a method. */
export function changedNames(statements: readonly SyntaxNode[]): ReadonlySet<string> {
  const found = new Set<string>();
  const visit = (node: SyntaxNode): void => {
    targetsOf(node).flatMap(baseNames).forEach((name) => found.add(name));
    Object.values(node).flatMap(nodesIn).forEach(visit);
  };
  statements.forEach(visit);
  return found;
}

/** What a node may change: an assignment's left side, or the object whose method it calls. */
function targetsOf(node: SyntaxNode): readonly SyntaxNode[] {
  if (node.type === "AssignmentExpression") return nodesIn(node.left);
  if (node.type === "UpdateExpression") return nodesIn(node.argument);
  if (node.type !== "CallExpression") return [];
  return nodesIn(node.callee).filter(({ type }) => type === "MemberExpression");
}

/** The variables at the root of an assignment's target: `a` in `a.b[0] = 1`, `a, b` in `[a, b] = c`. */
function baseNames(target: SyntaxNode): readonly string[] {
  if (/^(Optional)?MemberExpression$|^TSNonNullExpression$/.test(target.type)) {
    return nodesIn(target.object ?? target.expression).flatMap(baseNames);
  }
  if (target.type === "ArrayPattern") return nodesIn(target.elements).flatMap(baseNames);
  return namesIn(target);
}
