import { assertEquals, assertMatch } from "@std/assert";
import { findTool } from "@lib/build/toolchain.ts";

const ROOT = decodeURIComponent(new URL("../../", import.meta.url).pathname);
const SET = ["data.max_rows=120", "training.max_steps=2", "training.eval_samples=4"];

/** Whether a task can be given a terminal of its own here (util-linux). */
const hasScript = await findTool("script") !== null;

/** What a task writes to its terminal, or to standard error when there is none. */
async function said(terminal: boolean, outputs: string, ...args: string[]): Promise<string> {
  const env = { QLORA_OUTPUTS: outputs, NO_COLOR: "1", TERM: "xterm" };
  const words = ["deno", "task", "--quiet", ...args];
  const command = terminal
    ? new Deno.Command("script", { args: ["-qec", words.join(" "), "/dev/null"], cwd: ROOT, env })
    : new Deno.Command(Deno.execPath(), { args: words.slice(1), cwd: ROOT, env });
  const { code, stdout, stderr } = await command.output();
  const text = new TextDecoder();
  assertEquals(code, 0, text.decode(stdout) + text.decode(stderr));
  return terminal ? text.decode(stdout) : text.decode(stderr);
}

Deno.test({
  name: "tasks show bars in a terminal, plain lines in a log, nothing when quiet",
  ignore: !hasScript,
  fn: async () => {
    const outputs = await Deno.makeTempDir();
    try {
      const run = ["--run", "t"];
      const set = SET.flatMap((pair) => ["--set", pair]);
      assertMatch(
        await said(false, outputs, "clean", ...run, "--profile=tiny", ...set),
        /cleaning/,
      );
      assertEquals(await said(false, outputs, "split", ...run, "--quiet"), "");
      const cleaning = await said(true, outputs, "clean", ...run);
      assertMatch(cleaning, /\r\[#+\] cleaning 100 % {2}120\/120 rows · .* rows\/s · took/);
      const terminal = await said(true, outputs, "train", ...run);
      assertMatch(terminal, /\r\[#+-*\] loading +\d+ %.* MB\/s/);
      assertMatch(terminal, /\r\[#+-*\] train +100 % {2}2\/2 steps · .* steps\/s · took/);
      assertEquals(/\] \w+ .*step 2: validation/.test(terminal), false, "no line behind a bar");
      const again = ["--set", "training.on_rerun=restart"];
      const log = await said(false, outputs, "train", ...run, ...again);
      assertMatch(log, /^train 100 % {2}2\/2 steps · .*took .*$/m);
      assertEquals(/[\r[]#/.test(log), false, "no bar in a log");
    } finally {
      await Deno.remove(outputs, { recursive: true });
    }
  },
});
