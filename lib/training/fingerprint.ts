/** What decides the course of a run, as one hash: two runs with the same print are the same run. */
import type { TrainingRun } from "@lib/training/train.ts";

/**
 * SHA-256 over configuration, samples, adapter settings and the base model's shape. Settings that
 * change no step (where to stop and look, how memory is used) are left out.
 */
export async function fingerprint(training: TrainingRun): Promise<string> {
  const { config, data, plan, model } = training;
  const {
    on_rerun: _a,
    eval_every: _b,
    eval_samples: _c,
    save_every: _d,
    patience: _e,
    ...course
  } = config.training;
  const settings = {
    seed: config.seed,
    model: config.model,
    lora: { ...plan.lora },
    training: { ...course, micro_batch_tokens: null, gradient_checkpointing: null },
    totalSteps: plan.totalSteps,
    architecture: model.architecture,
    samples: await hashSamples(training),
    prefixLength: data.prefixLength,
  };
  return await sha256(new TextEncoder().encode(JSON.stringify(settings)));
}

async function hashSamples({ data }: TrainingRun): Promise<string> {
  const total = data.train.samples.reduce((n, s) => n + s.tokens.length + 2, 0);
  const all = new Int32Array(total);
  let at = 0;
  for (const sample of data.train.samples) {
    all.set([sample.id, sample.answerStart], at);
    all.set(sample.tokens, at + 2);
    at += sample.tokens.length + 2;
  }
  return await sha256(new Uint8Array(all.buffer));
}

async function sha256(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest, (b) => b.toString(16).padStart(2, "0")).join("");
}
