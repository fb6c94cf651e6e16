import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { question, raw, withServer } from "./server_fixture.ts";

const JSON_TYPE = { "content-type": "application/json" };

Deno.test("bad completion requests get the right status, code, field and a message that helps", () =>
  withServer({}, async ({ ask, log }) => {
    const ok = question("কেমন আছেন?");
    const cases: readonly [
      name: string,
      body: unknown,
      status: number,
      code: string,
      param: string | null,
      says: RegExp,
    ][] = [
      [
        "unknown model",
        { ...ok, model: "gpt-4" },
        404,
        "model_not_found",
        "model",
        /'base' or 'tuned'/,
      ],
      [
        "misspelt model",
        { ...ok, model: "tunned" },
        404,
        "model_not_found",
        "model",
        /did you mean 'tuned'/,
      ],
      [
        "negative temperature",
        { ...ok, temperature: -1 },
        400,
        "invalid_value",
        "temperature",
        />=\s?0.*found -1/,
      ],
      [
        "hot temperature",
        { ...ok, temperature: 2.5 },
        400,
        "invalid_value",
        "temperature",
        /found 2\.5/,
      ],
      [
        "temperature in words",
        { ...ok, temperature: "hot" },
        400,
        "invalid_value",
        "temperature",
        /number/,
      ],
      ["top_p 0", { ...ok, top_p: 0 }, 400, "invalid_value", "top_p", /found 0/],
      ["max_tokens 0", { ...ok, max_tokens: 0 }, 400, "invalid_value", "max_tokens", /found 0/],
      ["seed and a half", { ...ok, seed: 1.5 }, 400, "invalid_value", "seed", /found 1\.5/],
      [
        "five stops",
        { ...ok, stop: ["a", "b", "c", "d", "e"] },
        400,
        "invalid_value",
        "stop",
        /stop/,
      ],
      ["two answers", { ...ok, n: 2 }, 400, "unsupported_value", "n", /another seed/],
      ["logprobs", { ...ok, logprobs: true }, 400, "unsupported_value", "logprobs", /not offered/],
      ["tools", { ...ok, tools: [{}] }, 400, "unsupported_value", "tools", /not offered/],
      [
        "JSON mode",
        { ...ok, response_format: { type: "json_object" } },
        400,
        "unsupported_value",
        "response_format.type",
        /plain text/,
      ],
      [
        "unknown field",
        { ...ok, temprature: 1 },
        400,
        "unknown_parameter",
        "temprature",
        /did you mean 'temperature'/,
      ],
      ["no messages", { model: "tuned" }, 400, "invalid_value", "messages", /messages/],
      [
        "empty list",
        { model: "tuned", messages: [] },
        400,
        "invalid_value",
        "messages",
        /messages/,
      ],
      ["empty text", question("  \n"), 400, "invalid_value", "messages[0].content", /some text/],
      [
        "an image",
        question(undefined as unknown as string, {
          messages: [{ role: "user", content: [{ type: "image_url", image_url: { url: "x" } }] }],
        }),
        400,
        "invalid_value",
        "messages[0].content",
        /content/,
      ],
      [
        "a tool's turn",
        { ...ok, messages: [{ role: "tool", content: "x" }] },
        400,
        "invalid_value",
        "messages[0].role",
        /role/,
      ],
      [
        "answer last",
        { ...ok, messages: [{ role: "assistant", content: "x" }] },
        400,
        "invalid_value",
        "messages[0].role",
        /user/,
      ],
      [
        "system later",
        {
          ...ok,
          messages: [{ role: "user", content: "ক" }, { role: "system", content: "খ" }, {
            role: "user",
            content: "গ",
          }],
        },
        400,
        "invalid_value",
        "messages[1].role",
        /first place/,
      ],
      [
        "100,000 characters",
        question("আ".repeat(100_000)),
        400,
        "context_length_exceeded",
        "messages",
        /100,000/,
      ],
      [
        "too long for the model",
        question("!long"),
        400,
        "context_length_exceeded",
        "messages",
        /Too long/,
      ],
      ["a list", [1], 400, "invalid_value", null, /object/],
      ["null", null, 400, "invalid_value", null, /object/],
    ];
    for (const [name, body, status, code, param, says] of cases) {
      const response = await ask("/v1/chat/completions", body);
      const { error } = await response.json();
      assertEquals(
        [response.status, error.code, error.param],
        [status, code, param],
        `${name}: ${error.message}`,
      );
      assertMatch(error.message, says, name);
      assertEquals(error.type, "invalid_request_error", name);
    }
    assertEquals(log, [], "no refusal is a failure of the server");
  }));

