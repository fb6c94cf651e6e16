/** The folder of one run: every file that notebooks and tasks write, by name, in one place. */
import { type Config, Config as ConfigSchema, ConfigError } from "@lib/config.ts";
import { exists, loadJson, saveJson } from "@lib/files.ts";
import { z } from "zod";

/** A run name that cannot be a folder name, or a step whose input is not there. */
export class RunError extends Error {
  override readonly name = "RunError";
}

/** The project's root folder, with a final slash. */
export const PROJECT_ROOT: string = decodeURIComponent(
  new URL("../../", import.meta.url).pathname.replace(/^\/(?=[A-Za-z]:)/, ""),
);

/** Where runs live: as given, else `QLORA_OUTPUTS`, else `outputs/` in the project; no final slash. */
export function outputsFolder(outputs?: string): string {
  const folder = outputs ?? Deno.env.get("QLORA_OUTPUTS") ?? `${PROJECT_ROOT}outputs`;
  return folder.replace(/\/+$/, "");
}

/** Paths of one run. Names follow the original project where it had them. */
export class Run {
  private constructor(readonly name: string, readonly folder: string) {}

  /**
   * Opens a run's folder, made if missing.
   *
   * @param name letters, digits, `.`, `_`, `-`
   * @param outputs where runs live; default `outputs/` in the project, or `QLORA_OUTPUTS`
   * @throws {RunError} a name that is not a plain folder name
   */
  static async open(name: string, outputs?: string): Promise<Run> {
    if (!/^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/.test(name)) {
      throw new RunError(
        `Run name: expected letters, digits, '.', '_' or '-', found '${name}'. ` +
          "Choose another with --run NAME.",
      );
    }
    const folder = `${outputsFolder(outputs)}/${name}`;
    await Deno.mkdir(folder, { recursive: true });
    return new Run(name, folder);
  }

  get config(): string {
    return `${this.folder}/config.json`;
  }
  /** Strictly or legacy-cleaned records, one JSON object a line. */
  get cleanRecords(): string {
    return `${this.folder}/clean.jsonl`;
  }
  /** Dropped and quarantined rows with their reason codes. */
  get droppedRows(): string {
    return `${this.folder}/dropped.jsonl`;
  }
  get cleanReport(): string {
    return `${this.folder}/clean_report.json`;
  }
  /** One part of the split. */
  split(part: "train" | "val" | "test"): string {
    return `${this.folder}/${part}.jsonl`;
  }
  get splitReport(): string {
    return `${this.folder}/split_report.json`;
  }
  /** The final adapter, in PEFT's layout. */
  get adapter(): string {
    return `${this.folder}/llama31_bengali_empathy`;
  }
  get checkpoints(): string {
    return `${this.folder}/checkpoints`;
  }
  get trainReport(): string {
    return `${this.folder}/train_report.json`;
  }
  /** Generated answers, base and tuned, to the test questions. */
  get testResults(): string {
    return `${this.folder}/test_results.json`;
  }
  get evaluationResults(): string {
    return `${this.folder}/evaluation_results.json`;
  }
  get plots(): string {
    return `${this.folder}/plots`;
  }
  get notebooks(): string {
    return `${this.folder}/notebooks`;
  }
  get report(): string {
    return `${this.folder}/report.html`;
  }
  /** Ratings given on the conversation page, with consent; append-only. */
  get pageRatings(): string {
    return `${this.folder}/page_ratings.jsonl`;
  }
  /** Ratings of the human study; append-only. */
  get studyRatings(): string {
    return `${this.folder}/study_ratings.jsonl`;
  }
  /** What the human study says. */
  get humanResults(): string {
    return `${this.folder}/human_results.json`;
  }

  /** Path of a new experiment log; its name carries the start time. */
  newExperimentLog(start: Date): string {
    const stamp = start.toISOString().replace(/[-:]/g, "").replace("T", "_").slice(0, 15);
    return `${this.folder}/llama_empathy_experiments_${stamp}.jsonl`;
  }

  /** All experiment logs, oldest first. */
  async experimentLogs(): Promise<string[]> {
    const logs: string[] = [];
    for await (const entry of Deno.readDir(this.folder)) {
      if (/^llama_empathy_experiments_.*\.jsonl$/.test(entry.name)) {
        logs.push(`${this.folder}/${entry.name}`);
      }
    }
    return logs.sort();
  }

  /**
   * Checks that an earlier step's file is there.
   *
   * @param step what writes it, e.g. "01_clean (deno task clean)"
   * @throws {RunError} naming the file and the step to run first
   */
  async require(path: string, step: string): Promise<string> {
    if (await exists(path)) return path;
    throw new RunError(
      `${path}: expected the output of ${step} in the run '${this.name}', found nothing. ` +
        `Run ${step} first, or give the run that has it.`,
    );
  }

  /** Saves the configuration beside what it produced. */
  async saveConfig(config: Config): Promise<void> {
    await saveJson(this.config, config);
  }

  /** The configuration this run was made with, or null before its first step. */
  async loadConfig(): Promise<Config | null> {
    if (!await exists(this.config)) return null;
    const value = await loadJson(this.config, "Delete it to begin this run anew.");
    const parsed = ConfigSchema.safeParse(value);
    if (!parsed.success) {
      throw new ConfigError(`${this.config}: ${z.prettifyError(parsed.error)}`);
    }
    return parsed.data;
  }
}

/** A path as given by a user: absolute, or relative to the project's root. */
export function projectPath(path: string): string {
  return /^([/\\]|[A-Za-z]:)/.test(path) ? path : `${PROJECT_ROOT}${path}`;
}
