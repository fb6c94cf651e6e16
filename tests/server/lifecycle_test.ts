import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { readJsonBody } from "@lib/server/body.ts";
import { eventStream } from "@lib/server/event_stream.ts";
import { HttpProblem } from "@lib/server/problem.ts";
import { scriptedPieces } from "./scripted_answering.ts";
import { eventually, question, withServer } from "./server_fixture.ts";

const streamed = { stream: true };

Deno.test("a client that vanishes frees its place: before the first word, and in the middle", () =>
  withServer({ script: { delayMs: 150 } }, async ({ ask, answering, log }) => {
    for (const wait of [50, 250]) {
      const gone = new AbortController();
      const response = ask("/v1/chat/completions", question("ক", streamed), { signal: gone.signal })
        .then((response) => response.text());
      assert(await eventually(() => answering.live === 1));
      await new Promise((done) => setTimeout(done, wait));
      gone.abort();
      await response.catch(() => {});
      assert(await eventually(() => answering.live === 0), `after ${wait} ms`);
    }
    assertEquals(answering.abandoned, 2);
    assertEquals(log, [], "a client that leaves is no failure of the server");
  }));

Deno.test("a client that waits for a whole answer and vanishes frees its place too", () =>
  withServer({ script: { delayMs: 150 } }, async ({ ask, answering }) => {
    const gone = new AbortController();
    const response = ask("/v1/chat/completions", question("ক"), { signal: gone.signal });
    assert(await eventually(() => answering.live === 1));
    gone.abort();
    await response.catch(() => {});
    assert(await eventually(() => answering.live === 0));
    assertEquals(answering.abandoned, 1);
  }));

Deno.test("a reader that takes nothing for the time allowed is let go", async () => {
  let reason = "";
  let left = false;
  async function* events() {
    try {
      for (;;) yield await Promise.resolve("x");
    } finally {
      left = true;
    }
  }
  const stream = eventStream(events(), (error) => reason = error.message, 30);
  const reader = stream.getReader();
  await reader.read();
  assert(await eventually(() => left));
  assertStringIncludes(reason, "stopped reading");
  await reader.cancel().catch(() => {});
});

Deno.test("nothing is read ahead of a slow reader", async () => {
  let given = 0;
  async function* events() {
    for (;;) {
      given++;
      yield await Promise.resolve("x");
    }
  }
  const reader = eventStream(events(), () => {}).getReader();
  await reader.read();
  await new Promise((done) => setTimeout(done, 20));
  assert(given <= 2, `${given} events for one that was read`);
  await reader.cancel();
});

Deno.test("more requests than places get 429 and Retry-After, the others their own answers", () =>
  withServer({ script: { delayMs: 20, places: 3 } }, async ({ ask }) => {
    const responses = await Promise.all(
      Array.from({ length: 8 }, (_, i) => ask("/v1/chat/completions", question(`প্রশ্ন ${i}`))),
    );
    const bodies = await Promise.all(responses.map((response) => response.json()));
    const refused = responses.filter(({ status }) => status === 429);
    assertEquals(refused.length, 5);
    assertEquals(refused.map(({ headers }) => headers.get("retry-after")), Array(5).fill("7"));
    responses.forEach(({ status }, i) => {
      if (status !== 200) return;
      const text = bodies[i].choices[0].message.content;
      assertEquals(text, scriptedPieces("tuned", `প্রশ্ন ${i}`).join(""));
    });
  }));

Deno.test("a server that is stopped ends the answers under way and refuses new ones", () =>
  withServer({ script: { delayMs: 80 } }, async ({ ask, server, answering }) => {
    const running = ask("/v1/chat/completions", question("ক", streamed));
    assert(await eventually(() => answering.live === 1));
    const stopped = server.stop(5_000);
    const text = await (await running).text();
    assertStringIncludes(text, scriptedPieces("tuned", "ক").at(-1) ?? "");
    assertStringIncludes(text, "[DONE]");
    await stopped;
    const late = await ask("/v1/models").then(() => "answered", () => "refused");
    assertEquals(late, "refused");
  }));

Deno.test("what has not ended when the server's time is up breaks off with a message", () =>
  withServer({ script: { delayMs: 300 } }, async ({ ask, server, answering }) => {
    const running = await ask("/v1/chat/completions", question("ক", streamed));
    const begun = performance.now();
    const [text] = await Promise.all([running.text(), server.stop(50)]);
    assertStringIncludes(text, "The server was stopped");
    assert(performance.now() - begun < 2_000);
    assertEquals(answering.live, 0);
  }));

Deno.test("a body that never comes is given up", async () => {
  const never = new Request("http://localhost/", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: new ReadableStream({ start() {} }),
  });
  const error = await assertRejects(() => readJsonBody(never, 30), HttpProblem);
  assertEquals(error.status, 408);
});
