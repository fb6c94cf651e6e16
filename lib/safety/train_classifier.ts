/**
 * Trains the guardrails' classifier: `deno run --allow-read --allow-write lib/safety/train_classifier.ts`.
 *
 * Logistic regression by AdaGrad on the development phrases and the even rows of the sample corpus
 * (the odd ones are left for measuring). Thresholds come from five-fold cross-validation: the least
 * at which at most 0.75 % (somebody else 0.3 %, harm 0.5 %) of the harmless phrases and 0.05 % of the
 * corpus's sentences are raised. Seeded: the same files give the same bytes.
 *
 * @module
 */
import { parseCorpus } from "@lib/corpus/csv.ts";
import { writeFileAtomic } from "@lib/files.ts";
import { type Random, seededRandom } from "@lib/random.ts";
import { type Head, HEADS, type LinearScore, scoreOf, windowsOf } from "./classifier.ts";
import { FEATURES, featuresOf } from "./features.ts";
import { matchKeyOf } from "./key.ts";
import { safetyLexicon } from "./lexicon.ts";
import { parsePhrases } from "./score.ts";

interface Sample {
  readonly features: readonly number[];
  readonly head: Head | null;
  readonly corpus: boolean;
}

const SEED = 12345;
const EPOCHS = 25;
const FOLDS = 5;
const RATE = 0.5;
/** A missed crisis weighs as much as this many false alarms. */
const POSITIVE_WEIGHT = 2;
const PHRASES_RAISED: Readonly<Record<Head, number>> = { self: 0.0075, other: 0.003, harm: 0.005 };
const CORPUS_RAISED = 0.0005;
const OTHERS = new Set(["third_party"]);
const HARM = new Set(["abuse", "minor", "threat"]);

function headOf(kind: string, least: number): Head | null {
  if (least < 2) return null;
  if (OTHERS.has(kind)) return "other";
  return HARM.has(kind) || least === 4 ? "harm" : "self";
}

async function loadSamples(): Promise<Sample[]> {
  const { idioms, denials } = safetyLexicon();
  const keyOf = (text: string): string => denials.blank(idioms.blank(matchKeyOf(text).text));
  /** What is harmless is harmless in every part; what is not, as a whole. */
  const samples = (text: string, head: Head | null, corpus: boolean): Sample[] => {
    const key = keyOf(text);
    const parts = head === null ? windowsOf(key) : [{ start: 0, end: key.length }];
    return parts.map(({ start, end }) => ({
      features: featuresOf(key.slice(start, end)),
      head,
      corpus,
    }));
  };
  const phrases = parsePhrases(await Deno.readTextFile("tests/safety/development.jsonl"))
    .flatMap(({ text, class: kind, level }): Sample[] =>
      kind.startsWith("output") || level === undefined
        ? []
        : samples(text, headOf(kind, level[0]), false)
    );
  const { rows } = parseCorpus(await Deno.readTextFile("data/sample_corpus.csv"));
  const crises = new Set(
    rows.filter(({ question }) => assessLevel(question) >= 2).map(({ question }) => question),
  );
  const ordinary = rows.filter((row, at) => at % 2 === 0 && !crises.has(row.question))
    .flatMap(({ question }) => samples(question, null, true));
  return [...phrases, ...ordinary];
}

/** Level by the lexicon alone: what it knows to be a crisis is no example of the ordinary. */
function assessLevel(text: string): number {
  const { inputPatterns, input, idioms } = safetyLexicon();
  const found = inputPatterns.find(idioms.blank(matchKeyOf(text).text));
  return Math.max(0, ...found.map(({ group }) => input[group]?.level ?? 0));
}

function shuffled<T>(list: readonly T[], random: Random): T[] {
  const copy = [...list];
  for (let at = copy.length - 1; at > 0; at--) {
    const other = Math.floor(random() * (at + 1));
    const [a, b] = [copy[at], copy[other]];
    if (a !== undefined && b !== undefined) [copy[at], copy[other]] = [b, a];
  }
  return copy;
}

/** Logistic regression by AdaGrad. */
function train(samples: readonly Sample[], head: Head): LinearScore {
  const random = seededRandom(SEED);
  const weights = new Float64Array(FEATURES);
  const squares = new Float64Array(FEATURES).fill(0.01);
  let bias = 0;
  let biasSquares = 0.01;
  for (let epoch = 0; epoch < EPOCHS; epoch++) {
    for (const { features, head: own } of shuffled(samples, random)) {
      const positive = own === head;
      const chance = 1 / (1 + Math.exp(-scoreOf(features, { weights, bias, threshold: 0 })));
      const slope = positive ? (chance - 1) * POSITIVE_WEIGHT : chance;
      const part = slope / Math.sqrt(features.length);
      for (const feature of features) {
        const square = (squares[feature] ?? 0) + part * part;
        squares[feature] = square;
        weights[feature] = (weights[feature] ?? 0) - RATE * part / Math.sqrt(square);
      }
      biasSquares += slope * slope;
      bias -= RATE * slope / Math.sqrt(biasSquares);
    }
  }
  return { weights, bias, threshold: 0 };
}

/** The least threshold that raises few enough of what is harmless, by scores of unseen folds. */
function thresholdFor(
  samples: readonly Sample[],
  head: Head,
): { threshold: number; recall: number } {
  const fold = shuffled(samples, seededRandom(SEED + 1));
  const scored = fold.map((sample, at) => ({ sample, fold: at % FOLDS, score: 0 }));
  for (let out = 0; out < FOLDS; out++) {
    const linear = train(scored.filter((one) => one.fold !== out).map((one) => one.sample), head);
    for (const one of scored) {
      if (one.fold === out) one.score = scoreOf(one.sample.features, linear);
    }
  }
  const cut = (corpus: boolean, share: number): number => {
    const scores = scored.filter(({ sample }) => sample.head === null && sample.corpus === corpus)
      .map(({ score }) => score).sort((a, b) => b - a);
    return scores[Math.floor(share * scores.length)] ?? 0;
  };
  const threshold = Math.max(cut(false, PHRASES_RAISED[head]), cut(true, CORPUS_RAISED));
  const own = scored.filter(({ sample }) => sample.head === head);
  return { threshold, recall: own.filter(({ score }) => score > threshold).length / own.length };
}

function quantized({ weights, bias }: LinearScore, threshold: number) {
  const values = Array.from(weights);
  const scale = Math.max(...values.map(Math.abs)) / 127;
  const bytes = Uint8Array.from(values, (value) => Math.round(value / scale) & 0xff);
  const round = (value: number): number => Number(value.toPrecision(6));
  return {
    bias: round(bias),
    scale: round(scale),
    threshold: round(threshold),
    weights: btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join("")),
  };
}

if (import.meta.main) {
  const samples = await loadSamples();
  const heads = HEADS.map((head) => {
    const { threshold, recall } = thresholdFor(samples, head);
    const count = samples.filter((sample) => sample.head === head).length;
    console.error(
      `${head}: ${count} phrases, threshold ${threshold.toFixed(3)}, ` +
        `recall on unseen folds ${recall.toFixed(3)}`,
    );
    return [head, quantized(train(samples, head), threshold)] as const;
  });
  const about = "Made by lib/safety/train_classifier.ts from tests/safety/development.jsonl and " +
    "data/sample_corpus.csv.";
  const file = { about, features: FEATURES, heads: Object.fromEntries(heads) };
  await writeFileAtomic("data/guard/classifier.json", `${JSON.stringify(file, null, 2)}\n`);
}
