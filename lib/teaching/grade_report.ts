/**
 * Grades for teachers (a CSV) and for students (feedback in plain words).
 *
 * @module
 */
// @ts-types="../corpus/std_csv.d.ts"
import { stringify } from "@std/csv";
import type { Grade } from "./grade_log.ts";

type Exercise = Grade["exercises"][number];

const isPassed = ({ outcome }: Exercise) => outcome === "passed";

/** How many exercises were right. */
export const scoreOf = ({ exercises }: Grade): number => exercises.filter(isPassed).length;

/** What is to be said of a grade besides its points. */
export function statusOf({ exercises, changed, problem }: Grade): string {
  if (problem !== "") return `not graded: ${problem}`;
  const stopped = exercises.filter(({ outcome }) => outcome !== "passed" && outcome !== "failed")
    .map(({ exercise, outcome }) => `exercise ${exercise}: ${outcome}`);
  const edited = changed.length === 0
    ? []
    : [`given lines changed in exercise ${changed.join(", ")} (ignored)`];
  return ["graded", ...stopped, ...edited].join("; ");
}

/** A cell that no spreadsheet takes for a formula. */
const harmless = (text: string) => /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;

/** The grades as CSV: a row a student and notebook, 1 or 0 for each exercise. */
export function gradesCsv(grades: readonly Grade[]): string {
  const numbers = [
    ...new Set(grades.flatMap(({ exercises }) => exercises.map(({ exercise }) => exercise))),
  ].toSorted((a, b) => a - b);
  const rows = grades.map((grade) => {
    const points = numbers.map((number): [string, string] => {
      const found = grade.exercises.find(({ exercise }) => exercise === number);
      return [`exercise_${number}`, found ? String(Number(isPassed(found))) : ""];
    });
    return {
      student: harmless(grade.student),
      notebook: grade.notebook,
      ...Object.fromEntries(points),
      score: String(scoreOf(grade)),
      of: String(grade.exercises.length),
      status: harmless(statusOf(grade)),
    };
  });
  const columns = [
    "student",
    "notebook",
    ...numbers.map((number) => `exercise_${number}`),
    "score",
    "of",
    "status",
  ];
  return stringify(rows, { columns });
}

const ADVICE: Readonly<Record<Exercise["outcome"], string>> = {
  passed: "Right.",
  failed: "Not yet right.",
  "time limit": "Stopped: it took too long. Does a loop ever end?",
  "memory limit": "Stopped: it took too much memory. Does a list grow without end?",
  "printed too much": "Stopped: it printed far too much. Take the printing out.",
  "ended its process": "Stopped: the code ended the program it ran in, or disturbed it.",
  "cannot run": "It could not be run.",
  "not answered": "It was not graded.",
};

/** A text in a fence that it cannot close. */
function fenced(text: string): string {
  const longest = Math.max(2, ...[...text.matchAll(/`+/g)].map(([ticks]) => ticks.length));
  const fence = "`".repeat(longest + 1);
  return `${fence}text\n${text}\n${fence}`;
}

function exerciseFeedback(one: Exercise, changed: boolean): string {
  const lines = one.checks.map(({ ok, text }) => `${ok ? "✓" : "✗"} ${text}`);
  if (one.error !== "") lines.push(one.error);
  const said = lines.length === 0 ? "" : `\n\n${fenced(lines.join("\n"))}`;
  const missing = /\b(\w+) is not defined/.exec(one.error)?.[1];
  const hints = [
    ...missing === undefined ? [] : [
      `Only the exercises' own cells are read: if you declared \`${missing}\` in another cell, ` +
      "move it into this one.",
    ],
    ...changed
      ? ["Given lines of this exercise, such as its checks, were changed: the original ones count."]
      : [],
  ];
  return `## Exercise ${one.exercise}\n\n${ADVICE[one.outcome]}${said}${
    hints.map((hint) => `\n\n${hint}`).join("")
  }`;
}

/** What a student is told. */
export function feedback(grade: Grade): string {
  const title = `# ${grade.notebook || "Not recognised"} · ${grade.student}`;
  if (grade.problem !== "") return `${title}\n\nNothing could be graded: ${grade.problem}\n`;
  const score = `**${scoreOf(grade)} of ${grade.exercises.length}** exercises are right.`;
  const parts = grade.exercises.map((one) =>
    exerciseFeedback(one, grade.changed.includes(one.exercise))
  );
  return `${[title, score, ...parts].join("\n\n")}\n`;
}
