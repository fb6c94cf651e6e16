/** `deno task batch`: a file of prompts answered by the model of a run. */
import type { Config } from "@lib/config.ts";
import { exists, FileReadError, loadJson, saveJson } from "@lib/files.ts";
import { type BatchItem, type BatchOptions, runBatch } from "@lib/generation/batch.ts";
import { BatchJournal } from "@lib/generation/batch_journal.ts";
import {
  type BatchRecord,
  BatchResults,
  type BatchSettings,
} from "@lib/generation/batch_record.ts";
import { type SystemName, SYSTEMS } from "@lib/generation/request.ts";
import type { Region } from "@lib/safety/mod.ts";
import { contentHash } from "@lib/weights/hub/content_hash.ts";
import type { Answering } from "@lib/workflow/answering.ts";
import { modelFolder } from "@lib/workflow/model.ts";
import { z } from "zod";

/** What is answered, by whom, and where to. */
export interface BatchJob {
  /** Where the prompts come from, for the results. */
  readonly source: string;
  readonly prompts: readonly string[];
  readonly systems: readonly SystemName[];
  readonly systemPrompt: string;
  readonly region: Region;
  /** The results file; its journal lies beside it. */
  readonly out: string;
  readonly onRecord?: BatchOptions["onRecord"];
  readonly signal?: AbortSignal;
}

/** The journal of a results file. */
export function journalPath(out: string): string {
  return `${out.replace(/\.json$/, "")}.journal.jsonl`;
}

/** The settings of a configuration that decide about answers. */
export function batchSettings(config: Config, systemPrompt: string, region: Region): BatchSettings {
  const { batch_size: _, ...sampling } = config.generation;
  return { system_prompt: systemPrompt, region, ...sampling };
}

/**
 * What stands for the weights: name, size and time of the base's files, and the adapter's content. A
 * run that is trained again answers again.
 */
async function weightsOf(answering: Answering, config: Config): Promise<BatchOptions["weights"]> {
  const folder = await modelFolder(config);
  const files: string[] = [];
  for await (const { name } of Deno.readDir(folder)) {
    if (!name.endsWith(".safetensors")) continue;
    const { size, mtime } = await Deno.stat(`${folder}/${name}`);
    files.push(`${name} ${size} ${mtime?.getTime() ?? 0}`);
  }
  const { model, adapter } = answering;
  const { backend } = model.library.description;
  const base = [...files.sort(), model.quantization, backend].join("\n");
  if (adapter === null) return { base, tuned: base };
  const hashes = await Promise.all(
    ["adapter_config.json", "adapter_model.safetensors"].map((file) =>
      contentHash(`${adapter}/${file}`, "sha256")
    ),
  );
  return { base, tuned: [base, ...hashes].join("\n") };
}

/** One item a prompt and system; the seed of prompt i is the configuration's plus i. */
function itemsOf({ prompts, systems }: BatchJob, seed: number): BatchItem[] {
  return prompts.flatMap((prompt, index) =>
    systems.map((system) => ({ index, prompt, system, seed: seed + index }))
  );
}

/**
 * Answers every prompt that the journal has no answer to under these very weights and settings, and
 * writes the results. Interrupted, it writes the results that there are, and the next call goes on.
 *
 * @throws {FileWriteError} the disk is full: what was finished is in the journal
 */
export async function answerBatch(
  answering: Answering,
  config: Config,
  job: BatchJob,
): Promise<BatchResults> {
  using journal = await BatchJournal.open(journalPath(job.out));
  const found: BatchRecord[] = [];
  const save = async (results: readonly BatchRecord[], complete: boolean) => {
    const whole: BatchResults = {
      format: 1,
      prompts: job.source,
      base_model: config.model.base,
      adapter: answering.adapter,
      quantization: answering.model.quantization,
      complete,
      results: [...results],
    };
    await saveJson(job.out, whole);
    return whole;
  };
  try {
    const records = await runBatch(answering.scheduler, itemsOf(job, config.seed), journal, {
      settings: batchSettings(config, job.systemPrompt, job.region),
      weights: await weightsOf(answering, config),
      onRecord: (record, isEarlier) => {
        found.push(record);
        job.onRecord?.(record, isEarlier);
      },
      ...(job.signal === undefined ? {} : { signal: job.signal }),
    });
    return await save(records, true);
  } catch (error) {
    const place = ({ index, system }: BatchRecord) => 2 * index + SYSTEMS.indexOf(system);
    await save(found.toSorted((a, b) => place(a) - place(b)), false);
    throw error;
  }
}

/** Reads a results file. @throws {FileReadError} missing, or no results of a batch */
export async function loadBatchResults(path: string): Promise<BatchResults> {
  const hint = "Make it with: deno task batch";
  if (!await exists(path)) {
    throw new FileReadError(`${path}: expected results, found nothing. ${hint}`);
  }
  const parsed = BatchResults.safeParse(await loadJson(path, hint));
  if (parsed.success) return parsed.data;
  throw new FileReadError(`${path}: ${z.prettifyError(parsed.error)}. ${hint}`);
}
