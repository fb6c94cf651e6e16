import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { sameSecret } from "@lib/server/access.ts";
import { ServerOptionsError } from "@lib/server/server.ts";
import { question, raw, withServer } from "./server_fixture.ts";

const TOKEN = "a-token-nobody-guesses";

Deno.test("an address that others reach needs a token that cannot be guessed", async () => {
  const start = (host: string, token: string | null) => withServer({ host, token }, async () => {});
  await assertRejects(() => start("0.0.0.0", null), ServerOptionsError, "--token");
  await assertRejects(() => start("0.0.0.0", "short"), ServerOptionsError, "16 characters");
  await assertRejects(() => start("127.0.0.1", "short"), ServerOptionsError, "16 characters");
  await start("0.0.0.0", TOKEN);
  await start("127.0.0.1", null);
});

Deno.test("a foreign name for this address is refused: DNS rebinding", () =>
  withServer({}, async ({ server }) => {
    const get = async (host: string) =>
      (await raw(
        server.url,
        `GET /v1/models HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`,
      ))
        .slice(9, 12);
    const { port } = new URL(server.url);
    for (
      const host of [
        `127.0.0.1:${port}`,
        "localhost",
        `LOCALHOST:${port}`,
        "localhost.",
        "[::1]:80",
      ]
    ) {
      assertEquals(await get(host), "200", host);
    }
    for (
      const host of [
        "evil.example",
        `evil.example:${port}`,
        "127.0.0.1.evil.example",
        "192.168.1.7",
        "localhost.evil.example",
      ]
    ) {
      assertEquals(await get(host), "421", host);
    }
  }));

Deno.test("on every address, names in digits are ours and others are not", () =>
  withServer({ host: "0.0.0.0", token: TOKEN }, async ({ server }) => {
    const url = server.url.replace("0.0.0.0", "127.0.0.1");
    const get = async (host: string) =>
      (await raw(
        url,
        `GET /v1/models HTTP/1.1\r\nHost: ${host}\r\nAuthorization: Bearer ${TOKEN}\r\nConnection: close\r\n\r\n`,
      )).slice(9, 12);
    assertEquals(await get("192.168.1.7:8000"), "200");
    assertEquals(await get("evil.example"), "421");
  }));

Deno.test("requests that another site makes a browser send are refused", () =>
  withServer({}, async ({ ask, server, answering }) => {
    const send = async (headers: Record<string, string>) => {
      const response = await ask("/v1/chat/completions", question("ক"), { headers });
      await response.body?.cancel();
      return response.status;
    };
    assertEquals(await send({}), 200);
    assertEquals(await send({ origin: server.url }), 200);
    assertEquals(await send({ origin: "https://evil.example" }), 403);
    assertEquals(await send({ origin: "null" }), 403);
    assertEquals(await send({ origin: server.url.replace(/\d+$/, "1") }), 403);
    assertEquals(await send({ "sec-fetch-site": "cross-site" }), 403);
    assertEquals(answering.requests.length, 2);
    const link = { "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate" };
    const page = await ask("/", undefined, { headers: link });
    assertEquals(page.status, 200, "a link on another site may lead here");
    await page.body?.cancel();
  }));

Deno.test("with a token nothing but the login page is open, and the token is not logged", () =>
  withServer({ token: TOKEN }, async ({ ask, log }) => {
    const status = async (path: string, headers: Record<string, string> = {}) => {
      const response = await ask(path, undefined, { headers, redirect: "manual" });
      await response.body?.cancel();
      return [response.status, response.headers.get("location")];
    };
    assertEquals(await status("/v1/models"), [401, null]);
    assertEquals(await status("/api/page"), [401, null]);
    assertEquals(await status("/api/study?rater=a"), [401, null]);
    assertEquals(await status("/v1/models", { authorization: `Bearer ${TOKEN}x` }), [401, null]);
    assertEquals(await status("/v1/models", { authorization: `Bearer ${TOKEN}` }), [200, null]);
    assertEquals(await status("/"), [303, "/login"]);
    assertEquals(await status("/study"), [303, "/login?next=%2Fstudy"]);
    assertEquals(await status("/login"), [200, null]);
    assertEquals(await status("/v1/models", { cookie: `session=${TOKEN}` }), [401, null]);
    assertEquals(log.filter((line) => line.includes(TOKEN)), []);
  }));

Deno.test("the login page exchanges the token for a cookie that scripts and other sites cannot use", () =>
  withServer({ token: TOKEN }, async ({ ask }) => {
    const login = (token: string, next: string) =>
      ask("/login", undefined, {
        method: "POST",
        body: new URLSearchParams({ token, next }),
        redirect: "manual",
      });
    const wrong = await login("something else", "/study");
    await wrong.body?.cancel();
    assertEquals(wrong.headers.get("set-cookie"), null);
    assertEquals(wrong.headers.get("location"), "/login?wrong=1&next=%2Fstudy");
    const away = await login(TOKEN, "https://evil.example/");
    await away.body?.cancel();
    assertEquals(away.headers.get("location"), "/");
    const right = await login(TOKEN, "/study");
    await right.body?.cancel();
    assertEquals(right.headers.get("location"), "/study");
    const cookie = right.headers.get("set-cookie") ?? "";
    for (const part of ["HttpOnly", "SameSite=Strict"]) assertStringIncludes(cookie, part);
    assert(!cookie.includes(TOKEN));
    const models = await ask("/v1/models", undefined, {
      headers: { cookie: cookie.split(";")[0] ?? "" },
    });
    assertEquals(models.status, 200);
    await models.body?.cancel();
  }));

Deno.test("secrets are compared whole, whatever their lengths", () => {
  assert(sameSecret("এক", "এক"));
  assert(!sameSecret("এক", "একা"));
  assert(!sameSecret("", "একা"));
});
