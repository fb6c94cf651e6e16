import { assert, assertEquals } from "@std/assert";
import { loadCorpus } from "@lib/corpus/csv.ts";
import { judge, windowsOf } from "@lib/safety/classifier.ts";
import { FEATURES, featuresOf } from "@lib/safety/features.ts";
import { matchKeyOf } from "@lib/safety/key.ts";
import { safetyLexicon } from "@lib/safety/lexicon.ts";

Deno.test("features are the same for both scripts' same sounds, and within bounds", () => {
  const features = featuresOf(matchKeyOf("মন ভালো নেই").text);
  assert(features.length > 20 && features.every((one) => one >= 0 && one < FEATURES));
  assertEquals(new Set(features).size, features.length);
  const overlap = featuresOf(matchKeyOf("bangla").text).filter((one) =>
    featuresOf(matchKeyOf("বাংলা").text).includes(one)
  );
  assert(overlap.length > 4);
});

Deno.test("windows are sentences, and the whole where it is short", () => {
  const { text } = matchKeyOf("আজ সারাদিন বৃষ্টি হয়েছে। বিকেলে বন্ধুদের সঙ্গে চা খেলাম।");
  const windows = windowsOf(text);
  assertEquals(windows.length, 3);
  assertEquals(windows[0], { start: 0, end: text.length });
  assertEquals(windowsOf("ami "), []);
});

Deno.test("of the corpus rows that training never saw, hardly any is raised", async () => {
  const { rows } = await loadCorpus("data/sample_corpus.csv.gz");
  const { idioms, denials, inputPatterns, input } = safetyLexicon();
  let judged = 0;
  let raised = 0;
  for (const { question } of rows.filter((_, at) => at % 8 === 1)) {
    const key = idioms.blank(matchKeyOf(question).text);
    const known = inputPatterns.find(key).some(({ group }) => (input[group]?.level ?? 0) >= 2);
    if (known) continue;
    judged++;
    if (judge(denials.blank(key)) !== null) raised++;
  }
  assert(judged > 400);
  assert(raised <= 0.01 * judged, `${raised} of ${judged} raised`);
});
