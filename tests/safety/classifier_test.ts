import { assert, assertEquals, assertThrows } from "@std/assert";
import { loadCorpus } from "@lib/corpus/csv.ts";
import model from "../../data/guard/classifier.json" with { type: "json" };
import {
  CHANCES,
  DANGERS,
  read,
  readClassifier,
  safetyClassifier,
  windowsOf,
} from "@lib/safety/classifier.ts";
import { assess } from "@lib/safety/mod.ts";
import { FEATURES, featuresOf } from "@lib/safety/features.ts";
import { matchKeyOf } from "@lib/safety/key.ts";
import { safetyLexicon } from "@lib/safety/lexicon.ts";
import { parsePhrases } from "@lib/safety/score.ts";
import { chanceOf, classifierKey } from "@lib/safety/train_classifier.ts";
import { loadTrainingPhrases, parseTrainingPhrases } from "@lib/safety/training_phrases.ts";

const readText = (text: string) => read(classifierKey(text));

Deno.test("features are the same for both scripts' same sounds, and within bounds", () => {
  const features = featuresOf(matchKeyOf("মন ভালো নেই").text);
  assert(features.length > 20 && features.every((one) => one >= 0 && one < FEATURES));
  assertEquals(new Set(features).size, features.length);
  const overlap = featuresOf(matchKeyOf("bangla").text).filter((one) =>
    featuresOf(matchKeyOf("বাংলা").text).includes(one)
  );
  assert(overlap.length > 4);
});

Deno.test("windows are the whole text, or runs of sentences that overlap and leave nothing out", () => {
  assertEquals(windowsOf("ami "), []);
  const short = matchKeyOf("আজ সারাদিন বৃষ্টি হয়েছে। বিকেলে চা খেলাম।").text;
  assertEquals(windowsOf(short), [{ start: 0, end: short.length }]);
  for (const sentence of ["আজ সারাদিন বৃষ্টি হয়েছে। ", "আজ সারাদিন বৃষ্টি হয়েছে "]) {
    const { text } = matchKeyOf(sentence.repeat(60));
    const windows = windowsOf(text);
    assert(
      windows.length > 3 && windows.every(({ start, end }) => end > start && end - start <= 400),
    );
    assertEquals([windows[0]?.start, windows.at(-1)?.end], [0, text.length]);
    windows.slice(1).forEach(({ start }, at) => assert(start <= (windows[at]?.end ?? 0)));
  }
});

Deno.test("chances add up to one, and the likeliest danger is named", () => {
  const found = readText("রোজ রাতে ভাবি সকালটা যেন আর না দেখতে হয়");
  if (found === null) throw new Error("expected a reading, found none");
  const sum = CHANCES.reduce((total, name) => total + found.chances[name], 0);
  assert(Math.abs(sum - 1) < 1e-9, String(sum));
  const danger = DANGERS.reduce((total, name) => total + found.chances[name], 0);
  assert(Math.abs(danger - found.danger) < 1e-12);
  assert(found.danger > 0.9 && found.kind === "passive", JSON.stringify(found));
  assertEquals(readText("হুঁ"), null);
});

Deno.test("one dangerous sentence in a long harmless letter is found", () => {
  const filler = "আজ সকালে বাজারে গিয়ে মাছ কিনলাম, তারপর মেয়েকে স্কুলে দিয়ে এলাম। ".repeat(25);
  const plain = readText(filler)?.danger ?? 1;
  const letter = readText(`${filler}রোজ রাতে ভাবি সকালটা যেন আর না দেখতে হয়। ${filler}`)?.danger ?? 0;
  assert(plain < 0.2, String(plain));
  assert(letter > plain + 0.3, `${letter} against ${plain}`);
});

