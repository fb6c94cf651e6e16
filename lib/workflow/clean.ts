/** Step 1, notebook 01_clean and `deno task clean`: CSV → clean records, a reason for every row dropped. */
import type { Config } from "@lib/config.ts";
import {
  cleanLegacy,
  type CleanRecord,
  type CleanReport,
  type CleanResult,
  cleanStrict,
  type Corpus,
  findCorpus,
  LEGACY_DROP_REASON,
  type LegacyReport,
  loadCorpus,
  saveRecords,
} from "@lib/corpus/mod.ts";
import type { OnPhase } from "@lib/phases.ts";
import { PROJECT_ROOT, projectPath, type Run } from "@lib/experiment/run.ts";
import { saveJson } from "@lib/files.ts";

/** The corpus file that a configuration means, and whether it is the real one. */
export interface CorpusChoice {
  readonly path: string;
  readonly kind: "real" | "sample" | "given";
}

/**
 * The CSV of a run: the one configured, else the real corpus in `data/`, else the sample.
 *
 * @throws {CorpusError} when `data/` has neither
 */
export async function chooseCorpus(config: Config): Promise<CorpusChoice> {
  if (config.data.csv !== null) return { path: projectPath(config.data.csv), kind: "given" };
  return await findCorpus(`${PROJECT_ROOT}data`);
}

/** Reads the CSV, no further than `data.max_rows`. */
export async function readCorpus(config: Config): Promise<Corpus & { readonly kind: string }> {
  const { path, kind } = await chooseCorpus(config);
  const corpus = await loadCorpus(path);
  return { ...corpus, rows: corpus.rows.slice(0, config.data.max_rows ?? undefined), kind };
}

/** What the step gives and writes. */
export interface CleanStep {
  readonly records: readonly CleanRecord[];
  readonly report: CleanReport | LegacyReport;
  /** Strict mode only: dropped and quarantined rows, and examples of every change. */
  readonly strict: CleanResult | null;
}

/**
 * Cleans a corpus as the configuration says and writes records, dropped rows and report into the run.
 *
 * @param onPhase told how far each phase of strict cleaning is, in rows
 * @throws {CorpusError | FileWriteError} naming file, row or remedy
 */
export async function cleanStep(
  run: Run,
  config: Config,
  corpus: Corpus,
  onPhase?: OnPhase,
): Promise<CleanStep> {
  const step = config.data.cleaning === "legacy" ? legacy(corpus) : strict(corpus, config, onPhase);
  await saveRecords(run.cleanRecords, step.records);
  await saveRecords(run.droppedRows, step.dropped);
  await saveJson(run.cleanReport, { source: sourceName(corpus), ...step.report });
  await run.saveConfig(config);
  return { records: step.records, report: step.report, strict: step.strict };
}

/** File name without its folder: reports name no machine's paths. */
function sourceName(corpus: Corpus): string {
  return corpus.source.split(/[/\\]/).pop() ?? corpus.source;
}

function strict(corpus: Corpus, config: Config, onPhase: OnPhase | undefined) {
  const result = cleanStrict(corpus.rows, {
    nearDuplicateThreshold: config.data.near_duplicate_threshold,
    onPhase,
  });
  const dropped = [...result.dropped, ...result.quarantined].sort((a, b) => a.row - b.row);
  return { records: result.records, report: result.report, strict: result, dropped };
}

function legacy(corpus: Corpus) {
  const result = cleanLegacy(corpus.rows);
  const out = new Set(result.droppedRows);
  const dropped = corpus.rows.filter(({ row }) => out.has(row))
    .map((row) => ({ ...row, reason: LEGACY_DROP_REASON }));
  return { records: result.records, report: result.report, strict: null, dropped };
}
