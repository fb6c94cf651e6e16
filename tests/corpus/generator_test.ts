import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { cleanStrict } from "@lib/corpus/clean.ts";
import { loadCorpus, parseCorpus } from "@lib/corpus/csv.ts";
import { gunzipped } from "@lib/gzip.ts";
import { groupRecords } from "@lib/corpus/groups.ts";
import { assertNoLeaks } from "@lib/corpus/leak_check.ts";
import { cleanLegacy } from "@lib/corpus/legacy.ts";
import { normalizeText } from "@lib/corpus/normalize.ts";
import { seededRandom } from "@lib/random.ts";
import { DROP_REASON_CODES } from "@lib/corpus/reasons.ts";
import { conversationRuns } from "@lib/corpus/runs.ts";
import { splitByGroup } from "@lib/corpus/split.ts";
import { codePointLength } from "@lib/corpus/text_key.ts";
import { generateCorpus, toCsv } from "../../data/generator/corpus.ts";
import { REVERSIBLE } from "../../data/generator/corruptions.ts";
import { MISLABELLED_TOPIC } from "../../data/generator/defects.ts";
import { parseOptions } from "../../data/generator/generate.ts";
import { planCorpus } from "../../data/generator/plan.ts";
import { loadSources } from "../../data/generator/topics.ts";

const DATA = new URL("../../data/", import.meta.url);
const SAMPLE = new URL("sample_corpus.csv.gz", DATA);
const sources = await loadSources();
const manifestText = await Deno.readTextFile(new URL("sample_corpus.manifest.json", DATA));
const { rows: rowCount, seed } = JSON.parse(manifestText) as { rows: number; seed: number };
const generated = generateCorpus(sources, rowCount, seed);
const corpus = await loadCorpus(SAMPLE);
const cleaned = cleanStrict(corpus.rows);

Deno.test("the committed sample is what the generator writes, byte for byte", async () => {
  const bytes = await gunzipped(await Deno.readFile(SAMPLE));
  const written = new TextEncoder().encode(toCsv(generated.rows));
  const same = written.length === bytes.length && written.every((byte, i) => byte === bytes[i]);
  assert(same, "sample_corpus.csv.gz is out of date: write it again as data/README.md says");
  assertEquals(manifestText, JSON.stringify(generated.manifest, null, 2) + "\n");
  assert(bytes.length <= 4_000_000, `${bytes.length} bytes`);
  assertEquals([...bytes.subarray(0, 3)], [0xef, 0xbb, 0xbf]);
});

Deno.test("the sample has 4,000 rows or more over 32 topics and the mislabelled one", () => {
  assert(corpus.rows.length >= 4000);
  const labels = new Set(cleaned.records.map(({ topic }) => topic));
  assertEquals(labels.size, 33);
  assert(labels.has(MISLABELLED_TOPIC));
});

Deno.test("strict cleaning drops exactly the planned rows, for the planned reasons", () => {
  const { dropped, masked } = cleaned.report;
  for (const code of DROP_REASON_CODES) {
    assertEquals(dropped[code], generated.manifest.expectedDropped[code] ?? 0, code);
  }
  const { phone, email, url } = generated.manifest.defects;
  assertEquals(masked, { phone, email, url });
  const planned = new Map(generated.facts.map((fact) => [fact.row, fact]));
  for (const drop of [...cleaned.dropped, ...cleaned.quarantined]) {
    const fact = planned.get(drop.row);
    assert(fact?.defect !== null, `row ${drop.row} has no planned defect but is ${drop.reason}`);
    if (drop.duplicateOf !== undefined) assertEquals(fact?.duplicateOf, drop.duplicateOf);
  }
});

Deno.test("legacy cleaning gives the planned counts, and 38,233 rows would give the original's", () => {
  const { rawTurns, keptTurns, keptRows } = cleanLegacy(corpus.rows).report;
  assertEquals({ rawTurns, keptTurns, keptRows }, generated.manifest.expectedLegacy);
  const { defects } = planCorpus(38_233, { selfHarm: 20, advice: 20 });
  assertEquals(defects.missing_answer + defects.tiny_answer, 76_466 - 76_338);
  for (const text of sources.short.tiny_answers) assert(codePointLength(text) <= 5, text);
});

