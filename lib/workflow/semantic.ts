/** The sentence encoder that semantic similarity is measured with, where one is on this machine. */
import type { Config } from "@lib/config.ts";
import { type EncoderFolder, openEncoderFolder } from "@lib/evaluation/embedding/encoder_folder.ts";
import { projectPath } from "@lib/experiment/run.ts";
import { exists } from "@lib/files.ts";
import { findCached } from "@lib/weights/hub/cached.ts";
import { hubIdOf } from "@lib/weights/hub/model_id.ts";
import { type HubSettings, hubSettings } from "@lib/weights/hub/settings.ts";

/** Encoders that know Bengali, in the order in which they are looked for. */
export const KNOWN_ENCODERS = [
  "Xenova/multilingual-e5-small",
  "sentence-transformers/LaBSE",
] as const;

/** An encoder, or in one line why there is none and how to get one. */
export type FoundEncoder =
  | { readonly encoder: EncoderFolder }
  | { readonly encoder: null; readonly reason: string };

/** A hub id as it is, a folder by its last part. */
const nameOf = (model: string): string =>
  hubIdOf(model) === null
    ? model.split(/[/\\]/).filter((part) => part !== "").at(-1) ?? model
    : model;

/** The folder of a model: as given, or in the hub's cache. */
async function folderOf(model: string, settings: HubSettings): Promise<string | null> {
  const folder = projectPath(model);
  if (await exists(`${folder}/config.json`)) return folder;
  const id = hubIdOf(model);
  const cached = id === null ? null : await findCached(id, settings.cache);
  return cached?.folder ?? null;
}

/**
 * Finds the configured encoder, or one of the known ones.
 *
 * @throws {EncoderError} a folder that is there but cannot be used, with why
 */
export async function findEncoder(config: Config, settings?: HubSettings): Promise<FoundEncoder> {
  const { semantic_model: asked } = config.evaluation;
  for (const model of asked === null ? KNOWN_ENCODERS : [asked]) {
    const folder = await folderOf(model, settings ?? hubSettings());
    const usable = folder !== null &&
      (asked !== null || await exists(`${folder}/onnx/model.onnx`));
    if (usable) return { encoder: await openEncoderFolder(folder, nameOf(model)) };
  }
  return {
    encoder: null,
    reason: "Semantic similarity was not measured: " +
      `${asked === null ? "no sentence encoder is" : `${asked} is not`} on this machine. ` +
      `Fetch one (0.5 GB): deno task model ${KNOWN_ENCODERS[0]}`,
  };
}
