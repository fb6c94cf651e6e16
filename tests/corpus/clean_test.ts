import { assert, assertEquals } from "@std/assert";
import { cleanStrict } from "@lib/corpus/clean.ts";
import type { CorpusRow } from "@lib/corpus/csv.ts";
import { cleanLegacy, legacyNormalize, legacyUserTurn } from "@lib/corpus/legacy.ts";
import { maskPersonalData, PLACEHOLDERS } from "@lib/corpus/pii.ts";
import { quarantineFinding } from "@lib/corpus/quarantine.ts";
import { DROP_REASON_CODES, type DropReason } from "@lib/corpus/reasons.ts";
import { CleanRecord, DroppedRow } from "@lib/corpus/records.ts";

const Q = "আজ অফিসে সবার সামনে বকা খেলাম, মনটা একেবারে ভেঙে গেছে।";
const A = "সবার সামনে এমন কথা শুনতে হলে যে কারও খারাপ লাগে, আপনার কষ্টটা বুঝতে পারছি।";

function row(number: number, question: string, answer: string, topic = `[${number}]`): CorpusRow {
  return { row: number, topic, title: "শিরোনাম", question, answer };
}

function reasonOf(question: string, answer: string): DropReason | undefined {
  const { dropped, quarantined } = cleanStrict([row(1, question, answer)]);
  return [...dropped, ...quarantined][0]?.reason;
}

Deno.test("each filter has its reason code, and a good row has none", () => {
  assertEquals(reasonOf(Q, A), undefined);
  assertEquals(reasonOf(Q, "শুনে খারাপ লা\ufffdল খুব।"), "replacement_character");
  assertEquals(reasonOf(" \u200b ", A), "missing_question");
  assertEquals(reasonOf(Q, "।"), "missing_answer");
  assertEquals(reasonOf("সাহায্য!", A), "one_word_question");
  assertEquals(reasonOf(Q, "আচ্ছা।"), "one_word_answer");
  assertEquals(reasonOf(Q, "I am sorry to hear that."), "not_bengali");
  assertEquals(reasonOf("office e boss অপমান korlo", A), "not_bengali");
  assertEquals(reasonOf(Q, Q.replace("।", " !")), "question_equals_answer");
  assertEquals(reasonOf("না না না না না মন ভালো নেই", A), "repeated_token");
  assertEquals(reasonOf("না না না না মন ভালো নেই আজ", A), undefined);
});

Deno.test("a title with U+FFFD drops its row too", () => {
  const { dropped } = cleanStrict([{ ...row(1, Q, A), title: "ভা\ufffd" }]);
  assertEquals(dropped[0]?.reason, "replacement_character");
});

Deno.test("later copies are dropped, exact or near, and point to the row that stays", () => {
  const { records, dropped } = cleanStrict([
    row(1, Q, A),
    row(2, Q.replaceAll(" ", "  ").replace("।", "."), A.replace("।", " ।")),
    row(3, Q, A.replace("পারছি", "পারি")),
    row(4, Q, "চাইলে কাল শান্ত হয়ে ওনার সঙ্গে একবার আলাদা করে কথা বলে দেখতে পারেন।"),
  ]);
  assertEquals(records.map((record) => record.row), [1, 4]);
  assertEquals(dropped.map(({ row, reason, duplicateOf }) => [row, reason, duplicateOf]), [
    [2, "exact_duplicate", 1],
    [3, "near_duplicate", 1],
  ]);
  assert(dropped[1]!.similarity! >= 0.9 && dropped[1]!.similarity! < 1);
});

Deno.test("a near-duplicate of a dropped row alone stays", () => {
  const tokens = Array.from({ length: 30 }, (_, i) => `শব্দ${"কখগঘঙচছজঝট"[i % 10]}${"তথদ"[i % 3]}`);
  const changed = (count: number): string =>
    tokens.map((token, i) => i % 6 === 0 && i < 6 * count ? "বদল" : token).join(" ");
  const rows = [0, 1, 2].map((count) => row(count + 1, changed(count), "শুনছি, বলুন।"));
  assertEquals(cleanStrict(rows.slice(1)).dropped.map(({ row }) => row), [3]);
  assertEquals(cleanStrict(rows).dropped.map(({ row }) => row), [2]);
});

Deno.test("counts add up, rows keep their texts as in the file, examples show the change", () => {
  const spoiled = "মন  ভালো\u00ad নেই . কিছু ভালো লাগে না .";
  const { records, dropped, report, examples } = cleanStrict([
    row(1, spoiled, A),
    row(2, Q, "হুম"),
    row(3, Q, ""),
  ]);
  assertEquals(records[0]?.question, "মন ভালো নেই। কিছু ভালো লাগে না।");
  assertEquals(report.rawRows, 3);
  const sum = DROP_REASON_CODES.reduce((total, code) => total + report.dropped[code], 0);
  assertEquals(report.keptRows + sum, report.rawRows);
  assertEquals(dropped.map((d) => d.answer), ["হুম", ""]);
  assertEquals(report.changed.full_stop_to_danda, 1);
  const stops = examples.filter(({ step }) => step === "full_stop_to_danda");
  assertEquals(stops.map(({ row, field }) => [row, field]), [[1, "question"]]);
  records.forEach((record) => CleanRecord.parse(record));
  dropped.forEach((drop) => DroppedRow.parse(drop));
});

