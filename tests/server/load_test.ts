import { assert, assertEquals } from "@std/assert";
import { systemPromptPrefix } from "@lib/chat/prefix.ts";
import { SYSTEM_PROMPT } from "@lib/config.ts";
import { Tokenizer } from "@lib/chat/tokenizer.ts";
import { Scheduler } from "@lib/generation/scheduler.ts";
import { ModelAnswering } from "@lib/server/model_answering.ts";
import type { RunningServer } from "@lib/server/server.ts";
import { startServer } from "@lib/server/server.ts";
import { defaultHelplines } from "@lib/safety/mod.ts";
import { loadModel } from "@lib/weights/folder.ts";
import { loadRequests, readStream, runLoad } from "./load_client.ts";
import { eventually, question, SAMPLING } from "./server_fixture.ts";
import { attachTinyAdapter, TINY_FOLDER } from "./tiny_adapter.ts";

/** A server over the tiny Llama, base and tuned. */
async function withTinyModel(
  limits: { readonly places: number; readonly maxWaiting: number },
  body: (server: RunningServer, answering: ModelAnswering) => Promise<void>,
): Promise<void> {
  const folder = await Deno.makeTempDir();
  const failures: string[] = [];
  const model = await loadModel(TINY_FOLDER, { backend: "cpu" });
  await attachTinyAdapter(model);
  const tokenizer = await Tokenizer.load(TINY_FOLDER);
  const { places: maxSequences, maxWaiting } = limits;
  const scheduler = await Scheduler.create(model, tokenizer, {
    ...{ maxSequences, maxWaiting, maxSequenceTokens: 512 },
    prefixIds: [systemPromptPrefix(tokenizer, SYSTEM_PROMPT)],
  });
  const answering = new ModelAnswering(scheduler, {
    models: (["base", "tuned"] as const).map((id) => ({ id, source: "tiny", created: 0 })),
    ...{ systemPrompt: SYSTEM_PROMPT, sampling: SAMPLING, region: "BD" },
  });
  const server = await startServer({
    answering,
    ...{ run: "test", sampling: SAMPLING, helplines: defaultHelplines(), region: "BD" },
    ratings: `${folder}/ratings.jsonl`,
    onFailure: (message) => failures.push(message),
  });
  try {
    await body(server, answering);
    assertEquals(failures, []);
  } finally {
    await server.stop(0);
    await scheduler.close();
    await model.close();
    await Deno.remove(folder, { recursive: true });
  }
}

const ask = (
  server: RunningServer,
  content: string,
  extra: Readonly<Record<string, unknown>> = {},
) =>
  fetch(`${server.url}/v1/chat/completions`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(question(content, extra)),
  });

Deno.test("24 streams at once for five seconds: no error, and each text is that of the request alone", () =>
  withTinyModel({ places: 16, maxWaiting: 64 }, async (server, answering) => {
    const requests = loadRequests(16, 24);
    const alone: string[] = [];
    for (const request of requests) alone.push((await readStream(server.url, request)).text);
    assert(new Set(alone).size > 8, "texts that are alike would hide a mix-up");
    const { errors, mixed, streams } = await runLoad(server.url, requests, alone, 24, 5);
    assertEquals([errors, mixed], [[], 0]);
    assert(streams >= 24, `${streams} answers`);
    assertEquals([answering.live, answering.waiting], [0, 0]);
  }));

Deno.test("the model's own limits are refusals, its guardrails answers", () =>
  withTinyModel({ places: 1, maxWaiting: 1 }, async (server, answering) => {
    const long = await ask(server, "খুব খারাপ লাগছে। ".repeat(400));
    const { error } = await long.json();
    assertEquals([long.status, error.code, error.param], [
      400,
      "context_length_exceeded",
      "messages",
    ]);
    const danger = await (await ask(server, "আমি আর বাঁচতে চাই না, আজ রাতেই মরে যাব")).json();
    assertEquals(danger.choices[0].finish_reason, "content_filter");
    assertEquals(danger.guardrails.action, "fixed_reply");
    assert(danger.guardrails.level >= 2 && danger.choices[0].message.content.includes("৯৯৯"));
    assertEquals(danger.usage.completion_tokens, 0);
    const capped = await (await ask(server, "মন ভালো নেই।", { max_tokens: 3 })).json();
    assertEquals([capped.choices[0].finish_reason, capped.usage.completion_tokens], ["length", 3]);
    const huge = await (await ask(server, "মন ভালো নেই।", { max_tokens: 1e9, stop: "।" })).json();
    assertEquals(huge.choices[0].finish_reason, "stop");
    assert(!huge.choices[0].message.content.includes("।"));
    assertEquals(answering.live, 0);
  }));

Deno.test("with every place taken and the queue full, 429 says when to come back; who leaves frees a place", () =>
  withTinyModel({ places: 1, maxWaiting: 1 }, async (server, answering) => {
    const long = { max_tokens: 400, temperature: 1.8, seed: 3 };
    const begin = () => {
      const gone = new AbortController();
      const ended = fetch(`${server.url}/v1/chat/completions`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify(question("আজ সারা দিন মন খারাপ।", long)),
        signal: gone.signal,
      }).then((response) => response.text(), () => "");
      return async () => {
        gone.abort();
        await ended;
      };
    };
    const leaveFirst = begin();
    assert(await eventually(() => answering.live === 1));
    const leaveSecond = begin();
    assert(await eventually(() => answering.waiting === 1));
    const third = await ask(server, "মন ভালো নেই।");
    assertEquals([third.status, (await third.json()).error.code], [429, "too_many_requests"]);
    assert(Number(third.headers.get("retry-after")) >= 1);
    await leaveSecond();
    assert(await eventually(() => answering.waiting === 0));
    await leaveFirst();
    assert(await eventually(() => answering.live === 0));
    const after = await ask(server, "মন ভালো নেই।", { max_tokens: 3 });
    assertEquals(after.status, 200);
    await after.body?.cancel();
  }));
