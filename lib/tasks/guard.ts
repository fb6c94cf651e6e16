/** `deno task guard`: what the guardrails say of each line of a file, or of what is typed. */
import { assess, type Assessment, loadHelplines, type Region } from "@lib/safety/mod.ts";
import {
  type ClassScore,
  parsePhrases,
  type Phrase,
  scorePhrases,
  type Share,
} from "@lib/safety/score.ts";
import { Progress } from "@lib/notebook/progress.ts";
import { parseOptions, type TaskOption, UsageError } from "@lib/tasks/cli.ts";

const OPTIONS = {
  region: { type: "string", value: "BD|IN", help: "whose numbers the replies name" },
  json: { type: "boolean", help: "one JSON object a line" },
  score: { type: "boolean", help: "the file holds labelled phrases (JSONL): print the table" },
  quiet: { type: "boolean", short: "q", help: "no progress" },
  help: { type: "boolean", short: "h", help: "this text" },
} as const satisfies Record<string, TaskOption>;

const HELP = `What the guardrails say of each line: level, kind, words, reply.

Usage: deno task guard [FILE|-] [--region BD|IN] [--json]
       deno task guard --score PHRASES.jsonl [--json] [--quiet]

Without a file, or with -, lines are read from the keyboard. Nothing is kept.
Not a medical device, not clinically validated.
`;

function regionOf(value: unknown): Region {
  if (value === undefined) return "unknown";
  if (value === "BD" || value === "IN") return value;
  throw new UsageError(`--region: expected BD or IN, found '${String(value)}'.`);
}

/** One line's result for a person to read. */
export function describe(line: string, found: Assessment): string {
  const spans = found.spans.map((span) => `${span.text} [${span.cue}]`).join("; ");
  const parts = [`L${found.level} ${found.kind}  ${line}`];
  if (spans !== "") parts.push(`   words: ${spans}`);
  if (found.note !== null) parts.push(`   note:  ${found.note}`);
  if (found.reply !== null) parts.push(found.reply.replace(/^/gmu, "   | "));
  return parts.join("\n");
}

const percent = ({ count, of, share, low, high }: Share): string =>
  `${count}/${of} = ${share.toFixed(3)} [${low.toFixed(3)}, ${high.toFixed(3)}]`;

/** The table of a scoring, one line a class. */
export function scoreTable(scores: readonly ClassScore[]): string {
  const head = "class".padEnd(24) + "at its level or above".padEnd(36) + "above its level";
  return [
    head,
    ...scores.map((one) =>
      one.class.padEnd(24) + percent(one.caught).padEnd(36) + percent(one.above)
    ),
  ].join("\n");
}

/** Scores one class after another, so that a bar can say how far it is. */
async function scoreByClass(phrases: readonly Phrase[], quiet: boolean): Promise<ClassScore[]> {
  const total = phrases.length;
  await using progress = new Progress("scoring", { total, unit: "phrases", quiet });
  const byClass = Map.groupBy(phrases, (phrase) => phrase.class);
  return [...byClass.values()].flatMap((own) => {
    const scores = scorePhrases(own);
    progress.add(own.length);
    return scores;
  });
}

async function* linesOf(file: string | undefined): AsyncIterable<string> {
  if (file !== undefined && file !== "-") {
    yield* (await Deno.readTextFile(file)).split("\n");
    return;
  }
  let rest = "";
  for await (const text of Deno.stdin.readable.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + text).split("\n");
    rest = lines.pop() ?? "";
    yield* lines;
  }
  yield rest;
}

async function main(args: readonly string[]): Promise<void> {
  const { values, positionals } = parseOptions(OPTIONS, args, true);
  if (values["help"] === true) return console.log(HELP);
  const [file, ...others] = positionals;
  if (others.length > 0) throw new UsageError(`Expected one file, found ${positionals.join(" ")}.`);
  const json = values["json"] === true;
  if (values["score"] === true) {
    if (file === undefined) throw new UsageError("--score: expected a JSONL file, found none.");
    const quiet = values["quiet"] === true;
    const scores = await scoreByClass(parsePhrases(await Deno.readTextFile(file)), quiet);
    return console.log(json ? JSON.stringify(scores, null, 2) : scoreTable(scores));
  }
  const region = regionOf(values["region"]);
  const helplines = await loadHelplines(undefined, {
    onWarning: (text) => console.error(`Note: ${text}`),
  });
  for await (const line of linesOf(file)) {
    if (line.trim() === "") continue;
    const found = assess(line, { region, helplines });
    console.log(json ? JSON.stringify({ text: line, ...found }) : describe(line, found));
  }
}

if (import.meta.main) {
  try {
    await main(Deno.args);
  } catch (error) {
    if (!(error instanceof UsageError) && !(error instanceof Deno.errors.NotFound)) throw error;
    console.error(`${error.message}${error instanceof UsageError ? " See --help." : ""}`);
    Deno.exit(2);
  }
}
