/** `deno task score`: every metric of any system's answers, from files. */
import { BLEU_TOKENIZERS, type BleuTokenizer } from "@lib/evaluation/bleu_tokenizers.ts";
import { BOOTSTRAP_DRAWS, BOOTSTRAP_SEED } from "@lib/evaluation/bootstrap.ts";
import { loadPairs } from "@lib/evaluation/pair_file.ts";
import { type ScoreOptions, scoreSystems } from "@lib/evaluation/score.ts";
import { alignSystems, type PairSource } from "@lib/evaluation/systems.ts";
import { scoreLines } from "@lib/report/score_text.ts";
import { resolveConfig } from "@lib/config.ts";
import { measureSimilarity, similaritySignature } from "@lib/evaluation/semantic.ts";
import { type OnPhase, phaseOf } from "@lib/phases.ts";
import { type OptionValues, UsageError } from "@lib/tasks/cli.ts";
import { phaseBars } from "@lib/tasks/phase_bars.ts";
import { runProgram } from "@lib/tasks/program.ts";
import { findEncoder } from "@lib/workflow/semantic.ts";

/** A whole number of an option, or its default. */
function wholeNumber(values: OptionValues, name: string, least: number, otherwise: number): number {
  const given = values[name];
  if (given === undefined) return otherwise;
  const value = Number(given);
  if (Number.isSafeInteger(value) && value >= least) return value;
  throw new UsageError(`--${name}: expected a whole number from ${least} on, found '${given}'.`);
}

function tokenizersOf(values: OptionValues): BleuTokenizer[] {
  const given = String(values["tokenize"] ?? "").split(",").filter((name) => name !== "");
  return given.map((name) => {
    const known = BLEU_TOKENIZERS.find((tokenizer) => tokenizer === name);
    if (known !== undefined) return known;
    throw new UsageError(`--tokenize: expected ${BLEU_TOKENIZERS.join(", ")}, found '${name}'.`);
  });
}

function scoreOptions(values: OptionValues): ScoreOptions {
  const baseline = values["baseline"];
  return {
    draws: wholeNumber(values, "draws", 100, BOOTSTRAP_DRAWS),
    seed: wholeNumber(values, "seed", 0, BOOTSTRAP_SEED),
    normalize: values["raw"] !== true,
    tokenizers: tokenizersOf(values),
    ...typeof baseline === "string" ? { baseline } : {},
  };
}

/** Semantic similarities, where they are asked for and an encoder is here. */
async function semanticOf(
  sources: readonly PairSource[],
  values: OptionValues,
  signal: AbortSignal,
  say: (line: string) => void,
  onPhase: OnPhase,
): Promise<Pick<ScoreOptions, "semantic">> {
  const model = values["semantic-model"];
  if (values["semantic"] !== true && model === undefined) return {};
  const set = typeof model === "string"
    ? [`evaluation.semantic_model=${JSON.stringify(model)}`]
    : [];
  const found = await findEncoder(resolveConfig({ set }));
  if (found.encoder === null) {
    say(found.reason);
    return {};
  }
  const { systems } = alignSystems(sources);
  const items = systems[0]?.items ?? [];
  const similarities = await measureSimilarity(found.encoder, {
    answers: new Map(
      systems.map(({ name, items }) => [name, items.map(({ hypothesis }) => hypothesis)]),
    ),
    references: items.map(({ reference }) => reference),
    groups: items.map(({ group }) => group),
  }, { signal, onProgress: phaseOf(onPhase, "semantic similarity", "texts") });
  return { semantic: { similarities, signature: similaritySignature(found.encoder) } };
}

/** What a file's system is called: its name without folder and ending. */
const systemName = (path: string) => path.replace(/^.*[\\/]/, "").replace(/\.jsonl?$/, "");

if (import.meta.main) {
  await runProgram({
    name: "score",
    summary:
      "Scores answers of any system against references: BLEU, chrF++, ROUGE, empathy proxy,\n" +
      "gates and signs of degeneracy, each with a 95 % interval. Lines of a file are JSON objects\n" +
      'with "hypothesis" and "reference" and, where known, "prompt", "group", "system", "id".\n' +
      'Two files, or two values of "system", are compared by the paired bootstrap.',
    positionals: "PAIRS.jsonl …",
    options: {
      tokenize: {
        type: "string",
        value: "NAME,…",
        help: "BLEU with further tokenisers: 13a, char, none (intl is always there)",
      },
      raw: { type: "boolean", help: "normalise nothing: sacreBLEU's scores of the text as it is" },
      baseline: {
        type: "string",
        value: "NAME",
        help: "compare with this system (default: first)",
      },
      semantic: {
        type: "boolean",
        help: "semantic similarity too, where a sentence encoder is here",
      },
      "semantic-model": {
        type: "string",
        value: "MODEL",
        help: "with this encoder: folder or hub id",
      },
      draws: { type: "string", value: "N", help: `bootstrap draws (default ${BOOTSTRAP_DRAWS})` },
      seed: { type: "string", value: "N", help: `of the bootstrap (default ${BOOTSTRAP_SEED})` },
    },
    async run({ positionals, values, signal, say, progress }) {
      if (positionals.length === 0) {
        throw new UsageError("Expected at least one file of pairs, found none. See --help.");
      }
      const options = scoreOptions(values);
      const sources: PairSource[] = await Promise.all(
        positionals.map(async (path) => ({ name: systemName(path), pairs: await loadPairs(path) })),
      );
      await using bars = phaseBars(progress, "answers");
      const { onPhase } = bars;
      const semantic = await semanticOf(sources, values, signal, say, onPhase);
      const report = scoreSystems(sources, { ...options, ...semantic, onPhase });
      await bars[Symbol.asyncDispose]();
      return { json: report, lines: scoreLines(report) };
    },
  });
}
