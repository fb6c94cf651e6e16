/**
 * Rows set apart for a human's review: self-harm in question or answer, medication or legal advice
 * in an answer. This protects the training data; it is not the guardrail of a running chat.
 *
 * @module
 */
import type { DropReason } from "./reasons.ts";
import { matchKey } from "./text_key.ts";

/** Why a row is set apart, and the words that said so. */
export interface QuarantineFinding {
  readonly reason: Extract<DropReason, `quarantine_${string}`>;
  readonly evidence: string;
}

/** A gap of up to `n` words between two parts of a pattern. */
const within = (n: number): string => `(?: [^ ]+){0,${n}} `;

const patterns = (sources: readonly string[]): RegExp[] =>
  sources.map((source) => new RegExp(`(?<![^ ])(?:${source})`.normalize("NFC"), "u"));

/** Idioms in which dying is hyperbole: "গরমে মরে যাচ্ছি". Removed before matching. */
const IDIOMS = new RegExp(
  ("(?<![^ ])(?:গরমে|শীতে|ঠান্ডায়|লজ্জায়|খিদেয়|খিদায়|ক্ষুধায়|হাসতে হাসতে|ভয়ে|আনন্দে|খুশিতে|ক্লান্তিতে|কৌতূহলে)" +
    " (?:প্রায় |যেন |একদম |একেবারে )?মরে? ?[^ ]*(?: (?:ইচ্ছে|ইচ্ছা|মন)(?: [^ ]+)?| চাই[^ ]*)?").normalize(
      "NFC",
    ),
  "gu",
);

const SELF_HARM = patterns([
  "আত্ম?(?:হত্যা|হনন)[^ ]*",
  "আত্নহত্যা[^ ]*",
  "সুইসাইড[^ ]*",
  "suicid[^ ]*",
  "মরে যেতে (?:চাই|ইচ্ছে|ইচ্ছা|মন চায়|পারলে)[^ ]*",
  "মরে গেলেই? (?:ভালো|বাঁচ|শান্তি|হয়তো)[^ ]*",
  "মরতে (?:চাই|ইচ্ছে|ইচ্ছা|মন চায়)[^ ]*",
  "বাঁ?চতে (?:আর )?(?:চাই না|ইচ্ছে (?:করে|হয়) না|ইচ্ছা (?:করে|হয়) না|ইচ্ছে নেই|ইচ্ছা নেই|মন চায় না)",
  "(?:আর )?বাঁ?চার (?:ইচ্ছে|ইচ্ছা|কোনো মানে|কোনো ইচ্ছে|কোনো কারণ)(?: [^ ]+)? (?:নেই|হারিয়ে|খুঁজে পাই না|পাচ্ছি না)",
  "বেঁচে থে?কে (?:আর )?(?:কী|কি|কোনো) (?:লাভ|হবে|মানে)[^ ]*",
  "বেঁচে থাকার (?:কোনো )?(?:মানে|ইচ্ছে|ইচ্ছা|অর্থ|কারণ)(?: [^ ]+){0,2} (?:নেই|পাই না|খুঁজে পাই না|পাচ্ছি না)",
  "আমি না থাকলেই? (?:ভালো|সবাই|সবার|ওরা|হয়তো)[^ ]*",
  `(?:নিজেকে|নিজের জীবন|জীবনটা|জীবন)${within(1)}(?:শেষ করে|শেষ করার|শেষ করতে)[^ ]*`,
  "(?:নিজেকে|নিজের শরীরে|নিজের হাতে) (?:আঘাত|কষ্ট দিতে ইচ্ছে|কেটে|ক্ষত)[^ ]*",
  "চিরতরে (?:ঘুমিয়ে|চলে যেতে|হারিয়ে যেতে)[^ ]*",
  "(?:more|morte|mortey) (?:jete )?(?:chai|icche|iccha)[^ ]*",
  "(?:bachte|banchte|bacte) (?:chai na|icche kore na|iccha kore na)",
]);

