/**
 * Fixed replies and notes: written by hand, with numbers from the helplines file only.
 *
 * @module
 */
import { z } from "zod";
import texts from "./replies.json" with { type: "json" };
import { defaultHelplines, type Helpline, type Helplines } from "./helplines.ts";
import {
  type AssessOptions,
  INPUT_KINDS,
  type InputKind,
  type OutputKind,
  type Region,
} from "./types.ts";

/** Which numbers stand under a reply. */
const Numbers = z.enum(["emergency", "crisis", "women", "children"]);
type Numbers = z.infer<typeof Numbers>;

const Reply = z.strictObject({
  /** Paragraphs; `{emergency}`, `{crisis}`, `{women}` and `{children}` become numbers. */
  text: z.array(z.string().min(1)).min(1),
  numbers: z.array(Numbers),
  /** One line for people who write Bengali in Latin letters. */
  roman: z.string().optional(),
});

const Replies = z.strictObject({
  about: z.string(),
  input: z.partialRecord(
    z.enum(INPUT_KINDS).exclude(["none", "distress"]),
    Reply,
  ),
  output: z.strictObject({ medical: Reply, legal: Reply, crisis: Reply, other: Reply }),
  notes: z.strictObject({
    distress: z.string(),
    bereavement: z.string(),
    minor: z.string(),
    after_crisis: z.string(),
  }),
});
type Reply = z.infer<typeof Reply>;

let parsed: z.infer<typeof Replies> | undefined;

function replies(): z.infer<typeof Replies> {
  parsed ??= Replies.parse(texts);
  return parsed;
}

/** Latin digits as Bengali ones. */
function bengaliDigits(text: string): string {
  return text.replace(/\d/g, (digit) => String.fromCharCode(0x09e6 + Number(digit)));
}

const REGIONS: Readonly<Record<Region, readonly ("BD" | "IN")[]>> = {
  BD: ["BD"],
  IN: ["IN"],
  unknown: ["BD", "IN"],
};

/** The numbers of one use, in a region. */
function linesFor(use: Numbers, code: "BD" | "IN", helplines: Helplines): Helpline[] {
  const chosen = helplines.regions[code][use];
  const wanted = typeof chosen === "string" ? [chosen] : chosen;
  return wanted.flatMap((number) =>
    helplines.lines.filter((line) => line.region === code && line.number === number)
  );
}

/** "বাংলাদেশে ৯৯৯, ভারতে ১১২", or the one number where the region is known. */
function inline(use: Numbers, region: Region, helplines: Helplines): string {
  const codes = REGIONS[region];
  return codes.map((code) => {
    const number = bengaliDigits(linesFor(use, code, helplines)[0]?.number ?? "");
    return codes.length === 1 ? number : `${locative(helplines.regions[code].name)} ${number}`;
  }).join(", ");
}

/** বাংলাদেশ → বাংলাদেশে. */
function locative(name: string): string {
  return `${name}ে`;
}

function listed(reply: Reply, region: Region, helplines: Helplines): string[] {
  const codes = REGIONS[region];
  return codes.flatMap((code) => {
    const lines = reply.numbers.flatMap((use) => linesFor(use, code, helplines));
    const items = [...new Set(lines)].map((line) =>
      `• ${line.name}: ${bengaliDigits(line.number)} (${line.hours})`
    );
    return codes.length === 1 ? items : [`${helplines.regions[code].name}:`, ...items];
  });
}

function render(reply: Reply, region: Region, helplines: Helplines, roman: boolean): string {
  const fill = (text: string): string =>
    text.replace(
      /\{([a-z]+)\}/g,
      (_, use: string) => inline(Numbers.parse(use), region, helplines),
    );
  const fillRoman = (text: string): string =>
    text.replace(/\{([a-z]+)\}/g, (_, use: string) =>
      REGIONS[region].map((code) => {
        const number = linesFor(Numbers.parse(use), code, helplines)[0]?.number ?? "";
        return region === "unknown"
          ? `${code === "BD" ? "Bangladesh" : "India"} ${number}`
          : number;
      }).join(", "));
  const paragraphs = reply.text.map(fill);
  const numbers = listed(reply, region, helplines);
  if (numbers.length > 0) paragraphs.push(numbers.join("\n"));
  if (roman && reply.roman !== undefined) paragraphs.push(fillRoman(reply.roman));
  return paragraphs.join("\n\n").normalize("NFC");
}

/** Whether a person writes in Latin letters. */
function writesLatin(text: string): boolean {
  const latin = text.match(/[a-z]/gi)?.length ?? 0;
  return latin > (text.match(/[\u0980-\u09ff]/gu)?.length ?? 0);
}

/** The fixed reply to a kind of message; null where the model answers. */
export function fixedReply(kind: InputKind, text: string, options: AssessOptions): string | null {
  if (kind === "none" || kind === "distress") return null;
  const reply = replies().input[kind];
  if (reply === undefined) return null;
  const { region = "unknown", helplines = defaultHelplines() } = options;
  return render(reply, region, helplines, writesLatin(text));
}

/** The instruction that goes to the model with a message. */
export function noteFor(kind: InputKind, inCrisis: boolean): string | null {
  const { notes } = replies();
  if (inCrisis) return notes.after_crisis.normalize("NFC");
  if (kind === "distress" || kind === "bereavement" || kind === "minor") {
    return notes[kind].normalize("NFC");
  }
  return null;
}

/** What stands in place of an answer that was held back. */
export function replacementFor(
  kind: OutputKind,
  region: Region,
  helplines: Helplines,
): string {
  const { output } = replies();
  const medical: readonly OutputKind[] = ["dose", "diagnosis", "medication", "prognosis"];
  const reply = medical.includes(kind)
    ? output.medical
    : kind === "legal"
    ? output.legal
    : kind === "method"
    ? output.crisis
    : output.other;
  return render(reply, region, helplines, false);
}
