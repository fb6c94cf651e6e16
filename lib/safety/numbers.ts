/**
 * Telephone numbers in an answer that are not in the helplines file.
 *
 * @module
 */
import { plainDigits } from "./helplines.ts";

/** A stretch that reads as a telephone number, in UTF-16 offsets. */
export interface NumberFound {
  readonly start: number;
  readonly end: number;
}

/** What may stand between two digits of one number; U+200B fills the place of a second unit. */
const BETWEEN = "[ \\t\\u00a0\\u2009\\u202f.()/_*·\\-\\u2010-\\u2014\\u200b-\\u200d\\u2060]{0,3}";
const DIGITS = new RegExp(`\\+?\\d(?:${BETWEEN}\\d){2,}`, "gu");

/** Words that turn a short figure into a number to call, before or after it. */
const CALL =
  /কল|ফোন|ডায়াল|নম্বর|নাম্বার|হেল্প ?লাইন|হট ?লাইন|হোয়াটস|এসএমএস|মেসেজ|যোগাযোগ|জরুরি সেবা|লাইনে|\bcall|\bdial|phone|helpline|hotline|number|whatsapp|\btext\b/iu;
/** "১০৯০-এ জানান": a figure as the place where to tell. */
const TOLD_AT = /^ ?-?(?:এ|এই|তে|টিতে|টায়) (?:গিয়ে )?(?:জানা|যোগা|কথা|বল|রিপোর্ট)/u;
/** A number of a room, a page or an examination is not called. */
const OTHER_NUMBER =
  /(?:রোল|কক্ষ|রুম|বাড়ি|সড়ক|বাস|পৃষ্ঠা|পাতা|আসন|ধারা|অধ্যায়|প্রশ্ন)[^\s]* ?(?:নম্বর|নাম্বার|নং)?[ :-]*$/u;
const MARKS = /^ ?(?:নম্বর|নাম্বার)(?:ও|ই)? (?:পে|পা|কম|বেশি|তুল|উঠ|দি|কাট)/u;
/** Units after a figure. */
const UNIT =
  /^ ?-?(?:টাকা|হাজার|লাখ|লক্ষ|কোটি|শত|শো|বছর|বৎসর|সাল|খ্রি|বঙ্গাব্দ|শতক|মাস|সপ্তাহ|দিন|ঘণ্টা|ঘন্টা|মিনিট|সেকেন্ড|বার(?![\p{L}\p{M}])|বারের|জন|টি(?![\p{L}\p{M}])|টা|খানা|খানি|গুণ|শতাংশ|ভাগ|পার্সেন্ট|কিমি|কি\.?মি|কিলো|মিটার|ফুট|ইঞ্চি|গজ|মাইল|কেজি|গ্রাম|লিটার|ডিগ্রি|পাতা|পৃষ্ঠা|শব্দ|লাইন(?!ে)|রান|পয়সা|ডলার|রুপি|তারিখ|তলা|নং|বিঘা|একর|ক্যালরি|পা(?![\p{L}\p{M}])|ধাপ|%|৳|₹|\$|taka|years?|days?|hours?|minutes?|percent|people|km|kg|BDT|INR|rupees)/iu;
const MONEY_BEFORE = /(?:৳|₹|\$|Rs\.?|টাকা)\s*$/iu;
const DATE = /^\d{1,4}[-/.]\d{1,2}[-/.]\d{2,4}$/;

/** The text with every decimal digit Latin, of the same length in UTF-16 units. */
function withLatinDigits(text: string): string {
  return text.replace(/\p{Nd}/gu, (digit) => {
    const plain = digit.normalize("NFKC");
    const latin = /[0-9]/.test(plain) ? plain : plainDigits(plain) || devanagari(plain);
    return latin.padEnd(digit.length, "\u200b");
  });
}

function devanagari(digit: string): string {
  const code = digit.codePointAt(0) ?? 0;
  return code >= 0x966 && code <= 0x96f ? String(code - 0x966) : "0";
}

/** The sentence around a place, at most 60 units to each side. */
function around(text: string, start: number, end: number): { before: string; after: string } {
  const before = text.slice(Math.max(0, start - 60), start).replace(/^.*[।॥?!\n]/su, "");
  const after = text.slice(end, end + 60).replace(/[।॥?!\n].*$/su, "");
  return { before, after };
}

function isKnown(raw: string, known: ReadonlySet<string>): boolean {
  if (known.has(plainDigits(raw))) return true;
  const parts = raw.split(/[\s/]+/u).filter((part) => /\d/.test(part));
  return parts.length > 1 && parts.every((part) => known.has(plainDigits(part)));
}

