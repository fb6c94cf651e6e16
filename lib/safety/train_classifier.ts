/**
 * Trains the guardrails' classifier: `deno run --allow-read --allow-write lib/safety/train_classifier.ts`.
 *
 * It learns from `data/guard/phrases.tsv.gz`, the development phrases and five of every eight rows of the
 * sample corpus. It raises from the least chance on at which at most 4 % of the benign and idiomatic
 * lines of another author (`tests/safety/phrases/held_out.jsonl`) and 0.8 % of two more of every eight
 * rows are raised. Seeded: the same files give the same bytes.
 *
 * @module
 */
import { loadCorpus } from "@lib/corpus/csv.ts";
import { writeFileAtomic } from "@lib/files.ts";
import {
  type Chance,
  CHANCES,
  type Classifier,
  type ClassifierModel,
  read,
  readClassifier,
} from "./classifier.ts";
import { FEATURES, featuresOf } from "./features.ts";
import { matchKeyOf } from "./key.ts";
import { safetyLexicon } from "./lexicon.ts";
import type { Network } from "./network.ts";
import { type Sample, trainNetwork } from "./network_training.ts";
import { parsePhrases, type Phrase } from "./score.ts";
import { loadTrainingPhrases } from "./training_phrases.ts";

const SEED = 12345;
const WIDTH = 24;
const EPOCHS = 16;
const DROPOUT = 0.4;
/** Share of the benign and idiomatic calibration lines that may be raised. */
const RAISED = 0.04;
/** Share of the corpus's everyday questions that may be raised. */
const CORPUS_RAISED = 0.008;
/** Chance of danger below which the lexicon is taken to have met an idiom. */
const KEEP = 0.1;
/** A question of the corpus counts as so many phrases: it stands for what people mostly write. */
const CORPUS_WEIGHT = 4;
/** Of every eight rows of the corpus these set where it raises; 1 is left for the tests. */
const CALIBRATION_ROWS = new Set([3, 5]);
const TEST_ROW = 1;
const HARM = new Set(["abuse", "minor", "threat", "abuse_minor_threat"]);

/** What a phrase is an example of, by its class and its least level. */
export function chanceOf(kind: string, [least]: readonly [number, number]): Chance {
  if (least < 1) return "none";
  if (least < 2) {
    return kind === "bereavement" ? "grief" : kind === "distress" ? "distress" : "none";
  }
  if (kind === "third_party") return least >= 3 ? "other_intent" : "other";
  if (HARM.has(kind) || least === 4) return "harm";
  return least >= 3 ? "intent" : "passive";
}

/** The key that the classifier reads. */
export function classifierKey(text: string): string {
  const { idioms, denials } = safetyLexicon();
  return denials.blank(idioms.blank(matchKeyOf(text).text));
}

function sampleOf(text: string, chance: Chance, weight = 1): Sample {
  const features = Int32Array.from(featuresOf(classifierKey(text)));
  return { features, label: CHANCES.indexOf(chance), weight };
}

/** Level by the lexicon alone: what it knows to be a crisis is no example of the ordinary. */
function lexiconLevel(text: string): number {
  const { inputPatterns, input, idioms } = safetyLexicon();
  const found = inputPatterns.find(idioms.blank(matchKeyOf(text).text));
  return Math.max(0, ...found.map(({ group }) => input[group]?.level ?? 0));
}

/** The samples of labelled phrases; answers are none. */
function phraseSamples(phrases: readonly Phrase[]): Sample[] {
  return phrases.flatMap(({ text, class: kind, level }) =>
    level === undefined ? [] : [sampleOf(text, chanceOf(kind, level))]
  );
}

/** Everyday questions of the sample corpus, each with its row's place. */
async function everyday(): Promise<readonly { readonly text: string; readonly at: number }[]> {
  const { rows } = await loadCorpus("data/sample_corpus.csv.gz");
  return rows.map(({ question }, at) => ({ text: question, at }))
    .filter(({ text }) => lexiconLevel(text) < 2);
}

/** Trains the network that the project uses. */
function trainClassifier(samples: readonly Sample[]): Network {
  const shape = { features: FEATURES, width: WIDTH, classes: CHANCES.length };
  return trainNetwork(samples, shape, { seed: SEED, epochs: EPOCHS, dropout: DROPOUT });
}

/** The network as it is kept: embeddings in bytes, all else in six digits. */
function modelOf(network: Network): ClassifierModel {
  const { width, embedding, bias, output, outputBias } = network;
  const scale = Number((embedding.reduce((most, one) => Math.max(most, Math.abs(one)), 0) / 127)
    .toPrecision(6));
  const round = (values: Float32Array) => Array.from(values, (one) => Number(one.toPrecision(6)));
  return {
    about: "Made by lib/safety/train_classifier.ts from data/guard/phrases.tsv.gz, " +
      "tests/safety/development.jsonl and data/sample_corpus.csv.gz.",
    features: FEATURES,
    width,
    classes: [...CHANCES],
    scale,
    embedding: Uint8Array.from(embedding, (one) => Math.round(one / scale) & 0xff).toBase64(),
    bias: round(bias),
    output: round(output),
    outputBias: round(outputBias),
    raise: 1,
    keep: KEEP,
  };
}

/** The least chance at which at most a share of harmless texts is raised. */
function cutOf(classifier: Classifier, texts: readonly string[], share: number): number {
  const chances = texts.map((text) => read(classifierKey(text), classifier)?.danger ?? 0)
    .sort((a, b) => b - a);
  return chances[Math.floor(share * chances.length)] ?? 1;
}

if (import.meta.main) {
  const phrasesOf = async (path: string) => parsePhrases(await Deno.readTextFile(path));
  const ordinary = await everyday();
  const samples = [
    ...phraseSamples(await phrasesOf("tests/safety/development.jsonl")),
    ...phraseSamples(await loadTrainingPhrases("data/guard/phrases.tsv.gz")),
    ...ordinary.filter(({ at }) => !CALIBRATION_ROWS.has(at % 8) && at % 8 !== TEST_ROW)
      .map(({ text }) => sampleOf(text, "none", CORPUS_WEIGHT)),
  ];
  const model = modelOf(trainClassifier(samples));
  const classifier = readClassifier(model);
  const harmless = (await phrasesOf("tests/safety/phrases/held_out.jsonl"))
    .filter(({ class: kind }) => kind === "benign" || kind === "idiom").map(({ text }) => text);
  const aside = ordinary.filter(({ at }) => CALIBRATION_ROWS.has(at % 8)).map(({ text }) => text);
  const raise = Math.max(
    cutOf(classifier, harmless, RAISED),
    cutOf(classifier, aside, CORPUS_RAISED),
  );
  const file = { ...model, raise: Number(raise.toPrecision(4)) };
  console.error(
    `${samples.length} samples, ` + CHANCES.map((name, at) =>
      `${name} ${samples.filter(({ label }) => label === at).length}`
    ).join(", ") + `; raises from ${file.raise} on.`,
  );
  await writeFileAtomic("data/guard/classifier.json", `${JSON.stringify(file, null, 1)}\n`);
}
