import { assert, assertEquals, assertRejects } from "@std/assert";
import OpenAI, {
  AuthenticationError,
  BadRequestError,
  NotFoundError,
  RateLimitError,
} from "openai";
import { scriptedPieces } from "./scripted_answering.ts";
import { type ServerFixture, withServer } from "./server_fixture.ts";

const TOKEN = "a-token-nobody-guesses";
const QUESTION = "আমার চাকরি চলে গেছে।";
const messages = [{ role: "user" as const, content: QUESTION }];

function client({ server }: ServerFixture, apiKey = TOKEN): OpenAI {
  return new OpenAI({ baseURL: `${server.url}/v1`, apiKey, maxRetries: 0 });
}

Deno.test("the official client lists the models and reads one", () =>
  withServer({ token: TOKEN }, async (fixture) => {
    const openai = client(fixture);
    const ids: string[] = [];
    for await (const { id } of openai.models.list()) ids.push(id);
    assertEquals(ids, ["base", "tuned"]);
    assertEquals((await openai.models.retrieve("tuned")).owned_by, "test/tuned");
    await assertRejects(() => openai.models.retrieve("gpt-4"), NotFoundError, "'base' or 'tuned'");
  }));

Deno.test("the official client gets a whole answer with usage and what the guardrails did", () =>
  withServer({ token: TOKEN }, async (fixture) => {
    const answer = await client(fixture).chat.completions.create({ model: "tuned", messages });
    const [choice] = answer.choices;
    assertEquals(choice?.message.content, scriptedPieces("tuned", QUESTION).join(""));
    assertEquals([choice?.finish_reason, choice?.index, answer.object], [
      "stop",
      0,
      "chat.completion",
    ]);
    assertEquals(answer.usage, { prompt_tokens: 11, completion_tokens: 4, total_tokens: 15 });
    assertEquals("guardrails" in answer && answer.guardrails, {
      ...{ level: 0, kind: "none", action: "none", findings: [], dropped_turns: 0 },
    });
    const danger = await client(fixture).chat.completions.create({
      model: "base",
      messages: [{ role: "user", content: "!danger" }],
    });
    assertEquals(danger.choices[0]?.finish_reason, "content_filter");
    assert("guardrails" in danger);
  }));

Deno.test("the official client reads a stream: role, text, reason, usage when asked for", () =>
  withServer({ token: TOKEN }, async (fixture) => {
    const stream = await client(fixture).chat.completions.create({
      model: "base",
      messages,
      stream: true,
      stream_options: { include_usage: true },
    });
    const chunks = [];
    for await (const chunk of stream) chunks.push(chunk);
    const text = chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join("");
    assertEquals(text, scriptedPieces("base", QUESTION).join(""));
    assertEquals(chunks[0]?.choices[0]?.delta.role, "assistant");
    const reasons = chunks.flatMap(({ choices }) => choices[0]?.finish_reason ?? []);
    assertEquals(reasons, ["stop"]);
    assertEquals(chunks.at(-1)?.choices, []);
    assertEquals(chunks.at(-1)?.usage?.total_tokens, 14);
    assertEquals(chunks.slice(0, -1).map(({ usage }) => usage), chunks.slice(1).map(() => null));
    assertEquals(new Set(chunks.map(({ id }) => id)).size, 1);
  }));

Deno.test("without include_usage no chunk speaks of usage", () =>
  withServer({}, async (fixture) => {
    const stream = await client(fixture).chat.completions.create({
      ...{ model: "base", messages, stream: true as const },
    });
    for await (const chunk of stream) {
      assertEquals(chunk.usage, undefined);
      assertEquals(chunk.choices.length, 1);
    }
  }));

Deno.test("settings arrive as the models take them", () =>
  withServer({}, async (fixture) => {
    await client(fixture).chat.completions.create({
      model: "tuned",
      messages: [
        { role: "developer", content: "সংক্ষেপে বলুন।" },
        { role: "user", content: [{ type: "text", text: "এক" }, { type: "text", text: "দুই" }] },
      ],
      temperature: 0.7,
      top_p: 0.9,
      seed: 5,
      max_completion_tokens: 9,
      stop: "।",
      n: 1,
      user: "somebody",
      frequency_penalty: 0,
      logprobs: false,
      response_format: { type: "text" },
    });
    const { signal: _, ...request } = fixture.answering.requests[0]!;
    assertEquals(request, {
      system: "tuned",
      messages: [
        { role: "system", content: "সংক্ষেপে বলুন।" },
        { role: "user", content: "এক\nদুই" },
      ],
      sampling: { maxNewTokens: 9, temperature: 0.7, topP: 0.9, seed: 5 },
      stop: ["।"],
    });
  }));

Deno.test("the official client sees its own errors: 400, 401, 404, 429 with Retry-After", () =>
  withServer({ token: TOKEN }, async (fixture) => {
    const ask = (content: string, extra: object = {}, key = TOKEN) =>
      client(fixture, key).chat.completions.create({
        ...{ model: "tuned", messages: [{ role: "user", content }] },
        ...extra,
      });
    const bad = await assertRejects(() => ask("ক", { temperature: -1 }), BadRequestError);
    assertEquals([bad.code, bad.param, bad.type], [
      "invalid_value",
      "temperature",
      "invalid_request_error",
    ]);
    await assertRejects(() => ask("ক", {}, "wrong"), AuthenticationError, "Bearer TOKEN");
    await assertRejects(() => ask("ক", { model: "x" }), NotFoundError);
    const busy = await assertRejects(() => ask("!busy"), RateLimitError, "Try again in 7 seconds");
    assertEquals(busy.headers?.get("retry-after"), "7");
    const streamed = await assertRejects(() => ask("!busy", { stream: true }), RateLimitError);
    assertEquals(streamed.status, 429);
  }));

Deno.test("an answer that breaks off raises an error in the client, streamed or not", () =>
  withServer({}, async (fixture) => {
    const openai = client(fixture);
    const request = { model: "tuned", messages: [{ role: "user" as const, content: "!break" }] };
    await assertRejects(
      () => openai.chat.completions.create(request),
      OpenAI.InternalServerError,
      "the engine was lost",
    );
    const stream = await openai.chat.completions.create({ ...request, stream: true });
    await assertRejects(
      async () => {
        for await (const _ of stream) { /* to the end */ }
      },
      OpenAI.APIError,
      "the engine was lost",
    );
    assertEquals(fixture.log, [
      "the engine was lost",
      "The answer broke off: the engine was lost",
    ]);
  }));

Deno.test("a client that leaves its loop frees the place at once", () =>
  withServer({ script: { delayMs: 40 } }, async (fixture) => {
    const stream = await client(fixture).chat.completions.create({
      ...{ model: "tuned", messages, stream: true as const },
    });
    for await (const chunk of stream) if (chunk.choices[0]?.delta.content) break;
    for (let i = 0; i < 100 && fixture.answering.live > 0; i++) {
      await new Promise((done) => setTimeout(done, 10));
    }
    assertEquals([fixture.answering.live, fixture.answering.abandoned], [0, 1]);
  }));
