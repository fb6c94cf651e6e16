import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { Token } from "@lib/weights/hub/token.ts";
import { COMMIT, cutAfter, FakeHub, FAST, MODEL, modelFiles, refuse, TOKEN } from "./hub_server.ts";

const ANONYMOUS = { token: null };
/** Requests of files, not of the list. */
const isFile = (path: string) => path.includes("/resolve/");

Deno.test("a gated model without a token: licence page, token page, where to put it", async () => {
  await using hub = await FakeHub.start();
  hub.atHub = (_, path) =>
    isFile(path) ? refuse(401, "GatedRepo", "Access is restricted") : undefined;
  const error = await hub.refusal(ANONYMOUS);
  assertEquals(error.kind, "gated");
  for (
    const step of [
      `open ${hub.endpoint}/owner/tiny-model`,
      "accept the licence",
      "token of type Read",
      `${hub.endpoint}/settings/tokens`,
      "set HF_TOKEN",
      `${hub.folder}/token`,
      "Run this again",
    ]
  ) assertStringIncludes(error.message.toLowerCase(), step.toLowerCase());
  assertEquals(hub.ranges("model-00001-of-00002.safetensors"), [], "told before the weights");
});

Deno.test("a gated model with a token that has no access says which account and right", async () => {
  await using hub = await FakeHub.start();
  hub.atHub = (_, path) => isFile(path) ? refuse(403, "GatedRepo", "not in the list") : undefined;
  const error = await hub.refusal();
  assertEquals(error.kind, "gated");
  assertMatch(error.message, /account of the token from HF_TOKEN has no access.*fine-grained/s);
});

Deno.test("a wrong and an expired token are told apart", async () => {
  await using hub = await FakeHub.start();
  hub.atHub = () => refuse(401, undefined, "Invalid credentials in Authorization header");
  const wrong = await hub.refusal();
  assertEquals(wrong.kind, "token");
  assertMatch(wrong.message, /token from HF_TOKEN is not accepted.*settings\/tokens.*removing/s);
  hub.atHub = () => refuse(401, undefined, 'User Access Token "course" is expired');
  const expired = await hub.refusal();
  assertEquals(expired.kind, "token");
  assertStringIncludes(expired.message, "has expired");
});

