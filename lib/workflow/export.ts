/** After training: the model for other programs, as merged safetensors, GGUF and a Modelfile. */
import type { Config } from "@lib/config.ts";
import { Tokenizer } from "@lib/chat/tokenizer.ts";
import { projectPath, type Run } from "@lib/experiment/run.ts";
import { exists, writeFileAtomic } from "@lib/files.ts";
import { saveGgufAdapter } from "@lib/weights/gguf/adapter.ts";
import type { TensorType } from "@lib/weights/gguf/format.ts";
import { saveGgufModel } from "@lib/weights/gguf/model.ts";
import { loadArchitecture } from "@lib/weights/folder.ts";
import { loadLowRank } from "@lib/weights/low_rank.ts";
import { type ExportProgress, MergedModel, saveMerged } from "@lib/weights/merge.ts";
import { modelfile, turnMarks } from "@lib/weights/ollama.ts";
import { modelFolder } from "@lib/workflow/model.ts";

/** What can be written. */
export const EXPORT_FORMATS = ["safetensors", "gguf", "gguf-adapter"] as const;
export type ExportFormat = (typeof EXPORT_FORMATS)[number];

/** How to export. */
export interface ExportOptions {
  readonly formats: readonly ExportFormat[];
  /** Of the merged GGUF. */
  readonly type: TensorType;
  readonly folder: string;
  /** See {@linkcode MergedModel.open}. */
  readonly dequantize: boolean;
  readonly onProgress?: (file: string, progress: ExportProgress) => void;
  readonly signal?: AbortSignal;
}

/** What was written. */
export interface ExportReport {
  readonly folder: string;
  readonly files: readonly string[];
  /** What the user should know of it. */
  readonly notes: readonly string[];
}

/** Folder of the adapter that is exported: the run's own, or `model.adapter`. */
export async function exportedAdapter(run: Run, config: Config): Promise<string> {
  const own = `${run.adapter}/adapter_config.json`;
  if (await exists(own) || config.model.adapter === null) {
    await run.require(own, "03_train (deno task train)");
    return run.adapter;
  }
  return projectPath(config.model.adapter);
}

/**
 * Writes the run's model in the formats asked for, each with a Modelfile where Ollama can take it.
 *
 * @throws {ModelFolderError | AdapterError | GgufError} with what to do
 */
export async function exportModel(
  run: Run,
  config: Config,
  options: ExportOptions,
): Promise<ExportReport> {
  const base = await modelFolder(config);
  const adapter = await exportedAdapter(run, config);
  const files: string[] = [];
  const notes: string[] = [];
  await Deno.mkdir(options.folder, { recursive: true });
  if (options.formats.includes("gguf-adapter")) {
    const architecture = await loadArchitecture(base);
    const name = "adapter-f32.gguf";
    const lowRank = await loadLowRank(adapter, architecture);
    await saveGgufAdapter(`${options.folder}/${name}`, lowRank, architecture, run.name);
    files.push(name);
    const from = "./BASE.gguf";
    files.push(await saveModelfile("Modelfile.adapter", base, config, options, from, `./${name}`));
    notes.push(
      "Modelfile.adapter: put the base model's GGUF file (or its name in Ollama) after FROM.",
    );
  }
  if (options.formats.some((format) => format !== "gguf-adapter")) {
    await exportMerged(base, adapter, { run, config, options, files, notes });
  }
  return { folder: options.folder, files, notes };
}

interface Merging {
  readonly run: Run;
  readonly config: Config;
  readonly options: ExportOptions;
  readonly files: string[];
  readonly notes: string[];
}

async function exportMerged(base: string, adapter: string, merging: Merging): Promise<void> {
  const { run, config, options, files, notes } = merging;
  const { formats, type, dequantize, signal } = options;
  using model = await MergedModel.open(base, adapter, { dequantize });
  if (model.base.isQuantized) {
    notes.push("Merged into dequantised NF4 weights: what 4 bits lost stays lost.");
  }
  if (formats.includes("safetensors")) {
    const onProgress = (p: ExportProgress) => options.onProgress?.("merged", p);
    await saveMerged(model, `${options.folder}/merged`, onProgress, signal);
    files.push("merged/");
  }
  if (!formats.includes("gguf")) return;
  const name = `model-${type.toLowerCase()}.gguf`;
  const onProgress = (p: ExportProgress) => options.onProgress?.(name, p);
  const path = `${options.folder}/${name}`;
  const { note } = await saveGgufModel(path, model, type, run.name, onProgress, signal);
  if (note !== null) notes.push(note);
  files.push(name, await saveModelfile("Modelfile", base, config, options, `./${name}`));
}

async function saveModelfile(
  name: string,
  base: string,
  config: Config,
  { folder }: ExportOptions,
  from: string,
  adapter?: string,
): Promise<string> {
  const tokenizer = await Tokenizer.load(base);
  const bos = tokenizer.bosId === null ? "" : tokenizer.token(tokenizer.bosId);
  const text = modelfile({
    from,
    ...(adapter === undefined ? {} : { adapter }),
    marks: turnMarks(tokenizer.template, bos),
    stops: tokenizer.stopIds.map((id) => tokenizer.token(id)),
    system: config.prompt.system,
    licence: await baseLicence(base, config.model.base),
    temperature: config.generation.temperature,
    topP: config.generation.top_p,
    maxNewTokens: config.generation.max_new_tokens,
  });
  await writeFileAtomic(`${folder}/${name}`, text);
  return name;
}

/** The base model's licence: its file, or what its card names, or where to look. */
async function baseLicence(folder: string, name: string): Promise<string> {
  for (const file of ["LICENSE", "LICENSE.txt"]) {
    if (await exists(`${folder}/${file}`)) return await Deno.readTextFile(`${folder}/${file}`);
  }
  const card = await exists(`${folder}/README.md`)
    ? await Deno.readTextFile(`${folder}/README.md`)
    : "";
  const named = /^license:\s*(\S+)/m.exec(card)?.[1];
  return named === undefined
    ? `The licence of the base model ${name} applies to this model too: see its model card.`
    : `${named}: the licence of the base model ${name} applies to this model too.`;
}
