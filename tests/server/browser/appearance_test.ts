import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import axe from "axe-core";
import type { Page } from "puppeteer-core";
import { answered, browserTest, ready, say, texts } from "./browser_fixture.ts";

const QUESTION = "চাকরি চলে গেছে";

/** What axe finds wrong, in words. */
async function violations(page: Page): Promise<string[]> {
  await page.evaluate(axe.source);
  return await page.evaluate(async () => {
    const { axe } = globalThis as unknown as { readonly axe: typeof import("axe-core") };
    const { violations, incomplete } = await axe.run(document, {
      runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
    });
    return [...violations, ...incomplete].flatMap(({ id, nodes }) =>
      nodes.map(({ html, failureSummary }) => `${id}: ${html.slice(0, 120)} ${failureSummary}`)
    );
  });
}

/** The smallest contrast of any text on the page, computed from the colours that are drawn. */
function lowestContrast(page: Page): Promise<{ ratio: number; text: string; count: number }> {
  return page.evaluate(() => {
    const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true })!;
    const rgba = (color: string): [number, number, number, number] => {
      canvas.clearRect(0, 0, 1, 1);
      canvas.fillStyle = color;
      canvas.fillRect(0, 0, 1, 1);
      const [r = 0, g = 0, b = 0, a = 0] = canvas.getImageData(0, 0, 1, 1).data;
      return [r, g, b, a / 255];
    };
    const luminance = ([r, g, b]: readonly number[]) => {
      const [x = 0, y = 0, z = 0] = [r, g, b].map((value = 0) => {
        const share = value / 255;
        return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
      });
      return 0.2126 * x + 0.7152 * y + 0.0722 * z;
    };
    const behind = (element: Element): number[] => {
      for (let at: Element | null = element; at !== null; at = at.parentElement) {
        const [r, g, b, a] = rgba(getComputedStyle(at).backgroundColor);
        if (a === 1) return [r, g, b];
      }
      return [255, 255, 255];
    };
    let lowest = { ratio: 99, text: "", count: 0 };
    let count = 0;
    for (const element of document.querySelectorAll("body *")) {
      const own = [...element.childNodes].some((node) =>
        node.nodeType === 3 && node.textContent?.trim()
      );
      const box = element.getBoundingClientRect();
      if (!own || box.width <= 1 || (element as HTMLButtonElement).disabled) continue;
      count++;
      const pair = [rgba(getComputedStyle(element).color), behind(element)].map(luminance);
      const [dark = 0, light = 0] = pair.toSorted((a, b) => a - b);
      const ratio = (light + 0.05) / (dark + 0.05);
      if (ratio < lowest.ratio) lowest = { ratio, text: element.textContent ?? "", count };
    }
    return { ...lowest, count };
  });
}

/** A page with everything on it: both answers, the open rating, an error, all numbers. */
async function fill(page: Page): Promise<void> {
  await ready(page);
  await page.click("#consent-agree");
  await page.click("input[value=side_by_side]");
  await say(page, QUESTION);
  await answered(page);
  await page.$$eval("details", (all) => all.forEach((one) => one.setAttribute("open", "")));
  await page.click(".criterion input[value='1']");
  await page.focus("#question");
  await page.keyboard.type("!break");
  await page.keyboard.press("Enter");
  await page.waitForSelector("#problem:not([hidden])");
}

for (const dark of [false, true]) {
  const theme = dark ? "dark" : "light";

  browserTest(`${theme}: every text stands out from what is behind it, and axe finds nothing`, {
    ...{ dark, troubled: true },
  }, async ({ page, screenshot }) => {
    await ready(page);
    assertEquals(await violations(page), [], "the empty page");
    await fill(page);
    const { ratio, text, count } = await lowestContrast(page);
    assert(count > 40, `only ${count} texts were looked at`);
    assert(ratio >= 4.5, `contrast ${ratio.toFixed(2)} of '${text}'`);
    assertEquals(await violations(page), [], "the full page");
    await screenshot(`everything_${theme}`);
    const paper = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    assertEquals(paper, dark ? "rgb(21, 24, 26)" : "rgb(250, 248, 244)");
  });

  browserTest(`${theme}: axe finds nothing on the login page`, {
    ...{ dark, token: "a-token-nobody-guesses", path: "/login?wrong=1", troubled: true },
  }, async ({ page }) => {
    await page.waitForSelector("#wrong:not([hidden])");
    assertEquals(await violations(page), []);
    assert((await lowestContrast(page)).ratio >= 4.5);
  });
}

