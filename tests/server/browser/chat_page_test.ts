import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { exists } from "@lib/files.ts";
import { defaultHelplines } from "@lib/safety/mod.ts";
import { loadJsonl } from "@lib/jsonl_file.ts";
import { RatingRecord } from "@lib/server/ratings.ts";
import { eventually } from "../server_fixture.ts";
import { scriptedPieces } from "../scripted_answering.ts";
import { answered, browserTest, type PageFixture, ready, say, texts } from "./browser_fixture.ts";

const QUESTION = "চাকরি চলে গেছে";
const whole = (system: string, question = QUESTION) => scriptedPieces(system, question).join("");

/** The ratings that were kept. */
const ratings = (folder: string) => loadJsonl(`${folder}/ratings.jsonl`, RatingRecord);

async function choose(page: PageFixture["page"], mode: string): Promise<void> {
  await page.click(`input[name=mode][value=${mode}]`);
}

browserTest("an answer appears while it is written, and is read out by sentences", {
  script: { delayMs: 300 },
}, async ({ page, screenshot }) => {
  await ready(page);
  await say(page, QUESTION);
  await page.waitForFunction(
    (first) => document.querySelector(".answer .text")?.textContent === first,
    {},
    scriptedPieces("tuned", QUESTION)[0],
  );
  assertEquals(await page.$$eval(".answer[aria-busy=true]", (found) => found.length), 1);
  assertEquals(await page.$eval("#stop", (button) => button.hasAttribute("hidden")), false);
  await answered(page);
  assertEquals(await texts(page, ".answer .text"), [whole("tuned")]);
  const spoken = await page.$eval(
    "#announcer",
    (region) => [...region.childNodes].flatMap((node) => node.textContent || []),
  );
  assertEquals(spoken, [
    "প্রশিক্ষিত মডেল:",
    `আপনি লিখেছেন: ${QUESTION}।`,
    "শুনে সত্যিই খারাপ লাগছে।",
    "এই মুহূর্তে কোনটা সবচেয়ে ভারী লাগছে?",
    "উত্তর শেষ হয়েছে।",
  ]);
  assertEquals(await page.evaluate(() => document.activeElement?.id), "question");
  await screenshot("chat_light");
});

browserTest(
  "side by side each model sees its own conversation",
  {},
  async ({ page, answering }) => {
    await ready(page);
    await choose(page, "side_by_side");
    await say(page, QUESTION);
    await answered(page);
    assertEquals(await texts(page, ".answer h3"), ["প্রশিক্ষণের আগের মডেল", "প্রশিক্ষিত মডেল"]);
    assertEquals(await texts(page, ".answer .text"), [whole("base"), whole("tuned")]);
    const [left, right] = await page.$$eval(
      ".answer",
      (cards) => cards.map((card) => card.getBoundingClientRect().top),
    );
    assertEquals(left, right, "next to each other where there is room");
    await say(page, "আর কী করব");
    await page.waitForFunction(() =>
      document.querySelectorAll(".answer:not([aria-busy])").length === 4
    );
    const second = answering.requests.slice(2).map((
      { system, messages },
    ) => [system, messages[1]?.content]);
    assertEquals(Object.fromEntries(second), { base: whole("base"), tuned: whole("tuned") });
  },
);

browserTest(
  "blind: no name before the rating, the names and a record after it",
  {},
  async (fixture) => {
    const { page, folder, screenshot } = fixture;
    await ready(page);
    await page.click("#consent-agree");
    await choose(page, "blind");
    await say(page, QUESTION);
    await answered(page);
    assertEquals(await texts(page, ".answer h3"), ["উত্তর ক", "উত্তর খ"]);
    const markup = await page.$eval("#turns", (turns) => turns.outerHTML);
    assert(!/tuned|base|প্রশিক্ষ/.test(markup), "nothing on the page says which is which");
    await page.click(".rating button[type=submit]");
    assertStringIncludes((await texts(page, ".rating .remark")).join(), "অন্তত একটি");
    assertEquals(await exists(`${folder}/ratings.jsonl`), false);
    await page.$$eval(
      ".rating details",
      (all) => all.forEach((one) => one.setAttribute("open", "")),
    );
    await page.click(".rating details:nth-of-type(1) .criterion:nth-of-type(1) input[value='2']");
    await page.click(".rating details:nth-of-type(2) .thumbs input[value=down]");
    await screenshot("blind_rating_light");
    await page.click(".rating button[type=submit]");
    await page.waitForFunction(() =>
      !/উত্তর/.test(document.querySelector(".answer h3")?.textContent ?? "")
    );
    const names = await texts(page, ".answer h3");
    const shown = await texts(page, ".answer .text");
    const models = names.map((name) => name === "প্রশিক্ষিত মডেল" ? "tuned" : "base");
    assertEquals(shown, models.map((model) => whole(model)));
    const { records, unreadable } = await ratings(folder);
    assertEquals([records.length, unreadable.length], [1, 0]);
    const [record] = records;
    assertEquals([record?.mode, record?.run, record?.consent.language], ["blind", "test", "bn"]);
    assertEquals<unknown>(
      record?.answers.map(({ place, model, levels, thumb }) => ({ place, model, levels, thumb })),
      [
        { place: "left", model: models[0], levels: { reaction: 2 }, thumb: null },
        { place: "right", model: models[1], levels: null, thumb: "down" },
      ],
    );
    assertEquals(record?.answers.map(({ answer }) => answer), shown);
  },
);

