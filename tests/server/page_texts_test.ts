import { assert, assertEquals } from "@std/assert";
import { EMPATHY_CRITERIA } from "@lib/evaluation/rubric.ts";
import { CRITERIA, TEXTS } from "@lib/server/page/texts.js";
import { CONSENT_VERSION } from "@lib/server/ratings.ts";

const PAGE = new URL("../../lib/server/page/", import.meta.url);
const read = (name: string) => Deno.readTextFile(new URL(name, PAGE));

Deno.test("both languages say the same things, in composed Unicode, each in its own letters", () => {
  assertEquals(Object.keys(TEXTS.bn), Object.keys(TEXTS.en));
  for (const [key, text] of Object.entries(TEXTS.bn)) {
    assertEquals(text, text.normalize("NFC"), key);
    // A danda ends a Bengali sentence; a full stop after a Bengali letter is a slip.
    assert(!/\p{Script=Bengali}\./u.test(text), `${key}: ${text}`);
    if (key !== "otherLanguage") assert(/\p{Script=Bengali}/u.test(text), key);
  }
  for (const [key, text] of Object.entries(TEXTS.en)) {
    if (key !== "otherLanguage") assert(!/\p{Script=Bengali}/u.test(text), key);
  }
});

Deno.test("every text that a page names exists, and the rubric is the evaluation's", async () => {
  assertEquals([...CRITERIA], [...EMPATHY_CRITERIA]);
  for (const page of ["index.html", "study.html"]) {
    const named = (await read(page)).matchAll(/data-(?:text|label|placeholder)="(\w+)"/g);
    for (const [, key = ""] of named) assert(key in TEXTS.bn, `${page}: ${key}`);
  }
});

Deno.test("pages hold no script or style that their security policy would refuse", async () => {
  for (const page of ["index.html", "study.html", "login.html"]) {
    const html = await read(page);
    assert(!/<style|style=|\son\w+=|<script(?![^>]*src=)/.test(html), page);
    for (const [, address = ""] of html.matchAll(/(?:src|href|action)="([^"]*)"/g)) {
      assert(/^[/#](?!\/)/.test(address), `${page}: ${address}`);
    }
  }
});

Deno.test("the study page asks for consent to the version that the server takes", async () => {
  const [, version] = /const CONSENT_VERSION = (\d+)/.exec(await read("study.js")) ?? [];
  assertEquals(Number(version), CONSENT_VERSION);
});
