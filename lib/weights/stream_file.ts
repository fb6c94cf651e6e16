/** Files too large for memory, written piece by piece under a temporary name and renamed. */
import { FileWriteError } from "@lib/files.ts";

/**
 * Writes what a stream yields; the file appears under its name only when it is whole.
 *
 * @throws {FileWriteError} when the disk refuses; errors of the stream itself pass unchanged. What
 * stood there before is untouched either way.
 */
export async function saveStream(
  path: string,
  chunks: AsyncIterable<Uint8Array<ArrayBuffer>> | Iterable<Uint8Array<ArrayBuffer>>,
): Promise<void> {
  const temporary = `${path}.${crypto.randomUUID().slice(0, 8)}.part`;
  const onDisk = async <T>(action: () => Promise<T>): Promise<T> => {
    try {
      return await action();
    } catch (error) {
      throw new FileWriteError(path, error);
    }
  };
  try {
    using file = await onDisk(() => Deno.open(temporary, { write: true, createNew: true }));
    for await (const chunk of chunks) {
      for (let done = 0; done < chunk.length;) {
        done += await onDisk(() => file.write(chunk.subarray(done)));
      }
    }
    await onDisk(() => file.syncData());
    await onDisk(() => Deno.rename(temporary, path));
  } catch (error) {
    await Deno.remove(temporary).catch(() => {});
    throw error;
  }
}
