/**
 * The corpus: reading, cleaning, grouping and splitting it.
 *
 * `loadCorpus` → `cleanStrict` (or `cleanLegacy`) → `groupRecords` → `splitByGroup` → `assertNoLeaks`.
 *
 * @module
 */
export * from "./clean.ts";
export * from "./csv.ts";
export * from "./dedupe.ts";
export * from "./errors.ts";
export * from "./find_corpus.ts";
export * from "./groups.ts";
export { CSV_COLUMNS } from "./header.ts";
export * from "./jsonl.ts";
export * from "./leak_check.ts";
export * from "./legacy.ts";
export * from "./nearest.ts";
export * from "./normalize.ts";
export * from "./pii.ts";
export * from "./quarantine.ts";
export * from "./reasons.ts";
export * from "./records.ts";
export * from "./runs.ts";
export * from "./similar_pairs.ts";
export * from "./split.ts";
export * from "./text_key.ts";
