import { assert, assertEquals, assertMatch, assertRejects, assertThrows } from "@std/assert";
import { join } from "node:path";
import { contentHash } from "@lib/weights/hub/content_hash.ts";
import { HubError } from "@lib/weights/hub/error.ts";
import { linkBlob } from "@lib/weights/hub/layout.ts";
import { formatModelId, hubIdOf, hubRevision, parseModelId } from "@lib/weights/hub/model_id.ts";
import { downloadView } from "@lib/weights/hub/progress.ts";
import {
  addRange,
  missingRanges,
  type Range,
  rangeBytes,
  splitRanges,
} from "@lib/weights/hub/ranges.ts";
import { retry, RETRY_POLICY, retryAfterMs } from "@lib/weights/hub/retry.ts";
import { hubSettings } from "@lib/weights/hub/settings.ts";
import { loadToken } from "@lib/weights/hub/token.ts";
import { FAST, noise, TOKEN } from "./hub_server.ts";

async function withFolder(body: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await body(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

const environment = (values: Record<string, string>) => (name: string) => values[name];

Deno.test("the cache, the token file and the endpoint are where the hub's own tools have them", () => {
  const at = (values: Record<string, string>) => hubSettings(environment(values));
  const home = at({ HOME: "/home/u" });
  assertEquals(home.cache, join("/home/u", ".cache", "huggingface", "hub"));
  assertEquals(home.tokenFile, join("/home/u", ".cache", "huggingface", "token"));
  assertEquals([home.endpoint, home.offline], ["https://huggingface.co", false]);
  const windows = at({ USERPROFILE: "C:/Users/u" });
  assertEquals(windows.cache, join("C:/Users/u", ".cache", "huggingface", "hub"));
  assertEquals(at({ HOME: "/h", XDG_CACHE_HOME: "/x" }).cache, join("/x", "huggingface", "hub"));
  assertEquals(at({ HOME: "/h", HF_HOME: "~/m" }).cache, join("/h", "m", "hub"));
  assertEquals(at({ HF_HOME: "$DISK/m", DISK: "/d" }).tokenFile, join("/d/m", "token"));
  assertEquals(at({ HF_HOME: "/m", HF_HUB_CACHE: "/c" }).cache, "/c");
  assertEquals(at({ HF_HOME: "/m", HF_TOKEN_PATH: "/t" }).tokenFile, "/t");
  assertEquals(
    at({ HF_HOME: "/m", HF_ENDPOINT: "https://m.example/" }).endpoint,
    "https://m.example",
  );
  assertEquals(at({ HF_HOME: "/m", HF_HUB_OFFLINE: "True" }).offline, true);
  assertEquals(at({ HF_HOME: "/m", HF_HUB_OFFLINE: "0" }).offline, false);
  assertThrows(() => at({}), HubError, "HF_HOME");
  for (const bad of ["huggingface.co", "file:///x", "https://user:secret@m.example"]) {
    const error = assertThrows(() => at({ HF_HOME: "/m", HF_ENDPOINT: bad }), HubError);
    assertMatch(error.message, /HF_ENDPOINT.*https:\/\/huggingface\.co/);
    assertEquals(error.message.includes("secret"), false);
  }
});

Deno.test("the token is found in its places in order, and never shows itself", () =>
  withFolder(async (folder) => {
    const HF_HOME = folder;
    assertEquals(await loadToken(environment({ HF_HOME })), null);
    await Deno.writeTextFile(`${folder}/token`, `${TOKEN}\r\n`);
    const saved = await loadToken(environment({ HF_HOME }));
    assertEquals(saved?.authorization, `Bearer ${TOKEN}`);
    assertEquals(saved?.source, join(folder, "token"));
    const old = await loadToken(environment({ HF_HOME, HUGGING_FACE_HUB_TOKEN: "hf_old" }));
    assertEquals(old?.authorization, "Bearer hf_old");
    const first = await loadToken(
      environment({ HF_HOME, HF_TOKEN: TOKEN, HUGGING_FACE_HUB_TOKEN: "hf_old" }),
    );
    assertEquals(first?.source, "HF_TOKEN");
    const shown = [
      `${first}`,
      JSON.stringify({ first }),
      Deno.inspect({ first }),
      Deno.inspect(first, { showHidden: true, depth: 9 }),
      JSON.stringify(Object.entries(first ?? {})),
      first?.scrub(`your token ${TOKEN} is bad`) ?? "",
    ];
    for (const text of shown) assertEquals(text.includes(TOKEN), false, text);
    const bad = await assertRejects(
      () => loadToken(environment({ HF_HOME, HF_TOKEN: `${TOKEN} ${TOKEN}` })),
      HubError,
    );
    assertMatch(bad.message, /^HF_TOKEN: expected one access token/);
    assertEquals(bad.message.includes(TOKEN), false);
  }));

Deno.test("names and revisions that could leave the cache are refused", () => {
  assertEquals(parseModelId("gpt2"), { name: "gpt2", revision: "main" });
  assertEquals(parseModelId("a/b.c-d_e", "refs/pr/1").revision, "refs/pr/1");
  assertEquals(formatModelId(parseModelId("a/b@v1")), "a/b@v1");
  const names = [
    "",
    "a/b/c",
    "../b",
    "a/..",
    "a//b",
    "/a/b",
    "a\\b",
    "a/b--c",
    "a/b?x",
    "a/ b",
    "ক/খ",
  ];
  for (const name of names) assertThrows(() => parseModelId(name), HubError, "meta-llama/");
  for (const revision of ["", "../x", "a/../b", "a//b", "/x", ".git", "a b", "-x"]) {
    assertThrows(() => parseModelId("a/b", revision), HubError, "branch, tag or commit");
  }
  assertThrows(() => parseModelId("a/b@v1", "v2"), HubError, "found two");
  assertEquals(hubIdOf("Qwen/Qwen3-8B@main")?.name, "Qwen/Qwen3-8B");
  assertEquals(["a/b@v1", "a/b", "/a/b@v1"].map(hubRevision), ["v1", null, null]);
  const folders = ["nowhere", "/a/b", "./a/b", "a/b/c", "C:\\a\\b", "../a", "~/a"];
  for (const folder of folders) assertEquals(hubIdOf(folder), null, folder);
});

Deno.test("sets of ranges agree with sets of positions", () => {
  const draws = noise(600, 11);
  let ranges: Range[] = [];
  const positions = new Set<number>();
  for (let i = 0; i + 1 < draws.length; i += 2) {
    const start = draws[i]! % 100;
    const end = start + draws[i + 1]! % 5;
    ranges = addRange(ranges, [start, end]);
    for (let at = start; at < end; at++) positions.add(at);
    assertEquals(rangeBytes(ranges), positions.size);
    const missing = missingRanges(ranges, 110);
    assertEquals(rangeBytes(missing), 110 - positions.size);
    assert(missing.every(([a, b]) => a < b && !positions.has(a) && !positions.has(b - 1)));
    const pieces = splitRanges(missing, 3);
    assertEquals(rangeBytes(pieces), rangeBytes(missing));
    assert(pieces.every(([a, b]) => b > a && b - a <= 3));
  }
});

Deno.test("the time a server asks for is read in each of its forms", () => {
  const now = Date.parse("2026-01-01T00:00:00Z");
  const after = (headers: HeadersInit) => retryAfterMs(new Headers(headers), now);
  assertEquals(after({ "retry-after": "7" }), 7000);
  assertEquals(after({ "retry-after": "Thu, 01 Jan 2026 00:00:30 GMT" }), 30_000);
  assertEquals(after({ "retry-after": "Thu, 01 Jan 2025 00:00:30 GMT" }), 0);
  assertEquals(after({ ratelimit: '"api";r=0;t=55' }), 55_000);
  assertEquals(after({ ratelimit: '"api";r=12;t=55' }), undefined);
  assertEquals(after({ "retry-after": "soon" }), undefined);
});

Deno.test("waits double up to a bound; progress starts the count anew", async () => {
  const delays: number[] = [];
  const policy = { ...RETRY_POLICY, firstDelayMs: 1, maxDelayMs: 4, attempts: 6 };
  const fail = () => Promise.reject(new HubError("network", "cut.", { transient: true }));
  const error = await assertRejects(
    () => retry(fail, { policy, onRetry: (_, delay) => delays.push(delay) }),
    HubError,
  );
  assertEquals(error.message, "cut. Tried 6 times.");
  const most = [1, 2, 4, 4, 4];
  assertEquals(delays.length, most.length);
  assert(delays.every((delay, at) => delay <= most[at]! && delay >= most[at]! / 2), `${delays}`);

  let left = 20;
  const late = () => left-- > 0 ? fail() : Promise.resolve("done");
  assertEquals(await retry(late, { policy, progressed: () => true }), "done");

  let tries = 0;
  const final = () => Promise.reject(new HubError("missing", `try ${++tries}`));
  await assertRejects(() => retry(final, { policy }), HubError, "try 1");
  assertEquals(tries, 1);
});

Deno.test("a wait longer than anyone would sit through is told instead", async () => {
  const busy = () =>
    Promise.reject(new HubError("rate", "busy.", { transient: true, retryAfterMs: 3_600_000 }));
  await assertRejects(() => retry(busy, { policy: FAST }), HubError, "come back in 1 h 00 min");
});

Deno.test("a wait ends at once when it is called off", async () => {
  const stop = new AbortController();
  const policy = { ...FAST, firstDelayMs: 60_000, maxDelayMs: 60_000 };
  const fail = () => Promise.reject(new HubError("network", "cut", { transient: true }));
  const begun = performance.now();
  setTimeout(() => stop.abort(new Error("enough")), 20);
  await assertRejects(() => retry(fail, { policy, signal: stop.signal }), Error, "enough");
  assert(performance.now() - begun < 5000);
});

Deno.test("hashes are git's and SHA-256's own", () =>
  withFolder(async (folder) => {
    const path = `${folder}/x`;
    await Deno.writeTextFile(path, "hello\n");
    // `git hash-object` and `sha256sum` of the same file.
    assertEquals(await contentHash(path, "git"), "ce013625030ba8dba906f756967f9e9ca394464a");
    assertEquals(
      await contentHash(path, "sha256"),
      "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03",
    );
  }));

Deno.test("where no symbolic link is allowed a hard link is made, and a copy where there is none", () =>
  withFolder(async (folder) => {
    const refuse = () => Promise.reject(new Deno.errors.PermissionDenied("no"));
    const blob = `${folder}/blobs/abc`;
    await Deno.mkdir(`${folder}/blobs`);
    await Deno.writeTextFile(blob, "content");
    const target = (name: string) => `${folder}/snapshots/c/${name}`;
    await linkBlob(blob, target("soft"));
    await linkBlob(blob, target("hard"), { symlink: refuse, link: Deno.link });
    await linkBlob(blob, target("copy"), { symlink: refuse, link: refuse });
    await linkBlob(blob, target("copy"), { symlink: refuse, link: refuse }); // replaces what is there
    for (const name of ["soft", "hard", "copy"]) {
      assertEquals(await Deno.readTextFile(target(name)), "content", name);
    }
    const kinds = ["soft", "hard", "copy"].map((name) => Deno.lstatSync(target(name)));
    if (Deno.build.os !== "windows") {
      assertEquals(kinds.map(({ isSymlink }) => isSymlink), [true, false, false]);
      assertEquals(kinds[1]?.ino, Deno.statSync(blob).ino);
      assert(kinds[2]?.ino !== Deno.statSync(blob).ino);
    }
  }));

Deno.test("progress counts what is fetched now, with rate and time left", async () => {
  let now = 0;
  const lines: string[] = [];
  const said: string[] = [];
  const view = downloadView("model", (line) => said.push(line), {
    target: "log",
    write: (line) => lines.push(line),
    now: () => now,
  });
  const total = 10_000_000_000;
  view.onProgress({ bytesDone: 500, bytesTotal: 1000, file: "config.json", phase: "fetch" });
  view.onProgress({ bytesDone: 4e9, bytesTotal: total, file: "a", phase: "fetch" });
  now = 20_000;
  view.onProgress({ bytesDone: 6e9, bytesTotal: total, file: "a", phase: "fetch" });
  now = 60_000;
  view.onProgress({ bytesDone: total, bytesTotal: total, file: "b", phase: "check" });
  // Another set of files: a bar of its own, also after the first one's end was drawn.
  view.onProgress({ bytesDone: 0, bytesTotal: 5e6, file: "c", phase: "fetch" });
  await new Promise((resolve) => setTimeout(resolve));
  view.onProgress({ bytesDone: 5e6, bytesTotal: 5e6, file: "c", phase: "fetch" });
  await view[Symbol.asyncDispose]();
  assertMatch(lines.at(-1) ?? "", /5\/5 MB/);
  assertEquals(said, ["4.00 GB of it were here already"]);
  assertMatch(lines[0] ?? "", /33 %.*2,000\/6,000 MB · 100 MB\/s · 40 s left · a/);
  assertMatch(lines[1] ?? "", /100 %.*checking b/);
  // Eight connections that fail together are told once.
  const error = new HubError("network", "m.example: cut. Check the network.");
  for (let i = 0; i < 8; i++) view.onRetry(error, 1500);
  assertEquals(said.slice(1), ["m.example: cut; trying again in 1.5 s"]);
});
