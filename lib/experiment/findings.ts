/** What a machine offers the course, and what to do where something is missing. */
import { statfs } from "node:fs/promises";
import { findCMake, findCompiler, installCommand } from "@lib/build/toolchain.ts";
import type { Config } from "@lib/config.ts";
import { type Library, loadLibrary } from "@lib/engine/library.ts";
import { formatBytes } from "@lib/engine/memory.ts";
import { PROJECT_ROOT } from "@lib/experiment/run.ts";
import { exists } from "@lib/files.ts";
import { PINNED_DENO_VERSION } from "@lib/notebook/deno_version.ts";
import { missingFiles } from "@lib/weights/hub/cached.ts";
import { chooseCorpus } from "@lib/workflow/clean.ts";
import { findBaseModel } from "@lib/workflow/local_models.ts";

/** `missing` stops the course; a `note` costs speed or comfort only. */
export type FindingState = "ok" | "note" | "missing";

/** One thing looked at. */
export type Finding = {
  readonly what: string;
  readonly found: string;
  readonly state: FindingState;
  /** What to do; empty where the state is `ok`. */
  readonly remedy: string;
};

/** A finding whose remedy is told only where there is something to mend. */
function finding(what: string, found: string, state: FindingState = "ok", remedy = ""): Finding {
  return { what, found, state, remedy: state === "ok" ? "" : remedy };
}

const messageOf = (error: unknown) => error instanceof Error ? error.message : String(error);

/** Deno's version against the pinned one, and the system. */
export function denoFindings(found: string = Deno.version.deno): Finding[] {
  const state = found === PINNED_DENO_VERSION ? "ok" : "note";
  const remedy = `Use the tested version: npx -y deno@${PINNED_DENO_VERSION} task lab`;
  return [
    finding("Deno", found, state, remedy),
    finding("TypeScript and V8", `${Deno.version.typescript}, ${Deno.version.v8}`),
    finding("system", `${Deno.build.os} ${Deno.build.arch}`),
  ];
}

/** The library a configuration loads, or why it cannot be loaded. */
function tryLibrary(config: Config): Library | string {
  try {
    return loadLibrary(config.engine.backend);
  } catch (error) {
    return messageOf(error);
  }
}

/** The native library, and what builds it. */
export async function libraryFindings(config: Config): Promise<Finding[]> {
  const library = tryLibrary(config);
  const loaded = typeof library !== "string";
  const compiler = await findCompiler();
  const cmake = await findCMake();
  return [
    loaded
      ? finding("native library", `${library.description.backend}: ${library.reason}`)
      : finding("native library", "none that loads", "missing", library),
    finding(
      "C++ compiler",
      compiler?.version ?? "none",
      compiler ? "ok" : loaded ? "note" : "missing",
      `To build the library: ${await installCommand()}`,
    ),
    finding("CMake", cmake?.cmake.version ?? "none; the compiler is called directly"),
  ];
}

/** Name, memory and driver of each NVIDIA GPU, as the driver tells them; empty without one. */
export async function listGpus(): Promise<string[]> {
  try {
    const { success, stdout } = await new Deno.Command("nvidia-smi", {
      args: ["--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"],
      stderr: "null",
    }).output();
    if (!success) return [];
    return new TextDecoder().decode(stdout).split("\n").filter((line) => line.trim() !== "");
  } catch {
    return [];
  }
}

/** Least free memory and disk for a run on the model that ships with the course, in bytes. */
const LEAST_MEMORY = 2e9;
const LEAST_DISK = 1e9;

/** Processor, memory, disk and GPU. */
export async function hardwareFindings(config: Config): Promise<Finding[]> {
  const memory = Deno.systemMemoryInfo();
  const disk = await statfs(PROJECT_ROOT);
  const diskFree = disk.bavail * disk.bsize;
  const gpus = await listGpus();
  const library = tryLibrary(config);
  const used = typeof library !== "string" && library.description.backend === "cuda";
  return [
    finding("processor", `${navigator.hardwareConcurrency} threads`),
    finding(
      "main memory",
      `${formatBytes(memory.total)}, ${formatBytes(memory.available)} free`,
      memory.available >= LEAST_MEMORY ? "ok" : "note",
      `Close other programs: the smallest run wants ${formatBytes(LEAST_MEMORY)}.`,
    ),
    finding(
      "disk",
      `${formatBytes(diskFree)} free`,
      diskFree >= LEAST_DISK ? "ok" : "note",
      `Free at least ${formatBytes(LEAST_DISK)} before training.`,
    ),
    finding(
      "GPU",
      gpus.join("; ") || "none",
      used ? "ok" : "note",
      gpus.length > 0
        ? "A GPU is here, but the CUDA build is not used: the native library's line says why."
        : "Nothing to do: the model that ships with the course trains on the CPU.",
    ),
  ];
}

async function corpusFinding(config: Config): Promise<Finding> {
  try {
    const { kind, path } = await chooseCorpus(config);
    const name = path.split(/[/\\]/).at(-1) ?? path;
    if (await exists(path)) return finding("corpus", `${kind}: ${name}`);
    const remedy = "Put the file there, or leave data.csv out to use what lies in data/.";
    return finding("corpus", `no file ${name}`, "missing", remedy);
  } catch (error) {
    return finding("corpus", "none", "missing", messageOf(error));
  }
}

/** The configured model and the corpus. */
export async function materialFindings(config: Config): Promise<Finding[]> {
  const { base } = config.model;
  const model = await findBaseModel(base);
  const lacking = model.folder === null ? model.missing : await missingFiles(model.folder, base);
  const shipped = 'take the one that ships with the course: profile = "tiny".';
  const remedy = model.folder === null && model.command !== null
    ? `Fetch it in a terminal: ${model.command}; or ${shipped}`
    : `Put a Hugging Face model folder at ${base}, name another with ` +
      `settings = ["model.base=FOLDER"], or ${shipped}`;
  return [
    lacking.length === 0
      ? finding("model folder", base)
      : finding("model folder", `${base} without ${lacking.join(", ")}`, "missing", remedy),
    await corpusFinding(config),
  ];
}
