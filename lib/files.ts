/** Writing files so that nothing already written is lost. */

/**
 * Writes a file under a temporary name, flushes it and renames it into place.
 *
 * @throws {FileWriteError} naming the file and the remedy; what stood there before is untouched
 */
export async function writeFileAtomic(
  path: string | URL,
  data: string | Uint8Array<ArrayBuffer> | Iterable<Uint8Array<ArrayBuffer>>,
): Promise<void> {
  const target = path instanceof URL ? decodeURIComponent(path.pathname) : path;
  const temporary = `${target}.${crypto.randomUUID().slice(0, 8)}.part`;
  try {
    const parent = target.replace(/[/\\][^/\\]*$/, "");
    if (parent !== target && parent !== "") await Deno.mkdir(parent, { recursive: true });
    using file = await Deno.open(temporary, { write: true, create: true, truncate: true });
    for (const chunk of chunksOf(data)) await writeAll(file, chunk);
    await file.syncData();
    await Deno.rename(temporary, target);
  } catch (error) {
    await Deno.remove(temporary).catch(() => {});
    throw new FileWriteError(target, error);
  }
}

function chunksOf(
  data: string | Uint8Array<ArrayBuffer> | Iterable<Uint8Array<ArrayBuffer>>,
): Iterable<Uint8Array<ArrayBuffer>> {
  if (typeof data === "string") return [new TextEncoder().encode(data)];
  return data instanceof Uint8Array ? [data] : data;
}

async function writeAll(file: Deno.FsFile, bytes: Uint8Array): Promise<void> {
  let done = 0;
  while (done < bytes.length) done += await file.write(bytes.subarray(done));
}

/** A file that could not be written; `cause` is the operating system's error. */
export class FileWriteError extends Error {
  override readonly name = "FileWriteError";

  constructor(readonly path: string, cause: unknown) {
    const why = cause instanceof Error ? cause.message : String(cause);
    super(
      `${path} could not be written: ${why}. ${remedyFor(cause)} ` +
        "What stood there before is untouched.",
      { cause },
    );
  }
}

function remedyFor(cause: unknown): string {
  const text = cause instanceof Error ? cause.message : String(cause);
  if (/ENOSPC|no space left|os error 28/i.test(text)) {
    return "The disk is full: free some space, then run this again.";
  }
  if (cause instanceof Deno.errors.PermissionDenied || cause instanceof Deno.errors.NotCapable) {
    return "Choose a folder you may write to.";
  }
  return "Check the folder and the disk, then run this again.";
}

/** A file that could not be read or is not what it should be. */
export class FileReadError extends Error {
  override readonly name = "FileReadError";
}

/**
 * Reads and parses a JSON file.
 *
 * @param hint what to do when it is missing or broken
 * @throws {FileReadError} missing or not JSON, naming the file
 */
export async function loadJson(path: string, hint: string): Promise<unknown> {
  let text: string;
  try {
    text = await Deno.readTextFile(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) {
      throw new FileReadError(`${path}: expected a JSON file, found nothing. ${hint}`);
    }
    throw error;
  }
  try {
    return JSON.parse(text);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new FileReadError(
      `${path}: expected JSON, found text that does not parse (${why}). ${hint}`,
    );
  }
}

/** Writes JSON, two spaces, with a final newline, atomically. */
export function saveJson(path: string, value: unknown): Promise<void> {
  return writeFileAtomic(path, `${JSON.stringify(value, null, 2)}\n`);
}

/** Whether something is at this path. */
export async function exists(path: string | URL): Promise<boolean> {
  try {
    await Deno.stat(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory) {
      return false;
    }
    throw error;
  }
}