browserTest("blind: either model stands on the left now and then", {}, async ({ page }) => {
  await ready(page);
  await choose(page, "blind");
  for (let i = 1; i <= 14; i++) {
    await say(page, "ক");
    await page.waitForFunction(
      (count) => document.querySelectorAll(".answer:not([aria-busy])").length === count,
      {},
      2 * i,
    );
  }
  const lefts = (await texts(page, ".answers .answer:first-child .text"))
    .map((text) => text === whole("tuned", "ক") ? "tuned" : "base");
  assertEquals(new Set(lefts).size, 2);
});

browserTest(
  "who does not agree can talk, and nothing is kept",
  {},
  async ({ page, folder, answering }) => {
    await ready(page);
    await choose(page, "blind");
    await say(page, QUESTION);
    await answered(page);
    const visible = () =>
      page.$$eval(
        ".rating",
        (forms) => forms.map((form) => (form as HTMLElement).innerText.trim()),
      );
    assertEquals(await visible(), ["নাম দেখুন"], "not asked yet: nothing to rate");
    await page.click("#consent-decline");
    assertEquals(await visible(), ["নাম দেখুন"]);
    await page.click(".rating button.quiet");
    assertEquals((await texts(page, ".answer h3")).toSorted(), [
      "প্রশিক্ষণের আগের মডেল",
      "প্রশিক্ষিত মডেল",
    ]);
    await page.reload();
    await ready(page);
    assertEquals(await page.$eval("#consent", (panel) => panel.hasAttribute("hidden")), true);
    assertStringIncludes((await texts(page, "#consent-state")).join(), "কিছুই রাখা হচ্ছে না");
    assertEquals(await exists(`${folder}/ratings.jsonl`), false);
    assertEquals(answering.requests.length, 2);
    await page.click("#consent-change");
    assertEquals(await page.$eval("#consent", (panel) => panel.hasAttribute("hidden")), false);
  },
);

browserTest("a reply for safety is marked and not rated; its numbers stand on the page too", {
  dark: true,
}, async ({ page, screenshot }) => {
  await ready(page);
  await page.click("#consent-agree");
  await choose(page, "side_by_side");
  await say(page, "!danger");
  await answered(page);
  assertStringIncludes((await texts(page, ".answer .remark")).join(), "মডেলকে জিজ্ঞেস করা হয়নি");
  assertEquals(await page.$$eval(".rating", (forms) => forms.length), 0);
  const links = await page.$$eval(
    "#help-first a",
    (found) => found.map((a) => a.getAttribute("href")),
  );
  assertEquals(links, ["tel:999"]);
  const all = await page.$$eval(
    "#help-list a",
    (found) => found.map((a) => a.getAttribute("href")),
  );
  const known = defaultHelplines().lines.filter(({ region }) => region === "BD");
  assertEquals(
    all.toSorted(),
    known.map(({ number }) => `tel:${number.replaceAll("-", "")}`).toSorted(),
  );
  await screenshot("safety_reply_dark");
});

