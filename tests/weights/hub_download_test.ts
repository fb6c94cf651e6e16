import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { exists } from "@lib/files.ts";
import {
  COMMIT,
  cutAfter,
  FakeHub,
  FAST,
  MODEL,
  modelFiles,
  namesIn,
  NEEDED,
  noise,
  serveBytes,
} from "./hub_server.ts";
import { fetchModel } from "@lib/weights/hub/fetch_model.ts";

const SHARD = "model-00001-of-00002.safetensors";
const PIECES = Math.ceil(300_000 / (32 * 1024));

/** Every file the course needs is there, byte for byte, and nothing else. */
async function assertComplete(hub: FakeHub): Promise<void> {
  assertEquals(await namesIn(hub.snapshot), NEEDED);
  for (const name of NEEDED) {
    const found = await Deno.readFile(`${hub.snapshot}/${name}`);
    const expected = hub.files.get(name)!;
    assertEquals(found.length, expected.length, name);
    assert(found.every((byte, at) => byte === expected[at]), name);
  }
  const left = (await namesIn(`${hub.repository}/blobs`)).filter((name) => name.includes("."));
  assertEquals(left, [], "partial files are removed");
}

Deno.test("a model is laid out as the hub's own tools do, with only what is needed", async () => {
  await using hub = await FakeHub.start();
  const model = await hub.fetch();
  assertEquals(model.folder, hub.snapshot);
  assertEquals([model.commit, model.revision], [COMMIT, "main"]);
  assertEquals(model.bytes, NEEDED.reduce((sum, name) => sum + hub.files.get(name)!.length, 0));
  await assertComplete(hub);
  assertEquals(await Deno.readTextFile(`${hub.repository}/refs/main`), COMMIT);
  assertEquals((await namesIn(`${hub.repository}/blobs`)).length, NEEDED.length);
  if (Deno.build.os !== "windows") {
    const target = await Deno.readLink(`${hub.snapshot}/${SHARD}`);
    assertMatch(target, /^\.\.\/\.\.\/blobs\/[0-9a-f]{64}$/);
    assertMatch(await Deno.readLink(`${hub.snapshot}/config.json`), /blobs\/[0-9a-f]{40}$/);
  }
  // The hub was asked with the token, the storage without.
  assert(hub.seen.some(({ host, authorization }) => host === "hub" && authorization !== null));
});

Deno.test("ranges come in parallel, over no more connections than asked for", async () => {
  await using hub = await FakeHub.start();
  await hub.fetch({ connections: 3 });
  assertEquals(hub.mostActive, 3);
  assertEquals(hub.ranges(SHARD).length, PIECES);
  assertEquals(new Set(hub.ranges(SHARD).map(({ range }) => range)).size, PIECES);
  // The signed address is asked for about once a file, not once a range.
  const resolved = hub.seen.filter(({ path }) => path.endsWith(SHARD));
  assert(resolved.length <= 3, `${resolved.length} resolves`);
});

Deno.test("what is here is not fetched again", async () => {
  await using hub = await FakeHub.start();
  await hub.fetch();
  const before = hub.seen.length;
  await hub.fetch();
  const asked = hub.seen.slice(before).map(({ path }) => path);
  assertEquals(asked.filter((path) => !path.startsWith("/api/models/")), []);
});

Deno.test("blobs of another snapshot are linked, not fetched", async () => {
  await using hub = await FakeHub.start();
  await hub.fetch();
  await Deno.remove(`${hub.repository}/snapshots`, { recursive: true });
  hub.atStorage = () => new Response(null, { status: 500 });
  await hub.fetch();
  await assertComplete(hub);
});

Deno.test("a connection that is cut goes on where it broke off", async () => {
  await using hub = await FakeHub.start();
  let cuts = 0;
  hub.atStorage = (request, path) => {
    if (cuts >= 12) return undefined;
    cuts++;
    return cutAfter(hub.stored(request, path), 10_000);
  };
  await hub.fetch();
  await assertComplete(hub);
  assertEquals(cuts, 12);
  const starts = hub.seen.map(({ range }) => Number(/bytes=(\d+)/.exec(range ?? "")?.[1] ?? 0));
  assert(starts.some((start) => start % (32 * 1024) === 10_000), "a range began after a cut");
});

