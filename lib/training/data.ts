/** Records of a split as samples ready to pack. */
import { type Conversation, type EncodedSamples, encodeSamples } from "@lib/chat/sample.ts";
import { userText } from "@lib/chat/prompt.ts";
import type { Tokenizer } from "@lib/chat/tokenizer.ts";
import type { Config } from "@lib/config.ts";
import { loadRecords, SplitRecord } from "@lib/corpus/mod.ts";
import { commonPrefixLength } from "@lib/training/packing.ts";
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
 * @throws {TrainingDataError} when no sample fits into `training.max_sequence_tokens`
 */
export async function loadTrainingData(
  run: Run,
  config: Config,
  tokenizer: Tokenizer,
  onProgress?: (done: number) => void,
): Promise<TrainingData> {
  const { system } = config.prompt;
  const limit = config.training.max_sequence_tokens;
  const encode = async (part: "train" | "val", take: number | null) => {
    const records = (await loadSplit(run, part)).slice(0, take ?? undefined);
    const conversations = records.map((r) => toConversation(r, config));
    return encodeSamples(tokenizer, system, conversations, limit, onProgress);
  };
  const train = await encode("train", null);
  const validation = await encode("val", config.training.eval_samples);
  if (train.samples.length === 0) {
    throw new TrainingDataError(
      `Expected training samples of at most ${limit} tokens, found none ` +
        `(${train.tooLong.length} are longer). Raise training.max_sequence_tokens.`,
    );
  }
  const prefixLength = config.training.share_prefix ? commonPrefixLength(train.samples) : 0;
  return { train, validation, prefixLength };
}
