/**
 * The two programs of an examination.
 *
 * The **examiner** runs the pristine cells and the checks; where a solution stood it holds a stub
 * that asks the other process. The **examinee** runs the pristine cells, gives its permissions away
 * and answers with the student's code. Nothing that the student writes is ever in the process that
 * judges it.
 *
 * @module
 */
import { namesIn, nodesIn, type SyntaxNode } from "@lib/notebook/cell_syntax.ts";
import { joinCells } from "@lib/notebook/cells.ts";
import type { Notebook } from "@lib/notebook/notebook_file.ts";
import type { Exercise, Statement, TakenApart } from "./exercises.ts";
import { freeNames } from "./free_names.ts";
import { importOf, sliceFor } from "./slice.ts";
import type { StudentPart } from "./submission.ts";

/** Both programs' sources. */
export interface Programs {
  readonly examiner: string;
  readonly examinee: string;
}

const isImport = ({ node }: Statement) => node.type === "ImportDeclaration";
const isType = ({ node }: Statement) => node.type.startsWith("TS");

function asNotebook(sources: readonly string[]): Notebook {
  return {
    nbformat: 4,
    nbformat_minor: 5,
    metadata: {},
    cells: sources.map((source) => ({
      cell_type: "code",
      metadata: {},
      source,
      execution_count: null,
      outputs: [],
    })),
  };
}

/** Joins cells into a module that runs in a plain process. */
async function moduleOf(sources: readonly string[]): Promise<string> {
  const { source, problems } = await joinCells(asNotebook(sources), "the notebook");
  const problem = problems.find(({ code }) => code === "syntax");
  if (problem) throw new SyntaxError(`Cell ${problem.cell}: ${problem.message}`);
  return source;
}

/** `const { a, b } = f();` as an assignment to names that stand outside: `({ a, b } = f());`. */
function assignments({ node, text }: Statement): string {
  return nodesIn(node.declarations).map((declarator) => {
    const [pattern] = nodesIn(declarator.id);
    const [value] = nodesIn(declarator.init);
    if (!pattern || !value) return "";
    const part = ({ start, end }: SyntaxNode) => text.slice(start - node.start, end - node.start);
    const [type] = nodesIn(pattern.typeAnnotation);
    const target = text.slice(pattern.start - node.start, (type ?? pattern).start - node.start) +
      (type ? "" : part(pattern));
    return `(${target} = ${part(value)});`;
  }).join(" ");
}

/** A given statement as a step of the examination. */
function step(statement: Statement): string {
  const { node, text } = statement;
  if (isImport(statement) || isType(statement)) return text;
  if (/^(Function|Class)Declaration$/.test(node.type)) return text;
  if (node.type !== "VariableDeclaration") return `await examiner.step(async () => {\n${text}\n});`;
  const names = nodesIn(node.declarations).flatMap(({ id }) => nodesIn(id).flatMap(namesIn));
  return `let ${names.join(", ")};\nawait examiner.step(async () => {\n${
    assignments(statement)
  }\n});`;
}

/** Whether a solution's function returns a promise. */
const isAsync = ({ node }: Statement) =>
  node.async === true ||
  nodesIn(node.declarations).some(({ init }) =>
    nodesIn(init).some((value) => value.async === true)
  );

function exerciseSteps({ number, cells }: Exercise): string {
  const lines = cells.flatMap(({ statements }) => statements).map((statement) => {
    if (!statement.solution) return step(statement);
    const kind = isAsync(statement) ? "asyncStub" : "stub";
    return statement.names.map((name) =>
      `const ${name} = examiner.${kind}(${JSON.stringify(name)});`
    ).join("\n");
  });
  return [`examiner.begin(${number});`, ...lines, `examiner.end();`].join("\n");
}

/** Writes the program that judges. */
async function examinerProgram({ cells, exercises }: TakenApart): Promise<string> {
  const steps = exercises.map(exerciseSteps);
  const nodes = exercises.flatMap((exercise) =>
    exercise.cells.flatMap(({ statements }) =>
      statements.filter(({ solution }) => !solution).map(({ node }) => node)
    )
  );
  const start = 'import { openExaminer } from "@lib/teaching/examiner.ts";\n' +
    "const examiner = openExaminer();";
  const ready = "examiner.ready();";
  return await moduleOf([
    start,
    ...sliceFor(freeNames(nodes), cells),
    ready,
    ...steps,
    "examiner.done();",
  ]);
}

