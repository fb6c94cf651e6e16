/** Finds, loads and checks the native library. */
import { z } from "zod";
import { SYMBOLS } from "@lib/engine/symbols.ts";
import { STRUCT_SIZES } from "@lib/engine/structs.ts";
import { EngineError, unwrap } from "@lib/engine/status.ts";

/** `QLORA_ABI_VERSION` of the header these bindings were written for. */
export const ABI_VERSION = 1;

/** Which build to load: `auto` takes CUDA when it is built and a usable GPU is there. */
export type Backend = "auto" | "cpu" | "cuda";

/** What the library says of itself and its device. Unknown keys are kept. */
export const LibraryDescription = z.looseObject({
  backend: z.enum(["cpu", "cuda"]),
  version: z.string(),
  device: z.string(),
  threads: z.number().int().optional(),
  isa: z.string().optional(),
  memory_bytes: z.number().optional(),
  memory_free_bytes: z.number().optional(),
  error: z.string().optional(),
});
export type LibraryDescription = z.infer<typeof LibraryDescription>;

/** A loaded library. */
export interface Library {
  readonly symbols: Deno.DynamicLibrary<typeof SYMBOLS>["symbols"];
  readonly path: string;
  readonly description: LibraryDescription;
  /** Why this build was taken, one sentence for the user. */
  readonly reason: string;
}

const PROJECT_ROOT = new URL("../../", import.meta.url);

/** Folder of the built libraries: `QLORA_LIBRARY_DIR`, or `.build/native` in the project. */
export function libraryFolder(): URL {
  const override = Deno.env.get("QLORA_LIBRARY_DIR");
  if (override !== undefined && override !== "") {
    return new URL(`file://${override.replace(/\/?$/, "/")}`);
  }
  return new URL(".build/native/", PROJECT_ROOT);
}

/** File name of one build on this operating system. */
export function libraryFileName(backend: "cpu" | "cuda", os: string = Deno.build.os): string {
  if (os === "windows") return `qlora_${backend}.dll`;
  return `libqlora_${backend}.${os === "darwin" ? "dylib" : "so"}`;
}

const loaded = new Map<string, Library>();
/** What `auto` took, by folder: a GPU that cannot be used is not tried again at every call. */
const chosen = new Map<string, Library>();

/**
 * Loads the engine, once per process and build.
 *
 * @param backend which build; `auto` falls back to the CPU and says why
 * @throws {EngineError} no build found (with the command that makes it), or one of another ABI
 */
export function loadLibrary(backend: Backend = "auto"): Library {
  if (backend !== "auto") return loadBuild(backend, `${backend} was asked for`);
  const folder = libraryFolder().href;
  const known = chosen.get(folder);
  if (known !== undefined) return known;
  const library = choose();
  chosen.set(folder, library);
  return library;
}

/** CUDA where it can be used, else the CPU with the reason. */
function choose(): Library {
  const cuda = new URL(libraryFileName("cuda"), libraryFolder());
  if (!fileExists(cuda)) return loadBuild("cpu", "no CUDA build is here");
  try {
    return loadBuild("cuda", "a CUDA build and a usable GPU are here");
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    return loadBuild("cpu", `the CUDA build cannot be used: ${why}`);
  }
}

function fileExists(url: URL): boolean {
  try {
    return Deno.statSync(url).isFile;
  } catch {
    return false;
  }
}

function loadBuild(backend: "cpu" | "cuda", reason: string): Library {
  const url = new URL(libraryFileName(backend), libraryFolder());
  const known = loaded.get(url.href);
  if (known !== undefined) return known;
  if (!fileExists(url)) {
    throw new EngineError(
      "device",
      `Expected the native library at ${url.pathname}, found nothing. ` +
        "Build it with: deno task build",
    );
  }
  const { symbols } = openLibrary(url, backend);
  checkAbi(symbols, url);
  const library: Library = {
    symbols,
    path: url.pathname,
    description: describeLibrary(symbols),
    reason,
  };
  loaded.set(url.href, library);
  return library;
}

function openLibrary(
  url: URL,
  backend: "cpu" | "cuda",
): Deno.DynamicLibrary<typeof SYMBOLS> {
  try {
    return Deno.dlopen(url, SYMBOLS);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new EngineError(
      "device",
      `The native library at ${url.pathname} does not load: ${why}. ${loadRemedy(backend, why)}`,
    );
  }
}

/** What to do about a library that does not load. */
export function loadRemedy(
  backend: "cpu" | "cuda",
  why: string,
  os: string = Deno.build.os,
): string {
  const rebuild = "Rebuild it for this machine with: deno task build --force";
  // Windows names the library that was opened, not the one that is missing.
  if (backend === "cpu" || !(/cublas/i.test(why) || os === "windows")) return rebuild;
  const variable = os === "windows" ? "PATH" : "LD_LIBRARY_PATH";
  return "It needs cuBLASLt of the CUDA toolkit it was built with: install the toolkit's cuBLAS, " +
    `or put the folder that holds it on ${variable}. ${rebuild}`;
}

function checkAbi(symbols: Library["symbols"], url: URL): void {
  const remedy = "Rebuild it with: deno task build --force, then restart the kernel";
  const version = symbols.qlora_abi_version();
  if (version !== ABI_VERSION) {
    throw new EngineError(
      "unsupported",
      `${url.pathname}: expected ABI version ${ABI_VERSION}, found ${version}. ${remedy}`,
    );
  }
  for (const [name, struct] of Object.entries(STRUCT_SIZES)) {
    const size = symbols[name as keyof typeof STRUCT_SIZES]();
    if (size !== struct.size) {
      throw new EngineError(
        "unsupported",
        `${url.pathname}: expected ${struct.name} of ${struct.size} bytes, found ${size}. ${remedy}`,
      );
    }
  }
}

/** Asks a library what it says of itself now: free memory changes. @throws {EngineError} */
export function describeLibrary(symbols: Library["symbols"]): LibraryDescription {
  const buffer = new Uint8Array(16384);
  const length = new BigInt64Array(1);
  const code = symbols.qlora_library_describe(buffer, BigInt(buffer.length), length);
  const text = new TextDecoder().decode(buffer.subarray(0, Number(length[0])));
  unwrap(code, () => {
    const parsed: unknown = JSON.parse(text);
    const error = z.looseObject({ error: z.string() }).safeParse(parsed);
    return error.success ? error.data.error : "The device cannot be used";
  });
  return LibraryDescription.parse(JSON.parse(text));
}