Deno.test("every corruption called reversible is undone by normalisation", () => {
  const random = seededRandom(1);
  const texts = cleaned.records.slice(0, 600).flatMap(({ question, answer }) => [question, answer])
    .filter((text) => !text.includes("["));
  for (const [name, corrupt] of Object.entries(REVERSIBLE)) {
    let applied = 0;
    for (const text of texts) {
      const corrupted = corrupt(random, text);
      if (corrupted === undefined) continue;
      applied++;
      assert(corrupted !== text);
      assertEquals(normalizeText(corrupted), text, name);
    }
    assert(applied > 5, `${name} applied to ${applied} texts`);
  }
});

Deno.test("empathy is mixed as people write: all levels, mean 60–65, about 6 % cold", () => {
  const { levels, meanScore, coldShare } = generated.manifest;
  for (const counts of Object.values(levels)) {
    for (const count of counts) assert(count > 0.05 * rowCount);
  }
  assert(meanScore >= 60 && meanScore <= 65, `mean ${meanScore}`);
  assert(coldShare > 0.045 && coldShare < 0.075, `cold ${coldShare}`);
});

Deno.test("a run of same-topic rows is one conversation; situations are used evenly", () => {
  const { runs, longRuns } = conversationRuns(corpus.rows);
  assertEquals(longRuns, 0);
  const situationsOfRun = new Map<number, Set<string>>();
  const uses = new Map<string, number>();
  generated.facts.forEach(({ topic, situation, kind }, i) => {
    const name = `${topic}/${situation}`;
    const set = situationsOfRun.get(runs[i]!) ?? new Set();
    situationsOfRun.set(runs[i]!, set.add(name));
    if (kind === "opening") uses.set(name, (uses.get(name) ?? 0) + 1);
  });
  for (const set of situationsOfRun.values()) assertEquals(set.size, 1);
  assertEquals(uses.size, generated.manifest.situations);
  assert(Math.max(...uses.values()) <= 2 * Math.min(...uses.values()));
});

Deno.test("the sample splits without a giant group, over all topics, and without a leak", () => {
  const split = splitByGroup(groupRecords(cleaned.records));
  assert(split.report.largestGroup < 0.02 * split.report.rows, `${split.report.largestGroup}`);
  assertEquals(split.report.largeGroups, 0);
  assertEquals(split.report.warnings, []);
  assert(split.report.parts.test.topics >= 30);
  assertNoLeaks(split);
});

Deno.test("no slot stays unfilled and every kept text is normal", () => {
  for (const { title, question, answer } of cleaned.records) {
    for (const text of [title, question, answer]) {
      assert(!/[{}]/.test(text), text);
      assertEquals(normalizeText(text), text);
    }
  }
});

Deno.test("the seed decides: the same gives the same, another gives another corpus", () => {
  const csv = (seed: number): string => toCsv(generateCorpus(sources, 300, seed).rows);
  assertEquals(csv(1), csv(1));
  assert(csv(1) !== csv(2));
  assertEquals(parseCorpus(csv(1)).rows.length, 300);
});

Deno.test("too few rows and wrong options are refused with what is expected", () => {
  assertThrows(() => generateCorpus(sources, 50, 1), RangeError, "at least 200");
  const message = (args: string[]): string => assertThrows(() => parseOptions(args), Error).message;
  assertStringIncludes(message(["--rows", "10"]), "--out is missing");
  assertStringIncludes(message(["--rowz", "10"]), '"--rowz"');
  assertStringIncludes(message(["--out", "a", "--rows", "ten"]), '"ten"');
  assertStringIncludes(message(["--out"]), "needs a value");
  assertEquals(parseOptions(["--out=a=b.csv", "--seed", "7"]), {
    rows: 4000,
    seed: 7,
    out: "a=b.csv",
  });
});
