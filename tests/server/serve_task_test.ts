import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { PROJECT_ROOT } from "@lib/experiment/run.ts";

const TOKEN = "a-token-nobody-guesses";

/** Starts the task as a user does. */
function serve(outputs: string, ...args: string[]): Deno.Command {
  return new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", `${PROJECT_ROOT}lib/tasks/serve.ts`, "--profile", "tiny", ...args],
    env: { QLORA_OUTPUTS: outputs, NO_COLOR: "1", INIT_CWD: outputs },
    stdout: "piped",
    stderr: "piped",
  });
}

async function withOutputs(body: (outputs: string) => Promise<void>): Promise<void> {
  const outputs = await Deno.makeTempDir();
  try {
    await body(outputs);
  } finally {
    await Deno.remove(outputs, { recursive: true });
  }
}

Deno.test("the task serves the base model until SIGTERM, which ends the answer under way well", () =>
  withOutputs(async (outputs) => {
    const process = serve(outputs, "--port", "0", "--token", TOKEN, "--json").spawn();
    const errors = process.stderr.pipeThrough(new TextDecoderStream()).getReader();
    let log = "";
    while (!log.includes("Ctrl-C ends it.")) {
      const { value, done } = await errors.read();
      if (done) throw new Error(`The server did not start: ${log}`);
      log += value;
    }
    const url = /Page: +(http:\S+)\//.exec(log)?.[1] ?? "";
    assertMatch(log, /models: base\)/);
    assert(!log.includes(TOKEN), "the token is never logged");
    const response = await fetch(`${url}/v1/chat/completions`, {
      method: "POST",
      headers: { "content-type": "application/json", authorization: `Bearer ${TOKEN}` },
      body: JSON.stringify({
        model: "base",
        messages: [{ role: "user", content: "কাল পরীক্ষা, ভয় লাগছে।" }],
        ...{ stream: true, max_tokens: 200, temperature: 1 },
      }),
    });
    assertEquals(response.status, 200);
    if (Deno.build.os !== "windows") process.kill("SIGTERM");
    assertStringIncludes(await response.text(), "[DONE]");
    const [{ code }, output] = await Promise.all([
      process.status,
      new Response(process.stdout).text(),
    ]);
    await errors.cancel();
    assertEquals([code, JSON.parse(output)], [0, { url, stopped_by: "SIGTERM" }]);
  }));

Deno.test("options that cannot be served are refused before anything is loaded", () =>
  withOutputs(async (outputs) => {
    const cases: readonly [args: string[], says: RegExp][] = [
      [["--host", "0.0.0.0"], /--host 0\.0\.0\.0: expected a token/],
      [["--token", "short"], /--token: expected at least 16 characters/],
      [["--port", "99999"], /--port/],
      [["--host", "203.0.113.1", "--token", TOKEN], /--host: expected an address of this machine/],
      [["--region", "US"], /--region: expected BD or IN/],
      [["--prot", "1"], /did you mean --port/],
    ];
    const refused = await Promise.all(cases.map(([args]) => serve(outputs, ...args).output()));
    refused.forEach(({ code, stderr }, i) => {
      const message = new TextDecoder().decode(stderr);
      assert(code !== 0);
      assertMatch(message, cases[i]![1]);
      assert(!message.includes("    at "), "a stack is no help");
    });
  }));

Deno.test("a taken port is said, with another one", () =>
  withOutputs(async (outputs) => {
    using taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const { code, stderr } = await serve(outputs, "--port", String(taken.addr.port)).output();
    assertEquals(code, 2);
    assertStringIncludes(new TextDecoder().decode(stderr), `--port ${taken.addr.port + 1}`);
  }));
