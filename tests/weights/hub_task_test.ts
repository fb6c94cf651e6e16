import {
  assert,
  assertEquals,
  assertMatch,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { resolveConfig } from "@lib/config.ts";
import { fittingProfile } from "@lib/experiment/run_config.ts";
import { materialFindings } from "@lib/experiment/findings.ts";
import { findBaseModel, listModels } from "@lib/workflow/local_models.ts";
import { modelFolder } from "@lib/workflow/model.ts";
import { ModelFolderError } from "@lib/weights/folder.ts";
import { COMMIT, cutAfter, FakeHub, NEEDED, refuse, TOKEN } from "./hub_server.ts";

const ROOT = decodeURIComponent(new URL("../../", import.meta.url).pathname);

/** Runs `deno task model` as a user does. */
async function task(hub: FakeHub, args: string[], env: Record<string, string> = {}) {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["task", "--quiet", "model", ...args],
    cwd: ROOT,
    env: {
      HF_ENDPOINT: hub.endpoint,
      HF_HUB_CACHE: hub.cache,
      HF_HOME: hub.folder,
      HF_TOKEN: TOKEN,
      HF_HUB_OFFLINE: "",
      NO_COLOR: "1",
      ...env,
    },
  }).output();
  const text = new TextDecoder();
  const shown = { code, stdout: text.decode(stdout), stderr: text.decode(stderr) };
  hub.messages.push(shown.stdout, shown.stderr);
  return shown;
}

Deno.test("deno task model fetches, prints the folder, lists, and works offline after", async () => {
  await using hub = await FakeHub.start();
  const done = await task(hub, ["owner/tiny-model"]);
  assertEquals(done.code, 0, done.stderr);
  assertEquals(done.stdout, `${hub.snapshot}\n`);
  assertMatch(done.stderr, /owner\/tiny-model: complete, \d+ kB/);

  const offline = { HF_HUB_OFFLINE: "1" };
  const again = await task(hub, ["owner/tiny-model", "--json", "--quiet"], offline);
  assertEquals(again.stderr, "");
  const { folder, commit, revision } = JSON.parse(again.stdout);
  assertEquals([folder, commit, revision], [hub.snapshot, COMMIT, "main"]);

  const listed = await task(hub, []);
  assertMatch(listed.stdout, /^data\/tiny-llama: complete, .*\n {4}\S+data\/tiny-llama\n/);
  assertMatch(listed.stdout, /\nowner\/tiny-model: complete, \d+ kB\n {4}\S+snapshots\/0123/);
});

Deno.test("a download that broke off is listed with what is here, and goes on", async () => {
  await using hub = await FakeHub.start();
  hub.atStorage = (request, path) => {
    const right = hub.stored(request, path);
    const large = Number(right.headers.get("content-length")) > 100_000;
    return large ? cutAfter(right, 100_000) : undefined;
  };
  const env = { HF_TOKEN: "" };
  // Ctrl-C, as soon as the first cut is being waited for.
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", `${ROOT}lib/tasks/model.ts`, "owner/tiny-model"],
    env: { HF_ENDPOINT: hub.endpoint, HF_HUB_CACHE: hub.cache, HF_HOME: hub.folder, ...env },
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const reader = child.stderr.pipeThrough(new TextDecoderStream()).getReader();
  let shown = "";
  while (!shown.includes("trying again")) {
    const { value, done } = await reader.read();
    assert(!done, shown);
    shown += value;
  }
  child.kill("SIGINT");
  for (let part = await reader.read(); !part.done; part = await reader.read()) shown += part.value;
  await child.stdout.cancel();
  assertEquals((await child.status).code, 130);
  assertStringIncludes(shown, "Interrupted");
  const listed = await task(hub, []);
  assertMatch(
    listed.stdout,
    /owner\/tiny-model@0123\S+: not complete, \d+ kB here, without model-00001\S+, model-00002/,
  );
  hub.atStorage = () => undefined;
  const done = await task(hub, ["owner/tiny-model"], env);
  assertEquals(done.code, 0, done.stderr);
});

Deno.test("failures end with code 1 and the next step, misuse with 2, without a stack", async () => {
  await using hub = await FakeHub.start();
  hub.atHub = (_, path) => path.includes("/resolve/") ? refuse(403, "GatedRepo") : undefined;
  const gated = await task(hub, ["owner/tiny-model"]);
  assertEquals([gated.code, gated.stdout], [1, ""]);
  assertMatch(gated.stderr, /HubError: owner\/tiny-model is gated/);
  assertEquals(gated.stderr.includes("    at "), false);
  const cases: [string[], number, RegExp][] = [
    [["not a model"], 1, /meta-llama/],
    [["a/b", "c/d"], 2, /one model, found 2/],
    [["--revison", "x"], 2, /--revision/],
    [["a/b", "--connections", "99"], 2, /1 to 32/],
  ];
  for (const [args, code, expected] of cases) {
    const refused = await task(hub, args);
    assertEquals(refused.code, code, args.join(" "));
    assertMatch(refused.stderr, expected);
  }
  assertStringIncludes((await task(hub, ["--help"])).stdout, "HF_HUB_CACHE");
});

