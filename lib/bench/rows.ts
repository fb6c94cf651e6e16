/** The rows of the table: what each one runs, and the bars its figures are set against. */
import { type DecodeCase, timeDecode } from "@lib/bench/decode.ts";
import { type EpochTimes, timeEpoch } from "@lib/bench/epoch.ts";
import { timeLoad } from "@lib/bench/load.ts";
import { bestRun, timePyTorch } from "@lib/bench/pytorch.ts";
import { timeQuantize } from "@lib/bench/quantize.ts";
import type { Figure, RowJob, RowResult } from "@lib/bench/row.ts";
import { SEED_SHAPE } from "@lib/bench/samples.ts";
import { SHAPES } from "@lib/bench/shapes.ts";
import { leastBudget, type StepsOptions, timeSteps } from "@lib/bench/steps.ts";
import type { Recompute } from "@lib/engine/model.ts";
import type { OnProgress } from "@lib/phases.ts";
import { measureRates } from "@lib/engine/rates.ts";

/** One row. */
export interface Row {
  readonly name: string;
  readonly title: string;
  /** Bar of the device memory it takes, sampled while it runs; null: not a row about memory. */
  readonly peakBar: number | null;
  /** Rows of the same run that some of its figures are set against. @default {[]} */
  readonly needs?: readonly string[];
  /** @param onProgress called with what is done of the row */
  run(job: RowJob, onProgress?: OnProgress): Promise<RowResult>;
}

const ATTENTION_MODULES = ["q_proj", "k_proj", "v_proj", "o_proj"] as const;
const GB = 1e9;
/** An epoch that should take no longer is timed whole. */
const WHOLE_SECONDS = 200;

/** How much of everything: the 8B as the bars ask, the small shape in seconds on a CPU. */
function scale(job: RowJob): {
  samples: number;
  validation: number;
  part: number;
  full: number;
  steps: number;
} {
  if (job.shape === "small") {
    return { samples: 64, validation: 16, part: 2, full: 4, steps: 1 };
  }
  return {
    samples: 12750,
    validation: 1500,
    part: job.quick ? 10 : 48,
    full: 32,
    steps: job.quick ? 2 : 6,
  };
}

const atMost = (value: number) => ({ at: "most", value }) as const;
const atLeast = (value: number) => ({ at: "least", value }) as const;

function epochNote(times: EpochTimes, extra = ""): string {
  const kept = `${times.keptLayers} layers kept, micro-batches of ${times.microBatchTokens} tokens`;
  const part = times.stepsTimed === times.stepsInEpoch
    ? "whole epoch"
    : `${times.stepsTimed} of ${times.stepsInEpoch} steps, scaled by tokens`;
  return `${part}; validation ${times.validationSeconds.toFixed(1)} s; ${kept}${extra}`;
}

function epochFigures(name: string, times: EpochTimes, bar: number): Figure[] {
  return [
    { name, value: times.seconds, unit: "s", bar: atMost(bar), note: epochNote(times) },
    { name: "training samples", value: times.samplesPerSecond, unit: "samples/s" },
    { name: "tokens computed", value: times.tokensPerSecond, unit: "tok/s" },
    { name: "operations done", value: times.flopsPerSecond / 1e12, unit: "TFLOP/s" },
  ];
}

async function epochRow(
  job: RowJob,
  attentionOnly: boolean,
  onProgress?: OnProgress,
): Promise<RowResult> {
  const { samples, validation, part } = scale(job);
  const times = await timeEpoch({
    architecture: SHAPES[job.shape],
    backend: job.backend,
    samples,
    validation,
    part,
    wholeSeconds: job.whole ? Infinity : attentionOnly || job.quick ? 0 : WHOLE_SECONDS,
    ...(attentionOnly ? { modules: ATTENTION_MODULES } : {}),
    onProgress,
  });
  const name = attentionOnly ? "epoch, LoRA on q, k, v, o" : "epoch, LoRA on all linears";
  return {
    figures: epochFigures(name, times, attentionOnly ? 140 : 150),
    details: { ...times },
    plannedBytes: times.plannedBytes,
  };
}

async function unsharedRow(
  job: RowJob,
  recompute: Recompute,
  bar: number,
  onProgress?: OnProgress,
): Promise<RowResult> {
  const { full, steps } = scale(job);
  const times = await timeSteps({
    architecture: SHAPES[job.shape],
    backend: job.backend,
    samples: full,
    microBatch: full,
    recompute,
    warmup: 1,
    steps,
    onProgress,
  });
  return {
    figures: [
      {
        name: `512-token samples, nothing shared, recompute ${recompute === "full" ? "on" : "off"}`,
        value: times.tokensPerSecond,
        unit: "tok/s",
        bar: atLeast(bar),
        note: `micro-batches of ${full} × 512, ${times.keptLayers} layers kept`,
      },
      { name: "operations done", value: times.flopsPerSecond / 1e12, unit: "TFLOP/s" },
    ],
    details: { ...times },
    plannedBytes: times.plannedBytes,
  };
}

