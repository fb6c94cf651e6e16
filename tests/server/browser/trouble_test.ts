import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { StudyDesk } from "@lib/study/desk.ts";
import { scriptedPieces } from "../scripted_answering.ts";
import { answered, browserTest, ready, say, texts } from "./browser_fixture.ts";

const QUESTION = "চাকরি চলে গেছে";

/** Stands between the browser and a server, and can cut every connection at once. */
function cuttable(target: string) {
  const { hostname, port } = new URL(target);
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const open = new Set<Deno.TcpConn>();
  const pipe = async (from: Deno.TcpConn, to: Deno.TcpConn) => {
    const buffer = new Uint8Array(65536);
    try {
      for (let size = await from.read(buffer); size !== null; size = await from.read(buffer)) {
        for (let done = 0; done < size;) done += await to.write(buffer.subarray(done, size));
      }
    } catch {
      // Cut: that is what it is for.
    }
    for (const end of [from, to]) if (open.delete(end)) end.close();
  };
  const serve = (async () => {
    for await (const client of listener) {
      const server = await Deno.connect({ hostname, port: Number(port) });
      open.add(client).add(server);
      void pipe(client, server);
      void pipe(server, client);
    }
  })().catch(() => {});
  return {
    url: `http://127.0.0.1:${listener.addr.port}`,
    cut: async () => {
      listener.close();
      for (const end of open) end.close();
      open.clear();
      await serve;
    },
  };
}

browserTest("a connection cut in the middle of an answer is said, and can be tried again", {
  ...{ script: { delayMs: 300 }, troubled: true, foreign: true },
}, async ({ page, server, screenshot }) => {
  const proxy = cuttable(server.url);
  await page.goto(proxy.url);
  await ready(page);
  await say(page, QUESTION);
  await page.waitForFunction(() => document.querySelector(".answer .text")?.textContent !== "");
  await proxy.cut();
  await page.waitForSelector("#problem:not([hidden])");
  assertStringIncludes((await texts(page, "#problem p")).join(), "মাঝপথে থেমে গেছে");
  assertEquals((await texts(page, ".answer .remark"))[0], "উত্তরটি সম্পূর্ণ হয়নি।");
  assertEquals(await texts(page, ".rating"), [], "half an answer is not rated");
  assertEquals(await page.$eval("#problem", (box) => box.getAttribute("role")), "alert");
  await screenshot("server_gone_light");
  await page.click("#problem button");
  await page.waitForFunction(() =>
    /যোগাযোগ করা যাচ্ছে না/.test(document.querySelector("#problem:not([hidden])")?.textContent ?? "")
  );
});

browserTest("a server that is being stopped ends the answer with a message", {
  ...{ script: { delayMs: 300 }, troubled: true },
}, async ({ page, server }) => {
  await ready(page);
  await say(page, QUESTION);
  await page.waitForFunction(() => document.querySelector(".answer .text")?.textContent !== "");
  await Promise.all([server.stop(50), page.waitForSelector("#problem:not([hidden])")]);
  assertStringIncludes((await texts(page, "#problem p")).join(), "মাঝপথে থেমে গেছে");
});

browserTest("a full house is told as such; trying again works", {
  ...{ script: { places: 1 }, troubled: true },
}, async ({ page, answering }) => {
  await ready(page);
  answering.live = 1;
  await say(page, QUESTION);
  await page.waitForSelector("#problem:not([hidden])");
  assertStringIncludes((await texts(page, "#problem p")).join(), "একটু পরে");
  answering.live = 0;
  await page.click("#problem button");
  await page.waitForFunction(
    (text) => document.querySelector("#turns > li:last-child .text")?.textContent === text,
    {},
    scriptedPieces("tuned", QUESTION).join(""),
  );
  assertEquals(await page.$eval("#problem", (box) => box.hasAttribute("hidden")), true);
});

browserTest("markup in a question or an answer is text, never markup", {}, async ({ page }) => {
  await ready(page);
  await say(page, "<img src=x onerror=alert(1)><b>মোটা</b>");
  await answered(page);
  assertStringIncludes((await texts(page, ".answer .text")).join(), "<b>মোটা</b>");
  assertEquals(await page.$$eval("#turns img, #turns b", (found) => found.length), 0);
});

const ITEMS = Array.from({ length: 3 }, (_, i) => ({
  row: 100 + i,
  group: i,
  question: `আমার মন ভালো নেই, কী করব বুঝতে পারছি না (${i})।`,
  answers: {
    base: `ঠিক আছে, বুঝলাম (${i})।`,
    tuned: `শুনে সত্যিই খারাপ লাগছে। কী নিয়ে সবচেয়ে কষ্ট হচ্ছে (${i})?`,
    reference: `কথাটা বলেছেন, ভালো করেছেন। চাইলে কাছের কাউকে জানাতে পারেন (${i})।`,
  },
}));

for (const dark of [false, true]) {
  browserTest(
    `the study page (${dark ? "dark" : "light"}): consent, name, twelve levels a question, resume`,
    {
      ...{ path: "/study", dark, width: dark ? 320 : 1000 },
      prepare: async (folder) => ({
        study: await StudyDesk.open({
          ...{
            id: "test-study",
            run: "test",
            items: ITEMS,
            seed: 3,
            path: `${folder}/study.jsonl`,
          },
        }),
      }),
    },
    async ({ page, folder, server, screenshot }) => {
      await ready(page);
      assertEquals(await page.$eval("#entry", (form) => form.hasAttribute("hidden")), true);
      await page.click("#consent-agree");
      await page.type("#rater", "মিতা");
      await page.keyboard.press("Enter");
      await page.waitForSelector("#sheet:not([hidden])");
      assert(
        !/tuned|base|reference|প্রশিক্ষ|মূল উত্তর/.test(
          await page.$eval("#sheet", (form) => form.outerHTML),
        ),
      );
      await page.click("#sheet button[type=submit]");
      assertStringIncludes((await texts(page, "#missing"))[0] ?? "", "উত্তর ক: আবেগের সাড়া");
      const rateAll = () =>
        page.$$eval(
          ".study-answers fieldset",
          (groups) => groups.forEach((group, i) => group.querySelectorAll("input")[i % 3]?.click()),
        );
      await rateAll();
      await screenshot(`study_${dark ? "dark_phone" : "light"}`);
      const wide = await page.evaluate(() => document.documentElement.scrollWidth);
      assertEquals(wide, dark ? 320 : 1000);
      await page.click("#sheet button[type=submit]");
      await page.waitForFunction(() => document.querySelector("#count")?.textContent === "১ / ৩");
      assertEquals(
        await page.evaluate(() => document.activeElement?.id),
        "asked",
        "focus goes to the question",
      );
      await page.goto(`${server.url}/study`);
      await ready(page);
      await page.click("#entry button");
      await page.waitForFunction(() => document.querySelector("#count")?.textContent === "১ / ৩");
      for (const count of ["২ / ৩", ""]) {
        await rateAll();
        await page.click("#sheet button[type=submit]");
        await page.waitForFunction(
          (expected) =>
            expected === ""
              ? !document.querySelector("#done")?.hasAttribute("hidden")
              : document.querySelector("#count")?.textContent === expected,
          {},
          count,
        );
      }
      const lines = (await Deno.readTextFile(`${folder}/study.jsonl`)).trim().split("\n");
      assertEquals(lines.map((line) => JSON.parse(line).rater), ["মিতা", "মিতা", "মিতা"]);
    },
  );
}
