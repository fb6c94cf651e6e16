/**
 * Writes a corpus in the real CSV's form.
 *
 *     deno run --allow-read --allow-write data/generator/generate.ts --rows 4000 --seed 42 --out FILE
 *         [--levels FILE] [--manifest FILE]
 *
 * @module
 */
import { saveRecords } from "@lib/corpus/jsonl.ts";
import { saveJson, writeFileAtomic } from "@lib/files.ts";
import { gzipped } from "@lib/gzip.ts";
import { generateCorpus, toCsv } from "./corpus.ts";
import { loadSources } from "./topics.ts";

const USAGE = `Usage: deno run --allow-read --allow-write data/generator/generate.ts --out FILE
  --rows N         rows to write, at least 200 (default 4000)
  --seed N         seed (default 42)
  --out FILE       the CSV (UTF-8 with byte order mark, CRLF); gzipped where its name ends in .gz
  --levels FILE    JSON Lines: per row its situation, rubric levels and planned defect
  --manifest FILE  JSON: all counts
  --help           this text`;

/** The command's options. */
export interface GenerateOptions {
  readonly rows: number;
  readonly seed: number;
  readonly out: string;
  readonly levels?: string;
  readonly manifest?: string;
}

function wholeNumber(name: string, value: string): number {
  if (!/^\d+$/.test(value)) {
    throw new Error(`Cannot use --${name}: expected a whole number, found "${value}".`);
  }
  return Number(value);
}

/**
 * Read the command line.
 *
 * @throws naming the option that is unknown, without its value or missing.
 */
export function parseOptions(args: readonly string[]): GenerateOptions {
  const values = new Map<string, string>();
  const known = ["rows", "seed", "out", "levels", "manifest"];
  const joined = args.flatMap((arg) => {
    const [, name, value] = /^(--[a-z]+)=(.*)$/.exec(arg) ?? [];
    return name === undefined || value === undefined ? [arg] : [name, value];
  });
  for (let i = 0; i < joined.length; i += 2) {
    const name = joined[i]?.replace(/^--/, "") ?? "";
    const value = joined[i + 1];
    if (!joined[i]?.startsWith("--") || !known.includes(name)) {
      throw new Error(`Cannot run: unknown option "${joined[i]}".\n${USAGE}`);
    }
    if (value === undefined) throw new Error(`Cannot run: --${name} needs a value.\n${USAGE}`);
    values.set(name, value);
  }
  const out = values.get("out");
  if (out === undefined) throw new Error(`Cannot run: --out is missing.\n${USAGE}`);
  const levels = values.get("levels");
  const manifest = values.get("manifest");
  return {
    rows: wholeNumber("rows", values.get("rows") ?? "4000"),
    seed: wholeNumber("seed", values.get("seed") ?? "42"),
    out,
    ...(levels === undefined ? {} : { levels }),
    ...(manifest === undefined ? {} : { manifest }),
  };
}

async function main(args: readonly string[]): Promise<void> {
  if (args.includes("--help")) return console.log(USAGE);
  const options = parseOptions(args);
  const { rows, facts, manifest } = generateCorpus(
    await loadSources(),
    options.rows,
    options.seed,
  );
  const csv = toCsv(rows);
  await writeFileAtomic(options.out, options.out.endsWith(".gz") ? await gzipped(csv) : csv);
  if (options.levels !== undefined) await saveRecords(options.levels, facts);
  if (options.manifest !== undefined) await saveJson(options.manifest, manifest);
  const megabytes = (new TextEncoder().encode(csv).length / 1e6).toFixed(2);
  console.log(
    `${options.out}: ${rows.length} rows, ${megabytes} MB, ${manifest.topics} topics, ` +
      `${manifest.situations} situations, mean score ${manifest.meanScore.toFixed(1)}`,
  );
}

if (import.meta.main) {
  try {
    await main(Deno.args);
  } catch (error) {
    console.error(error instanceof Error ? error.message : String(error));
    Deno.exit(1);
  }
}
