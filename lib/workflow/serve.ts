/** What `deno task serve` opens before the server listens: models, study, numbers to call. */
import type { Config } from "@lib/config.ts";
import type { Model } from "@lib/engine/model.ts";
import { projectPath, type Run } from "@lib/experiment/run.ts";
import { exists } from "@lib/files.ts";
import { samplingOf } from "@lib/generation/sampling.ts";
import type { Region } from "@lib/safety/mod.ts";
import type { ServedModel, TurnSampling } from "@lib/server/answering.ts";
import { ModelAnswering } from "@lib/server/model_answering.ts";
import { StudyDesk } from "@lib/study/desk.ts";
import { studyId, studyItems } from "@lib/study/items.ts";
import { loadAdapter } from "@lib/weights/adapter.ts";
import { loadTestResults } from "@lib/workflow/generate.ts";
import { attachTunedLora, modelFolder, openModel, openTokenizer } from "@lib/workflow/model.ts";

/** How the models are served. */
export interface ServeOptions {
  readonly region: Region;
  /** Answers decoded together. */
  readonly places: number;
  readonly maxWaiting: number;
  /** Longest prompt and answer together, in tokens; null: what the model takes, at most 1024. */
  readonly contextTokens: number | null;
  /** Whether `model.adapter` was asked for now: it then goes before the run's own. */
  readonly givenAdapter: boolean;
}

/** Longest conversation with its answer, unless more is asked for: caches take memory a token. */
const CONTEXT_TOKENS = 1024;

/** Settings of answers that ask for none. */
export function servedSampling(config: Config): TurnSampling {
  const { temperature = 0, topP = 1, topK = 0, minP = 0, repetitionPenalty = 1, maxNewTokens } =
    samplingOf(config);
  return { maxNewTokens, temperature, topP, topK, minP, repetitionPenalty, seed: config.seed };
}

/** A model that is served, and what has to be closed with it. */
export interface ServedModels extends AsyncDisposable {
  readonly answering: ModelAnswering;
  /** The adapter's folder; null when only the base answers. */
  readonly adapter: string | null;
}

/** Attaches the adapter to answer with. @returns its folder, or null where there is none */
async function attachAdapter(
  model: Model,
  run: Run,
  config: Config,
  { givenAdapter }: ServeOptions,
): Promise<string | null> {
  const given = config.model.adapter;
  if (givenAdapter && given !== null) {
    await loadAdapter(projectPath(given), model);
    return projectPath(given);
  }
  const none = given === null && !await exists(`${run.adapter}/adapter_config.json`);
  return none ? null : await attachTunedLora(model, run, config);
}

async function modified(path: string): Promise<number> {
  return Math.floor(((await Deno.stat(path)).mtime?.getTime() ?? 0) / 1000);
}

/** Loads the run's model and adapter and makes them answer many at once. */
export async function openServedModels(
  run: Run,
  config: Config,
  options: ServeOptions,
): Promise<ServedModels> {
  const tokenizer = await openTokenizer(config);
  const folder = await modelFolder(config);
  const model = await openModel(config);
  try {
    const adapter = await attachAdapter(model, run, config, options);
    const base: ServedModel = {
      ...{
        id: "base",
        source: config.model.base,
        created: await modified(`${folder}/config.json`),
      },
    };
    const models = adapter === null ? [base] : [
      base,
      {
        id: "tuned",
        source: `${config.model.base} + ${adapter.split(/[/\\]/).at(-1)}`,
        created: await modified(`${adapter}/adapter_config.json`),
      } as const,
    ];
    const answering = await ModelAnswering.open(model, tokenizer, {
      ...{ models, places: options.places, maxWaiting: options.maxWaiting, region: options.region },
      contextTokens: options.contextTokens ??
        Math.min(CONTEXT_TOKENS, model.architecture.maxPosition),
      systemPrompt: config.prompt.system,
      sampling: servedSampling(config),
    });
    const close = async () => {
      await answering.close();
      await model.close();
    };
    return { answering, adapter, [Symbol.asyncDispose]: close };
  } catch (error) {
    await model.close();
    throw error;
  }
}

/** The human study of a run's answers; null when the run has none. */
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
