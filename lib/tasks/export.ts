/** `deno task export`: the tuned model for other programs. */
import { runTask, type TaskContext, UsageError } from "@lib/tasks/cli.ts";
import { TENSOR_TYPES, type TensorType } from "@lib/weights/gguf/format.ts";
import {
  EXPORT_FORMATS,
  type ExportFormat,
  exportModel,
  type ExportReport,
} from "@lib/workflow/export.ts";

const FORMATS = [...EXPORT_FORMATS, "all"];
const TYPES = Object.keys(TENSOR_TYPES).map((type) => type.toLowerCase());

/** The formats of `--to`, checked. */
function formatsOf(value: TaskContext["values"][string]): readonly ExportFormat[] {
  const given = Array.isArray(value) ? value.flatMap((item) => item.split(",")) : ["all"];
  const unknown = given.find((format) => !FORMATS.includes(format));
  if (unknown !== undefined) {
    throw new UsageError(`--to: expected ${FORMATS.join(", ")}, found '${unknown}'.`);
  }
  return EXPORT_FORMATS.filter((format) => given.includes(format) || given.includes("all"));
}

/** The tensor type of `--type`, checked. */
function typeOf(value: TaskContext["values"][string]): TensorType {
  const type = typeof value === "string" ? value : "bf16";
  if (TYPES.includes(type)) return type.toUpperCase() as TensorType;
  throw new UsageError(`--type: expected ${TYPES.join(", ")}, found '${type}'.`);
}

async function runExport(context: TaskContext): Promise<ExportReport> {
  const { run, config, values, say, progress, signal } = context;
  const out = values["out"];
  const bars = new Map<string, ReturnType<TaskContext["progress"]>>();
  const report = await exportModel(run, config, {
    formats: formatsOf(values["to"]),
    type: typeOf(values["type"]),
    folder: typeof out === "string" ? out : `${run.folder}/export`,
    dequantize: values["dequantize"] === true,
    signal,
    onProgress: (file, { bytesDone, bytesTotal }) => {
      const bar = bars.get(file) ?? progress(file, { total: bytesTotal, unit: "bytes" });
      bars.set(file, bar);
      bar.update(bytesDone);
    },
  });
  for (const bar of bars.values()) await bar.finish();
  for (const file of report.files) say(`${report.folder}/${file}`);
  for (const note of report.notes) say(`Note: ${note}`);
  return report;
}

if (import.meta.main) {
  await runTask({
    name: "export",
    summary:
      "Writes the tuned model for other programs: merged safetensors (transformers, vLLM),\n" +
      "GGUF with an Ollama Modelfile (llama.cpp, Ollama), and the adapter alone as GGUF.",
    options: {
      to: {
        type: "string",
        multiple: true,
        value: "FORMAT",
        help: `${FORMATS.join(", ")} (default: all; repeatable)`,
      },
      type: {
        type: "string",
        value: "TYPE",
        help: `numbers of the merged GGUF: ${TYPES.join(", ")} (default: bf16)`,
      },
      out: {
        type: "string",
        value: "DIR",
        help: "folder to write into (default: the run's export/)",
      },
      dequantize: {
        type: "boolean",
        help: "merge into dequantised weights when the base is there only in NF4",
      },
    },
    run: runExport,
  });
}