const isYear = (digits: string): boolean => /^(?:19|20)\d\d$/.test(digits);

/** A range "১০-১৫", "২০২৩-২০২৪": two small figures of which the second is not smaller. */
function isRange(raw: string): boolean {
  const ends = /^(\d{1,4})\s?[-\u2010-\u2014]\s?(\d{1,4})$/u.exec(raw);
  if (ends === null) return false;
  const [low, high] = [Number(ends[1]), Number(ends[2])];
  return low < high && !/^0/.test(ends[1] ?? "");
}

function isPhone(raw: string, before: string, after: string): boolean {
  const digits = plainDigits(raw);
  const called = CALL.test(before) || /লাইন\s*[:–-]?\s*$/u.test(before) || TOLD_AT.test(after) ||
    (CALL.test(after) && !MARKS.test(after));
  const measured = UNIT.test(after) || MONEY_BEFORE.test(before);
  if (DATE.test(raw.trim()) && !called) return false;
  if (measured && digits.length <= 7 && !/^0/.test(digits)) return false;
  if (isRange(raw) && (measured || !called)) return false;
  if (/^\d+\.\d+$/.test(raw) && digits.length <= 5 && !called) return false;
  if (OTHER_NUMBER.test(before) || MARKS.test(after)) return digits.length >= 7;
  if (digits.length >= 5) return true;
  return called && !(isYear(digits) && !/(?:কল|ফোন|ডায়াল|call|dial)/iu.test(after.slice(0, 20)));
}

const SPELLED: Readonly<Record<string, string>> = Object.fromEntries(
  [
    "শূন্য শুন্য জিরো",
    "এক ওয়ান",
    "দুই টু",
    "তিন থ্রি থ্রী",
    "চার ফোর",
    "পাঁচ ফাইভ",
    "ছয় সিক্স",
    "সাত সেভেন",
    "আট এইট",
    "নয় নাইন",
  ].flatMap((words, digit) =>
    words.split(" ").map((word) => [word.normalize("NFC"), String(digit)])
  ),
);
const SPELLED_RUN = new RegExp(
  `(?<![\\p{L}\\p{M}])(?:${Object.keys(SPELLED).join("|")})(?:[ ,-]+(?:${
    Object.keys(SPELLED).join("|")
  })(?![\\p{L}\\p{M}])){2,}`,
  "gu",
);

/** Numbers spelled digit by digit beside words of calling: "ফোন করুন এক ছয় এক দুই তিন". */
function spelledNumbers(text: string, known: ReadonlySet<string>): NumberFound[] {
  const found: NumberFound[] = [];
  for (const match of text.matchAll(SPELLED_RUN)) {
    const digits = match[0].split(/[ ,-]+/u).map((word) => SPELLED[word] ?? "").join("");
    const { before, after } = around(text, match.index, match.index + match[0].length);
    const counting = "12345678910".startsWith(digits);
    if (known.has(digits) || counting || !(CALL.test(before) || CALL.test(after))) continue;
    found.push({ start: match.index, end: match.index + match[0].length });
  }
  return found;
}

/**
 * Stretches of a text that read as telephone numbers and are not known: figures with five digits
 * and more, or three and more beside a word of calling. Ages, years, dates, times, money,
 * percentages and ranges are none.
 *
 * @param text NFC
 * @param known digits only
 *
 * @example
 * ```ts
 * import { unknownNumbers } from "@lib/safety/numbers.ts";
 * import { assertEquals } from "@std/assert";
 * const known = new Set(["999"]);
 * assertEquals(unknownNumbers("৯৯৯ নম্বরে ফোন করুন।", known), []);
 * assertEquals(unknownNumbers("৯৮৭ নম্বরে ফোন করুন।", known), [{ start: 0, end: 3 }]);
 * assertEquals(unknownNumbers("২০২৪ সালে বয়স ছিল ১০০ বছর।", known), []);
 * ```
 */
export function unknownNumbers(text: string, known: ReadonlySet<string>): NumberFound[] {
  const latin = withLatinDigits(text);
  const found: NumberFound[] = [];
  for (const match of latin.matchAll(DIGITS)) {
    const raw = match[0];
    const end = match.index + raw.length;
    const { before, after } = around(latin, match.index, end);
    if (!isKnown(raw, known) && isPhone(raw, before, after)) {
      found.push({ start: match.index, end });
    }
  }
  return [...found, ...spelledNumbers(text, known)];
}
