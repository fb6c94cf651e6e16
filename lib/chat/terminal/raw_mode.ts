/** Raw mode of the terminal, undone on every way out of the program. */

const PASTE_ON = "\x1b[?2004h";
const PASTE_OFF = "\x1b[?2004l";

/** Signals that end a program, with the exit codes shells give them. */
const ENDINGS = [["SIGTERM", 143], ["SIGHUP", 129]] as const;

/** Writes all of a text to standard output at once. */
export function writeOut(text: string): void {
  const bytes = new TextEncoder().encode(text);
  for (let done = 0; done < bytes.length;) done += Deno.stdout.writeSync(bytes.subarray(done));
}

/**
 * Switches raw mode and bracketed paste on. Disposing it switches them off; so does an exit, an
 * uncaught error and a signal that ends the program.
 */
export function rawMode(): Disposable {
  let on = true;
  const restore = () => {
    if (!on) return;
    on = false;
    Deno.stdin.setRaw(false);
    writeOut(PASTE_OFF);
  };
  const listeners = ENDINGS.map(([signal, code]) => {
    const leave = () => {
      restore();
      Deno.exit(code);
    };
    return { signal, leave };
  });
  Deno.stdin.setRaw(true);
  writeOut(PASTE_ON);
  globalThis.addEventListener("unload", restore);
  const listening = Deno.build.os === "windows" ? [] : listeners;
  for (const { signal, leave } of listening) Deno.addSignalListener(signal, leave);
  return {
    [Symbol.dispose]() {
      restore();
      globalThis.removeEventListener("unload", restore);
      for (const { signal, leave } of listening) Deno.removeSignalListener(signal, leave);
    },
  };
}
