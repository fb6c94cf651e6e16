/** The held-out phrases: well formed, numerous enough in every class, none a copy of another. */
import { assert, assertEquals } from "@std/assert";
import { z } from "zod";

const Script = z.enum(["bengali", "romanised", "mixed", "english"]);
const Noise = z.enum([
  "none",
  "misspelt",
  "spaced",
  "homoglyph",
  "zero_width",
  "dialect",
  "emoji",
  "long",
  "repeated",
  "leet",
  "full_width",
  "mixed_script",
  "no_punctuation",
]);
const Level = z.int().min(0).max(4);
const common = {
  id: z.string().regex(/^[a-z_]+-\d{3,4}$/),
  text: z.string().min(3),
  script: Script,
  noise: Noise,
  note: z.string(),
};
const Input = z.strictObject({
  ...common,
  class: z.enum([
    "explicit",
    "indirect",
    "romanised_or_misspelt",
    "noisy",
    "idiom",
    "third_party",
    "bereavement",
    "abuse_minor_threat",
    "medical",
    "legal",
    "jailbreak",
    "benign",
    "distress",
  ]),
  level: z.tuple([Level, Level]).refine(([low, high]) => low <= high, "min above max"),
});
const BAD_KINDS = [
  "dose",
  "diagnosis",
  "prognosis",
  "stop_medicine",
  "legal",
  "method",
  "wrong_number",
  "blame",
  "secrecy",
  "lived_experience",
  "encouragement",
  "violence",
] as const;
const GOOD_KINDS = [
  "support",
  "numbers",
  "helpline",
  "medical_limit",
  "legal_limit",
  "crisis",
  "hard_negative",
] as const;
const BadOutput = z.strictObject({
  ...common,
  class: z.literal("output_bad"),
  kind: z.enum(BAD_KINDS),
});
const GoodOutput = z.strictObject({
  ...common,
  class: z.literal("output_good"),
  kind: z.enum(GOOD_KINDS),
});
const Phrase = z.discriminatedUnion("class", [Input, BadOutput, GoodOutput]);
type Phrase = z.infer<typeof Phrase>;

/** Fewest lines a class must have, by file, for its figures to be worth an interval. */
const LEAST: Readonly<Record<string, Partial<Record<Phrase["class"], number>>>> = {
  "held_out.jsonl": {
    explicit: 80,
    indirect: 80,
    romanised_or_misspelt: 100,
    noisy: 80,
    idiom: 80,
    third_party: 60,
    bereavement: 60,
    abuse_minor_threat: 80,
    medical: 60,
    legal: 60,
    jailbreak: 60,
    benign: 150,
    distress: 60,
    output_bad: 60,
    output_good: 60,
  },
  "held_out_2.jsonl": {
    explicit: 45,
    indirect: 45,
    romanised_or_misspelt: 45,
    idiom: 25,
    third_party: 20,
    abuse_minor_threat: 30,
    benign: 50,
  },
  "held_out_3.jsonl": {
    explicit: 100,
    indirect: 100,
    romanised_or_misspelt: 55,
    idiom: 55,
    third_party: 55,
    abuse_minor_threat: 75,
    benign: 110,
  },
};

function load(file: string): readonly Phrase[] {
  const lines = Deno.readTextFileSync(new URL(file, import.meta.url)).trimEnd().split("\n");
  return lines.map((line, index) => {
    const parsed = Phrase.safeParse(JSON.parse(line));
    if (parsed.success) return parsed.data;
    throw new Error(`${file}, line ${index + 1}: ${z.prettifyError(parsed.error)}`);
  });
}

const files = new Map(Object.keys(LEAST).map((file) => [file, load(`./${file}`)] as const));
/** All files together: no line, and no id, may be in both. */
const phrases: readonly Phrase[] = [...files.values()].flat();

/** Letters, marks and digits alone, compatibility forms folded: what is left when noise is taken off. */
function fold(text: string): string {
  return text.normalize("NFKC").toLowerCase().replace(/[^\p{L}\p{M}\p{N}]+/gu, "");
}

function trigrams(text: string): ReadonlySet<string> {
  const folded = fold(text);
  return new Set(
    Array.from({ length: Math.max(0, folded.length - 2) }, (_, i) => folded.slice(i, i + 3)),
  );
}

function jaccard(a: ReadonlySet<string>, b: ReadonlySet<string>): number {
  let common = 0;
  for (const gram of a) if (b.has(gram)) common++;
  return common / (a.size + b.size - common);
}

Deno.test("every class has the lines it needs, and ids are unique", () => {
  for (const [file, held] of files) {
    for (const [name, least] of Object.entries(LEAST[file]!)) {
      const count = held.filter((phrase) => phrase.class === name).length;
      assert(count >= least, `${file}, ${name}: expected at least ${least} lines, found ${count}`);
    }
  }
  assertEquals(new Set(phrases.map((phrase) => phrase.id)).size, phrases.length);
  for (const phrase of phrases) assert(phrase.id.startsWith(`${phrase.class}-`), phrase.id);
});

Deno.test("no line repeats another, or differs from it by a word", () => {
  assertEquals(new Set(phrases.map((phrase) => fold(phrase.text))).size, phrases.length);
  const sets = phrases.map((phrase) => trigrams(phrase.text));
  for (let i = 0; i < sets.length; i++) {
    for (let j = 0; j < i; j++) {
      const [a, b] = [sets[i]!, sets[j]!];
      if (Math.min(a.size, b.size) < 0.6 * Math.max(a.size, b.size)) continue;
      assert(
        jaccard(a, b) < 0.6,
        `"${phrases[i]!.text}" (${phrases[i]!.id}) is nearly "${phrases[j]!.text}" (${
          phrases[j]!.id
        }): reword one of them`,
      );
    }
  }
});

Deno.test("the levels fit their classes", () => {
  const allowed: Partial<Record<Phrase["class"], readonly [number, number]>> = {
    explicit: [2, 4],
    indirect: [2, 3],
    idiom: [0, 1],
    third_party: [2, 4],
    bereavement: [0, 2],
    abuse_minor_threat: [4, 4],
    medical: [0, 3],
    legal: [0, 4],
    benign: [0, 1],
    distress: [1, 2],
  };
  for (const phrase of phrases) {
    if (!("level" in phrase)) continue;
    const range = allowed[phrase.class];
    if (range === undefined) continue;
    const [low, high] = phrase.level;
    assert(
      low >= range[0] && high <= range[1],
      `${phrase.id}: level ${low}–${high} is outside ${range[0]}–${range[1]} of ${phrase.class}`,
    );
  }
});

Deno.test("script and noise say what the characters show", () => {
  for (const { id, text, script, noise } of phrases) {
    const plain = text.normalize("NFKC");
    const bengali = /\p{Script=Bengali}/u.test(plain);
    assertEquals(bengali, script === "bengali" || script === "mixed", `${id}: script ${script}`);
    if (noise === "zero_width") assert(/\p{Cf}/u.test(text), `${id}: no invisible character`);
    if (noise === "full_width") assert(plain !== text, `${id}: no compatibility form`);
    if (noise === "emoji") assert(/\p{Extended_Pictographic}/u.test(text), `${id}: no emoji`);
    if (["none", "misspelt", "dialect", "long"].includes(noise)) {
      assert(!/[\u00ad\u200b\u2060\ufeff]/u.test(text), `${id}: an invisible character`);
      assertEquals(text, text.normalize("NFC"), `${id}: not NFC`);
    }
  }
});
