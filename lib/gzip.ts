/**
 * Files that may be gzipped: unpacked if they are, as they are if not.
 *
 * @module
 */

/** Whether bytes are gzip's, by the magic number of RFC 1952. */
function isGzip(bytes: Uint8Array): boolean {
  return bytes[0] === 0x1f && bytes[1] === 0x8b;
}

/**
 * The unpacked bytes of a gzip file; other bytes unchanged.
 *
 * @throws {TypeError} a gzip file that is cut or damaged
 * @example
 * ```ts
 * import { gunzipped, gzipped } from "@lib/gzip.ts";
 * import { assertEquals } from "@std/assert";
 * const plain = new TextEncoder().encode("মন");
 * assertEquals(await gunzipped(await gzipped("মন")), plain);
 * assertEquals(await gunzipped(plain), plain);
 * ```
 */
export async function gunzipped(
  bytes: Uint8Array<ArrayBuffer>,
): Promise<Uint8Array<ArrayBuffer>> {
  if (!isGzip(bytes)) return bytes;
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** A text as a gzip file. */
export async function gzipped(text: string): Promise<Uint8Array<ArrayBuffer>> {
  const stream = new Blob([text]).stream().pipeThrough(new CompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** Reads a UTF-8 text file, gzipped or plain. */
export async function readGzippedText(path: string | URL): Promise<string> {
  return new TextDecoder().decode(await gunzipped(await Deno.readFile(path)));
}
