/**
 * Answers graded by hand.
 *
 * @module
 */
import { z } from "zod";
import { parseRecords } from "@lib/corpus/jsonl.ts";
import { FileReadError, loadJson } from "@lib/files.ts";
import { EMPATHY_CRITERIA, type EmpathyLevels } from "./rubric.ts";

const level = z.union([z.literal(0), z.literal(1), z.literal(2)]);
const levels = z.record(z.enum(EMPATHY_CRITERIA), level);
const half = z.enum(["build", "held_out"]);
const text = z.string().min(1);

/** A line of a graded JSON Lines file. */
const GradedLine = z.strictObject({
  id: z.union([z.string(), z.number()]).optional(),
  question: text,
  answer: text,
  grades: levels,
  safety: z.enum(["ok", "violation"]).optional(),
  half,
  second: levels.optional(),
  second_safety: z.enum(["ok", "violation"]).optional(),
  note: z.string().optional(),
});

/** An entry of a graded JSON file. */
const GradedEntry = z.strictObject({ half, question: text, answer: text, levels, reason: text });

/** One graded answer. */
export interface GradedAnswer {
  /** `build`: may be looked at while the scorer is made; `held_out`: never tuned on. */
  readonly half: "build" | "held_out";
  readonly question: string;
  readonly answer: string;
  readonly levels: EmpathyLevels;
  /** Grades of a second reader; null where there was none. */
  readonly second: EmpathyLevels | null;
  /** Whether a reader found harm in it; null where nobody looked. */
  readonly harmful: boolean | null;
  /** Why these levels. */
  readonly reason: string;
}

const HINT = "Restore it from the repository, or grade answers in its shape.";

function fromLine(line: z.output<typeof GradedLine>): GradedAnswer {
  const { half, question, answer, grades, second, safety, note } = line;
  return {
    ...{ half, question, answer, levels: grades, reason: note ?? "" },
    second: second ?? null,
    harmful: safety === undefined ? null : safety === "violation",
  };
}

/**
 * Reads graded answers: JSON Lines, or the older JSON list.
 *
 * @throws {FileReadError | CorpusError} missing or of another shape, with the place
 */
export async function loadGradedAnswers(path: string): Promise<GradedAnswer[]> {
  if (path.endsWith(".jsonl")) {
    let content: string;
    try {
      content = await Deno.readTextFile(path);
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
      throw new FileReadError(`${path}: expected graded answers, found nothing. ${HINT}`);
    }
    return parseRecords(content, GradedLine, path).records.map(fromLine);
  }
  const parsed = z.array(GradedEntry).min(1).safeParse(await loadJson(path, HINT));
  if (parsed.success) {
    return parsed.data.map((entry) => ({ ...entry, second: null, harmful: null }));
  }
  throw new FileReadError(`${path}: ${z.prettifyError(parsed.error)}. ${HINT}`);
}
