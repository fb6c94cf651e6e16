/** Statuses of the C ABI, read in one place. */

/** `qlora_status`, in the header's order. */
export const STATUS_NAMES = [
  "ok",
  "invalid_argument",
  "out_of_memory",
  "cancelled",
  "busy",
  "state",
  "not_finite",
  "device",
  "unsupported",
  "internal",
] as const;

export type StatusName = (typeof STATUS_NAMES)[number];

/** A failed call of the native library; the message is the library's own. */
export class EngineError extends Error {
  override readonly name = "EngineError";

  /**
   * @param status which kind of failure
   * @param message what was expected, what was found, what to do
   */
  constructor(readonly status: StatusName, message: string) {
    super(message);
  }
}

/**
 * Throws unless the status is `QLORA_OK`.
 *
 * @param code the C function's result
 * @param message reads the handle's message; called only on failure
 * @throws {EngineError} for every other status
 */
export function unwrap(code: number, message: () => string): void {
  if (code === 0) return;
  const status = STATUS_NAMES[code] ?? "internal";
  throw new EngineError(status, message() || `The engine failed with status ${code} (${status})`);
}
