/** What was planned before anything runs, as rows of tables: profiles, forecasts, what fits. */
import type { Config } from "@lib/config.ts";
import { formatBytes } from "@lib/engine/memory.ts";
import type { Forecast } from "@lib/training/forecast.ts";
import type { Trainable } from "@lib/training/trainable.ts";
import { formatDuration } from "./progress.ts";

/** The settings in which profiles differ. */
export function profileRow({ profile, model, data, lora, training, engine }: Config) {
  return {
    profile,
    model: model.base,
    "records used": data.max_samples ?? "all",
    epochs: training.epochs,
    "LoRA rank": lora.r,
    "longest sample": training.max_sequence_tokens,
    "learning rate": String(training.learning_rate),
    "memory cap": engine.memory ?? "what is free",
  };
}

/**
 * A run forecast for one card.
 *
 * @param layers of the model
 * @param run null: it does not fit
 */
export function forecastRow(card: string, layers: number, run: Forecast | null) {
  return run === null ? { card, memory: "does not fit" } : {
    card,
    memory: formatBytes(run.memoryBytes),
    "micro-batch": run.microBatchTokens,
    "layers kept": `${run.kept.products} of ${layers}`,
    "on the host": run.embeddingsOnHost ? "embeddings" : "nothing",
    "the epoch": formatDuration(run.seconds),
  };
}

/**
 * The longest sample with which a model can be trained.
 *
 * @param fit null: none
 * @param isHere whether the model is on this machine
 */
export function trainableRow(model: string, fit: Trainable | null, isHere: boolean) {
  return {
    model,
    "longest sample, tokens": fit?.length ?? "does not fit",
    memory: fit === null ? "" : formatBytes(fit.bytes),
    "on the host": fit?.onHost ? "yes" : "",
    "is here": isHere ? "yes" : "",
  };
}