Deno.test("plain words of danger do not drown in a harmless letter", () => {
  const filler = "আজ সকালে বাজারে গিয়ে মাছ কিনলাম, তারপর মেয়েকে স্কুলে দিয়ে এলাম। ";
  for (const times of [1, 3, 5, 20]) {
    for (const words of ["আমি আর বাঁচতে চাই না। ", "আমি মরতে চাই। ", "আজ রাতেই নিজেকে শেষ করে দেব। "]) {
      const letter = `${filler.repeat(times)}${words}${filler.repeat(times)}`;
      assertEquals(assess(letter).level, 3, `${times} × ${words}`);
    }
  }
});

Deno.test("an idiom that the list does not have is let fall where nothing else speaks of danger", () => {
  assert(assess("হাসতে হাসতে পেট ফেটে মরতে চাই এমন সিনেমা দেখলাম").level <= 1);
});

Deno.test("a model's file that is cut is refused with what was expected", () => {
  const cut = { ...model, embedding: model.embedding.slice(0, 4000) };
  assertThrows(() => readClassifier(cut), RangeError, "expected");
  assertThrows(() => readClassifier({ ...model, classes: ["none"] }));
  assert(safetyClassifier().raise > safetyClassifier().keep);
});

Deno.test("of the corpus rows that training never saw, hardly any is raised", async () => {
  const { rows } = await loadCorpus("data/sample_corpus.csv.gz");
  const { idioms, inputPatterns, input } = safetyLexicon();
  const { raise } = safetyClassifier();
  let judged = 0;
  let raised = 0;
  for (const { question } of rows.filter((_, at) => at % 8 === 1)) {
    const key = idioms.blank(matchKeyOf(question).text);
    if (inputPatterns.find(key).some(({ group }) => (input[group]?.level ?? 0) >= 2)) continue;
    judged++;
    if ((readText(question)?.danger ?? 0) >= raise) raised++;
  }
  assert(judged > 400);
  assert(raised <= 0.01 * judged, `${raised} of ${judged} raised`);
});

Deno.test("a phrase's class and least level say what it is an example of", () => {
  const cases = [
    ["benign", [0, 1], "none"],
    ["medical", [1, 1], "none"],
    ["distress", [1, 2], "distress"],
    ["bereavement", [1, 1], "grief"],
    ["bereavement", [2, 2], "passive"],
    ["indirect", [2, 3], "passive"],
    ["noisy", [3, 3], "intent"],
    ["third_party", [2, 3], "other"],
    ["third_party", [3, 3], "other_intent"],
    ["minor", [4, 4], "harm"],
    ["romanised", [4, 4], "harm"],
  ] as const;
  for (const [kind, level, chance] of cases) assertEquals(chanceOf(kind, level), chance, kind);
});

Deno.test("training phrases: a line that is none is named", () => {
  assertEquals(parseTrainingPhrases("a\tbenign\t0\tশুভ সকাল\n\n").length, 1);
  for (
    const line of [
      "a\tbenign\t0",
      "a\tbenign\tlow\tশুভ",
      "a\tbenign\t0\tশুভ\tসকাল",
      "\tbenign\t0\tশুভ",
      "a\tbenign\t7\tশুভ",
    ]
  ) {
    assertThrows(() => parseTrainingPhrases(`a\tbenign\t0\tশুভ সকাল\n${line}`), TypeError, "Line 2");
  }
});

Deno.test("no held-out line is among the training phrases, whatever its script and spelling", async () => {
  const trained = new Set(
    (await loadTrainingPhrases("data/guard/phrases.tsv.gz")).map(({ text }) =>
      matchKeyOf(text).text.trim()
    ),
  );
  assert(trained.size > 15_000);
  for (const name of ["held_out_2", "held_out_3"]) {
    const text = await Deno.readTextFile(new URL(`phrases/${name}.jsonl`, import.meta.url));
    const copies = parsePhrases(text).filter((phrase) =>
      trained.has(matchKeyOf(phrase.text).text.trim())
    );
    assertEquals(copies.length, 0, `${copies.length} lines of ${name}.jsonl`);
  }
});