Deno.test("cuts without end are given up with the way on; the next run takes what is here", async () => {
  await using hub = await FakeHub.start();
  hub.atStorage = (request, path) =>
    path.includes("objects") ? cutAfter(hub.stored(request, path), 500) : undefined;
  const error = await hub.refusal({ connections: 2 });
  assertEquals(error.kind, "network");
  assertStringIncludes(error.message, "what is already here is kept");
  assertStringIncludes(error.message, "Tried 4 times");
  hub.atStorage = () => undefined;
  const before = hub.seen.length;
  await hub.fetch();
  await assertComplete(hub);
  const starts = hub.seen.slice(before).map(({ range }) => /bytes=(\d+)/.exec(range ?? "")?.[1]);
  assert(starts.some((start) => start === "2000"), `four cuts of 500 bytes: ${starts}`);
});

Deno.test("cancelling leaves a state that the next run goes on from", async () => {
  await using hub = await FakeHub.start();
  const stop = new AbortController();
  const reason = new Error("stopped by the test");
  const error = await hub.refusal({
    signal: stop.signal,
    connections: 2,
    onProgress: ({ bytesDone, bytesTotal }) => {
      if (bytesTotal > 500_000 && bytesDone > 200_000) stop.abort(reason);
    },
  });
  assertEquals(error, reason);
  assertEquals(await exists(`${hub.snapshot}/${SHARD}`), false);
  assertEquals(await exists(`${hub.repository}/refs/main`), false);
  const blobs = await namesIn(`${hub.repository}/blobs`);
  assert(blobs.some((name) => name.endsWith(".ranges.incomplete")));
  const before = hub.seen.length;
  let first = -1;
  await hub.fetch({
    onProgress: ({ bytesDone, bytesTotal }) => {
      if (bytesTotal > 500_000 && first < 0) first = bytesDone;
    },
  });
  assert(first >= 200_000, `went on from ${first}`);
  assert(hub.seen.slice(before).filter(({ host }) => host === "storage").length < 2 * PIECES - 4);
  await assertComplete(hub);
});

Deno.test("a record that does not fit its file is not believed", async () => {
  await using hub = await FakeHub.start();
  hub.atStorage = () => new Response(null, { status: 404 });
  await hub.refusal();
  const blobs = `${hub.repository}/blobs`;
  const records = (await namesIn(blobs)).filter((name) => name.endsWith(".ranges.json"));
  assert(records.length > 0);
  const lies = ["{", '{"bytes":5,"done":[[0,5]]}', '{"bytes":60000,"done":[[0,60001]]}'];
  for (const lie of lies) {
    for (const record of records) await Deno.writeTextFile(`${blobs}/${record}`, lie);
    hub.atStorage = () => undefined;
    await hub.fetch();
    await assertComplete(hub);
    assertEquals(hub.messages.filter((line) => line.includes("hash is wrong")), [], lie);
    await Deno.remove(hub.repository, { recursive: true });
    hub.atStorage = () => new Response(null, { status: 404 });
    await hub.refusal();
  }
});

Deno.test("a wrong hash is fetched once more, then told and removed", async () => {
  await using hub = await FakeHub.start();
  let bad = PIECES;
  const spoil: FakeHub["atStorage"] = (request, path) => {
    const whole = hub.files.get(SHARD)!;
    if (bad <= 0 || !hub.ranges(SHARD).some((seen) => seen.path === path)) return undefined;
    bad--;
    return serveBytes(request, whole.map((byte) => byte ^ 1));
  };
  hub.atStorage = spoil;
  await hub.fetch();
  await assertComplete(hub);
  assertStringIncludes(hub.messages.join("\n"), `${SHARD}: its hash is wrong`);

  await Deno.remove(hub.repository, { recursive: true });
  bad = Infinity;
  const error = await hub.refusal();
  assertEquals(error.kind, "hash");
  assertMatch(error.message, /model-00001.*expected the SHA-256 hash [0-9a-f]{64}, found/);
  assertStringIncludes(error.message, "was removed");
  assertEquals(await exists(`${hub.snapshot}/${SHARD}`), false);
});

