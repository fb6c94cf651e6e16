/**
 * Helplines: the one dated file from which every number comes.
 *
 * @module
 */
import { z } from "zod";
import embedded from "../../data/helplines.json" with { type: "json" };
import { FileReadError, loadJson } from "@lib/files.ts";

const number = z.string().regex(/^\+?\d[\d-]{1,14}\d$/, "expected digits, with dashes at most");
const date = z.iso.date();

const HelplineRegion = z.strictObject({
  name: z.string().min(1),
  emergency: number,
  crisis: z.array(number).min(1),
  women: number,
  children: number,
});

/** The file's form. */
export const Helplines = z.strictObject({
  about: z.string(),
  compiled_on: date,
  reverify_after_days: z.int().positive(),
  regions: z.strictObject({ BD: HelplineRegion, IN: HelplineRegion }),
  lines: z.array(z.strictObject({
    number,
    region: z.enum(["BD", "IN"]),
    name: z.string().min(1),
    hours: z.string().min(1),
    source: z.string().min(1),
    /** Day on which somebody called it or read its source; null: nobody has. */
    verified_on: date.nullable(),
  })).min(1),
}).superRefine(({ regions, lines }, context) => {
  for (const [code, region] of Object.entries(regions)) {
    for (const used of [region.emergency, ...region.crisis, region.women, region.children]) {
      if (!lines.some((line) => line.region === code && line.number === used)) {
        context.addIssue({
          code: "custom",
          path: ["regions", code],
          message: `${used} has no entry of region ${code} in lines`,
        });
      }
    }
  }
});
export type Helplines = z.infer<typeof Helplines>;
export type Helpline = Helplines["lines"][number];

let shipped: Helplines | undefined;

/** The helplines that ship with the project. */
export function defaultHelplines(): Helplines {
  shipped ??= Helplines.parse(embedded);
  return shipped;
}

/** Options of {@link loadHelplines}. */
export interface LoadHelplinesOptions {
  /** @default the clock's */
  readonly today?: Date;
  /** Told what needs verifying. @default console.warn */
  readonly onWarning?: (message: string) => void;
}

/**
 * Loads and checks helplines; says what nobody verified, or not lately.
 *
 * @param path a JSON file; the project's own without one
 * @throws {FileReadError} no such file, not JSON, or not the form of {@link Helplines}
 */
export async function loadHelplines(
  path?: string,
  { today = new Date(), onWarning = console.warn }: LoadHelplinesOptions = {},
): Promise<Helplines> {
  const hint = "Copy data/helplines.json of this project and change what differs.";
  const parsed = path === undefined
    ? { success: true as const, data: defaultHelplines() }
    : Helplines.safeParse(await loadJson(path, hint));
  if (!parsed.success) {
    throw new FileReadError(
      `${path}: expected helplines, found something else. ${
        z.prettifyError(parsed.error)
      }. ${hint}`,
    );
  }
  for (const warning of helplineWarnings(parsed.data, today)) onWarning(warning);
  return parsed.data;
}

/** What should be verified before anyone relies on it. */
export function helplineWarnings(helplines: Helplines, today: Date): string[] {
  const limit = helplines.reverify_after_days;
  const age = (day: string): number => (today.getTime() - Date.parse(day)) / 86_400_000;
  const named = (list: readonly Helpline[]): string =>
    list.map((line) => `${line.number} (${line.region})`).join(", ");
  const never = helplines.lines.filter((line) => line.verified_on === null);
  const stale = helplines.lines.filter((line) =>
    line.verified_on !== null && age(line.verified_on) > limit
  );
  const remedy = "Call each or read its source, then write the day in verified_on.";
  const warnings: string[] = [];
  if (never.length > 0) {
    warnings.push(`Helplines never verified since they were compiled: ${named(never)}. ${remedy}`);
  }
  if (stale.length > 0) {
    warnings.push(`Helplines verified more than ${limit} days ago: ${named(stale)}. ${remedy}`);
  }
  return warnings;
}

/** Digits alone, Bengali ones as Latin, without 880 or 91 in front of a full number. */
export function plainDigits(text: string): string {
  return text.replace(/[০-৯]/gu, (digit) => String(digit.charCodeAt(0) - 0x09e6))
    .replace(/\D/gu, "")
    .replace(/^(?:00)?880(?=\d{10}$)/u, "0")
    .replace(/^(?:00)?91(?=\d{10}$)/u, "");
}

/** Numbers that may be shown, digits only. */
export function knownNumbers(helplines: Helplines): ReadonlySet<string> {
  return new Set(helplines.lines.map((line) => plainDigits(line.number)));
}
