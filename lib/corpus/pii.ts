/**
 * Personal data in texts: phone numbers, e-mail and web addresses become placeholders.
 *
 * @module
 */

/** What stands in a text in place of personal data. */
export const PLACEHOLDERS = {
  url: "[ওয়েব ঠিকানা]".normalize("NFC"),
  email: "[ইমেইল]",
  phone: "[ফোন নম্বর]",
} as const;

/** A kind of personal data. */
export type PiiKind = keyof typeof PLACEHOLDERS;

const EMAIL = /[\p{L}\p{N}._%+-]+@[\p{L}\p{N}-]+(?:\.[\p{L}\p{N}-]+)+/gu;
/** Web addresses, with a scheme or of a common domain. */
export const LINKS =
  /(?:https?:\/\/|www\.)[^\s।"'<>()\[\]]+|(?<![\p{L}\p{N}@.])[a-z0-9-]+(?:\.[a-z0-9-]+)*\.(?:com|org|net|edu|gov|info|io|me|co|bd|in|example|invalid)(?:\/[^\s।"'<>()\[\]]*)?(?![\p{L}\p{N}])/giu;
const DIGIT = "[0-9০-৯]";
const MORE = (least: number, most: number): string => `(?:[ -]?${DIGIT}){${least},${most}}`;
/**
 * Country code 880 or 91 and 9–10 digits; + and 8–15 digits; 0 and 8–10 digits; an Indian mobile
 * number written 5 + 5. ASCII or Bengali digits, single spaces or hyphens between.
 */
const PHONE = new RegExp(
  `(?<![\\p{N}\\p{L}])(?:(?:\\+|00|০০)?(?:880|৮৮০|91|৯১)${MORE(9, 10)}|\\+${DIGIT}${MORE(7, 14)}|` +
    `[0০]${DIGIT}${MORE(7, 9)}|[6-9৬-৯]${DIGIT}{4}[ -]?${DIGIT}{5})(?!\\p{N})`,
  "gu",
);

/** A text with placeholders, and how many of each kind were put in. */
export interface MaskedText {
  readonly text: string;
  readonly counts: Readonly<Record<PiiKind, number>>;
}

/**
 * Replace e-mail addresses, web addresses and phone numbers (ASCII or Bengali digits) by
 * placeholders. Short service numbers (999, 109), years, ages and money stay.
 *
 * @example
 * ```ts
 * import { maskPersonalData } from "@lib/corpus/pii.ts";
 * import { assertEquals } from "@std/assert";
 * assertEquals(maskPersonalData("ফোন ০১৭০০-০০০০০০।").text, "ফোন [ফোন নম্বর]।");
 * assertEquals(maskPersonalData("২০২৩-২০২৪ সালে ৯৯৯").counts.phone, 0);
 * ```
 */
export function maskPersonalData(text: string): MaskedText {
  const counts = { url: 0, email: 0, phone: 0 };
  if (!/[\d০-৯]{5}|@|\.|\//.test(text)) return { text, counts };
  const mask = (input: string, pattern: RegExp, kind: PiiKind): string =>
    input.replace(pattern, (found: string) => {
      counts[kind]++;
      return PLACEHOLDERS[kind] + (/[.,!?]+$/.exec(found)?.[0] ?? "");
    });
  const masked = mask(mask(mask(text, EMAIL, "email"), LINKS, "url"), PHONE, "phone");
  return { text: masked, counts };
}