Deno.test("403 names the right that is missing; a server's words come without the token", async () => {
  await using hub = await FakeHub.start();
  hub.atHub = () => refuse(403, undefined, `token ${TOKEN} lacks repo.content.read`);
  const error = await hub.refusal();
  assertEquals(error.kind, "token");
  assertMatch(error.message, /may not read owner\/tiny-model \(status 403: token \*\*\* lacks/);
});

Deno.test("a missing model, a private one and a missing revision", async () => {
  await using hub = await FakeHub.start();
  hub.atHub = () => refuse(401, "RepoNotFound", "Invalid username or password.");
  const anonymous = await hub.refusal(ANONYMOUS);
  assertEquals(anonymous.kind, "missing");
  assertMatch(
    anonymous.message,
    /no model owner\/tiny-model.*spelling.*If it is private: create a token/s,
  );
  hub.atHub = () => refuse(404, "RepoNotFound", "Repository not found");
  const signedIn = await hub.refusal();
  assertEquals(signedIn.kind, "missing");
  assertMatch(signedIn.message, /account of the token from HF_TOKEN must have access/);
  hub.atHub = (_, path) =>
    path.includes("/revision/") ? refuse(404, "RevisionNotFound", "Invalid rev id") : undefined;
  const revision = await hub.refusal();
  assertEquals(revision.kind, "missing");
  assertMatch(revision.message, /no revision 'main'.*commits/);
  hub.atHub = (_, path) => isFile(path) ? refuse(404, "EntryNotFound", "none") : undefined;
  assertEquals((await hub.refusal()).kind, "missing");
});

Deno.test("429 waits as long as it is asked to, for the list and for ranges", async () => {
  await using hub = await FakeHub.start();
  let listed = 0;
  let ranged = 0;
  hub.atHub = (_, path) =>
    path.startsWith("/api/models/") && listed++ === 0
      ? refuse(429, undefined, "slow down", { "retry-after": "0.3" })
      : undefined;
  hub.atStorage = () =>
    ranged++ === 0 ? refuse(429, undefined, "slow down", { "retry-after": "0" }) : undefined;
  const waits: number[] = [];
  const begun = performance.now();
  await hub.fetch({ onRetry: (_, delay) => waits.push(delay) });
  assert(performance.now() - begun >= 300);
  assert(waits.includes(300), `${waits}`);
});

Deno.test("429 without end says when to come back, and that signing in helps", async () => {
  await using hub = await FakeHub.start();
  hub.atHub = () => refuse(429, undefined, "", { ratelimit: '"api";r=0;t=240' });
  const error = await hub.refusal(ANONYMOUS);
  assertEquals(error.kind, "rate");
  assertMatch(error.message, /too many requests.*Signed in.*come back in 4 min 00 s/s);
});

for (const status of [500, 502, 503, 504]) {
  Deno.test(`${status} is tried again, and told when it stays`, async () => {
    await using hub = await FakeHub.start();
    let failures = 3;
    hub.atHub = () => failures-- > 0 ? refuse(status) : undefined;
    hub.atStorage = () => failures-- > -2 ? refuse(status) : undefined;
    assertEquals((await hub.fetch()).commit, COMMIT);
    hub.atHub = () => refuse(status);
    await Deno.remove(hub.repository, { recursive: true });
    const error = await hub.refusal();
    assertEquals(error.kind, "server");
    assertMatch(error.message, new RegExp(`answered ${status}.*later.*Tried 4 times`, "s"));
  });
}

Deno.test("an answer that is not the hub's, or breaks off, is told as that", async () => {
  await using hub = await FakeHub.start();
  const pages = ["<html>Sign in</html>", "null", '{"id":"x"}', '{"sha":"main"}'];
  for (const page of pages) {
    hub.atHub = () => new Response(page);
    const error = await hub.refusal();
    assertEquals(error.kind, "server", page);
    assertMatch(error.message, /expected the hub's answer.*sign-in page/s);
  }
  hub.atHub = (request, path) => cutAfter(hub.hubAnswer(request, path), 20);
  assertEquals((await hub.refusal()).kind, "network");
  hub.atHub = () => new Promise((resolve) => setTimeout(() => resolve(refuse(200)), 400));
  const late = await hub.refusal({ policy: { ...FAST, answerMs: 50, attempts: 2 } });
  assertEquals(late.kind, "network");
  assertStringIncludes(late.message, "no answer in time");
});

Deno.test("a list that names files outside the model, or none of use, fetches nothing", async () => {
  const cases: [change: (files: ReturnType<typeof modelFiles>) => void, expected: RegExp][] = [
    [(f) => f.delete("config.json"), /expected config\.json/],
    [(f) => f.delete("tokenizer.json"), /expected tokenizer\.json/],
    [(f) => [...f.keys()].filter((k) => k.includes("safetensors")).map((k) => f.delete(k)), /GGUF/],
    [(f) => f.delete("model-00002-of-00002.safetensors"), /names model-00002-of-00002.*not whole/],
    [
      (f) =>
        f.set(
          "model.safetensors.index.json",
          new TextEncoder().encode('{"weight_map":{"a":"../../x.safetensors"}}'),
        ),
      /list of shards/,
    ],
    [
      (f) => {
        f.clear();
        f.set("adapter_config.json", new Uint8Array(2));
      },
      /It is an adapter/,
    ],
  ];
  for (const [change, expected] of cases) {
    const files = modelFiles(20_000);
    change(files);
    await using hub = await FakeHub.start(files);
    const error = await hub.refusal();
    assertEquals(error.kind, "unsupported");
    assertMatch(error.message, expected);
  }
});

Deno.test("redirects in a circle, to another scheme or to the disk are not followed", async () => {
  await using hub = await FakeHub.start();
  const redirect = (location: string) => new Response(null, { status: 302, headers: { location } });
  hub.atHub = (request, path) => isFile(path) ? redirect(request.url) : undefined;
  const circle = await hub.refusal();
  assertEquals(circle.kind, "redirect");
  assertStringIncludes(circle.message, "more than 8 redirects");
  for (const location of ["file:///etc/passwd", "data:,x", "", "http://"]) {
    hub.atHub = (_, path) => isFile(path) ? redirect(location) : undefined;
    const error = await hub.refusal();
    assertEquals(error.kind, "redirect", location);
  }
});

Deno.test("the token stays with the hub when the list's next page is elsewhere", async () => {
  await using hub = await FakeHub.start();
  hub.atHub = (_, path) =>
    path.includes("/tree/")
      ? Response.json([], { headers: { link: `<${hub.storage}/next>; rel="next"` } })
      : undefined;
  hub.atStorage = () => Response.json([]);
  await hub.refusal();
  const elsewhere = hub.seen.filter(({ host }) => host === "storage");
  assertEquals(elsewhere.map(({ path, authorization }) => [path, authorization]), [[
    "/next",
    null,
  ]]);
});

Deno.test("the token is not sent over plain http to another machine", async () => {
  await using hub = await FakeHub.start();
  const token = new Token(TOKEN, "HF_TOKEN");
  // A name of this machine that does not look like it.
  const endpoint = hub.endpoint.replace("127.0.0.1", "0.0.0.0");
  hub.atHub = () => refuse(401, "GatedRepo");
  const error = await hub.refusal({ token, settings: { ...hub.settings, endpoint } });
  assertEquals(error.kind, "settings");
  assertStringIncludes(error.message, "was not sent");
  assertEquals(hub.seen.map(({ authorization }) => authorization), [null]);
  assertEquals(MODEL.revision, "main");
});
