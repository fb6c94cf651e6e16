import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { FileReadError, FileWriteError, loadJson, saveJson, writeFileAtomic } from "@lib/files.ts";

async function withFolder(run: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await run(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("a write replaces the file whole and leaves nothing beside it", () =>
  withFolder(async (folder) => {
    await saveJson(`${folder}/sub/a.json`, { n: 1 });
    await saveJson(`${folder}/sub/a.json`, { n: 2 });
    assertEquals(await loadJson(`${folder}/sub/a.json`, ""), { n: 2 });
    assertEquals([...Deno.readDirSync(`${folder}/sub`)].length, 1);
  }));

Deno.test("a disk that fills up is named, and the earlier file stays", () =>
  withFolder(async (folder) => {
    if (Deno.build.os === "windows") return;
    const path = `${folder}/big.bin`;
    await Deno.writeTextFile(path, "earlier");
    // A file-size limit makes writes fail half-way, as a full disk does; the signal is ignored.
    const program = `import { writeFileAtomic } from "${import.meta.resolve("@lib/files.ts")}";
      try { await writeFileAtomic(${JSON.stringify(path)}, new Uint8Array(4_000_000)); }
      catch (error) { console.log(error.name + ": " + error.message); }`;
    const script = `${folder}/write.ts`;
    await Deno.writeTextFile(script, program);
    const config = new URL("../deno.json", import.meta.url).pathname;
    const { stdout } = await new Deno.Command("bash", {
      args: [
        "-c",
        `trap "" XFSZ; ulimit -f 1000; exec "$0" run -A --no-lock --config "$1" "$2"`,
        Deno.execPath(),
        config,
        script,
      ],
      stderr: "inherit",
    }).output();
    const text = new TextDecoder().decode(stdout);
    assertStringIncludes(text, `FileWriteError: ${path} could not be written`);
    assertStringIncludes(text, "untouched");
    assertEquals(await Deno.readTextFile(path), "earlier");
    assertEquals([...Deno.readDirSync(folder)].map((e) => e.name).toSorted(), [
      "big.bin",
      "write.ts",
    ]);
  }));

Deno.test("a folder that cannot be made is named", () =>
  withFolder(async (folder) => {
    await Deno.writeTextFile(`${folder}/file`, "");
    await assertRejects(() => writeFileAtomic(`${folder}/file/x.json`, "{}"), FileWriteError);
  }));

Deno.test("missing and broken JSON name the file and the remedy", () =>
  withFolder(async (folder) => {
    const path = `${folder}/x.json`;
    const missing = await assertRejects(() => loadJson(path, "Do this."), FileReadError);
    assertStringIncludes(missing.message, path);
    assertStringIncludes(missing.message, "Do this.");
    await Deno.writeTextFile(path, "{broken");
    await assertRejects(() => loadJson(path, "Do this."), FileReadError, "does not parse");
  }));