/** An import of the student's as a statement that runs where it stands. */
function dynamicImport({ node }: Statement): string {
  if (node.importKind === "type") return "";
  const [from] = nodesIn(node.source);
  const module = `await import(${JSON.stringify(from?.value)})`;
  return nodesIn(node.specifiers).flatMap((specifier) => {
    if (specifier.importKind === "type") return [];
    const [local] = nodesIn(specifier.local);
    const [imported] = nodesIn(specifier.imported);
    const name = String(local?.name);
    if (specifier.type === "ImportNamespaceSpecifier") return [`const ${name} = ${module};`];
    const key = imported ? String(imported.name ?? imported.value) : "default";
    return [`const { ${JSON.stringify(key)}: ${name} } = ${module};`];
  }).join("\n");
}

/** Declarations given before the solution that it uses, directly or through each other. */
function givenFor(exercise: Exercise, wanted: ReadonlySet<string>): readonly Statement[] {
  const needed = new Set(wanted);
  const chosen: Statement[] = [];
  for (const { statements } of exercise.cells.toReversed()) {
    const last = statements.findLastIndex(({ solution }) => solution);
    for (const given of statements.slice(0, Math.max(0, last)).toReversed()) {
      if (given.solution || isImport(given)) continue;
      if (!given.names.some((name) => needed.has(name))) continue;
      for (const name of freeNames([given.node])) needed.add(name);
      chosen.unshift(given);
    }
  }
  return chosen;
}

/** One exercise as the student solved it: what defines its names, and what makes them known. */
function definition(part: StudentPart, exercise: Exercise, published: readonly string[]): string {
  const used = freeNames(part.statements.map(({ node }) => node));
  const given = givenFor(exercise, used);
  const known = published.join(", ");
  const body = [
    ...part.statements.filter(isImport).map(dynamicImport),
    ...given.map(({ text }) => text),
    ...part.statements.filter((one) => !isImport(one)).map(({ text }) => text),
  ];
  return `${part.exercise}: {\nnames: ${JSON.stringify(part.names)},\ndefine: async () => {\n${
    body.join("\n")
  }\nreturn { ${known} };\n},` +
    `\npublish: (names) => void ({ ${known} } = names),\n},`;
}

/** Writes the program that answers. */
async function examineeProgram(
  { cells, exercises }: TakenApart,
  parts: readonly StudentPart[],
): Promise<string> {
  const pristine = new Set(
    cells.flatMap(({ statements }) => statements.flatMap((statement) => statement.names)),
  );
  const definitions = parts.flatMap((part) => {
    const exercise = exercises.find(({ number }) => number === part.exercise);
    if (!exercise) return [];
    const helpers = part.statements.filter((one) => !isImport(one)).flatMap((one) => one.names)
      .filter((name) => !pristine.has(name));
    const known = [...new Set([...part.names, ...helpers])];
    return [{ part, exercise, known, text: definition(part, exercise, known) }];
  });
  const published = new Set(definitions.flatMap(({ known }) => known));
  const nodes = definitions.flatMap(({ part, exercise }) => {
    const own = part.statements.map(({ node }) => node);
    return [...own, ...givenFor(exercise, freeNames(own)).map(({ node }) => node)];
  });
  const free = new Set([...freeNames(nodes)].filter((name) => !published.has(name)));
  const imports = exercises.flatMap((exercise) =>
    exercise.cells.flatMap(({ statements }) =>
      statements.filter(isImport).flatMap((one) => importOf(one, free) ?? [])
    )
  );
  const names = [...published];
  const serve = 'import { answerExaminer } from "@lib/teaching/examinee.ts";\n' +
    (names.length > 0 ? `let ${names.join(", ")};\n` : "") +
    `await answerExaminer({\n${definitions.map(({ text }) => text).join("\n")}\n});`;
  return await moduleOf([...sliceFor(free, cells), ...imports, serve]);
}

/** Writes both programs for the exercises that `parts` answer. */
export async function makePrograms(
  notebook: TakenApart,
  parts: readonly StudentPart[],
): Promise<Programs> {
  const wanted = new Set(parts.map(({ exercise }) => exercise));
  const exercises = notebook.exercises.filter(({ number }) => wanted.has(number));
  const chosen = { ...notebook, exercises };
  return {
    examiner: await examinerProgram(chosen),
    examinee: await examineeProgram(chosen, parts),
  };
}
