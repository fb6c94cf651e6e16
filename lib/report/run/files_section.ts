/** Files a reader may want to check, with their SHA-256: what went in and what came out. */
import type { Config } from "@lib/config.ts";
import type { Run } from "@lib/experiment/run.ts";
import { exists } from "@lib/files.ts";
import { contentHash } from "@lib/weights/hub/content_hash.ts";
import { chooseCorpus } from "@lib/workflow/clean.ts";
import { findBaseModel } from "@lib/workflow/local_models.ts";
import { htmlTable } from "../html_table.ts";
import { markup } from "../markup.ts";
import type { Section } from "../page.ts";

/** Weights beyond this many bytes are named with their size and not read: 16 GB would take minutes. */
const LARGEST_HASHED = 2 ** 29;

interface FileRow {
  readonly name: string;
  readonly path: string;
}

/** Corpus and base model, where they still are. */
async function inputs(config: Config): Promise<FileRow[]> {
  const rows: FileRow[] = [];
  try {
    const { path } = await chooseCorpus(config);
    rows.push({ name: `corpus: ${path.split(/[/\\]/).pop() ?? path}`, path });
  } catch {
    // The corpus has been moved: its hash is not to be had, the rest of the report is.
  }
  const { folder } = await findBaseModel(config.model.base);
  if (folder === null) return rows;
  const names: string[] = [];
  for await (const { name } of Deno.readDir(folder)) {
    if (/^(config|tokenizer|chat_template)\.(json|jinja)$|\.safetensors$/.test(name)) {
      names.push(name);
    }
  }
  return [
    ...rows,
    ...names.sort().map((name) => ({ name: `base model: ${name}`, path: `${folder}/${name}` })),
  ];
}

async function outputs(run: Run): Promise<FileRow[]> {
  const paths = [
    run.config,
    run.cleanRecords,
    run.droppedRows,
    run.split("train"),
    run.split("val"),
    run.split("test"),
    `${run.adapter}/adapter_config.json`,
    `${run.adapter}/adapter_model.safetensors`,
    ...await run.experimentLogs(),
    run.testResults,
    run.evaluationResults,
  ];
  return paths.map((path) => ({ name: path.slice(run.folder.length + 1), path }));
}

async function cells({ name, path }: FileRow) {
  const { size } = await Deno.stat(path);
  const hash = size > LARGEST_HASHED ? "not read: too large" : await contentHash(path, "sha256");
  return [name, size, markup`<span class="hash">${hash}</span>`] as const;
}

/** The section; null when the run has no file yet. @param config null before the first step */
export async function filesSection(run: Run, config: Config | null): Promise<Section | null> {
  const wanted = [...config === null ? [] : await inputs(config), ...await outputs(run)];
  const rows: Awaited<ReturnType<typeof cells>>[] = [];
  for (const row of wanted) if (await exists(row.path)) rows.push(await cells(row));
  if (rows.length === 0) return null;
  return {
    id: "files",
    title: "Files",
    body: htmlTable(["file", "bytes", "SHA-256"], rows, {
      caption: "What went in and what came out, as it lay here when this page was written.",
    }),
  };
}
