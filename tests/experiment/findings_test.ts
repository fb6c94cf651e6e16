import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { resolveConfig } from "@lib/config.ts";
import {
  denoFindings,
  hardwareFindings,
  libraryFindings,
  listGpus,
  materialFindings,
} from "@lib/experiment/findings.ts";
import { PINNED_DENO_VERSION } from "@lib/notebook/deno_version.ts";

Deno.test("another Deno is a note with the command that starts the pinned one", () => {
  assertEquals(denoFindings(PINNED_DENO_VERSION)[0]?.state, "ok");
  const [deno] = denoFindings("1.0.0");
  assertEquals([deno?.found, deno?.state], ["1.0.0", "note"]);
  assertStringIncludes(deno?.remedy ?? "", `deno@${PINNED_DENO_VERSION}`);
});

Deno.test("a library that cannot be loaded is missing, with the remedy", async () => {
  const [found] = await libraryFindings(resolveConfig());
  assertEquals([found?.state, found?.remedy], ["ok", ""]);
  const before = Deno.env.get("QLORA_LIBRARY_DIR");
  const empty = await Deno.makeTempDir();
  try {
    Deno.env.set("QLORA_LIBRARY_DIR", empty);
    const [library] = await libraryFindings(resolveConfig());
    assertEquals(library?.state, "missing");
    assertStringIncludes(library?.remedy ?? "", "deno task build");
  } finally {
    if (before === undefined) Deno.env.delete("QLORA_LIBRARY_DIR");
    else Deno.env.set("QLORA_LIBRARY_DIR", before);
    await Deno.remove(empty);
  }
});

Deno.test("hardware is told with sizes; a GPU that is not there is no fault", async () => {
  const found = await hardwareFindings(resolveConfig({ set: ["engine.backend=cpu"] }));
  assertEquals(found.map(({ what }) => what), ["processor", "main memory", "disk", "GPU"]);
  assert(found.every(({ state }) => state !== "missing"));
  assert(/\d [GT]B, .*\d [kMGT]B free/.test(found[1]?.found ?? ""));
  const gpus = await listGpus();
  assertEquals(found[3]?.found, gpus.join("; ") || "none");
});

Deno.test("a model folder that is not there is missing, and so is a corpus", async () => {
  const good = await materialFindings(resolveConfig());
  assertEquals(good.map(({ state }) => state), ["ok", "ok"]);
  const bad = resolveConfig({ set: ["model.base=nowhere", "data.csv=nowhere.csv"] });
  const [model, corpus] = await materialFindings(bad);
  assertEquals([model?.state, corpus?.state], ["missing", "missing"]);
  assertStringIncludes(corpus?.found ?? "", "nowhere.csv");
  assertStringIncludes(model?.found ?? "", "tokenizer.json");
  assertStringIncludes(model?.remedy ?? "", 'profile = "tiny"');
});
