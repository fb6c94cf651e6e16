/** Records of a split as samples ready to pack. */
import { type Conversation, type EncodedSamples, encodeSamples } from "@lib/chat/sample.ts";
import { userText } from "@lib/chat/prompt.ts";
import type { Tokenizer } from "@lib/chat/tokenizer.ts";
import type { Config } from "@lib/config.ts";
import { loadRecords, SplitRecord } from "@lib/corpus/mod.ts";
import { seededRandom, shuffled } from "@lib/random.ts";
import { commonPrefixLength } from "@lib/training/packing.ts";
import { type OnPhase, phaseOf } from "@lib/phases.ts";
import type { Run } from "@lib/experiment/run.ts";

/** Reads one part of the split. @throws {RunError} when 02_split has not run */
export async function loadSplit(
  run: Run,
  part: "train" | "val" | "test",
): Promise<readonly SplitRecord[]> {
  const path = await run.require(run.split(part), "02_split (deno task split)");
  return (await loadRecords(path, SplitRecord)).records;
}

/** Question and answer of a record, the question as the configuration wants it. */
export function toConversation(record: SplitRecord, config: Config): Conversation {
  return {
    id: record.row,
    user: userText(record, config.prompt.input),
    answer: record.answer,
  };
}

type Records = readonly SplitRecord[];

/**
 * So many records, drawn by the seed and left in their order; all when none or too many are asked for.
 * What a smaller number draws, a larger one draws too: sizes of a data ablation are nested.
 */
export function drawnRecords(records: Records, count: number | null, seed: number): Records {
  if (count === null || count >= records.length) return records;
  const places = shuffled(seededRandom(seed), records.map((_, place) => place)).slice(0, count);
  return places.sort((a, b) => a - b).flatMap((place) => records[place] ?? []);
}

/** What training reads. */
export interface TrainingData {
  readonly train: EncodedSamples;
  readonly validation: EncodedSamples;
  /** Tokens that every training sample begins with; 0 when sharing is off. */
  readonly prefixLength: number;
}

/** A split that leaves nothing to train on. */
export class TrainingDataError extends Error {
  override readonly name = "TrainingDataError";
}

/**
 * Encodes the training and validation parts.
 *
 * @param onPhase told how many conversations are encoded
 * @throws {TrainingDataError} when no sample fits into `training.max_sequence_tokens`
 */
export async function loadTrainingData(
  run: Run,
  config: Config,
  tokenizer: Tokenizer,
  onPhase?: OnPhase,
): Promise<TrainingData> {
  const { system } = config.prompt;
  const limit = config.training.max_sequence_tokens;
  const encode = async (part: "train" | "val", choose: (all: Records) => Records) => {
    const records = choose(await loadSplit(run, part));
    const conversations = records.map((r) => toConversation(r, config));
    const onProgress = phaseOf(onPhase, part === "train" ? "tokenising" : "tokenising validation");
    onProgress?.(0, records.length);
    return encodeSamples(tokenizer, system, conversations, limit, (done) => {
      onProgress?.(done, records.length);
    });
  };
  const { train_samples, eval_samples } = config.training;
  const train = await encode("train", (all) => drawnRecords(all, train_samples, config.seed));
  const validation = await encode("val", (all) => all.slice(0, eval_samples ?? undefined));
  if (train.samples.length === 0) {
    throw new TrainingDataError(
      `Expected training samples of at most ${limit} tokens, found none ` +
        `(${train.tooLong.length} are longer). Raise training.max_sequence_tokens.`,
    );
  }
  const prefixLength = config.training.share_prefix ? commonPrefixLength(train.samples) : 0;
  return { train, validation, prefixLength };
}
