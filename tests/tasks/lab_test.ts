import { assertEquals, assertStringIncludes } from "@std/assert";

const ROOT = decodeURIComponent(new URL("../../", import.meta.url).pathname);

async function lab(...args: string[]) {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["task", "--quiet", "lab", ...args],
    cwd: ROOT,
    env: { NO_COLOR: "1" },
  }).output();
  const text = new TextDecoder();
  return { code, said: text.decode(stdout) + text.decode(stderr) };
}

Deno.test("deno task lab takes its own options and refuses others before anything is started", async () => {
  const help = await lab("--no-browser", "--port", "9000", "--help");
  assertEquals(help.code, 0, help.said);
  assertStringIncludes(help.said, "--no-browser");
  const port = await lab("--port", "http");
  assertEquals(port.code, 2);
  assertStringIncludes(port.said, 'expected a number from 1 to 65535, found "http"');
  const unknown = await lab("--no-browsr");
  assertEquals(unknown.code, 2);
  assertStringIncludes(unknown.said, "did you mean --no-browser?");
});