/** Steps that show how much memory a setting takes. */
async function memoryRow(
  options: Omit<StepsOptions, "warmup" | "steps" | "recompute">,
): Promise<RowResult> {
  const times = await timeSteps({ ...options, recompute: "auto", warmup: 1, steps: 2 });
  return {
    figures: [{
      name: "512-token samples",
      value: times.tokensPerSecond,
      unit: "tok/s",
      note: `micro-batches of ${options.microBatch}, budget ${options.memory}, ` +
        `${times.keptLayers} layers kept`,
    }],
    details: { ...times, budget: options.memory },
    plannedBytes: times.plannedBytes,
  };
}

async function rehearsalRow(job: RowJob, onProgress?: OnProgress): Promise<RowResult> {
  const { samples, validation, part } = scale(job);
  const times = await timeEpoch({
    architecture: SHAPES[job.shape],
    backend: job.backend,
    samples,
    validation,
    part,
    wholeSeconds: job.whole ? Infinity : 0,
    memory: "12GB",
    onProgress,
  });
  const unlimited = job.samplesPerSecond;
  const ratio = unlimited === null ? null : unlimited / times.samplesPerSecond;
  return {
    figures: [
      { name: "epoch at a 12 GB budget", value: times.seconds, unit: "s", note: epochNote(times) },
      {
        name: "its training against the unlimited one",
        value: ratio,
        unit: "×",
        bar: atMost(1.5),
        note: ratio === null ? "needs the row epoch in the same run" : "",
      },
    ],
    details: { ...times },
    plannedBytes: times.plannedBytes,
  };
}

async function decodeRow(job: RowJob, onProgress?: OnProgress): Promise<RowResult> {
  const newTokens = job.shape === "small" ? 8 : job.quick ? 48 : 160;
  const base = { prompt: SEED_SHAPE.prefix, shared: 0, newTokens, temperature: 0 };
  const cases: DecodeCase[] = [
    { ...base, batch: 1 },
    { ...base, batch: 8 },
    { ...base, batch: 64 },
    { ...base, batch: 64, prompt: SEED_SHAPE.prefix + 48, shared: SEED_SHAPE.prefix },
    { ...base, batch: 1, temperature: 0.7 },
  ];
  const bars: Readonly<Record<number, number>> = { 0: 400, 2: 15000, 3: 15000 };
  const times = await timeDecode(SHAPES[job.shape], job.backend, cases, onProgress);
  return {
    figures: times.map((one, i) => ({
      name: `decode, batch ${one.batch}` +
        (one.shared > 0 ? ", prefix shared" : one.temperature > 0 ? ", sampled" : ""),
      value: one.tokensPerSecond,
      unit: "tok/s",
      bar: bars[i] === undefined ? null : atLeast(bars[i]),
      note: `prompt ${one.prompt}${one.shared > 0 ? ` (${one.shared} shared)` : ""}, ` +
        `${one.newTokens} new; first token after ${(1e3 * one.firstTokenSeconds).toFixed(0)} ms`,
    })),
    details: { cases: times },
  };
}

async function quantizeRow(job: RowJob): Promise<RowResult> {
  const times = await timeQuantize(SHAPES[job.shape], job.backend, job.quick ? 2 : 6);
  return {
    figures: [{
      name: "quantise bf16 from host memory",
      value: times.bytesPerSecond / GB,
      unit: "GB/s",
      bar: atLeast(5),
      note: `${(times.bytes / GB).toFixed(2)} GB, the linears of ${times.layers} layers`,
    }],
    details: { ...times },
  };
}

async function loadRow(job: RowJob): Promise<RowResult> {
  const times = await timeLoad(SHAPES[job.shape], job.backend);
  const size = (bytes: number) => (bytes / GB).toPrecision(3);
  const growth = (bytes: number | null) =>
    bytes === null ? "" : `; the process grew by ${size(bytes)} GB`;
  return {
    figures: [
      {
        name: "quantised copy → ready",
        value: times.copySeconds,
        unit: "s",
        bar: atMost(5),
        note: `${size(times.copyBytes)} GB, checksums verified, in the page cache` +
          growth(times.copyPeakGrowth),
      },
      {
        name: "bf16 checkpoint → ready, copy written",
        value: times.firstSeconds,
        unit: "s",
        note: `${size(times.checkpointBytes)} GB${growth(times.firstPeakGrowth)}`,
      },
    ],
    details: { ...times },
  };
}