browserTest("the whole page works by keyboard alone", {}, async ({ page, folder, server }) => {
  await ready(page);
  const focused = () =>
    page.evaluate(() => document.activeElement?.id || document.activeElement?.className || "");
  const tabTo = async (id: string) => {
    const seen: string[] = [];
    for (let i = 0; i < 60; i++) {
      if (await focused() === id) return seen;
      await page.keyboard.press("Tab");
      seen.push(await focused());
    }
    throw new Error(`Tab never reached ${id}: ${seen.join(" ")}`);
  };
  await page.keyboard.press("Tab");
  assertEquals(await focused(), "skip", "the first thing Tab reaches skips to the writing");
  await page.keyboard.press("Enter");
  await page.keyboard.type("ক");
  assertEquals(await page.$eval("#question", (box) => (box as HTMLTextAreaElement).value), "ক");
  await page.goto(server.url);
  await ready(page);
  const order = await tabTo("consent-agree");
  assertEquals(order.slice(0, 3), ["skip", "language", "theme"]);
  await page.keyboard.press("Enter");
  assertEquals(await focused(), "consent-change", "focus is not lost with the panel");
  await page.keyboard.press("Tab");
  await page.keyboard.press("ArrowRight");
  await page.keyboard.press("ArrowRight");
  assertEquals(
    await page.$eval("input[name=mode]:checked", (input) => input.getAttribute("value")),
    "blind",
  );
  await tabTo("question");
  await page.keyboard.type(QUESTION);
  await page.keyboard.press("Enter");
  await answered(page);
  assertEquals(await focused(), "question");
  await page.keyboard.down("Shift");
  for (
    let i = 0;
    i < 20 && await page.evaluate(() => document.activeElement?.tagName !== "SUMMARY");
    i++
  ) {
    await page.keyboard.press("Tab");
  }
  await page.keyboard.up("Shift");
  await page.keyboard.press("Enter");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Space");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Space");
  await page.keyboard.press("ArrowDown");
  const outline = await page.evaluate(() => {
    const { outlineStyle, outlineWidth } = getComputedStyle(document.activeElement!);
    return `${outlineStyle} ${outlineWidth}`;
  });
  assertMatch(outline, /^solid [2-9]/, "what has the focus shows it");
  await page.keyboard.press("Enter");
  await page.waitForFunction(() =>
    /রাখা হয়েছে/.test(document.querySelector(".rating .remark")?.textContent ?? "")
  );
  const { records } = await ratings(folder);
  assertEquals(records[0]?.answers[1]?.levels, { reaction: 1 });
  assertEquals(records[0]?.answers[1]?.thumb, "up");
});

browserTest(
  "Stop and Escape end the answer, not the page",
  { script: { delayMs: 150 } },
  async (fixture) => {
    const { page, answering } = fixture;
    await ready(page);
    for (const stop of [() => page.click("#stop"), () => page.keyboard.press("Escape")]) {
      await say(page, QUESTION);
      await page.waitForFunction(() =>
        document.querySelector("#turns > li:last-child .answer[aria-busy] .text")?.textContent !==
          ""
      );
      await stop();
      await answered(page);
      assertEquals(
        (await texts(page, "#turns > li:last-child .remark"))[0],
        "আপনি উত্তরটি থামিয়েছেন।",
      );
      assertEquals(await page.evaluate(() => document.activeElement?.id), "question");
    }
    assert(await eventually(() => answering.live === 0));
    assertEquals(answering.abandoned, 2);
    await page.click("#restart");
    assertEquals(await texts(page, "#turns > li"), []);
  },
);

browserTest("a conversation too long for the model is said to be", {}, async ({ page }) => {
  await ready(page);
  await say(page, "!old");
  await answered(page);
  assertStringIncludes((await texts(page, ".answer .remark")).join(), "আর দেখছে না");
});

browserTest(
  "Enter that ends the composition of a letter does not send",
  {},
  async ({ page, answering }) => {
    await ready(page);
    await page.focus("#question");
    await page.keyboard.type("আমি");
    await page.$eval("#question", (box) =>
      box.dispatchEvent(
        new KeyboardEvent("keydown", { key: "Enter", isComposing: true, bubbles: true }),
      ));
    await page.keyboard.down("Shift");
    await page.keyboard.press("Enter");
    await page.keyboard.up("Shift");
    await page.keyboard.type("একা");
    assertEquals(answering.requests.length, 0);
    await page.keyboard.press("Enter");
    await answered(page);
    assertEquals(answering.requests[0]?.messages[0]?.content, "আমি\nএকা");
  },
);

browserTest("with the base model alone there is nothing to compare", {
  script: { models: ["base"] },
}, async ({ page, answering }) => {
  await ready(page);
  assertEquals(await page.$eval("#modes", (modes) => modes.hasAttribute("hidden")), true);
  await say(page, QUESTION);
  await answered(page);
  assertEquals(answering.requests.map(({ system }) => system), ["base"]);
});
