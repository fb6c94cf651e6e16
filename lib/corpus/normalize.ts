/**
 * Strict normalisation of Bengali text: small named steps, applied in order.
 *
 * Why so many: NFC never composes ড় ঢ় য় and leaves অ+া and ব+় alone, keyboards and converters leave
 * invisible characters, and translated text ends its sentences with an ASCII full stop. Two spellings
 * of one word are two different token sequences to a model, and two different words to BLEU.
 *
 * @module
 */
import { isAbbreviation } from "./abbreviations.ts";

/** C0, DEL and C1 controls, line breaks and tabs included, become spaces. */
export function controlsToSpaces(text: string): string {
  // deno-lint-ignore no-control-regex -- control characters are what this step is about
  return text.replace(/[\u0000-\u001f\u007f-\u009f]/g, " ");
}

/** Delete what shows nothing and joins nothing: soft hyphen, zero-width space, word joiner, BOM. */
export function deleteInvisible(text: string): string {
  return text.replace(/[\u00ad\u200b\u2060\ufeff]/g, "");
}

/** Unicode normalisation form C: one spelling for canonically equal sequences (ে+া → ো). */
export function composeCanonical(text: string): string {
  return text.normalize("NFC");
}

/** ত + ্ + ZWJ, the spelling before Unicode 4.1, becomes ৎ. */
export function composeKhandaTa(text: string): string {
  return text.replace(/\u09a4\u09cd\u200d/g, "\u09ce");
}

/** Keep ZWJ only in র‍্য (র + ZWJ + ্ + য) and ZWNJ only after ্; delete all others. */
export function removeStrayJoiners(text: string): string {
  return text
    .replace(/(?<!\u09b0)\u200d+|\u200d+(?!\u09cd\u09af)/g, "")
    .replace(/(?<!\u09cd)\u200c+/g, "")
    .replace(/\u200c{2,}/g, "\u200c");
}

/**
 * Sequences that look like one letter but are not canonically equal to it: অ+া → আ, ব+় → র; and
 * ে+া → ো, ে+ৗ → ৌ, which removing a joiner may have brought together.
 */
export function repairVowelsAndNukta(text: string): string {
  return text
    .replace(/\u0985\u09be/g, "\u0986")
    .replace(/\u09ac\u09bc/g, "\u09b0")
    .replace(/\u09c7\u09be/g, "\u09cb")
    .replace(/\u09c7\u09d7/g, "\u09cc")
    .normalize("NFC");
}

/** ৷ (U+09F7, currency numerator four), typed for its looks at a sentence's end, becomes । */
export function currencyNumeratorToDanda(text: string): string {
  return text.replace(/(?<=[\p{L}\p{M}]\s*)\u09f7+(?=\s|$|["'”’)])/gu, "\u0964");
}

/** Curly and angle quotes become straight ones. */
export function straightenQuotes(text: string): string {
  return text.replace(/[“”„‟«»]/g, '"').replace(/[‘’‚‛‹›]/g, "'");
}

/** The one-character ellipsis … becomes three full stops. */
export function spellEllipsis(text: string): string {
  return text.replaceAll("…", "...");
}

/** Every run of white space (no-break spaces too) becomes one space; none at either end. */
export function collapseSpaces(text: string): string {
  return text.replace(/\s+/gu, " ").trim();
}

/** No space before । ? ! and the comma. */
export function removeSpaceBeforePunctuation(text: string): string {
  return text.replace(/ +(?=[।?!,])/g, "");
}

/**
 * An ASCII full stop after a Bengali letter at a sentence's end becomes ।; never after an
 * abbreviation ("ডা."), in an ellipsis or between digits.
 */
export function fullStopToDanda(text: string): string {
  return text.replace(
    /([^\s"'(\[]+?) ?\.(?=["')\]]*(?:\s|$))/gu,
    (all: string, word: string) =>
      /[\p{Script=Bengali}&&[\p{L}\p{M}]]$/v.test(word) && !isAbbreviation(word) ? `${word}।` : all,
  );
}

/** One step: its name in reports, what it does in a few words, and the function. */
export interface NormalizationStep {
  readonly id: string;
  readonly description: string;
  readonly apply: (text: string) => string;
}

/** The steps of strict mode, in the order in which they are applied. */
export const NORMALIZATION_STEPS = [
  {
    id: "controls_to_spaces",
    description: "control characters and line breaks → space",
    apply: controlsToSpaces,
  },
  {
    id: "delete_invisible",
    description: "soft hyphen, zero-width space, word joiner, BOM deleted",
    apply: deleteInvisible,
  },
  {
    id: "compose_canonical",
    description: "Unicode NFC",
    apply: composeCanonical,
  },
  {
    id: "compose_khanda_ta",
    description: "ত + ্ + ZWJ → ৎ",
    apply: composeKhandaTa,
  },
  {
    id: "remove_stray_joiners",
    description: "ZWJ and ZWNJ deleted where they mean nothing",
    apply: removeStrayJoiners,
  },
  {
    id: "repair_vowels_and_nukta",
    description: "অ+া → আ, ব+় → র",
    apply: repairVowelsAndNukta,
  },
  {
    id: "currency_numerator_to_danda",
    description: "৷ (U+09F7) → ।",
    apply: currencyNumeratorToDanda,
  },
  {
    id: "straighten_quotes",
    description: "curly quotes → straight quotes",
    apply: straightenQuotes,
  },
  {
    id: "spell_ellipsis",
    description: "… → ...",
    apply: spellEllipsis,
  },
  {
    id: "collapse_spaces",
    description: "runs of spaces → one space",
    apply: collapseSpaces,
  },
  {
    id: "remove_space_before_punctuation",
    description: "no space before । ? ! ,",
    apply: removeSpaceBeforePunctuation,
  },
  {
    id: "full_stop_to_danda",
    description: "ASCII full stop → । at a sentence's end",
    apply: fullStopToDanda,
  },
] as const satisfies readonly NormalizationStep[];

/** Name of a normalisation step. */
export type NormalizationStepId = (typeof NORMALIZATION_STEPS)[number]["id"];

/**
 * All steps in order. Idempotent: normalising twice changes nothing more.
 *
 * @example
 * ```ts
 * import { normalizeText } from "@lib/corpus/normalize.ts";
 * import { assertEquals } from "@std/assert";
 * assertEquals(normalizeText("মন  ভালো\u00ad নেই ."), "মন ভালো নেই।");
 * ```
 */
export function normalizeText(text: string): string {
  return NORMALIZATION_STEPS.reduce((current, step) => step.apply(current), text);
}
