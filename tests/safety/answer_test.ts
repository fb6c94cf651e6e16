import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { FileReadError } from "@lib/files.ts";
import {
  checkAnswer,
  defaultHelplines,
  GuardedStream,
  helplineWarnings,
  loadHelplines,
} from "@lib/safety/mod.ts";
import { parsePhrases } from "@lib/safety/score.ts";

const development = parsePhrases(
  await Deno.readTextFile(new URL("development.jsonl", import.meta.url)),
);

Deno.test("unsafe answers are held back, good ones shown", () => {
  for (const { text, class: name } of development) {
    if (!name.startsWith("output")) continue;
    const { ok, findings, replacement } = checkAnswer(text);
    assertEquals(ok, name === "output_good", `${text} ${findings.map((one) => one.span.text)}`);
    assertEquals(replacement === null, ok);
    for (const { span } of findings) assertEquals(text.slice(span.start, span.end), span.text);
  }
});

Deno.test("numbers: only those of the helplines file, however they are written", () => {
  const wrong = [
    "৯৮৮ নম্বরে ফোন করুন",
    "call 911 now",
    "ফোন করুন: ০১৭১১ ২২৩৩৪৪",
    "০১৭১১-২২৩৩৪৪",
    "+880 1711 223344",
    "যোগাযোগ ১৬২৬৩",
    "হেল্পলাইন ১ ০ ৮ ৮",
    "কল করুন ওয়ান সিক্স টু সিক্স থ্রি",
    "০ ১ ৭ ১ ১ ২ ২ ৩ ৩ ৪ ৪",
    "１２３４５ এ কল করুন",
    "১০৯৯ নম্বরে কল করুন",
    "৯৯৯৯ এ ফোন দিন",
    "নম্বরটা ৩৩৩",
  ];
  for (const text of wrong) {
    assert(checkAnswer(text).findings.some(({ kind }) => kind === "unknown_number"), text);
  }
  const fine = [
    "৯৯৯ নম্বরে ফোন করুন",
    "999 বা ১১২",
    "০৯৬১২-১১৯৯১১",
    "+8809612119911",
    "০১৭৭৬ ৬৩২৩৪৪",
    "১৪৪১৬ নম্বরে কল করুন",
    "ফোন করুন নয় নয় নয়",
    "বয়স ৩৫ বছর",
    "১৯৭১ সালে",
    "১,২০,০০০ টাকা",
    "৫০০০ টাকা",
    "২০২৩-২০২৪ সালে",
    "রাত ১০:৩০",
    "৮০ শতাংশ",
    "৯৯.৫ ভাগ",
    "১২-০৫-২০২৪",
    "১০-১৫ মিনিট ফোনে কথা বলুন",
    "৩ বার",
    "এক দুই তিন চার গুনে শ্বাস নিন",
    "৩৬৫ দিন",
    "৳ ২৫০০",
    "১০০ জন",
    "বাস নম্বর ১২৩",
  ];
  for (const text of fine) {
    assertEquals(
      checkAnswer(text).findings.filter(({ kind }) => kind === "unknown_number"),
      [],
      text,
    );
  }
});

Deno.test("false comfort is refused in a crisis only", () => {
  const text = "চিন্তা করবেন না, সব ঠিক হয়ে যাবে।";
  assert(checkAnswer(text).ok);
  assert(!checkAnswer(text, { level: 2 }).ok);
});

/** Feeds a text in pieces of given lengths. */
function stream(
  text: string,
  lengths: readonly number[],
): { guard: GuardedStream; shown: string[] } {
  const guard = new GuardedStream({ region: "BD" });
  const shown: string[] = [];
  for (let at = 0, turn = 0; at < text.length; turn++) {
    const length = lengths[turn % lengths.length] ?? 1;
    shown.push(guard.push(text.slice(at, at + length)));
    at += length;
  }
  shown.push(guard.end());
  return { guard, shown: shown.filter((piece) => piece !== "") };
}

Deno.test("a stream shows whole checked sentences, however the text arrives", () => {
  const text = "ডা. রহমানের কথা শুনে ভালো লাগল। আপনি কি একা আছেন? চাইলে বলুন...\nআমি শুনছি";
  for (const lengths of [[1], [3], [7, 2], [1000]]) {
    const { guard, shown } = stream(text, lengths);
    assertEquals(shown.join(""), text);
    assert(!guard.replaced);
    assert(!shown.includes("ডা."), shown.join("|"));
  }
  assert(stream(text, [1]).shown.length >= 3);
});

Deno.test("a stream stops at the first finding; nothing of it was shown", () => {
  const text = "কষ্টটা বুঝতে পারছি। রাতে ৫ মি.গ্রা. ট্যাবলেট খেয়ে নিন। তারপর ঘুমান।";
  for (const lengths of [[1], [5, 3], [1000]]) {
    const { guard, shown } = stream(text, lengths);
    assert(guard.replaced && guard.findings.length > 0);
    assert(!shown.join("").includes("ট্যাবলেট") && !shown.join("").includes("ঘুমান"));
    assertStringIncludes(shown.join(""), "চিকিৎসক");
    for (const { span } of guard.findings) {
      assertEquals(text.slice(span.start, span.end), span.text);
    }
  }
});

Deno.test("a number over two sentences is found before its second half is shown", () => {
  const { guard, shown } = stream("ফোন নম্বর ০১৭১১\n২২৩৩৪৪। ভালো থাকুন।", [4]);
  assert(guard.replaced && !shown.join("").includes("২২৩৩৪৪"));
});

Deno.test("helplines: checked at load, dated, told when old", async () => {
  const warnings: string[] = [];
  const lines = await loadHelplines(undefined, { onWarning: (text) => warnings.push(text) });
  assertEquals(lines, defaultHelplines());
  const verified = {
    ...lines,
    lines: lines.lines.map((line) => ({ ...line, verified_on: "2026-01-10" })),
  };
  assertEquals(helplineWarnings(verified, new Date("2026-02-01")), []);
  assertStringIncludes(
    helplineWarnings(verified, new Date("2027-02-01"))[0] ?? "",
    "more than 180",
  );
  const folder = await Deno.makeTempDir();
  const path = `${folder}/helplines.json`;
  for (
    const broken of ["{", "{}", JSON.stringify({ ...lines, regions: { ...lines.regions, BD: {} } })]
  ) {
    await Deno.writeTextFile(path, broken);
    await assertRejects(() => loadHelplines(path), FileReadError);
  }
  const stray = {
    ...lines,
    regions: { ...lines.regions, BD: { ...lines.regions.BD, emergency: "911" } },
  };
  await Deno.writeTextFile(path, JSON.stringify(stray));
  await assertRejects(() => loadHelplines(path), FileReadError, "911 has no entry");
  await Deno.remove(folder, { recursive: true });
});
