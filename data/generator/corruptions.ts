/**
 * Small corruptions of clean text, of the kinds that real files have. Each returns the corrupted
 * text, or `undefined` where the text has no place for it.
 *
 * @module
 */
import { pick, type Random, randomInt } from "@lib/random.ts";

/** One way of spoiling a text. */
export type Corruption = (random: Random, text: string) => string | undefined;

/** Replace all matches, or `undefined` when there is none. */
function replaceAll(text: string, pattern: RegExp, replacement: string): string | undefined {
  const result = text.replace(pattern, replacement);
  return result === text ? undefined : result;
}

/** Insert a string at a random match of a zero-width pattern. */
function insertAt(random: Random, text: string, gap: RegExp, inserted: string): string | undefined {
  const places = [...text.matchAll(gap)].map((match) => match.index);
  if (places.length === 0) return undefined;
  const at = pick(random, places);
  return text.slice(0, at) + inserted + text.slice(at);
}

const SPACE = /(?= )/g;
/** Between two letters inside a word, not beside a virama, where a joiner means nothing. */
const INSIDE_WORD = /(?<=[ক-হ])(?=[ক-হ])/g;

/** Corruptions that strict cleaning undoes completely. */
export const REVERSIBLE = {
  decomposed_vowels: (_, text) =>
    replaceAll(text.replaceAll("\u09cc", "\u09c7\u09d7"), /\u09cb/g, "\u09c7\u09be"),
  precomposed_nukta: (_, text) =>
    replaceAll(
      text.replaceAll("\u09a1\u09bc", "\u09dc").replaceAll("\u09a2\u09bc", "\u09dd"),
      /\u09af\u09bc/g,
      "\u09df",
    ),
  split_aa: (_, text) => replaceAll(text, /\u0986/g, "\u0985\u09be"),
  nukta_ra: (_, text) => replaceAll(text, /\u09b0(?!\u200d)/g, "\u09ac\u09bc"),
  old_khanda_ta: (_, text) => replaceAll(text, /\u09ce/g, "\u09a4\u09cd\u200d"),
  stray_joiner: (random, text) =>
    insertAt(random, text, INSIDE_WORD, pick(random, ["\u200c", "\u200d"])),
  soft_hyphen: (random, text) => insertAt(random, text, INSIDE_WORD, "\u00ad"),
  zero_width_space: (random, text) => insertAt(random, text, INSIDE_WORD, "\u200b"),
  control_character: (random, text) =>
    insertAt(random, text, SPACE, pick(random, ["\t", "\u0003", "\u000b", "\u0085"])),
  line_break: (random, text) =>
    replaceAll(text, /(?<=[।?!]) /g, pick(random, ["\n", "\r\n", "\n\n"])),
  double_space: (random, text) =>
    insertAt(random, text, SPACE, pick(random, ["  ", "\u00a0", " "])),
  space_before_danda: (_, text) => replaceAll(text, /(?=[।?!])/g, " "),
  ascii_full_stop: (_, text) => replaceAll(text, /।/g, "."),
  currency_numerator: (_, text) => replaceAll(text, /।/g, "\u09f7"),
} as const satisfies Readonly<Record<string, Corruption>>;

/** A short text in quotes, straight or curly. */
export function quoted(random: Random, text: string): string {
  return pick(random, [`“${text}”`, `‘${text}’`, `"${text}"`]);
}

/** A text whose last bytes were lost in a conversion: U+FFFD inside a word. */
export function withReplacementCharacter(random: Random, text: string): string {
  const at = 1 + randomInt(random, Math.max(1, text.length - 1));
  return `${text.slice(0, at)}\ufffd${text.slice(at + 1)}`;
}

/** A typing slip: one letter inside a word is left out. */
export function withTypo(random: Random, text: string): string {
  const places = [...text.matchAll(/(?<=[ক-হ])[ািীে](?=[ক-হ])/g)].map((match) => match.index);
  const at = places.length > 0 ? pick(random, places) : text.length - 1;
  return text.slice(0, at) + text.slice(at + 1);
}

/** Two digits in Bengali or ASCII figures. */
function twoDigits(random: Random, bengali: boolean): string {
  const digits = String(randomInt(random, 100)).padStart(2, "0");
  return bengali ? digits.replace(/\d/g, (d) => "০১২৩৪৫৬৭৮৯"[Number(d)] ?? d) : digits;
}

/** A sentence with a phone number of the unassigned prefix 010. */
export function phoneSentence(random: Random): string {
  return pick(random, [
    `আমার নম্বর 01000-0000${twoDigits(random, false)}, পারলে একবার ফোন করবেন।`,
    `কথা বলতে চাইলে ০১০০০-০০০০${twoDigits(random, true)} নম্বরে ফোন করবেন।`,
    `ফোনে পাবেন +880 1000 0000${twoDigits(random, false)}।`,
  ]);
}

/** A sentence with an e-mail address of a reserved domain. */
export function emailSentence(random: Random): string {
  const name = pick(random, ["rahim", "mitu", "shefali", "joy.das", "nadia"]);
  const domain = pick(random, ["example.com", "example.org", "example.net"]);
  return pick(random, [
    `লিখতে চাইলে ${name}${twoDigits(random, false)}@${domain} ঠিকানায় লিখবেন।`,
    `আমার ইমেইল ${name}${twoDigits(random, false)}@${domain}।`,
  ]);
}

/** A sentence with a web address of a reserved domain. */
export function urlSentence(random: Random): string {
  const page = twoDigits(random, false);
  return pick(random, [
    `পুরো ঘটনাটা লিখেছি এখানে https://example.org/post/${page} ।`,
    `ছবিগুলো আছে www.example.com/album/${page} এই পাতায়।`,
  ]);
}
