/** XXH64 by the native library: notices damaged files at memory speed. */
import type { Library } from "@lib/engine/library.ts";
import { unwrap } from "@lib/engine/status.ts";

/**
 * XXH64 (seed 0) of some bytes, which must not change until it returns.
 *
 * @returns 16 hexadecimal digits
 */
export async function checksum(
  library: Library,
  data: Uint8Array<ArrayBuffer>,
): Promise<string> {
  const out = new BigUint64Array(1);
  const code = await library.symbols.qlora_checksum(data, BigInt(data.byteLength), out);
  unwrap(code, () => "the checksum could not be computed");
  return (out[0] ?? 0n).toString(16).padStart(16, "0");
}
