/**
 * Grades as they are found, one JSON object a line: what was graded is never graded twice.
 *
 * @module
 */
import { z } from "zod";
import { FileReadError } from "@lib/files.ts";
import { OUTCOMES } from "./exercise_result.ts";

const check = z.strictObject({ name: z.string(), ok: z.boolean(), text: z.string() });

/** What came of one exercise. */
export const GradedExercise = z.strictObject({
  exercise: z.int(),
  outcome: z.enum(OUTCOMES),
  checks: z.array(check).readonly(),
  error: z.string(),
});

/** One graded notebook. */
export const Grade = z.strictObject({
  student: z.string(),
  /** Name in the course; empty where the notebook was not recognised. */
  notebook: z.string(),
  /** Hash of what was handed in, what it was graded against, and the limits. */
  key: z.string(),
  exercises: z.array(GradedExercise).readonly(),
  /** Exercises in which given statements, such as checks, were changed or taken out. */
  changed: z.array(z.int()).readonly(),
  /** Why nothing was graded; empty where it was. */
  problem: z.string(),
});
/** One graded notebook. */
export type Grade = z.infer<typeof Grade>;

/** The JSON of a line; `undefined` for a line that a crash has torn. */
function parseLine(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}

/**
 * Reads a log; none is an empty one. Torn lines are left out: what they held is graded again.
 *
 * @throws {FileReadError} where a whole line is no grade
 */
export async function loadGrades(path: string): Promise<readonly Grade[]> {
  const text = await Deno.readTextFile(path).catch((error: unknown) => {
    if (error instanceof Deno.errors.NotFound) return "";
    throw error;
  });
  return text.split("\n").flatMap((line, at) => {
    const json = parseLine(line);
    if (json === undefined) return [];
    const grade = Grade.safeParse(json);
    if (grade.success) return [grade.data];
    throw new FileReadError(
      `${path}: line ${at + 1}: expected a grade, found\n${z.prettifyError(grade.error)}\n` +
        "Repair the line, or set the file aside: everything is then graded anew.",
    );
  });
}
