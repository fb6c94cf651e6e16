/**
 * Runs a sentence encoder with onnxruntime, in a process of its own: its packages are large (0.5 GB) and
 * native, and neither a notebook's kernel nor anybody who does not use them should load them.
 *
 * Reads one job as JSON from standard input; writes one line of JSON a batch. Started by `encoder.ts`.
 */

/** What is to be embedded. */
export interface Job {
  /** Folder of the model's folder, and the model folder's name. */
  readonly parent: string;
  readonly model: string;
  readonly graph: string;
  readonly pooling: "mean" | "cls";
  readonly texts: readonly string[];
  readonly batchSize: number;
}

/** A finished batch: vectors of `dimensions` float32 values, one after another. */
export interface Batch {
  readonly count: number;
  readonly dimensions: number;
  readonly vectors: string;
}

/** The part of a tensor of @huggingface/transformers that is used. */
interface Tensor {
  readonly dims: readonly number[];
  readonly data: { readonly length: number; [at: number]: number | bigint };
}

/** The part of @huggingface/transformers that is used. */
interface Transformers {
  readonly env: { localModelPath: string; allowRemoteModels: boolean; useFSCache: boolean };
  readonly AutoTokenizer: {
    from_pretrained(model: string, options: object): Promise<
      & ((texts: readonly string[], options: object) => Record<string, Tensor>)
      & { readonly model_max_length?: number; encode(text: string): readonly number[] }
    >;
  };
  readonly AutoModel: {
    from_pretrained(model: string, options: object): Promise<
      (inputs: Record<string, Tensor>) => Promise<Record<string, Tensor | undefined>>
    >;
  };
}

/** Longest text in tokens, where the tokenizer knows no smaller limit. */
const LONGEST = 512;

/** Texts that were cut end in the tokenizer's end token again; the package cuts that off too. */
function restoreEnd(ids: Tensor, mask: Tensor, end: number | undefined, limit: number): void {
  const [texts = 0, length = 0] = ids.dims;
  if (end === undefined || length < limit) return;
  for (let text = 0; text < texts; text++) {
    const last = (text + 1) * length - 1;
    if (Number(mask.data[last]) === 1) ids.data[last] = BigInt(end);
  }
}

/** Mean of the tokens that are no padding, or the first token, for each text. */
function pool(states: Tensor, mask: Tensor, pooling: Job["pooling"]): Float32Array<ArrayBuffer> {
  const [texts = 0, length = 0, width = 0] = states.dims;
  const pooled = new Float32Array(texts * width);
  for (let text = 0; text < texts; text++) {
    let tokens = 0;
    for (let at = 0; at < (pooling === "cls" ? 1 : length); at++) {
      if (Number(mask.data[text * length + at]) === 0) continue;
      tokens++;
      for (let j = 0; j < width; j++) {
        pooled[text * width + j]! += Number(states.data[(text * length + at) * width + j]);
      }
    }
    for (let j = 0; j < width; j++) pooled[text * width + j]! /= Math.max(1, tokens);
  }
  return pooled;
}

async function embed(job: Job, write: (batch: Batch) => Promise<void>): Promise<void> {
  // Not written as a literal: Deno would fetch the packages for whoever imports this file's neighbours.
  const packageName: string = "@huggingface/transformers";
  const { env, AutoTokenizer, AutoModel }: Transformers = await import(packageName);
  Object.assign(env, { localModelPath: job.parent, allowRemoteModels: false, useFSCache: false });
  const tokenizer = await AutoTokenizer.from_pretrained(job.model, { local_files_only: true });
  const model = await AutoModel.from_pretrained(job.model, {
    local_files_only: true,
    device: "cpu",
    dtype: job.graph === "model" ? "fp32" : "q8",
  });
  const limit = Math.min(LONGEST, tokenizer.model_max_length ?? LONGEST);
  const end = tokenizer.encode("").at(-1);
  for (let at = 0; at < job.texts.length; at += job.batchSize) {
    const texts = job.texts.slice(at, at + job.batchSize);
    const inputs = tokenizer(texts, { padding: true, truncation: true, max_length: limit });
    const { input_ids: ids, attention_mask: mask } = inputs;
    if (ids !== undefined && mask !== undefined) restoreEnd(ids, mask, end, limit);
    const outputs = await model(inputs);
    const sentence = outputs["sentence_embedding"];
    const states = outputs["last_hidden_state"] ?? outputs["token_embeddings"];
    if (sentence === undefined && (states === undefined || mask === undefined)) {
      throw new Error(`expected last_hidden_state, found ${Object.keys(outputs).join(", ")}`);
    }
    const vectors = sentence === undefined
      ? pool(states!, mask!, job.pooling)
      : Float32Array.from({ length: sentence.data.length }, (_, i) => Number(sentence.data[i]));
    await write({
      count: texts.length,
      dimensions: vectors.length / texts.length,
      vectors: new Uint8Array(vectors.buffer).toBase64(),
    });
  }
}

if (import.meta.main) {
  const output = Deno.stdout.writable.getWriter();
  const encoder = new TextEncoder();
  try {
    const job: Job = await new Response(Deno.stdin.readable).json();
    await embed(job, (batch) => output.write(encoder.encode(`${JSON.stringify(batch)}\n`)));
    Deno.exit(0); // onnxruntime's threads would keep the process
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    Deno.exit(1);
  }
}