Deno.test("a configured name on the hub is its folder in the cache, else the command to fetch it", async () => {
  await using hub = await FakeHub.start();
  const { settings } = hub;
  const before = await findBaseModel("owner/tiny-model", settings);
  assertEquals(before.folder, null);
  assertStringIncludes(JSON.stringify(before), 'deno task model owner/tiny-model"');
  await hub.fetch();
  assertEquals(await findBaseModel("owner/tiny-model", settings), { folder: hub.snapshot });
  assertEquals(await findBaseModel(`owner/tiny-model@${COMMIT}`, settings), {
    folder: hub.snapshot,
  });
  const other = await findBaseModel("owner/tiny-model@v2", settings);
  assertStringIncludes(JSON.stringify(other), "deno task model owner/tiny-model@v2");
  await Deno.remove(`${hub.snapshot}/tokenizer.json`);
  const part = await findBaseModel("owner/tiny-model", settings);
  assertEquals(part, {
    folder: null,
    place: hub.snapshot,
    missing: ["tokenizer.json"],
    command: "deno task model owner/tiny-model",
  });
  const listed = (await listModels(settings)).find(({ name }) => name === "owner/tiny-model");
  assertEquals([listed?.complete, listed?.missing], [false, ["tokenizer.json"]]);
});

Deno.test("a model fetched by commit, without a branch, is found as main", async () => {
  await using hub = await FakeHub.start();
  await hub.fetch();
  await Deno.remove(`${hub.repository}/refs`, { recursive: true });
  assertEquals(await findBaseModel("owner/tiny-model", hub.settings), { folder: hub.snapshot });
});

/** Runs with the hub's cache in an empty folder. */
async function withCache(body: (cache: string) => Promise<void>): Promise<void> {
  const cache = await Deno.makeTempDir();
  const before = Deno.env.get("HF_HUB_CACHE");
  Deno.env.set("HF_HUB_CACHE", cache);
  try {
    await body(cache);
  } finally {
    if (before === undefined) Deno.env.delete("HF_HUB_CACHE");
    else Deno.env.set("HF_HUB_CACHE", before);
    await Deno.remove(cache, { recursive: true });
  }
}

Deno.test("modelFolder and 00_check name the command for a model that is not here", () =>
  withCache(async () => {
    const config = resolveConfig({ profile: "rtx3060" });
    const error = await assertRejects(() => modelFolder(config), ModelFolderError);
    assertMatch(error.message, /deno task model meta-llama\/Llama-3\.1-8B-Instruct/);
    assertStringIncludes(error.message, "--profile tiny");
    const [found] = await materialFindings(config);
    assertEquals(found?.state, "missing");
    assertStringIncludes(found?.remedy ?? "", "deno task model meta-llama/Llama-3.1-8B-Instruct");
    const folder = resolveConfig({ set: ["model.base=nowhere"] });
    const none = await assertRejects(() => modelFolder(folder), ModelFolderError);
    assertEquals(none.message.includes("deno task model"), false);
    assertStringIncludes(none.message, "no config.json");
  }));

Deno.test("the seed's model in the cache counts for the profile and for 00_check", () =>
  withCache(async (cache) => {
    const { reason } = await fittingProfile();
    assertStringIncludes(reason, "is not on this machine");
    const folder = `${cache}/models--meta-llama--Llama-3.1-8B-Instruct/snapshots/${COMMIT}`;
    await Deno.mkdir(folder, { recursive: true });
    const index = { weight_map: { a: "model-00001-of-00002.safetensors" } };
    for (const name of NEEDED) await Deno.writeTextFile(`${folder}/${name}`, JSON.stringify(index));
    const config = resolveConfig({ profile: "rtx3060" });
    assertEquals(await modelFolder(config), folder);
    assertEquals((await materialFindings(config))[0]?.state, "ok");
    assertEquals((await fittingProfile()).reason.includes("is not on this machine"), false);
  }));

Deno.test("--quantize keeps the quantised copy of a model that is here", async () => {
  await using hub = await FakeHub.start();
  const snapshot = `${hub.cache}/models--owner--llama/snapshots/${COMMIT}`;
  await Deno.mkdir(snapshot, { recursive: true });
  for await (const { name } of Deno.readDir(`${ROOT}data/tiny-llama`)) {
    await Deno.copyFile(`${ROOT}data/tiny-llama/${name}`, `${snapshot}/${name}`);
  }
  await Deno.mkdir(`${hub.cache}/models--owner--llama/refs`);
  await Deno.writeTextFile(`${hub.cache}/models--owner--llama/refs/main`, COMMIT);
  const env = { HF_HUB_OFFLINE: "1", QLORA_CACHE: `${hub.folder}/copies` };
  const first = await task(hub, ["owner/llama", "--quantize"], env);
  assertEquals(first.code, 0, first.stderr);
  assertMatch(first.stderr, /Kept \d+(\.\d+)? MB of quantised weights[^]*Loaded as nf4_double/);
  const kept = [...Deno.readDirSync(env.QLORA_CACHE)];
  assertEquals(kept.length, 1);
  const again = await task(hub, ["owner/llama", "--quantize"], env);
  assertEquals([again.code, again.stderr.includes("Kept")], [0, false], again.stderr);
});
