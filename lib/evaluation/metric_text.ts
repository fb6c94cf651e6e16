/**
 * The one normalisation that both sides of a comparison get before a metric sees them.
 *
 * sacreBLEU normalises nothing, so `bleu` and `chrf` do not either; but two spellings of one Bengali
 * word (precomposed ড় and ড + ়) would count as two words, and an invisible joiner as an error.
 *
 * @module
 */
import { repairVowelsAndNukta } from "@lib/corpus/normalize.ts";

/**
 * Text as metrics compare it: NFC (which spells ড় ঢ় য় decomposed, whichever way they came), ে+া → ো,
 * অ+া → আ, ব+় → র, format characters (ZWJ, ZWNJ, soft hyphen, BOM) removed, white space collapsed.
 * For comparing only, never for display or training.
 *
 * @example
 * ```ts
 * import { metricText } from "@lib/evaluation/metric_text.ts";
 * import { assertEquals } from "@std/assert";
 * assertEquals(metricText("ব\u09dc"), metricText("ব\u09a1\u09bc"));
 * assertEquals(metricText(" মন  ভালো\u200c নেই "), "মন ভালো নেই");
 * ```
 */
export function metricText(text: string): string {
  const bare = text.normalize("NFC").replace(/\p{Cf}/gu, "");
  return repairVowelsAndNukta(bare).replace(/\s+/gu, " ").trim();
}
