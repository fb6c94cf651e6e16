/** Running a build tool. */

/** A build that failed; the message holds the tool's output. */
export class BuildError extends Error {
  override readonly name = "BuildError";
}

/**
 * Runs a build tool and gives what it printed.
 *
 * @param what the step, for the message
 * @throws {BuildError} the tool failed; the message is its command line and its output
 */
export async function runTool(
  command: string,
  args: readonly string[],
  what: string,
): Promise<string> {
  const { success, code, stdout, stderr } = await new Deno.Command(command, {
    args: [...args],
    stdout: "piped",
    stderr: "piped",
  }).output();
  const text = new TextDecoder();
  if (success) return text.decode(stdout);
  throw new BuildError(
    `${what} failed with exit code ${code}:\n` +
      `${command} ${args.join(" ")}\n${text.decode(stdout)}${text.decode(stderr)}`.slice(0, 8000),
  );
}
