import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { CorpusError } from "@lib/corpus/errors.ts";
import { loadRecords, saveRecords } from "@lib/corpus/jsonl.ts";
import { CleanRecord } from "@lib/corpus/records.ts";
import { FileWriteError } from "@lib/files.ts";

const RECORD: CleanRecord = {
  row: 7,
  run: 3,
  topic: "[ভীত]",
  title: "ঝড়",
  question: 'ভয় লাগছে, "একা"\nআছি।',
  answer: "পাশে আছি।",
};

async function withFolder(run: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await run(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("records survive a round trip, and nothing but the file is left", async () => {
  await withFolder(async (folder) => {
    const path = `${folder}/clean.jsonl`;
    await saveRecords(path, [RECORD, { ...RECORD, row: 8 }]);
    assertEquals(await loadRecords(path, CleanRecord), {
      records: [RECORD, { ...RECORD, row: 8 }],
    });
    assertEquals([...Deno.readDirSync(folder)].map(({ name }) => name), ["clean.jsonl"]);
  });
});

Deno.test("a last line torn anywhere, inside a character too, is left out with a warning", async () => {
  await withFolder(async (folder) => {
    const path = `${folder}/clean.jsonl`;
    await saveRecords(path, [RECORD, { ...RECORD, row: 8 }]);
    const bytes = await Deno.readFile(path);
    const first = bytes.indexOf(0x0a) + 1;
    for (let end = first + 1; end < bytes.length - 1; end++) {
      await Deno.writeFile(path, bytes.subarray(0, end));
      const { records, warning } = await loadRecords(path, CleanRecord);
      assertEquals(records, [RECORD]);
      assertStringIncludes(warning ?? "", "line (2)");
    }
  });
});

Deno.test("a whole last line without its line feed is read", async () => {
  await withFolder(async (folder) => {
    const path = `${folder}/clean.jsonl`;
    await Deno.writeTextFile(path, JSON.stringify(RECORD));
    assertEquals(await loadRecords(path, CleanRecord), { records: [RECORD] });
  });
});

Deno.test("a bad line in the middle and a misspelt key are errors with their line", async () => {
  await withFolder(async (folder) => {
    const path = `${folder}/clean.jsonl`;
    await Deno.writeTextFile(
      path,
      `${JSON.stringify(RECORD)}\n{"row":\n${JSON.stringify(RECORD)}\n`,
    );
    const broken = await assertRejects(() => loadRecords(path, CleanRecord), CorpusError);
    assertStringIncludes(broken.message, "line 2");
    await Deno.writeTextFile(path, `${JSON.stringify({ ...RECORD, awnser: "" })}\n`);
    const misspelt = await assertRejects(() => loadRecords(path, CleanRecord), CorpusError);
    assertStringIncludes(misspelt.message, "awnser");
    assertStringIncludes(misspelt.message, path);
  });
});

Deno.test("a missing file says what to run", async () => {
  const error = await assertRejects(
    () => loadRecords("nowhere/train.jsonl", CleanRecord),
    CorpusError,
  );
  assertStringIncludes(error.message, "nowhere/train.jsonl");
  assertStringIncludes(error.message, "Run");
});

Deno.test("what cannot be written leaves what was there", async () => {
  await withFolder(async (folder) => {
    const path = `${folder}/clean.jsonl`;
    await Deno.mkdir(path);
    await Deno.writeTextFile(`${path}/inside`, "x");
    await assertRejects(() => saveRecords(path, [RECORD]), FileWriteError, path);
    assertEquals(await Deno.readTextFile(`${path}/inside`), "x");
    assertEquals([...Deno.readDirSync(folder)].map(({ name }) => name), ["clean.jsonl"]);
  });
});
