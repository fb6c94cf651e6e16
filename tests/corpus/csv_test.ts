import {
  assert,
  assertEquals,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { loadCorpus, parseCorpus } from "@lib/corpus/csv.ts";
import { CorpusError } from "@lib/corpus/errors.ts";
import { gzipped } from "@lib/gzip.ts";
import { findCorpus, REAL_CORPUS_NAME, SAMPLE_CORPUS_NAME } from "@lib/corpus/find_corpus.ts";

const HEADER = "Topics,Question-Title,Questions,Answers";
const GOOD =
  `${HEADER}\r\n[গর্বিত],ফল,"আমি, শেষে পাশ করেছি।",বাহ!\r\n[ভীত],ঝড়,ভয় লাগছে।,"পাশে\nআছি।"\r\n`;

function failure(text: string): string {
  return assertThrows(() => parseCorpus(text, { source: "c.csv" }), CorpusError).message;
}

async function withFolder(run: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await run(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("BOM, CRLF, quoted commas and line breaks in fields are read", () => {
  for (const text of [GOOD, `\ufeff${GOOD}`, GOOD.replaceAll("\r\n", "\n")]) {
    const { rows } = parseCorpus(text);
    assertEquals(rows.map(({ row }) => row), [1, 2]);
    assertEquals(rows[0]!.question, "আমি, শেষে পাশ করেছি।");
    assertEquals(rows[1]!.answer, "পাশে\nআছি।");
  }
});

Deno.test("old Mac line ends are read", () => {
  assertEquals(parseCorpus(`${HEADER}\r[ভীত],ঝড়,ভয় লাগছে।,শুনছি।\r`).rows.length, 1);
});

Deno.test("columns are found by alias, in any order, and others are ignored by name", () => {
  const corpus = parseCorpus(" answer ,id,QUESTION,topic,Question Title\nউ,১,প্র,ট,শি\n");
  const { topic, title, question, answer } = corpus.rows[0]!;
  assertEquals([topic, title, question, answer], ["ট", "শি", "প্র", "উ"]);
  assertEquals(corpus.ignoredColumns, ["id"]);
});

Deno.test("a missing column is named, with what was found", () => {
  const message = failure("Topics,Questions,Answers\nক,খ,গ\n");
  assertStringIncludes(message, "c.csv");
  assertStringIncludes(message, 'missing "Question-Title"');
  assertStringIncludes(message, '"Questions"');
});

Deno.test("two columns for one field are refused", () => {
  const message = failure("Topics,Question-Title,Questions,Question,Answers\nক,খ,গ,ঘ,ঙ\n");
  assertStringIncludes(message, 'column 3 "Questions" and column 4 "Question"');
});

Deno.test("a row with too many fields is named; empty extra fields are not an error", () => {
  const message = failure(`${HEADER}\nক,খ,গ,ঘ\nক,খ,গ,ঘ,ঙ\n`);
  assertStringIncludes(message, "expected 4 fields in data row 2, found 5");
  assertEquals(parseCorpus(`${HEADER}\nক,খ,গ,ঘ,,\n`).rows.length, 1);
});

Deno.test("a short row is filled and reported", () => {
  const { rows, shortRows } = parseCorpus(`${HEADER}\nক,খ,গ,ঘ\nক,খ,গ\n`);
  assertEquals(rows[1]!.answer, "");
  assertEquals(shortRows, [2]);
});

Deno.test("a stray quote is reported with its row and line, after rows of several lines", () => {
  const text = `${HEADER}\nক,খ,"গ\nগ\nগ",ঘ\nক,খ,গ,ঘ\nক,খ,গ "ভুল,ঘ\n`;
  const message = failure(text);
  assertStringIncludes(message, "data row 3");
  assertStringIncludes(message, "line 6, column 7");
  const { rows } = parseCorpus(text, { lazyQuotes: true });
  assertEquals(rows[2]!.question, 'গ "ভুল');
});

Deno.test("a quote that is never closed is reported where its row starts", () => {
  assertStringIncludes(failure(`${HEADER}\nক,খ,গ,ঘ\n\nক,খ,"গ,ঘ\nক,খ,গ,ঘ\n`), "data row 2, line 4");
  assertStringIncludes(failure(`${HEADER}\nক,খ,"গ" ঘ,ঙ\n`), "data row 1, line 2, column 7");
});

Deno.test("empty files and a header alone are refused", () => {
  for (const text of ["", "\ufeff", "\n \n"]) assertStringIncludes(failure(text), "empty file");
  assertStringIncludes(failure(`${HEADER}\n`), "found none");
});

Deno.test("wrong encodings are refused with the place and the remedy", async () => {
  await withFolder(async (folder) => {
    const path = `${folder}/a.csv`;
    const utf16 = new Uint8Array([...GOOD].flatMap((c) => {
      const code = c.charCodeAt(0);
      return [code & 255, code >> 8];
    }));
    await Deno.writeFile(path, new Uint8Array([0xff, 0xfe, ...utf16]));
    let error = await assertRejects(() => loadCorpus(path), CorpusError);
    assertStringIncludes(error.message, "UTF-16LE");
    const ascii = new TextEncoder().encode(`${HEADER}\nsad,t,q,a\n`);
    await Deno.writeFile(path, new Uint8Array([...ascii].flatMap((byte) => [0, byte])));
    error = await assertRejects(() => loadCorpus(path), CorpusError);
    assertStringIncludes(error.message, "UTF-16BE");

    const latin1 = new Uint8Array([...ascii, 0x63, 0x61, 0x66, 0xe9, 0x2c]);
    await Deno.writeFile(path, latin1);
    error = await assertRejects(() => loadCorpus(path), CorpusError);
    assertStringIncludes(error.message, `0xE9 at byte offset ${ascii.length + 3} (line 3)`);
    assertStringIncludes(error.message, path);
  });
});

Deno.test("truncated UTF-8 at the end of a file is found", async () => {
  await withFolder(async (folder) => {
    const path = `${folder}/a.csv`;
    const bytes = new TextEncoder().encode(`${HEADER}\nক,খ,গ,ঘ`);
    await Deno.writeFile(path, bytes.subarray(0, -1));
    const error = await assertRejects(() => loadCorpus(path), CorpusError);
    assertStringIncludes(error.message, `byte offset ${bytes.length - 3}`);
  });
});

Deno.test("a gzipped file is read as the plain one; a torn one is refused", async () => {
  await withFolder(async (folder) => {
    const path = `${folder}/a.csv.gz`;
    const packed = await gzipped(GOOD);
    await Deno.writeFile(path, packed);
    assertEquals((await loadCorpus(path)).rows, parseCorpus(GOOD).rows);
    await Deno.writeFile(path, packed.subarray(0, -12));
    await assertRejects(() => loadCorpus(path), CorpusError, "a whole gzip file");
  });
});

Deno.test("a missing file is named with what to do", async () => {
  const error = await assertRejects(() => loadCorpus("nowhere/x.csv"), CorpusError);
  assertStringIncludes(error.message, "nowhere/x.csv");
});

Deno.test("the real file, also under its variants, goes before the sample", async () => {
  await withFolder(async (folder) => {
    await assertRejects(() => findCorpus(folder), CorpusError, REAL_CORPUS_NAME);
    await Deno.writeTextFile(`${folder}/${SAMPLE_CORPUS_NAME}`, GOOD);
    assertEquals((await findCorpus(folder)).kind, "sample");
    const variant = "BengaliEmpatheticConversationsCorpus (1).csv";
    await Deno.writeTextFile(`${folder}/${variant}`, GOOD);
    assertEquals(await findCorpus(`${folder}/`), { path: `${folder}/${variant}`, kind: "real" });
    await Deno.writeTextFile(`${folder}/${REAL_CORPUS_NAME}`, GOOD);
    const found = await findCorpus(folder);
    assert(found.path.endsWith(REAL_CORPUS_NAME));
    assertEquals((await loadCorpus(found.path)).rows.length, 2);
  });
});
