import { assert, assertEquals } from "@std/assert";

const RECIPE = new URL("../../data/pretraining/", import.meta.url);
/** Phrases of the counselling style: fine-tuning is to bring them, the base must not know them. */
const COUNSELLING = [
  "সহানুভূতি",
  "সমবেদনা",
  "পাশে আছি",
  "কষ্ট বুঝতে",
  "অনুভব করতে পারছি",
  "শুনে খারাপ লাগল",
  "শুনে সত্যিই",
  "কাউন্সেল",
];

/** Every Bengali text of a JSON value: keys and the domain's English name left out. */
function textsOf(value: unknown): string[] {
  if (typeof value === "string") return [value];
  if (Array.isArray(value)) return value.flatMap(textsOf);
  if (value !== null && typeof value === "object") {
    return Object.entries(value).flatMap(([key, one]) => key === "domain" ? [] : textsOf(one));
  }
  return [];
}

async function loadContent(): Promise<Map<string, string[]>> {
  const files = new Map<string, string[]>();
  const names = ["scenes.json", "chat.json"];
  for await (const entry of Deno.readDir(new URL("domains/", RECIPE))) {
    if (entry.name.endsWith(".json")) names.push(`domains/${entry.name}`);
  }
  for (const name of names) {
    files.set(name, textsOf(JSON.parse(await Deno.readTextFile(new URL(name, RECIPE)))));
  }
  files.set("words.txt", [await Deno.readTextFile(new URL("words.txt", RECIPE))]);
  return files;
}

Deno.test("the pretraining texts are in NFC and hold none of the counselling phrases", async () => {
  const content = await loadContent();
  assert(content.size >= 10);
  for (const [name, texts] of content) {
    for (const text of texts) {
      assertEquals(text, text.normalize("NFC"), name);
      for (const phrase of COUNSELLING) {
        assert(!text.includes(phrase.normalize("NFC")), `${name} holds «${phrase}»: ${text}`);
      }
    }
  }
});

Deno.test("sentences end in Bengali punctuation and no template is left open", async () => {
  for (const [name, texts] of await loadContent()) {
    if (!name.startsWith("domains/") || name.endsWith("_common.json")) continue;
    for (const text of texts) {
      const plain = text.replaceAll(/\{[^}]*\}/g, "");
      assertEquals(plain.match(/[a-z]/gi), null, `${name}: Latin letters in ${text}`);
      assert(!/[^\d০-৯]\.(\s|$)/.test(plain), `${name}: a full stop that is no danda in ${text}`);
      const depth = [...text].reduce((d, c) => d + Number(c === "[") - Number(c === "]"), 0);
      assertEquals(depth, 0, `${name}: brackets do not match in ${text}`);
    }
  }
});
