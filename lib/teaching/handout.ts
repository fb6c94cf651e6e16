/**
 * The versions of a notebook that are handed out, made from the one in the project.
 *
 * The same notebook gives the same bytes: ids stay, nothing is dated.
 *
 * @module
 */
import { escapeHtml } from "@lib/notebook/display.ts";
import { DENO_METADATA } from "@lib/notebook/kernel_spec.ts";
import { cellTags, type Notebook } from "@lib/notebook/notebook_file.ts";
import { exerciseNumber } from "./exercises.ts";
import { solutionRegions, studentSource } from "./solution.ts";
import { titleOf } from "./submissions_folder.ts";

/** The versions: to fill in, to read along, and with everything to see. */
export const VERSIONS = ["student", "clean", "solution"] as const;
/** One version. */
export type Version = typeof VERSIONS[number];

/** Markers of solutions stay in the project only. */
function withoutMarkers(source: string): string {
  const marks = new Set(solutionRegions(source).flatMap(({ first, last }) => [first, last]));
  return source.split("\n").filter((_, line) => !marks.has(line)).join("\n");
}

/** A notebook without outputs and without traces of a run. */
function stripped(notebook: Notebook, rewrite: (source: string) => string): Notebook {
  const cells = notebook.cells.filter((cell) => !cellTags(cell).includes("injected-parameters"))
    .map((cell) => {
      const { execution: _times, ...metadata } = cell.metadata;
      if (cell.cell_type !== "code") return { ...cell, metadata };
      const source = rewrite(cell.source);
      return { ...cell, metadata, source, outputs: [], execution_count: null };
    });
  return { ...notebook, metadata: { ...notebook.metadata, ...DENO_METADATA }, cells };
}

/** The notebook to fill in: each solution is a line `// your code here`, hints kept, no outputs. */
export function studentVersion(notebook: Notebook): Notebook {
  return stripped(notebook, studentSource);
}

/** The notebook with its solutions as plain code, no outputs. */
export function cleanVersion(notebook: Notebook): Notebook {
  return stripped(notebook, withoutMarkers);
}

/** The notebook with its solutions marked; its outputs come from a run. */
export function solutionVersion(notebook: Notebook): Notebook {
  return stripped(notebook, (source) => source);
}

/** What the index page says of one notebook. */
export interface HandoutEntry {
  readonly name: string;
  readonly title: string;
  /** The overview's line on the goal, without its formatting. */
  readonly goal: string;
  readonly exercises: number;
}

/** Reads what the index page says out of a notebook. */
export function describeNotebook(name: string, notebook: Notebook): HandoutEntry {
  const prose = notebook.cells.filter(({ cell_type }) => cell_type === "markdown");
  const goal = prose.map(({ source }) => /\*\*Goal\*\*\s*\|([^|\n]*)\|/.exec(source)?.[1]?.trim())
    .find((text) => text !== undefined);
  const numbers = notebook.cells.map(({ id }) => exerciseNumber(id));
  const exercises = new Set(numbers.filter((number) => number !== undefined)).size;
  return {
    name,
    title: titleOf(notebook) || name,
    goal: (goal ?? "").replaceAll(/[`*_]/g, ""),
    exercises,
  };
}

const STYLE = `
:root { color-scheme: light dark; }
body { font-family: system-ui, sans-serif; line-height: 1.5; max-width: 62rem; margin: 2rem auto;
  padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .5rem .75rem;
  border-bottom: 1px solid color-mix(in srgb, currentColor 25%, transparent); }
`;

const VERSION_NAMES: Readonly<Record<Version, string>> = {
  student: "to fill in",
  clean: "solved",
  solution: "solved, marked",
};

/** The page that leads to the versions. */
export function indexPage(entries: readonly HandoutEntry[]): string {
  const rows = entries.map(({ name, title, goal, exercises }) => {
    const links = VERSIONS.map((version) =>
      `<a href="${version}/${escapeHtml(encodeURIComponent(name))}.ipynb">${
        VERSION_NAMES[version]
      }</a>`
    );
    return `<tr><th scope="row">${escapeHtml(title)}</th><td>${escapeHtml(goal)}</td>` +
      `<td>${exercises}</td><td>${links.join(" · ")}</td></tr>`;
  });
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>QLoRA course: handouts</title>
<style>${STYLE}</style>
</head>
<body>
<h1>QLoRA course: handouts</h1>
<p>Open a notebook inside the project's folder, or copy it into <code>notebooks/</code>: its cells
import the course's library from there. Start JupyterLab with <code>deno task lab</code>.</p>
<p>Hand out <em>to fill in</em>; grade what comes back with
<code>deno task grade FOLDER</code>.</p>
<table>
<thead><tr><th>Notebook</th><th>Goal</th><th>Exercises</th><th>Versions</th></tr></thead>
<tbody>
${rows.join("\n")}
</tbody>
</table>
</body>
</html>
`;
}
