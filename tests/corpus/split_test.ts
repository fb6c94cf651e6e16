import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { CorpusError } from "@lib/corpus/errors.ts";
import { groupRecords } from "@lib/corpus/groups.ts";
import { assertNoLeaks, findLeaks } from "@lib/corpus/leak_check.ts";
import { randomInt, seededRandom } from "@lib/random.ts";
import type { CleanRecord, SplitRecord } from "@lib/corpus/records.ts";
import { conversationRuns, MAX_RUN } from "@lib/corpus/runs.ts";
import { SPLIT_NAMES, splitByGroup } from "@lib/corpus/split.ts";

const LETTERS = "কখগঘচছজঝটঠডঢতথদধনপফবভমযরলশষসহ";

/** A text that resembles no other. */
function randomText(random: () => number, length = 60): string {
  return Array.from({ length }, (_, i) => i % 7 === 6 ? " " : LETTERS[randomInt(random, 28)]).join(
    "",
  );
}

/** Records in runs of one to four, without any duplicate. */
function someRecords(count: number, seed = 3): CleanRecord[] {
  const random = seededRandom(seed);
  let run = 0;
  let left = 0;
  return Array.from({ length: count }, (_, i) => {
    if (left === 0) {
      run++;
      left = 1 + randomInt(random, 4);
    }
    left--;
    const question = randomText(random);
    return {
      row: i + 1,
      run,
      topic: `[${run % 9}]`,
      title: "",
      question,
      answer: randomText(random, 90),
    };
  });
}

Deno.test("groups are runs where nothing repeats", () => {
  const records = someRecords(200);
  const firstRow = new Map<number, number>();
  for (const { run, row } of records) if (!firstRow.has(run)) firstRow.set(run, row);
  for (const { run, group } of groupRecords(records)) assertEquals(group, firstRow.get(run));
});

Deno.test("equal and nearly equal questions or answers join groups, transitively", () => {
  const records = someRecords(60).map((record) => ({ ...record, run: record.row }));
  const set = (row: number, change: Partial<CleanRecord>): void => {
    records[row - 1] = { ...records[row - 1]!, ...change };
  };
  set(20, { question: records[4]!.question });
  set(30, { answer: records[19]!.answer.replace(/..$/u, "ক।") });
  const groups = groupRecords(records);
  assertEquals([5, 20, 30].map((row) => groups[row - 1]!.group), [5, 5, 5]);
  assertEquals(groups[30]!.group, 31);
});

Deno.test("the split has its shares, keeps groups whole, is seeded and loses nothing", () => {
  const records = groupRecords(someRecords(2000));
  const split = splitByGroup(records);
  assertEquals(split.test.length, 100);
  assertEquals(split.val.length, 200);
  assertEquals(split.train.length, 1700);
  const rows = SPLIT_NAMES.flatMap((name) => split[name].map(({ row }) => row));
  assertEquals(new Set(rows).size, 2000);
  assertNoLeaks(split);
  assertEquals(splitByGroup(records).test, split.test);
  const other = splitByGroup(records, { seed: 43 });
  assert(other.test.some((record, i) => record.row !== split.test[i]?.row));
  assertEquals(split.report.warnings, []);
});

Deno.test("a cap takes whole groups before the split", () => {
  const records = groupRecords(someRecords(2000));
  const split = splitByGroup(records, { maxRecords: 1500 });
  assertEquals(split.report.rows, 1500);
  assertEquals(split.report.leftOut, 500);
  assertEquals([split.train.length, split.val.length, split.test.length], [1275, 150, 75]);
  const taken = new Map<number, number>();
  for (const name of SPLIT_NAMES) {
    for (const { group } of split[name]) taken.set(group, (taken.get(group) ?? 0) + 1);
  }
  const whole = new Map<number, number>();
  for (const { group } of records) whole.set(group, (whole.get(group) ?? 0) + 1);
  for (const [group, size] of taken) assertEquals(size, whole.get(group));
});

Deno.test("a giant group trains, and the report says what that costs", () => {
  const records = someRecords(1000).map((record) =>
    record.row <= 900 ? { ...record, answer: "শুনে খারাপ লাগল।" } : record
  );
  const split = splitByGroup(groupRecords(records));
  assert(split.report.largestGroup >= 900);
  assertEquals(split.report.largeGroups, 1);
  assert(split.train.length >= split.report.largestGroup);
  assert(split.test.length > 0 && split.val.length > split.test.length);
  assertEquals(split.report.warnings.length, 2);
  assertStringIncludes(split.report.warnings[0]!, "instead of 100");
  assertNoLeaks(split);
});

