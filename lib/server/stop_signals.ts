/** Waiting for Ctrl-C, and for what service managers send. */

/** Signals that ask a program to end; Windows knows the first alone. */
const SIGNALS: readonly Deno.Signal[] = Deno.build.os === "windows"
  ? ["SIGINT"]
  : ["SIGINT", "SIGTERM"];
/** Exit code of a program that was ended while it was ending. */
const IMPATIENT_EXIT = 130;

/**
 * Waits for the first signal that asks the program to end. A second one ends it at once.
 *
 * @returns the signal's name
 */
export function stopSignal(): Promise<Deno.Signal> {
  const asked = Promise.withResolvers<Deno.Signal>();
  let count = 0;
  for (const signal of SIGNALS) {
    Deno.addSignalListener(signal, () => {
      if (++count > 1) Deno.exit(IMPATIENT_EXIT);
      asked.resolve(signal);
    });
  }
  return asked.promise;
}
