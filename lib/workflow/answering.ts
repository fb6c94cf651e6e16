/** A model ready to be talked to: base, adapter where there is one, scheduler. For chat, batch, server. */
import { systemPromptPrefix } from "@lib/chat/prefix.ts";
import type { Tokenizer } from "@lib/chat/tokenizer.ts";
import type { Config } from "@lib/config.ts";
import type { Model } from "@lib/engine/model.ts";
import { projectPath, type Run } from "@lib/experiment/run.ts";
import { exists } from "@lib/files.ts";
import { Scheduler } from "@lib/generation/scheduler.ts";
import { loadAdapter } from "@lib/weights/adapter.ts";
import type { LoadProgress } from "@lib/weights/folder.ts";
import { openModel, openTokenizer } from "@lib/workflow/model.ts";

/** Context that is kept free in the caches by default, in tokens. */
export const DEFAULT_CONTEXT_TOKENS = 4096;

/** How a model is opened to be talked to. */
export interface AnsweringOptions {
  /** PEFT folder; null: none. @default the run's own, else `model.adapter`, else none */
  readonly adapter?: string | null;
  /** Answers decoded together. @default {1} */
  readonly maxSequences?: number;
  /** Longest conversation with its answer; more than the model takes is cut. @default {4096} */
  readonly contextTokens?: number | ((tokenizer: Tokenizer) => number);
  readonly maxWaiting?: number;
  readonly onProgress?: (progress: LoadProgress) => void;
  readonly signal?: AbortSignal;
}

/** An opened model. Closing it closes the scheduler and the model. */
export class Answering implements AsyncDisposable {
  constructor(
    readonly model: Model,
    readonly tokenizer: Tokenizer,
    readonly scheduler: Scheduler,
    /** Folder of the adapter, or null: then only the base model answers. */
    readonly adapter: string | null,
  ) {}

  async [Symbol.asyncDispose](): Promise<void> {
    await this.scheduler.close();
    await this.model.close();
  }
}

/** The adapter a run answers with; null when there is none. */
export async function adapterOf(run: Run, config: Config): Promise<string | null> {
  if (await exists(`${run.adapter}/adapter_config.json`)) return run.adapter;
  return config.model.adapter === null ? null : projectPath(config.model.adapter);
}

/**
 * Opens the configured model with its adapter.
 *
 * @throws {ModelFolderError | AdapterError | EngineError} what is missing, does not belong together or
 * does not fit
 */
export async function openAnswering(
  run: Run,
  config: Config,
  options: AnsweringOptions = {},
): Promise<Answering> {
  const tokenizer = await openTokenizer(config);
  const { onProgress, signal } = options;
  const model = await openModel(config, {
    ...(onProgress === undefined ? {} : { onProgress }),
    ...(signal === undefined ? {} : { signal }),
  });
  try {
    const adapter = options.adapter === undefined ? await adapterOf(run, config) : options.adapter;
    if (adapter !== null) await loadAdapter(adapter, model);
    const { contextTokens = DEFAULT_CONTEXT_TOKENS } = options;
    const wanted = typeof contextTokens === "number" ? contextTokens : contextTokens(tokenizer);
    const scheduler = await Scheduler.create(model, tokenizer, {
      maxSequences: options.maxSequences ?? 1,
      maxSequenceTokens: Math.min(wanted, model.architecture.maxPosition),
      prefixIds: [systemPromptPrefix(tokenizer, config.prompt.system)],
      ...(options.maxWaiting === undefined ? {} : { maxWaiting: options.maxWaiting }),
    });
    return new Answering(model, tokenizer, scheduler, adapter);
  } catch (error) {
    await model.close();
    throw error;
  }
}
