/**
 * An answer with the sentences that counted for the empathy rubric marked in it.
 *
 * @module
 */
import {
  EMPATHY_CRITERIA,
  type EmpathyCriterion,
  type EmpathyLevel,
} from "@lib/evaluation/rubric.ts";
import { escapeHtml, FONT_STACK } from "./display.ts";

/** What a sentence counted for; `start` and `end` are places in the answer. */
export interface EvidenceSpan {
  readonly criterion: EmpathyCriterion;
  readonly level: EmpathyLevel;
  readonly start: number;
  readonly end: number;
}

/** Pale enough for black text. */
const COLORS: Readonly<Record<EmpathyCriterion, string>> = {
  reaction: "#f2b98c",
  interpretation: "#8fc7ea",
  exploration: "#a9dcc6",
  support: "#e4bfd6",
};

function badge({ criterion, level }: Pick<EvidenceSpan, "criterion" | "level">): string {
  return `<span style="background:${
    COLORS[criterion]
  };color:#222;border-radius:3px;font-size:75%;` +
    `padding:0 4px;margin-left:3px;white-space:nowrap">${criterion} ${level}</span>`;
}

/**
 * Marks each sentence with what it counted for. Text is escaped; a sentence that counts for several
 * criteria has the colour of the first and a badge for each.
 *
 * @example
 * ```ts
 * import { evidenceHtml } from "@lib/notebook/evidence_view.ts";
 * import { assert } from "@std/assert";
 * const span = { criterion: "reaction", level: 2, start: 0, end: 9 } as const;
 * assert(evidenceHtml("মন খারাপ। ঠিক আছে।", [span]).includes("reaction 2"));
 * ```
 */
export function evidenceHtml(answer: string, evidence: readonly EvidenceSpan[]): string {
  const starts = [...new Set(evidence.map(({ start }) => start))].sort((a, b) => a - b);
  let place = 0;
  const marked = starts.map((start) => {
    const here = EMPATHY_CRITERIA.flatMap((criterion) =>
      evidence.filter((one) => one.start === start && one.criterion === criterion)
    );
    const [first] = here;
    const end = Math.max(...here.map((one) => one.end));
    if (first === undefined || start < place) return "";
    const before = escapeHtml(answer.slice(place, start));
    place = end;
    return `${before}<mark style="background:${COLORS[first.criterion]};color:#222;` +
      `border-radius:3px;padding:1px 2px">${escapeHtml(answer.slice(start, end))}</mark>` +
      here.map(badge).join("");
  });
  return `<div style="font-family:${FONT_STACK};line-height:2">${marked.join("")}${
    escapeHtml(answer.slice(place))
  }</div>`;
}
