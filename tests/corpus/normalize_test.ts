import { assert, assertEquals } from "@std/assert";
import { loadCorpus } from "@lib/corpus/csv.ts";
import * as n from "@lib/corpus/normalize.ts";

/** Code points of a text in hexadecimal, so that a failing test can be read. */
function points(text: string): string {
  return [...text].map((c) => c.codePointAt(0)!.toString(16).padStart(4, "0")).join(" ");
}

function same(found: string, expected: string): void {
  assertEquals(points(found), points(expected));
}

Deno.test("controls, DEL and C1 become spaces; nothing is glued together", () => {
  same(n.controlsToSpaces("ক\r\nখ\tগ\u0000ঘ\u007fঙ\u0085চ"), "ক  খ গ ঘ ঙ চ");
});

Deno.test("soft hyphen, zero-width space, word joiner and BOM are deleted", () => {
  same(n.deleteInvisible("ক\u00adখ\u200bগ\u2060ঘ\ufeff"), "কখগঘ");
  same(n.deleteInvisible("র\u200d\u09cdয"), "র\u200d\u09cdয");
});

Deno.test("NFC composes vowel signs and decomposes ড় ঢ় য়", () => {
  same(n.composeCanonical("\u0995\u09c7\u09be"), "\u0995\u09cb");
  same(n.composeCanonical("\u0995\u09c7\u09d7"), "\u0995\u09cc");
  same(n.composeCanonical("\u09dc\u09dd\u09df"), "\u09a1\u09bc\u09a2\u09bc\u09af\u09bc");
});

Deno.test("the old spelling of khanda ta is composed, a plain ত্ is not", () => {
  same(n.composeKhandaTa("হঠা\u09a4\u09cd\u200d"), "হঠা\u09ce");
  same(n.composeKhandaTa("সত্য"), "সত্য");
});

Deno.test("ZWJ stays in র‍্য and ZWNJ after virama only", () => {
  const rab = "\u09b0\u200d\u09cd\u09af\u09be\u09ac";
  same(n.removeStrayJoiners(rab), rab);
  same(n.removeStrayJoiners("ক\u200dখ\u09cd\u200dগ\u200d"), "কখ\u09cdগ");
  same(n.removeStrayJoiners("র\u200d\u09cdক"), "র\u09cdক");
  same(n.removeStrayJoiners("ক\u200cখ"), "কখ");
  same(n.removeStrayJoiners("উদ\u09cd\u200cযোগ"), "উদ\u09cd\u200cযোগ");
  same(n.removeStrayJoiners("দ\u09cd\u200c\u200cয"), "দ\u09cd\u200cয");
});

Deno.test("look-alikes that NFC leaves alone are repaired", () => {
  same(n.repairVowelsAndNukta("\u0985\u09beমি"), "আমি");
  same(n.repairVowelsAndNukta("কা\u09ac\u09bc"), "কার");
  same(n.repairVowelsAndNukta("\u0995\u09c7\u09be"), "\u0995\u09cb");
});

Deno.test("a joiner between two halves of a vowel sign hides it from NFC, not from the steps", () => {
  same(n.normalizeText("ক\u09c7\u200d\u09beনো"), "কোনো");
});

Deno.test("৷ becomes danda at a sentence's end, not after a digit", () => {
  same(n.currencyNumeratorToDanda("ভালো\u09f7 মন\u09f7"), "ভালো। মন।");
  same(n.currencyNumeratorToDanda("৫\u09f7 আনা"), "৫\u09f7 আনা");
});

Deno.test("quotes, ellipsis and spaces", () => {
  same(n.straightenQuotes("“ক” ‘খ’ «গ»"), '"ক" \'খ\' "গ"');
  same(n.spellEllipsis("তারপর…"), "তারপর...");
  same(n.collapseSpaces("  ক\u00a0\u2009 খ  "), "ক খ");
  same(n.removeSpaceBeforePunctuation("ক , খ ! গ ? ঘ ।"), "ক, খ! গ? ঘ।");
});

Deno.test("a full stop after a Bengali letter at a sentence's end becomes danda", () => {
  const cases: [string, string][] = [
    ["মন ভালো নেই. আজ ছুটি.", "মন ভালো নেই। আজ ছুটি।"],
    ["মন ভালো নেই .", "মন ভালো নেই।"],
    ['সে বলল "যাব." তারপর', 'সে বলল "যাব।" তারপর'],
    ["তিনি বি.এ. পাশ. ভালো.", "তিনি বি.এ. পাশ। ভালো।"],
    ["ডা. রহিম ও মো. করিম এলেন.", "ডা. রহিম ও মো. করিম এলেন।"],
    ["প্রায় ৩.৫ কি.মি. দূরে.", "প্রায় ৩.৫ কি.মি. দূরে।"],
    ["তারপর... চুপ", "তারপর... চুপ"],
    ["সাল ১৯৭১. তখন", "সাল ১৯৭১. তখন"],
    ["see example.com. now", "see example.com. now"],
    ["হাত, পা. চোখ", "হাত, পা। চোখ"],
    ["কান্না পায়.", "কান্না পায়।"],
    ["শুনে আমি থ. তারপর", "শুনে আমি থ। তারপর"],
  ];
  for (const [before, after] of cases) {
    same(n.fullStopToDanda(before.normalize("NFC")), after.normalize("NFC"));
  }
});

Deno.test("all steps together are idempotent, and every one does something on the sample", async () => {
  const { rows } = await loadCorpus(new URL("../../data/sample_corpus.csv.gz", import.meta.url));
  const changed = new Set<string>();
  for (const { title, question, answer } of rows) {
    for (const text of [title, question, answer]) {
      let current = text;
      for (const step of n.NORMALIZATION_STEPS) {
        const next = step.apply(current);
        if (next !== current) changed.add(step.id);
        current = next;
      }
      assertEquals(n.normalizeText(current), current);
    }
  }
  assert(changed.size === n.NORMALIZATION_STEPS.length, `only ${[...changed].join(", ")}`);
});