browserTest("a phone of 320 px needs no sideways scrolling, whatever is on the page", {
  ...{ width: 320, height: 640, troubled: true },
}, async ({ page, screenshot }) => {
  await fill(page);
  await say(page, `${"অনেকলম্বাশব্দ".repeat(30)} https://example.org/${"x".repeat(200)}`);
  await page.waitForFunction(() =>
    document.querySelectorAll(".answer:not([aria-busy])").length === 6
  );
  for (const language of ["bn", "en"]) {
    const { wide, over } = await page.evaluate(() => ({
      wide: document.documentElement.scrollWidth,
      over: [...document.querySelectorAll("body *")]
        .filter((one) => one.getBoundingClientRect().right > 321 && !one.closest(".unseen"))
        .map((one) => one.outerHTML.slice(0, 80)),
    }));
    assertEquals([wide, over], [320, []], language);
    const small = await page.$$eval(
      "button, select, .criterion label, .segments label",
      (controls) =>
        controls.filter((one) => one.getBoundingClientRect().height > 0)
          .filter((one) => one.getBoundingClientRect().height < 24).map((one) => one.outerHTML),
    );
    assertEquals(small, [], "everything can be hit with a finger");
    if (language === "bn") await page.click("#language");
  }
  await screenshot("phone");
});

browserTest(
  "language and colours are the visitor's choice and stay chosen",
  {},
  async ({ page }) => {
    await ready(page);
    const head = async () => [
      await page.evaluate(() => document.documentElement.lang),
      await page.title(),
      (await texts(page, "#send"))[0],
    ];
    assertEquals(await head(), ["bn", "মনের কথা", "পাঠান"]);
    await page.click("#language");
    assertEquals(await head(), ["en", "Moner Kotha", "Send"]);
    const empty = await page.$$eval(
      "[data-text]",
      (all) => all.filter((one) => one.textContent === "").map((one) => one.outerHTML),
    );
    assertEquals(empty, []);
    await page.select("#theme", "dark");
    const paper = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    assertEquals(await paper(), "rgb(21, 24, 26)");
    await page.reload();
    await ready(page);
    assertEquals(await head(), ["en", "Moner Kotha", "Send"]);
    assertEquals(await paper(), "rgb(21, 24, 26)");
    await page.select("#theme", "system");
    assertEquals(await paper(), "rgb(250, 248, 244)");
  },
);

browserTest("who wants less motion gets none", { script: { delayMs: 400 } }, async ({ page }) => {
  await ready(page);
  const cursor = async () => {
    await say(page, QUESTION);
    await page.waitForSelector(".answer[aria-busy]");
    const name = await page.$eval(
      "#turns > li:last-child .text",
      (text) => getComputedStyle(text, "::after").animationName,
    );
    await page.keyboard.press("Escape");
    await answered(page);
    return name;
  };
  assertEquals(await cursor(), "blink");
  await page.emulateMediaFeatures([{ name: "prefers-reduced-motion", value: "reduce" }]);
  assertEquals(await cursor(), "none");
});

browserTest("the fonts join Bengali conjuncts", {}, async ({ page }) => {
  await ready(page);
  // Without the joining each pair is as wide as with a zero-width non-joiner between its letters.
  const widths = await page.evaluate(() =>
    ["ক্ষ", "স্ত", "ত্র", "ন্ধ", "ঙ্গ"].map((conjunct) =>
      [conjunct, conjunct.replace("্", "্\u200c")].map((text) => {
        const span = document.createElement("span");
        span.textContent = text;
        document.body.append(span);
        const { width } = span.getBoundingClientRect();
        span.remove();
        return width;
      })
    )
  );
  for (const [joined = 0, apart = 0] of widths) assert(joined > 0 && joined < apart);
});

browserTest("the login page lets in who has the token", {
  ...{ token: "a-token-nobody-guesses", path: "/study", troubled: true },
}, async ({ page }) => {
  assertStringIncludes(page.url(), "/login?next=%2Fstudy");
  await page.type("#token", "something else");
  await Promise.all([page.waitForNavigation(), page.keyboard.press("Enter")]);
  await page.waitForSelector("#wrong:not([hidden])");
  await page.type("#token", "a-token-nobody-guesses");
  await Promise.all([page.waitForNavigation(), page.keyboard.press("Enter")]);
  assertEquals(new URL(page.url()).pathname, "/study");
});