Deno.test("shares that do not sum to one are refused", () => {
  assertThrows(
    () => splitByGroup([], { shares: { train: 0.8, val: 0.1, test: 0.05 } }),
    RangeError,
    "sum to 1",
  );
});

Deno.test("the leak check finds each kind of leak that is planted", () => {
  const base = groupRecords(someRecords(400));
  const split = splitByGroup(base);
  assertEquals(findLeaks(split), []);
  const victim = split.test[3]!;
  const twin = split.train[50]!;
  const plant = (change: Partial<SplitRecord>): SplitRecord[] =>
    split.train.map((record) => record === twin ? { ...record, ...change } : record);
  const kinds = (change: Partial<SplitRecord>): string[] => {
    const leaks = findLeaks({ ...split, train: plant(change) });
    for (const { kind, rows } of leaks) {
      if (kind === "question" || kind === "answer") assertEquals(rows, [victim.row, twin.row]);
    }
    return [...new Set(leaks.map(({ kind }) => kind))];
  };
  assertEquals(kinds({ group: victim.group }), ["group"]);
  assertEquals(kinds({ run: victim.run }), ["run"]);
  assertEquals(kinds({ question: `${victim.question}!` }), ["question"]);
  assertEquals(kinds({ question: victim.question.replace(/.$/u, "ৎ") }), ["question"]);
  assertEquals(kinds({ answer: `${victim.answer}কখ` }), ["answer"]);
  assertEquals(kinds({ answer: victim.answer.split("").reverse().join("") }), []);
  assertThrows(
    () => assertNoLeaks({ ...split, train: plant({ question: victim.question }) }),
    CorpusError,
    `row ${victim.row} (test)`,
  );
});

Deno.test("the leak check agrees with the definition on pairs around the threshold", () => {
  const random = seededRandom(11);
  const record = (row: number, question: string): SplitRecord => ({
    row,
    run: row,
    group: row,
    topic: "",
    title: "",
    question,
    answer: randomText(random, 80),
  });
  const base = randomText(random, 120);
  const grams = (text: string): Set<string> =>
    new Set(Array.from({ length: text.length - 4 }, (_, k) => text.slice(k, k + 5)));
  let leaks = 0;
  for (let cut = 1; cut <= 25; cut++) {
    const other = base.slice(0, base.length - cut).trim();
    const [x, y] = [grams(base.trim()), grams(other)];
    const common = [...x].filter((gram) => y.has(gram)).length;
    const expected = common / (x.size + y.size - common) >= 0.9 ? 1 : 0;
    const parts = { train: [record(1, base)], val: [], test: [record(2, other)] };
    assertEquals(findLeaks(parts).length, expected, `cut ${cut}`);
    leaks += expected;
  }
  assert(leaks > 5 && leaks < 20);
});

Deno.test("runs: neighbours under one topic, rows without a topic by title", () => {
  const rows = ["ক", "ক ", "খ", "", "", "ক"].map((topic, i) => ({
    topic,
    title: i === 4 ? "শ" : "",
  }));
  assertEquals(conversationRuns(rows).runs, [1, 1, 2, 3, 4, 5]);
});

Deno.test("runs: a file sorted by topic does not become one group a topic", () => {
  const rows = Array.from({ length: 3000 }, (_, i) => ({
    topic: i < 1500 ? "ক" : "খ",
    title: `শিরোনাম ${Math.floor(i / 3)}`,
  }));
  const { runs, longRuns, longestRun } = conversationRuns(rows);
  assertEquals(longRuns, 2);
  assertEquals(longestRun, 1500);
  assertEquals(new Set(runs).size, 1000);
  assertEquals(runs[2], runs[0]);
  assert(runs[3] !== runs[2]);
});

Deno.test("runs: a long run without titles is cut into blocks, one of two dialogues is not", () => {
  const blocks = conversationRuns(Array.from({ length: 20 }, () => ({ topic: "ক", title: "" })));
  assertEquals(new Set(blocks.runs).size, Math.ceil(20 / MAX_RUN));
  const pair = conversationRuns(Array.from({ length: MAX_RUN }, () => ({ topic: "ক", title: "" })));
  assertEquals(pair.longRuns, 0);
  assertEquals(new Set(pair.runs).size, 1);
});
