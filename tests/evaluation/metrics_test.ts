import { assert, assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import { bleu } from "@lib/evaluation/bleu.ts";
import { chrf } from "@lib/evaluation/chrf.ts";
import { answerSigns, degeneracyTables, distinctN } from "@lib/evaluation/degeneracy.ts";
import { metricText } from "@lib/evaluation/metric_text.ts";
import { bitsPerByteTable, perplexityTable, utf8Bytes } from "@lib/evaluation/perplexity.ts";
import { rouge, rougePair } from "@lib/evaluation/rouge.ts";
import { scoreOf } from "@lib/evaluation/statistics.ts";

const TEXT = "বড় বাড়িটায় ফিরে হৃদয় গাঢ় কষ্টে ভরে গেল, বুঝতে পারছি আপনার সময়টা কঠিন।";
const PRECOMPOSED = TEXT.normalize("NFC").replaceAll("\u09a1\u09bc", "\u09dc")
  .replaceAll("\u09a2\u09bc", "\u09dd").replaceAll("\u09af\u09bc", "\u09df");

Deno.test("identical Bengali scores full marks", () => {
  assertAlmostEquals(bleu([TEXT], [TEXT]).score, 100);
  assertAlmostEquals(chrf([TEXT], [TEXT]).score, 100);
  assertEquals(rouge([TEXT, "মন"], [TEXT, "মন"]), { rouge1: 1, rouge2: 1, rougeL: 1 });
});

Deno.test("precomposed and decomposed spellings differ for sacreBLEU, not after metricText", () => {
  assert(PRECOMPOSED !== TEXT.normalize("NFC"));
  assert(bleu([PRECOMPOSED], [TEXT.normalize("NFC")]).score < 60);
  for (const form of ["NFC", "NFD"] as const) {
    const sides = [[metricText(PRECOMPOSED)], [metricText(TEXT.normalize(form))]] as const;
    assertAlmostEquals(bleu(...sides).score, 100);
    assertAlmostEquals(chrf(...sides).score, 100);
    assertAlmostEquals(rouge(...sides).rouge2, 1);
  }
});

Deno.test("metricText repairs split vowels, joiners and spaces, and nothing else", () => {
  assertEquals(metricText("ক\u09c7\u09be"), "কো");
  assertEquals(metricText("অ\u09beমি"), "আমি");
  assertEquals(metricText("\ufeffর\u200d্যাব  এল\u00a0।\n"), "র্যাব এল ।");
  assertEquals(metricText("১২.৫ কেজি, OK!"), "১২.৫ কেজি, OK!");
});

Deno.test("an empty hypothesis scores 0 in every overlap metric", () => {
  for (const empty of ["", "   ", "\u200d"]) {
    assertEquals(bleu([empty], [TEXT]).score, 0);
    assertEquals(chrf([metricText(empty)], [TEXT]).score, 0);
    assertEquals(rougePair(empty, TEXT), { rouge1: 0, rouge2: 0, rougeL: 0 });
  }
});

Deno.test("lists of unequal length and empty lists are refused", () => {
  assertThrows(() => bleu(["ক"], []), RangeError, "1 hypotheses and 0 references");
  assertThrows(() => chrf([], []), RangeError, "found none");
  assertThrows(() => rouge(["ক"], ["ক", "খ"]), RangeError, "1 hypotheses and 2 references");
});

Deno.test("perplexity is micro-averaged; bits per byte count UTF-8 bytes of the text alone", () => {
  const measured = [
    { nll: 10, tokens: 4, textNll: 9 },
    null,
    { nll: 2, tokens: 8, textNll: 1 },
  ];
  assertAlmostEquals(scoreOf(perplexityTable(measured)), Math.exp(12 / 12));
  const texts = ["মন", "এটি মাপা হয়নি", "ok"];
  assertEquals(utf8Bytes("মন"), 6);
  assertAlmostEquals(scoreOf(bitsPerByteTable(measured, texts)), 10 / (Math.LN2 * 8));
  assert(Number.isNaN(scoreOf(perplexityTable([null]))));
  assertThrows(() => bitsPerByteTable(measured, ["মন"]), RangeError, "3 likelihoods and 1 texts");
});

Deno.test("signs of degeneracy", () => {
  const good = answerSigns("আপনার কথা শুনে খারাপ লাগছে।", "stop");
  assertEquals(good, {
    terminal: true,
    capped: false,
    replacement: false,
    repeatedFourGram: false,
    nonBengali: false,
    empty: false,
  });
  assert(answerSigns("তিনি বললেন, “ভালো থাকুন।”").terminal);
  assert(!answerSigns("আপনি যদি").terminal && !answerSigns("আপনি,").terminal);
  assertEquals(answerSigns("ক", null).capped, null);
  assert(answerSigns("আপনি \uFFFD").replacement);
  assert(answerSigns("ক খ গ ঘ ক খ গ ঘ").repeatedFourGram);
  assert(!answerSigns("ক খ গ ঘ ক খ গ").repeatedFourGram);
  assert(answerSigns("I am sorry").nonBengali && answerSigns("12 !").nonBengali);
  assert(answerSigns(" ").empty && answerSigns("").nonBengali);
});

Deno.test("shares leave out what is unknown", () => {
  const signs = [answerSigns("ক।", "length"), answerSigns("খ", "stop"), answerSigns("গ", null)];
  const tables = degeneracyTables(signs);
  assertAlmostEquals(scoreOf(tables.capped), 1 / 2);
  assertAlmostEquals(scoreOf(tables.terminal), 1 / 3);
});

Deno.test("distinct-n counts different n-grams over all answers", () => {
  assertEquals(distinctN(["মন ভালো", "মন খারাপ"], 1), 3 / 4);
  assertEquals(distinctN(["মন ভালো", "মন ভালো"], 2), 1 / 2);
  assertEquals(distinctN(["", "মন"], 2), null);
});
