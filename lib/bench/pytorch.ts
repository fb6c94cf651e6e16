/** transformers + PEFT on the same machine, in a process of its own. */
import { z } from "zod";
import type { Architecture } from "@lib/engine/architecture.ts";
import { PROJECT_ROOT } from "@lib/experiment/run.ts";

/** What to train there. */
export interface PyTorchOptions {
  readonly python: string;
  readonly architecture: Architecture;
  /** Every sample is padded to this many tokens. */
  readonly length: number;
  /** Tokens of a mean sample, and of its prompt. */
  readonly own: number;
  readonly prompt: number;
  readonly effectiveBatch: number;
  readonly batchSizes: readonly number[];
  readonly steps: number;
  /** No new setting is begun after this many seconds. */
  readonly seconds: number;
}

const PyTorchRun = z.strictObject({
  checkpointing: z.boolean(),
  batch: z.number(),
  samples_per_second: z.number(),
  tokens_per_second: z.number(),
  memory_bytes: z.number(),
});

const PyTorchResult = z.strictObject({
  runs: z.array(PyTorchRun).min(1),
  optimizer_seconds: z.number(),
  init_seconds: z.number(),
  torch: z.string(),
  transformers: z.string(),
  peft: z.string(),
});

/** Settings tried and what each gave. */
export type PyTorchResult = z.infer<typeof PyTorchResult>;
export type PyTorchRun = z.infer<typeof PyTorchRun>;

/** The fastest of the runs with or without gradient checkpointing. */
export function bestRun(result: PyTorchResult, checkpointing: boolean): PyTorchRun | null {
  const runs = result.runs.filter((run) => run.checkpointing === checkpointing);
  return runs.toSorted((a, b) => b.samples_per_second - a.samples_per_second)[0] ?? null;
}

/** @throws {Error} Python, a package or the GPU is missing; with what Python said */
export async function timePyTorch(options: PyTorchOptions): Promise<PyTorchResult> {
  const a = options.architecture;
  const job = await Deno.makeTempFile({ suffix: ".json" });
  try {
    const config = {
      hidden_size: a.hiddenSize,
      intermediate_size: a.intermediateSize,
      num_hidden_layers: a.numLayers,
      num_attention_heads: a.numHeads,
      num_key_value_heads: a.numKvHeads,
      head_dim: a.headDim,
      vocab_size: a.vocabSize,
      max_position_embeddings: a.maxPosition,
      rms_norm_eps: a.rmsNormEps,
      tie_word_embeddings: a.tieWordEmbeddings,
    };
    const settings = {
      config,
      r: 16,
      alpha: 32,
      dropout: 0.05,
      length: options.length,
      own: options.own,
      prompt: options.prompt,
      effective_batch: options.effectiveBatch,
      batch_sizes: options.batchSizes,
      warmup: 1,
      steps: options.steps,
      seconds: options.seconds,
    };
    await Deno.writeTextFile(job, JSON.stringify(settings));
    const child = new Deno.Command(options.python, {
      args: [`${PROJECT_ROOT}tests/bench/pytorch_gpu.py`, job],
      env: { PYTORCH_CUDA_ALLOC_CONF: "expandable_segments:True", TOKENIZERS_PARALLELISM: "false" },
    });
    const { success, stdout, stderr } = await child.output();
    const text = new TextDecoder();
    if (!success) {
      throw new Error(
        `${options.python}: expected torch, transformers and peft that train on this machine, ` +
          `found:\n${text.decode(stderr).slice(-1500)}`,
      );
    }
    const last = text.decode(stdout).trim().split("\n").at(-1) ?? "";
    return PyTorchResult.parse(JSON.parse(last));
  } finally {
    await Deno.remove(job);
  }
}