async function pytorchRow(job: RowJob): Promise<RowResult> {
  const small = job.shape === "small";
  const own = SEED_SHAPE.prefix + SEED_SHAPE.mean;
  const result = await timePyTorch({
    python: job.python,
    architecture: SHAPES[job.shape],
    length: 512,
    own,
    prompt: Math.round(own - SEED_SHAPE.answer * SEED_SHAPE.mean),
    effectiveBatch: 32,
    batchSizes: small ? [2] : [2, 4, 8, 16, 32],
    steps: small || job.quick ? 1 : 2,
    seconds: job.quick ? 30 : 45,
  });
  const kept = bestRun(result, false);
  const saved = bestRun(result, true);
  const versions =
    `torch ${result.torch}, transformers ${result.transformers}, PEFT ${result.peft}`;
  const tried = (checkpointing: boolean) =>
    result.runs.filter((run) => run.checkpointing === checkpointing).map(({ batch }) => batch);
  const ours = job.samplesPerSecond;
  const against = (run: typeof kept) =>
    ours === null || run === null ? null : ours / run.samples_per_second;
  return {
    figures: [
      {
        name: "transformers + PEFT, checkpointing",
        value: saved?.samples_per_second ?? null,
        unit: "samples/s",
        note: `bf16 base, padded to 512, batch ${saved?.batch}, best of ${
          tried(true)
        }; ${versions}`,
      },
      {
        name: "ours against it",
        value: against(saved),
        unit: "×",
        bar: atLeast(7),
        note: ours === null ? "needs the row epoch in the same run" : "samples a second",
      },
      {
        name: "transformers + PEFT, no checkpointing",
        value: kept?.samples_per_second ?? null,
        unit: "samples/s",
        note: `batch ${kept?.batch}, the largest that fits`,
      },
      { name: "ours against that", value: against(kept), unit: "×" },
    ],
    details: { ...result },
  };
}

async function ceilingsRow(job: RowJob): Promise<RowResult> {
  const rates = await measureRates({ backend: job.backend });
  const size = rates.productSize;
  return {
    figures: [
      {
        name: "ceiling: product, sustained",
        value: rates.sustainedFlops / 1e12,
        unit: "TFLOP/s",
        note: "mean while it runs on, once the clock has settled",
      },
      {
        name: "ceiling: product, burst",
        value: rates.productFlops / 1e12,
        unit: "TFLOP/s",
        note: `fastest 20 ms; both ${size} × ${size} × ${size}, random numbers`,
      },
      { name: "ceiling: copy", value: rates.copyBytes / GB, unit: "GB/s", note: "read + write" },
      { name: "ceiling: upload", value: rates.uploadBytes / GB, unit: "GB/s", note: "pageable" },
    ],
    details: { ...rates },
  };
}

/**
 * All rows in the order they run: the ceilings and the epoch first, for others refer to them, and what
 * matters most before the rest, for a run may be cut short.
 */
export const ROWS: readonly Row[] = [
  { name: "ceilings", title: "what this machine can do", peakBar: null, run: ceilingsRow },
  {
    name: "epoch",
    title: "the original project's epoch",
    peakBar: null,
    needs: ["ceilings", "ceilings-after"],
    run: (job, onProgress) => epochRow(job, false, onProgress),
  },
  {
    name: "ceilings-after",
    title: "what this machine can do, after the epoch",
    peakBar: null,
    run: ceilingsRow,
  },
  {
    name: "pytorch",
    title: "against transformers + PEFT",
    peakBar: null,
    needs: ["epoch"],
    run: pytorchRow,
  },
  {
    name: "memory",
    title: "peak device memory, micro-batch 2 × 512",
    peakBar: 6.5 * GB,
    run: (job, onProgress) => {
      const options = {
        architecture: SHAPES[job.shape],
        backend: job.backend,
        onProgress,
        samples: 4,
        microBatch: 2,
      };
      return memoryRow({ ...options, memory: "6.5GB" });
    },
  },
  {
    name: "memory-least",
    title: "peak device memory, smallest setting for 512-token samples",
    peakBar: 5.8 * GB,
    run: (job, onProgress) => {
      const options = {
        architecture: SHAPES[job.shape],
        backend: job.backend,
        onProgress,
        samples: 2,
        microBatch: 1,
        modules: ATTENTION_MODULES,
      };
      const memory = leastBudget({ ...options, recompute: "auto", warmup: 0, steps: 1 });
      return memoryRow({ ...options, memory });
    },
  },
  {
    name: "memory-12gb",
    title: "peak device memory and epoch at a 12 GB budget",
    peakBar: 11 * GB,
    needs: ["epoch"],
    run: rehearsalRow,
  },
  {
    name: "unshared-recompute",
    title: "512-token samples, recompute on",
    peakBar: null,
    needs: ["ceilings"],
    run: (job, onProgress) => unsharedRow(job, "full", 12500, onProgress),
  },
  {
    name: "unshared",
    title: "512-token samples, recompute off",
    peakBar: null,
    needs: ["ceilings"],
    run: (job, onProgress) => unsharedRow(job, "none", 17500, onProgress),
  },
  {
    name: "epoch-qkvo",
    title: "the original project's epoch, LoRA on q, k, v, o",
    peakBar: null,
    needs: ["ceilings"],
    run: (job, onProgress) => epochRow(job, true, onProgress),
  },
  { name: "decode", title: "generation, NF4 + LoRA", peakBar: null, run: decodeRow },
  { name: "quantize", title: "quantising a bf16 checkpoint", peakBar: null, run: quantizeRow },
  { name: "load", title: "a checkpoint's files → model", peakBar: null, run: loadRow },
];
