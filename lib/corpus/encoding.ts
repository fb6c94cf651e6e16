/**
 * Strict UTF-8 decoding that says where and why a file is not UTF-8.
 *
 * @module
 */
import { CorpusError } from "./errors.ts";

const UTF16_REMEDY = 'Save it as UTF-8 (Excel: "CSV UTF-8"; editors: "Save with encoding").';

/**
 * Byte offset of the first byte that is not well-formed UTF-8, or -1 when all of it is
 * (Unicode 16, table 3-7).
 *
 * @example
 * ```ts
 * import { firstInvalidUtf8 } from "@lib/corpus/encoding.ts";
 * import { assertEquals } from "@std/assert";
 * assertEquals(firstInvalidUtf8(new Uint8Array([0x61, 0xe9, 0x62])), 1);
 * ```
 */
export function firstInvalidUtf8(bytes: Uint8Array): number {
  let i = 0;
  while (i < bytes.length) {
    const lead = bytes[i]!;
    const length = lead < 0x80
      ? 1
      : lead >= 0xc2 && lead <= 0xdf
      ? 2
      : lead >= 0xe0 && lead <= 0xef
      ? 3
      : lead >= 0xf0 && lead <= 0xf4
      ? 4
      : 0;
    if (length === 0 || i + length > bytes.length) return i;
    if (length > 1) {
      const low = lead === 0xe0 ? 0xa0 : lead === 0xf0 ? 0x90 : 0x80;
      const high = lead === 0xed ? 0x9f : lead === 0xf4 ? 0x8f : 0xbf;
      const second = bytes[i + 1]!;
      if (second < low || second > high) return i;
    }
    for (let k = 2; k < length; k++) {
      const byte = bytes[i + k]!;
      if (byte < 0x80 || byte > 0xbf) return i;
    }
    i += length;
  }
  return -1;
}

/** UTF-16 by its byte order mark, or by many NUL bytes at one parity in the first 4 KiB. */
function looksLikeUtf16(bytes: Uint8Array): "UTF-16LE" | "UTF-16BE" | undefined {
  if (bytes[0] === 0xff && bytes[1] === 0xfe) return "UTF-16LE";
  if (bytes[0] === 0xfe && bytes[1] === 0xff) return "UTF-16BE";
  const head = bytes.subarray(0, 4096);
  let even = 0;
  let odd = 0;
  head.forEach((byte, i) => {
    if (byte === 0) i % 2 === 0 ? even++ : odd++;
  });
  const enough = Math.max(4, head.length / 16);
  if (odd >= enough && even === 0) return "UTF-16LE";
  if (even >= enough && odd === 0) return "UTF-16BE";
  return undefined;
}

/**
 * Decode UTF-8 with or without a byte order mark (which is removed).
 *
 * @param source Name of the file, for the error.
 * @throws {CorpusError} on UTF-16 and on any invalid byte, with its offset and line.
 */
export function decodeUtf8(bytes: Uint8Array, source: string): string {
  const utf16 = looksLikeUtf16(bytes);
  if (utf16 !== undefined) {
    throw new CorpusError(
      `Cannot read ${source}: expected UTF-8, found ${utf16}. ${UTF16_REMEDY}`,
    );
  }
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    const offset = Math.max(0, firstInvalidUtf8(bytes));
    let line = 1;
    for (let i = 0; i < offset; i++) if (bytes[i] === 0x0a) line++;
    const byte = (bytes[offset] ?? 0).toString(16).padStart(2, "0").toUpperCase();
    throw new CorpusError(
      `Cannot read ${source}: expected UTF-8, found the invalid byte 0x${byte} at byte offset ` +
        `${offset} (line ${line}). The file is in another encoding (Latin-1, Windows-1252, ` +
        `an old Bengali code page) or damaged. ${UTF16_REMEDY}`,
    );
  }
}
