/** What this machine can do at most, measured by the native library. */
import { type Backend, loadLibrary } from "@lib/engine/library.ts";
import { errorBuffer, errorText } from "@lib/engine/model.ts";
import { unwrap } from "@lib/engine/status.ts";
import { readStruct, writeStruct } from "@lib/engine/struct.ts";
import { DEVICE_RATES } from "@lib/engine/structs.ts";

/** The ceilings that measured times are set against. */
export interface DeviceRates {
  /** Operations a second of a large product in the activation type: of its fastest 20 ms. */
  readonly productFlops: number;
  /** The same over seconds, once the device has lowered its clock to the power it may draw. */
  readonly sustainedFlops: number;
  /** Of the square product that was timed. */
  readonly productSize: number;
  /** Bytes a second, read plus written, of a copy inside the device. */
  readonly copyBytes: number;
  /** Bytes a second from ordinary host memory to the device. */
  readonly uploadBytes: number;
}

/**
 * Measures them, in about six seconds on a GPU.
 *
 * @throws {EngineError} no library, no usable device
 */
export async function measureRates(
  options: { readonly backend?: Backend; readonly device?: number; readonly threads?: number } = {},
): Promise<DeviceRates> {
  const { backend = "auto", device = 0, threads = 0 } = options;
  const { symbols } = loadLibrary(backend);
  const rates = new Uint8Array(DEVICE_RATES.size);
  writeStruct(DEVICE_RATES, rates, { struct_size: DEVICE_RATES.size });
  const error = errorBuffer();
  const code = await symbols.qlora_device_measure(
    device,
    threads,
    rates,
    error,
    BigInt(error.length),
  );
  unwrap(code, () => errorText(error));
  const found = readStruct(DEVICE_RATES, rates);
  return {
    productFlops: found.product_flops,
    sustainedFlops: found.sustained_product_flops,
    productSize: found.product_size,
    copyBytes: found.copy_bytes,
    uploadBytes: found.upload_bytes,
  };
}
