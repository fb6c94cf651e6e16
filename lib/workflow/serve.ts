/** What `deno task serve` puts before the server: models under their names, the study. */
import type { Config } from "@lib/config.ts";
import type { Run } from "@lib/experiment/run.ts";
import { exists } from "@lib/files.ts";
import { samplingOf } from "@lib/generation/sampling.ts";
import type { ServedModel, TurnSampling } from "@lib/server/answering.ts";
import { StudyDesk } from "@lib/study/desk.ts";
import { studyId, studyItems } from "@lib/study/items.ts";
import { loadTestResults } from "@lib/workflow/generate.ts";
import { modelFolder } from "@lib/workflow/model.ts";

/** Settings of answers that ask for none. */
export function servedSampling(config: Config): TurnSampling {
  const { temperature = 0, topP = 1, topK = 0, minP = 0, repetitionPenalty = 1, maxNewTokens } =
    samplingOf(config);
  return { maxNewTokens, temperature, topP, topK, minP, repetitionPenalty, seed: config.seed };
}

async function modified(path: string): Promise<number> {
  return Math.floor(((await Deno.stat(path)).mtime?.getTime() ?? 0) / 1000);
}

/** The models under the names clients ask for. */
export async function servedModels(
  config: Config,
  adapter: string | null,
): Promise<ServedModel[]> {
  const { base } = config.model;
  const created = await modified(`${await modelFolder(config)}/config.json`);
  const models: ServedModel[] = [{ id: "base", source: base, created }];
  if (adapter === null) return models;
  const name = adapter.split(/[/\\]/).at(-1);
  const trained = await modified(`${adapter}/adapter_config.json`);
  return [...models, { id: "tuned", source: `${base} + ${name}`, created: trained }];
}

/**
 * The human study of a run's answers; null when the run has none.
 *
 * @param count questions put before raters
 */
export async function openStudy(
  run: Run,
  config: Config,
  count: number,
): Promise<StudyDesk | null> {
  if (!await exists(run.testResults)) return null;
  const { seed } = config;
  const all = studyItems(await loadTestResults(run), Infinity, seed);
  return await StudyDesk.open({
    ...{ id: await studyId(all, seed), run: run.name, seed, path: run.studyRatings },
    items: all.slice(0, count),
  });
}