Deno.test("a small file is checked against git's hash", async () => {
  await using hub = await FakeHub.start();
  hub.atHub = (request, path) =>
    path.endsWith("resolve-cache/models/owner/tiny-model/" + COMMIT + "/config.json")
      ? serveBytes(request, hub.files.get("config.json")!.map((byte) => byte ^ 1))
      : undefined;
  const error = await hub.refusal();
  assertEquals(error.kind, "hash");
  assertMatch(error.message, /config\.json.*expected the git hash [0-9a-f]{40}/);
});

Deno.test("a mirror with another file than its list is told before it is fetched", async () => {
  await using hub = await FakeHub.start();
  hub.atHub = (request, path) => {
    if (!path.includes(`/resolve/`) || !path.endsWith(SHARD)) return undefined;
    const answer = hub.hubAnswer(request, path);
    answer.headers.set("x-linked-etag", `"${"0".repeat(64)}"`);
    return answer;
  };
  const error = await hub.refusal();
  assertEquals(error.kind, "hash");
  assertStringIncludes(error.message, "another file than its list says");
  assertEquals(hub.ranges(SHARD).filter(({ range }) => range !== null).length <= 8, true);
});

Deno.test("a wrong length is refused", async () => {
  await using hub = await FakeHub.start();
  for (const change of [-1, 1]) {
    hub.atStorage = (request, path) => {
      const right = hub.stored(request, path);
      if (right.status !== 206) return undefined;
      const range = right.headers.get("content-range")!;
      const total = Number(range.split("/")[1]);
      right.headers.set("content-range", range.replace(`/${total}`, `/${total + change}`));
      return right;
    };
    const error = await hub.refusal();
    assertEquals(error.kind, "length");
    assertMatch(error.message, /expected bytes \d+-\d+\/\d+, found bytes/);
  }
  // A whole file with bytes missing, its length told truthfully.
  hub.atStorage = () => undefined;
  hub.atHub = (request, path) =>
    path.startsWith("/api/resolve-cache") && path.endsWith("/config.json")
      ? serveBytes(request, hub.files.get("config.json")!.slice(1))
      : undefined;
  await Deno.remove(hub.repository, { recursive: true });
  const error = await hub.refusal();
  assertEquals(error.kind, "length");
  assertStringIncludes(error.message, "config.json: expected 22 bytes, found 21");
});

Deno.test("a server without ranges sends the whole file", async () => {
  await using hub = await FakeHub.start();
  let cuts = 2;
  hub.atStorage = (request, path) => {
    const whole = hub.stored(new Request(request.url), path);
    return cuts-- > 0 ? cutAfter(whole, 50_000) : whole;
  };
  await hub.fetch({ connections: 2 });
  await assertComplete(hub);
  // Two parts are asked for before it is known; then the file, once more for each cut.
  const asked = hub.ranges(SHARD);
  assert(asked.length <= 2 + 3, `${asked.length} requests`);
  assert(asked.some(({ range }) => range === null));
});

Deno.test("a connection that drips is given up, and told as slow", async () => {
  await using hub = await FakeHub.start();
  const drip = (response: Response): Response => {
    let timer: ReturnType<typeof setInterval> | undefined;
    const body = new ReadableStream({
      start(controller) {
        timer = setInterval(() => controller.enqueue(new Uint8Array(1)), 20);
      },
      cancel: () => clearInterval(timer),
    });
    return new Response(body, { status: response.status, headers: response.headers });
  };
  hub.atStorage = (request, path) => drip(hub.stored(request, path));
  const error = await hub.refusal({ connections: 1, policy: { ...FAST, attempts: 2 } });
  assertEquals(error.kind, "slow");
  assertMatch(error.message, /too slow: \d+ B in 0\.15 s.*kept.*nearer mirror/);
  // One that only begins slowly is replaced by a better one.
  let slow = 3;
  hub.atStorage = (request, path) => {
    const right = hub.stored(request, path);
    return slow-- > 0 ? drip(right) : right;
  };
  await Deno.remove(hub.repository, { recursive: true });
  await hub.fetch();
  await assertComplete(hub);
});

