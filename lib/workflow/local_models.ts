/** The models that are on this machine: in the project's data folder and in the hub's cache. */
import { PROJECT_ROOT, projectPath } from "@lib/experiment/run.ts";
import { exists } from "@lib/files.ts";
import { findCached, listCached, missingFiles } from "@lib/weights/hub/cached.ts";
import { formatModelId, hubIdOf } from "@lib/weights/hub/model_id.ts";
import { REQUIRED_FILES } from "@lib/weights/hub/selection.ts";
import { type HubSettings, hubSettings } from "@lib/weights/hub/settings.ts";

/** A model folder on this machine. */
export interface LocalModel {
  /** What `model.base` is set to for it. */
  readonly name: string;
  readonly folder: string;
  /** Bytes of its files, and of files that are still being fetched. */
  readonly bytes: number;
  readonly partialBytes: number;
  readonly complete: boolean;
  /** Files it lacks. */
  readonly missing: readonly string[];
}

/** Every model that is here, those that ship with the course first. */
export async function listModels(settings: HubSettings = hubSettings()): Promise<LocalModel[]> {
  const cached = await listCached(settings.cache);
  const models = cached.map((model): LocalModel => {
    const { name, commit, refs, folder, bytes, partialBytes, missing } = model;
    const revision = refs.includes("main") ? "main" : refs[0] ?? commit;
    const complete = missing.length === 0;
    const id = formatModelId({ name, revision });
    return { name: id, folder, bytes, partialBytes, complete, missing };
  });
  return [...await shippedModels(), ...models];
}

async function shippedModels(): Promise<LocalModel[]> {
  const models: LocalModel[] = [];
  for await (const { name, isDirectory } of Deno.readDir(`${PROJECT_ROOT}data`)) {
    const folder = `${PROJECT_ROOT}data/${name}`;
    if (!isDirectory || !await exists(`${folder}/config.json`)) continue;
    const missing = await missingFiles(folder, name);
    const complete = missing.length === 0;
    models.push({
      name: `data/${name}`,
      folder,
      bytes: await fileBytes(folder),
      partialBytes: 0,
      complete,
      missing,
    });
  }
  return models.sort((a, b) => a.name.localeCompare(b.name));
}

async function fileBytes(folder: string): Promise<number> {
  let bytes = 0;
  for await (const { name, isFile } of Deno.readDir(folder)) {
    if (isFile) bytes += (await Deno.stat(`${folder}/${name}`)).size;
  }
  return bytes;
}

/** Where a configured base model is; or what it lacks, and what fetches it. */
export type BaseModel =
  | { readonly folder: string }
  | {
    readonly folder: null;
    /** Where it was looked for last. */
    readonly place: string;
    /** Files that were not there. */
    readonly missing: readonly string[];
    /** The command that fetches it; null for what is no name on the hub. */
    readonly command: string | null;
  };

/**
 * Finds a configured base model: a folder, or a name on the hub whose files are in the hub's cache.
 *
 * @param base `model.base`
 */
export async function findBaseModel(base: string, settings?: HubSettings): Promise<BaseModel> {
  const folder = projectPath(base);
  if (await exists(`${folder}/config.json`)) return { folder };
  const id = hubIdOf(base);
  if (id === null) return { folder: null, place: folder, missing: REQUIRED_FILES, command: null };
  const { cache } = settings ?? hubSettings();
  const cached = await findCached(id, cache);
  if (cached?.missing.length === 0) return { folder: cached.folder };
  return {
    folder: null,
    place: cached?.folder ?? cache,
    missing: cached?.missing ?? REQUIRED_FILES,
    command: `deno task model ${formatModelId(id)}`,
  };
}
