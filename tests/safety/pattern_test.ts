import { assert, assertEquals, assertThrows } from "@std/assert";
import { matchKeyOf } from "@lib/safety/key.ts";
import { PatternError } from "@lib/safety/pattern.ts";
import { PatternSet } from "@lib/safety/pattern_set.ts";
import { wilson } from "@lib/safety/score.ts";

const finds = (pattern: string, text: string, loose = false): boolean =>
  new PatternSet([[pattern]], { who: "আমি|তুমি" }).find(matchKeyOf(text).text, loose).length > 0;

Deno.test("gaps, choices, options, negation, lists, any order", () => {
  assert(finds("মন .. খারাপ", "মন আজ খুব খারাপ"));
  assert(!finds("মন .. খারাপ", "মন আজ কেন জানি খুব খারাপ"));
  assert(finds("মন ... খারাপ", "মন আজ কেন জানি খুব খারাপ"));
  assert(!finds("মন .. খারাপ", "মন ভালো। শরীর খারাপ"));
  assert(finds("(চাই|চাইছি) !না", "চাইছি") && !finds("(চাই|চাইছি) !না", "চাই না"));
  assert(finds("খুব (আজ)? খারাপ", "খুব খারাপ") && finds("খুব (আজ)? খারাপ", "খুব আজ খারাপ"));
  assert(finds("@who যাব", "তুমি যাব") && !finds("@who যাব", "সে যাব"));
  assert(finds("ছাদ & লাফ", "লাফ দেব ছাদ থেকে") && finds("ছাদ & লাফ", "ছাদ থেকে, মানে, লাফ"));
  assert(finds("কাট*", "কাটছিলাম") && !finds("কাটা", "কাটছিলাম"));
  assert(finds("বয়স #", "বয়স ১৪") && !finds("বয়স #", "বয়স কম"));
});

Deno.test("both scripts and their spellings meet in one key", () => {
  const same = [
    ["বাঁচতে", "bachte", "banchte", "bacte", "বাচতে", "বাচ্তে", "বাঁচতেই"],
    ["ইচ্ছে", "icche", "iche", "ichchhe", "ইছ্ছে", "ঈচ্ছে"],
    ["যাওয়া", "jawa", "jaoa", "zawa", "যাওয়া"],
    ["খেয়ে", "kheye", "kheyye", "খেয়ে"],
    ["ভালো", "valo", "bhalo", "vhalo", "ভাল"],
    ["হত্যা", "hotta", "hotya", "হত্তা"],
  ];
  for (const [word = "", ...spellings] of same) {
    for (const spelling of spellings) assert(finds(word, spelling), `${word} ${spelling}`);
  }
  assert(!finds("মরতে", "মারতে") && !finds("বাঁচতে", "বেচতে") && !finds("চাই", "চা"));
});

Deno.test("loose: over spaces inside words and between joined ones, whole tokens only", () => {
  assert(finds("মরতে চাই", "ম র তে চা ই", true) && finds("মরতে চাই", "মরতেচাই", true));
  assert(!finds("মরতে চাই", "ম র তে চা ই") && !finds("মরতে চাই", "মরতে চাইনা", true));
  assert(!finds("মরতে চাই", "আমরতে চাই", true));
});

Deno.test("patterns that cannot be read say why", () => {
  for (
    const [source, why] of [
      ["(ক|খ", "closing bracket"],
      ["ক)", 'found ")"'],
      ["@nobody", "@nobody"],
      [".. ক", "found a gap"],
      ["(ক)?", "must stand"],
      ["ক & খ & গ", "one &"],
      ["(ক|)", "empty choice"],
    ] as const
  ) {
    assertThrows(() => new PatternSet([[source]], {}), PatternError, why);
  }
});

Deno.test("Wilson's interval agrees with the published example", () => {
  // Newcombe 1998, table I: 81 of 263.
  const { low, high } = wilson(81, 263);
  assertEquals([low.toFixed(4), high.toFixed(4)], ["0.2553", "0.3662"]);
  assertEquals([wilson(0, 20).low, wilson(20, 20).high], [0, 1]);
});