Deno.test("a signed address that runs out is asked for anew", async () => {
  await using hub = await FakeHub.start();
  let served = 0;
  hub.atStorage = () => ++served % 4 === 0 ? new Response(null, { status: 403 }) : undefined;
  await hub.fetch();
  await assertComplete(hub);
});

Deno.test("room is checked before anything is fetched", async () => {
  await using hub = await FakeHub.start();
  const error = await hub.refusal({ freeBytes: () => Promise.resolve(1_000_000) });
  assertEquals(error.kind, "disk");
  assertStringIncludes(error.message, hub.cache);
  assertMatch(error.message, /expected room for .* found 1\.00 MB free/);
  assertEquals(hub.seen.filter(({ path }) => path.includes("/resolve/")), []);
});

Deno.test("a cache that cannot be made is told, not thrown raw", async () => {
  await using hub = await FakeHub.start();
  await Deno.writeTextFile(`${hub.folder}/file`, "");
  const settings = { ...hub.settings, cache: `${hub.folder}/file/hub` };
  const error = await hub.refusal({ settings });
  assertEquals(error.kind, "disk");
  assertStringIncludes(error.message, "HF_HUB_CACHE");
});

Deno.test("two processes at one model do not disturb each other", async () => {
  await using hub = await FakeHub.start();
  await Promise.all([hub.fetch(), hub.fetch(), hub.fetch()]);
  await assertComplete(hub);
  assertEquals(hub.ranges(SHARD).length, PIECES, "each range came once");
  assertStringIncludes(hub.messages.join("\n"), "waiting for another process");
});

Deno.test("files of the same content are fetched once and are both there", async () => {
  const files = modelFiles();
  files.set("generation_config.json", files.get("config.json")!);
  await using hub = await FakeHub.start(files);
  await hub.fetch();
  await assertComplete(hub);
  assertEquals((await namesIn(`${hub.repository}/blobs`)).length, NEEDED.length - 1);
});

Deno.test("a single safetensors file, an empty file and a file with odd letters work", async () => {
  const files = modelFiles();
  for (const name of NEEDED.filter((name) => name.includes("model-0"))) files.delete(name);
  files.delete("model.safetensors.index.json");
  files.set("model.safetensors", noise(70_000, 9));
  files.set("merges.txt", new Uint8Array());
  await using hub = await FakeHub.start(files);
  const { folder } = await hub.fetch();
  assertEquals((await Deno.readFile(`${folder}/model.safetensors`)).length, 70_000);
  assertEquals((await Deno.readFile(`${folder}/merges.txt`)).length, 0);
});

Deno.test("HF_HUB_OFFLINE finds what is here and asks nothing", async () => {
  await using hub = await FakeHub.start();
  const settings = { ...hub.settings, offline: true };
  const refused = await hub.refusal({ settings });
  assertEquals(refused.kind, "offline");
  assertMatch(refused.message, /HF_HUB_OFFLINE is set, and nothing of it is in/);
  await hub.fetch();
  const before = hub.seen.length;
  assertEquals((await hub.fetch({ settings })).folder, hub.snapshot);
  await Deno.remove(`${hub.snapshot}/${SHARD}`);
  assertStringIncludes((await hub.refusal({ settings })).message, `all but ${SHARD}`);
  assertEquals(hub.seen.length, before);
});

Deno.test("without a network, a complete model is used as it is", async () => {
  await using hub = await FakeHub.start();
  await hub.fetch();
  const settings = { ...hub.settings, endpoint: "http://127.0.0.1:1" };
  assertEquals((await hub.fetch({ settings })).folder, hub.snapshot);
  assertStringIncludes(hub.messages.join("\n"), "no connection");
  assertStringIncludes(hub.messages.join("\n"), `Using what is here, at commit ${COMMIT}`);
  const other = fetchModel({ name: "owner/other", revision: "main" }, {
    settings,
    token: null,
    policy: FAST,
  });
  const error = await other.then(() => null, (error) => error);
  assertEquals([error.name, error.kind], ["HubError", "network"]);
  assertEquals(MODEL.name, "owner/tiny-model");
});