const MEDICINE =
  "(?:ওষুধ|ঔষধ|ট্যাবলেট|ক্যাপসুল|সিরাপ|ইনজেকশন|ইনসুলিন|অ্যান্টিবায়োটিক|অ্যান্টিডিপ্রেসেন্ট|ঘুমের বড়ি|ঘুমের ওষুধ|প্রেসারের বড়ি|বড়ি|ডোজ)";

const ADVICE = patterns([
  "[0-9০-৯]+ ?(?:mg|মিলিগ্রাম|মি ?গ্রা[^ ]*|এমজি|ট্যাবলেট[^ ]*)",
  `${MEDICINE}[^ ]*${
    within(4)
  }(?:খান|খাবেন|খেয়ে নিন|খেয়ে ফেলুন|খেয়ে দেখুন|খেতে পারেন|নিন|নেবেন|বন্ধ করুন|বন্ধ করে দিন|বন্ধ রাখুন|ছেড়ে দিন|শুরু করুন|শুরু করে দিন|চালিয়ে যান|বাড়িয়ে দিন|কমিয়ে দিন|বদলে ফেলুন|বাদ দিন)(?![^ ])`,
  `আপনার${within(3)}(?:রোগ|ডিপ্রেশন|ডায়াবেটিস|বাইপোলার|সিজোফ্রেনিয়া) (?:হয়েছে|আছে)(?![^ ])`,
  `(?:মামলা|কেস|রিট)[^ ]*${within(2)}(?:করুন|করে দিন|ঠুকে দিন|করে ফেলুন|দায়ের করুন|তুলে নিন)(?![^ ])`,
  `(?:উকিল|আইনি|লিগ্যাল) নোটিশ[^ ]*${within(2)}(?:পাঠান|পাঠিয়ে দিন|দিন)(?![^ ])`,
  `(?:তালাক|ডিভোর্স)[^ ]*${within(2)}(?:দিয়ে দিন|দিন|করে ফেলুন|নিয়ে নিন)(?![^ ])`,
  `আইনের? [^ ]*${within(2)}ধারা[^ ]*`,
  `(?:দলিল|জমি|সম্পত্তি)[^ ]*${
    within(3)
  }(?:সই করবেন না|লিখিয়ে নিন|রেজিস্ট্রি করে নিন|নামজারি করুন)(?![^ ])`,
]);

function firstMatch(key: string, list: readonly RegExp[]): string | undefined {
  for (const pattern of list) {
    const found = pattern.exec(key);
    if (found !== null) return found[0];
  }
  return undefined;
}

/** Matching key with the common misspelling আত্নহত্যা and idioms of hyperbole taken out. */
function quarantineKey(text: string): string {
  return matchKey(text).replace(IDIOMS, " ").replace(/ +/g, " ").trim();
}

/**
 * Whether a row must be reviewed by a human before it may train a model.
 *
 * @example
 * ```ts
 * import { quarantineFinding } from "@lib/corpus/quarantine.ts";
 * import { assertEquals } from "@std/assert";
 * assertEquals(quarantineFinding("গরমে মরে যাচ্ছি।", "পাখার নিচে একটু বসুন।"), undefined);
 * assertEquals(
 *   quarantineFinding("মাথা ধরেছে।", "দুটো ট্যাবলেট খেয়ে নিন।")?.reason,
 *   "quarantine_advice",
 * );
 * ```
 */
export function quarantineFinding(question: string, answer: string): QuarantineFinding | undefined {
  const answerKey = quarantineKey(answer);
  const selfHarm = firstMatch(quarantineKey(question), SELF_HARM) ??
    firstMatch(answerKey, SELF_HARM);
  if (selfHarm !== undefined) return { reason: "quarantine_self_harm", evidence: selfHarm };
  const advice = firstMatch(answerKey, ADVICE);
  return advice === undefined ? undefined : { reason: "quarantine_advice", evidence: advice };
}