Deno.test("personal data becomes placeholders; other numbers stay", () => {
  const masked: [string, string][] = [
    ["ফোন 01000-000012।", `ফোন ${PLACEHOLDERS.phone}।`],
    ["ফোন ০১০০০ ০০০০১২, রাতে।", `ফোন ${PLACEHOLDERS.phone}, রাতে।`],
    ["+880 1000 000012 নম্বর", `${PLACEHOLDERS.phone} নম্বর`],
    ["কলকাতার 98300 00000", `কলকাতার ${PLACEHOLDERS.phone}`],
    ["লিখুন rahim.k@example.com।", `লিখুন ${PLACEHOLDERS.email}।`],
    ["দেখুন https://example.org/a?b=1।", `দেখুন ${PLACEHOLDERS.url}।`],
    ["আছে www.example.com.", `আছে ${PLACEHOLDERS.url}.`],
    ["আছে example.org/পাতা এখানে", `আছে ${PLACEHOLDERS.url} এখানে`],
  ];
  for (const [before, after] of masked) assertEquals(maskPersonalData(before).text, after);
  for (
    const text of [
      "৯৯৯ নম্বরে ফোন করুন",
      "২০২৩-২০২৪ শিক্ষাবর্ষ",
      "01-02-2024 তারিখে",
      "১০,০০,০০০ টাকা",
      "২৫০০০০০ টাকা ঋণ",
      "বি.এ. পাশ",
    ]
  ) assertEquals(maskPersonalData(text).text, text);
});

Deno.test("quarantine finds misspellings, indirect and romanised words", () => {
  for (
    const text of [
      "আত্নহত্যার কথা ভাবি",
      "বেঁচে থেকে কি লাভ",
      "আর বাচতে চাই না",
      "আমি না থাকলেই সবাই ভালো থাকবে",
      "ami morte chai",
      "bachte chai na ar",
      "নিজের জীবনটা শেষ করে দিতে মন চায়",
    ]
  ) assertEquals(quarantineFinding(text, A)?.reason, "quarantine_self_harm", text);
});

Deno.test("quarantine leaves idioms, grief and referrals alone", () => {
  for (
    const [question, answer] of [
      ["গরমে মরে যাচ্ছি, বিদ্যুৎ নেই।", A],
      ["লজ্জায় মরে যেতে ইচ্ছে করছিল সবার সামনে।", A],
      ["হাসতে হাসতে মরে যাই আর কি।", A],
      ["দাদু মারা গেছেন, খুব মনে পড়ে।", A],
      ["চারাগাছগুলো মরে গেল সব।", A],
      [Q, "চাইলে একজন আইনজীবীর সঙ্গে কথা বলে দেখতে পারেন।"],
      [Q, "ইচ্ছে হলে কাছের কোনো ডাক্তারের সঙ্গে একবার কথা বলুন।"],
      ["ডাক্তার ওষুধ বন্ধ করে দিন বলেছেন।", A],
    ] as const
  ) assertEquals(quarantineFinding(question, answer), undefined, question);
});

Deno.test("quarantined rows are apart from dropped ones, with evidence", () => {
  const { records, dropped, quarantined } = cleanStrict([
    row(1, Q, A),
    row(2, "রাতে ঘুম হয় না একদম।", "ঘুমের ওষুধ খেয়ে নিন, ভালো লাগবে।"),
  ]);
  assertEquals(records.length, 1);
  assertEquals(dropped.length, 0);
  assertEquals(quarantined[0]?.reason, "quarantine_advice");
  assertEquals(quarantined[0]?.evidence, "ঘুমের ওষুধ খেয়ে নিন".normalize("NFC"));
});

Deno.test("legacy: turns, six code points and more, control characters deleted", () => {
  assertEquals(legacyUserTurn(row(1, "প্রশ্ন\nদুই", A, "ভয়")), "[ভয়] শিরোনাম প্রশ্নদুই".normalize("NFC"));
  assertEquals(legacyNormalize("ক\u00a0 খ\u200bগ"), "ক খ\u200bগ");
  const { records, report, droppedRows } = cleanLegacy([
    row(1, Q, A),
    row(2, Q, "হ্যাঁ"), // five code points
    row(3, Q, "হ্যাঁ।"), // six
    row(4, "", A), // the user turn still has topic and title
    row(5, Q, " \n "),
    { row: 6, topic: "", title: "", question: "কেন?", answer: "না।" },
  ]);
  assertEquals(records.map((record) => record.row), [1, 3, 4]);
  assertEquals(droppedRows, [2, 5, 6]);
  assertEquals(report, { mode: "legacy", rawRows: 6, rawTurns: 12, keptTurns: 8, keptRows: 3 });
  records.forEach((record) => CleanRecord.parse(record));
});
