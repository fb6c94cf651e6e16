/**
 * Sentence vectors from an ONNX encoder, by a process of its own.
 *
 * @module
 */
import { z } from "zod";
import { PROJECT_ROOT } from "@lib/experiment/run.ts";
import { type DenseHead, EncoderError, type EncoderFolder } from "./encoder_folder.ts";
import type { Job } from "./worker.ts";

/** Texts a batch; sorted by length, so that little is padded. */
const BATCH_SIZE = 16;

const Batch = z.strictObject({
  count: z.number().int().positive(),
  dimensions: z.number().int().positive(),
  vectors: z.base64(),
});

/** How to embed. */
export interface EmbedOptions {
  /** Called with the number of texts done. */
  readonly onProgress?: (done: number) => void;
  readonly signal?: AbortSignal | undefined;
}

const WORKER = `${PROJECT_ROOT}lib/evaluation/embedding`;

/** The worker's process; its packages come with a lock of their own, at first use. */
function startWorker(signal: AbortSignal | undefined): Deno.ChildProcess {
  return new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "--quiet",
      "--no-prompt",
      "--allow-read",
      "--allow-env",
      "--allow-sys",
      "--allow-ffi",
      `--config=${WORKER}/deno.json`,
      `${WORKER}/worker.ts`,
    ],
    env: { NO_COLOR: "1" },
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
    ...signal === undefined ? {} : { signal },
  }).spawn();
}

async function send(process: Deno.ChildProcess, job: Job): Promise<void> {
  const writer = process.stdin.getWriter();
  // A worker that dies closes the pipe; its own words say more than the broken pipe does.
  await writer.write(new TextEncoder().encode(JSON.stringify(job))).catch(() => {});
  await writer.close().catch(() => {});
}

/** Lines of a stream as they come. */
async function* linesOf(stream: ReadableStream<Uint8Array<ArrayBuffer>>): AsyncGenerator<string> {
  let rest = "";
  for await (const text of stream.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + text).split("\n");
    rest = lines.pop() ?? "";
    yield* lines;
  }
}

/** Applies the dense layer, if there is one, and brings the vector to length 1. */
export function finishVector(pooled: Float32Array, head: DenseHead | null): Float32Array {
  const vector = head === null ? pooled.slice() : applyHead(pooled, head);
  const length = Math.hypot(...vector);
  return length === 0 ? vector : vector.map((value) => value / length);
}

function applyHead(input: Float32Array, head: DenseHead): Float32Array {
  const { weight, bias, inputs, outputs, tanh } = head;
  return Float32Array.from({ length: outputs }, (_, row) => {
    let sum = bias?.[row] ?? 0;
    for (let j = 0; j < inputs; j++) sum += (weight[row * inputs + j] ?? 0) * (input[j] ?? 0);
    return tanh ? Math.tanh(sum) : sum;
  });
}

function vectorsOf(line: string, head: DenseHead | null): Float32Array[] {
  const { count, dimensions, vectors } = Batch.parse(JSON.parse(line));
  const values = new Float32Array(Uint8Array.fromBase64(vectors).buffer);
  if (values.length !== count * dimensions || (head !== null && head.inputs !== dimensions)) {
    throw new EncoderError(
      `Expected ${count} vectors of ${head?.inputs ?? dimensions} values, found ${values.length} ` +
        "values: the ONNX file does not belong to this folder's dense layer. Fetch the model again.",
    );
  }
  return Array.from(
    { length: count },
    (_, i) => finishVector(values.subarray(i * dimensions, (i + 1) * dimensions), head),
  );
}

/**
 * Embeds texts; each gets a vector of length 1, in the order given.
 *
 * The first use on a machine installs onnxruntime from npm, about 0.5 GB.
 *
 * @throws {EncoderError} what the encoder's process said when it failed; the signal's reason when aborted
 */
export async function embedTexts(
  encoder: EncoderFolder,
  texts: readonly string[],
  { onProgress, signal }: EmbedOptions = {},
): Promise<Float32Array[]> {
  if (texts.length === 0) return [];
  signal?.throwIfAborted();
  const order = texts.map((_, i) => i).sort((a, b) =>
    (texts[a] ?? "").length - (texts[b] ?? "").length
  );
  const parts = encoder.folder.replace(/[/\\]+$/, "").split(/[/\\]/);
  const process = startWorker(signal);
  const failure = new Response(process.stderr).text();
  const sent = send(process, {
    parent: parts.slice(0, -1).join("/"),
    model: parts.at(-1) ?? "",
    graph: encoder.graph,
    pooling: encoder.pooling,
    texts: order.map((i) => `${encoder.prefix}${(texts[i] ?? "").toWellFormed()}`),
    batchSize: BATCH_SIZE,
  });
  const found: Float32Array[] = [];
  for await (const line of linesOf(process.stdout)) {
    found.push(...vectorsOf(line, encoder.head));
    onProgress?.(found.length);
  }
  await sent;
  const { success } = await process.status;
  signal?.throwIfAborted();
  if (!success || found.length !== texts.length) {
    const said = (await failure).trim().split("\n").slice(-5).join(" ") || "nothing";
    throw new EncoderError(
      `${encoder.name}: expected ${texts.length} vectors, found ${found.length}. The encoder said: ` +
        `${said}. Its packages are installed from npm at first use; without a network, run ` +
        "deno task semantic:install where there is one.",
    );
  }
  const vectors = new Array<Float32Array>(texts.length);
  order.forEach((place, i) => vectors[place] = found[i] ?? new Float32Array());
  return vectors;
}
