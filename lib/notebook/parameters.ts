/**
 * Parameters of a notebook: values put in after the cell tagged `parameters`, as papermill does.
 *
 * @module
 */
import { cellTags, type CodeCell, type Notebook } from "./notebook_file.ts";

/** A value that a parameter may take. */
export type ParameterValue = string | number | boolean | null | readonly ParameterValue[] | {
  readonly [key: string]: ParameterValue;
};

/** Names declared by a parameters cell with the keyword that declares each. */
function declaredNames(source: string): ReadonlyMap<string, string> {
  const declarations = source.matchAll(/^\s*(let|const|var)\s+([\p{L}_$][\p{L}\p{N}_$]*)/gmu);
  return new Map([...declarations].map(([, keyword = "", name = ""]) => [name, keyword]));
}

/**
 * Returns the notebook with a cell that sets `parameters` after the one tagged `parameters`.
 * A cell injected by an earlier run is replaced.
 *
 * @throws {Error} where the notebook has no such cell or the cell does not declare a name.
 */
export function injectParameters(
  notebook: Notebook,
  parameters: Readonly<Record<string, ParameterValue>>,
): Notebook {
  const cells = notebook.cells.filter((cell) => !cellTags(cell).includes("injected-parameters"));
  const names = Object.keys(parameters);
  if (names.length === 0) return { ...notebook, cells };
  const at = cells.findIndex((cell) => cellTags(cell).includes("parameters"));
  const target = cells[at];
  if (target?.cell_type !== "code") {
    throw new Error(
      `Cannot set ${names.join(", ")}: the notebook has no code cell tagged "parameters". ` +
        `Add the tag in JupyterLab's property inspector.`,
    );
  }
  const declared = declaredNames(target.source);
  const lines = names.map((name) => {
    const keyword = declared.get(name);
    if (keyword) return `${keyword} ${name} = ${JSON.stringify(parameters[name])};`;
    throw new Error(
      `Cannot set the parameter ${name}: the parameters cell declares ` +
        `${[...declared.keys()].join(", ") || "nothing"}. Check the spelling.`,
    );
  });
  const injected: CodeCell = {
    cell_type: "code",
    id: "injected-parameters",
    metadata: { tags: ["injected-parameters"] },
    source: ["// Set by the runner", ...lines].join("\n"),
    execution_count: null,
    outputs: [],
  };
  return { ...notebook, cells: [...cells.slice(0, at + 1), injected, ...cells.slice(at + 1)] };
}