Deno.test("bodies that are no JSON, no text or too much are refused", () =>
  withServer({}, async ({ ask, answering }) => {
    const deep = `{"a":${"[".repeat(100_000)}`;
    const cases: readonly [name: string, body: BodyInit, status: number, code: string][] = [
      ["not JSON", "{model: tuned}", 400, "invalid_json"],
      ["empty", "", 400, "invalid_json"],
      ["not UTF-8", Uint8Array.from([0x22, 0xff, 0xfe, 0x22]), 400, "invalid_utf8"],
      ["100,000 brackets", deep, 400, "json_too_deep"],
      ["brackets in a string are text", JSON.stringify(question("[".repeat(40))), 200, ""],
      [
        "lone surrogate",
        `{"model":"tuned","messages":[{"role":"user","content":"ক\\ud83d"}]}`,
        400,
        "invalid_unicode",
      ],
      ["lone surrogate in a key", `{"mo\\udc00del":1}`, 400, "invalid_unicode"],
      ["10 MB", "x".repeat(10_000_000), 413, "body_too_large"],
      ["10 MB of JSON", JSON.stringify(question("ক".repeat(3_300_000))), 413, "body_too_large"],
    ];
    for (const [name, body, status, code] of cases) {
      const response = await ask("/v1/chat/completions", undefined, {
        method: "POST",
        headers: JSON_TYPE,
        body,
      });
      const { error } = await response.json();
      assertEquals([response.status, error?.code ?? ""], [status, code], name);
    }
    assertEquals(answering.requests.length, 1);
  }));

Deno.test("paths, methods and media types are told apart: 404, 405, 415", () =>
  withServer({}, async ({ ask, server }) => {
    const status = async (path: string, init: RequestInit = {}) => {
      const response = await ask(path, undefined, init);
      await response.body?.cancel();
      return [response.status, response.headers.get("allow")];
    };
    assertEquals(await status("/v1/nothing"), [404, null]);
    assertEquals(await status("/assets/../server.ts"), [404, null]);
    assertEquals(await status("/assets/%2e%2e/server.ts"), [404, null]);
    assertEquals(await status("/v1/models/gpt-4"), [404, null]);
    assertEquals(await status("/v1/models/%zz"), [404, null]);
    assertEquals(await status("/v1/chat/completions"), [405, "POST"]);
    assertEquals(await status("/v1/models", { method: "DELETE" }), [405, "GET, HEAD"]);
    assertEquals(await status("/v1/models", { method: "OPTIONS" }), [405, "GET, HEAD"]);
    const text = { method: "POST", body: "{}", headers: { "content-type": "text/plain" } };
    assertEquals(await status("/v1/chat/completions", text), [415, null]);
    const form = { method: "POST", body: new URLSearchParams({ a: "b" }) };
    assertEquals(await status("/api/ratings", form), [415, null]);
    assertMatch(await raw(server.url, "GARBAGE\r\n\r\n"), /^HTTP\/1\.1 400/);
  }));

Deno.test("every response carries the security headers, and answers are not cached", () =>
  withServer({}, async ({ ask }) => {
    for (const path of ["/", "/study", "/assets/chat.js", "/v1/models", "/missing", "/api/page"]) {
      const response = await ask(path);
      await response.body?.cancel();
      const { headers } = response;
      assertStringIncludes(
        headers.get("content-security-policy") ?? "",
        "default-src 'none'",
        path,
      );
      assertStringIncludes(
        headers.get("content-security-policy") ?? "",
        "frame-ancestors 'none'",
        path,
      );
      assertEquals(headers.get("x-content-type-options"), "nosniff", path);
      assertEquals(headers.get("access-control-allow-origin"), null, path);
      assertMatch(headers.get("cache-control") ?? "", /no-store|no-cache/, path);
    }
    const first = await ask("/assets/page.css");
    await first.body?.cancel();
    const tag = first.headers.get("etag") ?? "";
    assert(tag !== "");
    const again = await ask("/assets/page.css", undefined, { headers: { "if-none-match": tag } });
    assertEquals(again.status, 304);
  }));
