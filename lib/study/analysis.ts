/**
 * What a human study says: how far raters agree, how each system does, and which differences are more
 * than luck.
 *
 * @module
 */
import { kappaTable } from "@lib/evaluation/agreement.ts";
import {
  bootstrapInterval,
  drawGroups,
  type DrawOptions,
  type Draws,
  type Interval,
  pairedDifference,
} from "@lib/evaluation/bootstrap.ts";
import { alphaTable } from "@lib/evaluation/krippendorff.ts";
import { EMPATHY_CRITERIA, type EmpathyCriterion } from "@lib/evaluation/rubric.ts";
import { meanTable } from "@lib/evaluation/statistics.ts";
import { holm } from "./holm.ts";
import { STUDY_SYSTEMS, type StudySystem } from "./items.ts";
import {
  criterionLevels,
  type RatedUnit,
  type RatingTable,
  STUDY_MEASURES,
  type StudyMeasure,
  unitMean,
  valueOf,
} from "./rating_table.ts";
import { signFlipTest } from "./sign_flip.ts";

const LEVELS = 3;

/** Krippendorff's thresholds for α: below the first, draw no conclusions; from the second, firm. */
export const ALPHA_THRESHOLDS = { tentative: 0.667, firm: 0.8 } as const;

/** Agreement of all raters on one criterion. */
export interface CriterionAgreement {
  readonly criterion: EmpathyCriterion;
  /** Ordinal, over all answers; NaN ends where no draw has two levels. */
  readonly alpha: Interval;
  readonly verdict: "too low" | "tentative" | "firm";
  /** Answers that at least two raters have rated. */
  readonly units: number;
}

/** Agreement of two raters on one criterion. */
export interface PairAgreement {
  readonly criterion: EmpathyCriterion;
  readonly raters: readonly [string, string];
  /** Quadratic weights. */
  readonly kappa: Interval;
  readonly n: number;
}

/** How one system does on one measure: the mean over answers of the mean over raters. */
export interface SystemMean extends Interval {
  readonly system: StudySystem;
  readonly measure: StudyMeasure;
}

/** Two systems on the same questions. */
export interface SystemComparison extends Interval {
  readonly measure: StudyMeasure;
  readonly systems: readonly [minuend: StudySystem, subtrahend: StudySystem];
  /** Of the sign-flip test over questions. */
  readonly pValue: number;
  /** Corrected for all comparisons of the study. */
  readonly holm: number;
  /** Questions. */
  readonly n: number;
}

/** Mean score of the answers that stood in one place: a blind study should show no difference. */
export interface PlaceMean extends Interval {
  readonly place: number;
}

/** Everything a study says. */
export interface StudyAnalysis {
  readonly raters: readonly string[];
  readonly questions: number;
  /** Answers rated, all raters together. */
  readonly ratings: number;
  readonly agreement: readonly CriterionAgreement[];
  readonly pairs: readonly PairAgreement[];
  readonly means: readonly SystemMean[];
  readonly comparisons: readonly SystemComparison[];
  readonly places: readonly PlaceMean[];
}

/** Pairs of systems, the one that is hoped to be better first. */
const COMPARED = [
  ["tuned", "base"],
  ["reference", "tuned"],
  ["reference", "base"],
] as const satisfies readonly (readonly [StudySystem, StudySystem])[];

/** The verdict on an α. */
export function alphaVerdict(alpha: number): CriterionAgreement["verdict"] {
  if (alpha >= ALPHA_THRESHOLDS.firm) return "firm";
  return alpha >= ALPHA_THRESHOLDS.tentative ? "tentative" : "too low";
}

/** How intervals and tests are drawn. */
export interface StudyOptions extends DrawOptions {
  /** Random flips of a test. @default {10000} */
  readonly flips?: number;
}

/**
 * Analyses a study. All intervals are bootstrapped by group: what is said of one question, by whatever
 * rater and of whatever system, is drawn together.
 */
export function analyzeStudy(table: RatingTable, options: StudyOptions = {}): StudyAnalysis {
  const { units, raters } = table;
  return {
    raters,
    questions: new Set(units.map(({ row }) => row)).size,
    ratings: units.reduce(
      (sum, { levels }) => sum + levels.filter((one) => one !== null).length,
      0,
    ),
    agreement: studyAgreement(table, options),
    pairs: pairAgreement(table, options),
    means: systemMeans(table, options),
    comparisons: systemComparisons(table, options),
    places: placeMeans(table, options),
  };
}

/** Agreement of all raters, by criterion. */
export function studyAgreement(
  { units }: RatingTable,
  options: DrawOptions = {},
): CriterionAgreement[] {
  const draws = drawGroups(units.map(({ group }) => group), options);
  return EMPATHY_CRITERIA.map((criterion) => agreementOn(criterion, units, draws));
}

/** Agreement of every two raters, by criterion, on the answers that both rated. */
export function pairAgreement(table: RatingTable, options: DrawOptions = {}): PairAgreement[] {
  return EMPATHY_CRITERIA.flatMap((criterion) => pairsOn(criterion, table, options));
}

function agreementOn(
  criterion: EmpathyCriterion,
  units: readonly RatedUnit[],
  draws: Draws,
): CriterionAgreement {
  const ratings = units.map((unit) => criterionLevels(unit, criterion));
  const alpha = bootstrapInterval(alphaTable(ratings, { levels: LEVELS }), draws);
  const shared = ratings.filter((row) => row.filter((one) => one !== null).length >= 2);
  return { criterion, alpha, verdict: alphaVerdict(alpha.value), units: shared.length };
}

function pairsOn(
  criterion: EmpathyCriterion,
  { raters, units }: RatingTable,
  options: DrawOptions,
): PairAgreement[] {
  return raters.flatMap((first, a) =>
    raters.slice(a + 1).flatMap((second, i) => {
      const both = units.flatMap((unit) => {
        const levels = criterionLevels(unit, criterion);
        const [one = null, other = null] = [levels[a], levels[a + 1 + i]];
        return one === null || other === null ? [] : [{ group: unit.group, one, other }];
      });
      if (both.length === 0) return [];
      const table = kappaTable(both.map(({ one }) => one), both.map(({ other }) => other), LEVELS);
      const kappa = bootstrapInterval(table, drawGroups(both.map(({ group }) => group), options));
      return [{ criterion, raters: [first, second] as const, kappa, n: both.length }];
    })
  );
}

/** How each system does on every measure. */
export function systemMeans({ units }: RatingTable, options: DrawOptions = {}): SystemMean[] {
  return STUDY_SYSTEMS.flatMap((system) => {
    const own = units.filter((unit) => unit.system === system);
    const draws = drawGroups(own.map(({ group }) => group), options);
    return STUDY_MEASURES.map((measure) => ({
      ...{ system, measure },
      ...bootstrapInterval(meanTable(own.map((unit) => unitMean(unit, measure))), draws),
    }));
  });
}

/**
 * Compares the systems on every measure. One study, one family: all tests are corrected together.
 */
export function systemComparisons(
  { units }: RatingTable,
  options: StudyOptions = {},
): SystemComparison[] {
  const raw = STUDY_MEASURES.flatMap((measure) =>
    COMPARED.map((systems) => compare(measure, systems, units, options))
  );
  const adjusted = holm(raw.map(({ pValue }) => pValue));
  return raw.map((one, i) => ({ ...one, holm: adjusted[i] ?? 1 }));
}

function compare(
  measure: StudyMeasure,
  systems: readonly [StudySystem, StudySystem],
  units: readonly RatedUnit[],
  options: StudyOptions,
): Omit<SystemComparison, "holm"> {
  const meansOf = (system: StudySystem) =>
    new Map(
      units.filter((unit) => unit.system === system)
        .map((unit) => [unit.row, { group: unit.group, mean: unitMean(unit, measure) }]),
    );
  const [minuend, subtrahend] = systems.map(meansOf);
  const pairs = [...minuend ?? []].flatMap(([row, { group, mean }]) => {
    const other = subtrahend?.get(row)?.mean ?? null;
    return mean === null || other === null ? [] : [{ group, mean, other }];
  });
  const draws = drawGroups(pairs.map(({ group }) => group), options);
  const { value, low, high } = pairedDifference(
    meanTable(pairs.map(({ other }) => other)),
    meanTable(pairs.map(({ mean }) => mean)),
    draws,
  );
  // Questions of one group are not independent: their differences change sign together.
  const byGroup = Map.groupBy(pairs, ({ group }) => group);
  const differences = [...byGroup.values()].map((list) =>
    list.reduce((sum, { mean, other }) => sum + mean - other, 0)
  );
  const { seed, flips } = options;
  const pValue = signFlipTest(differences, {
    ...(seed === undefined ? {} : { seed }),
    ...(flips === undefined ? {} : { draws: flips }),
  });
  return { measure, systems, value, low, high, pValue, n: pairs.length };
}

/** Mean score by the place at which answers stood: the order should show nothing. */
export function placeMeans({ units }: RatingTable, options: DrawOptions = {}): PlaceMean[] {
  return STUDY_SYSTEMS.map((_, place) => {
    const scored = units.flatMap((unit) =>
      unit.levels.flatMap((levels, rater) =>
        unit.places[rater] === place ? [{ group: unit.group, value: valueOf(levels, "score") }] : []
      )
    );
    const draws = drawGroups(scored.map(({ group }) => group), options);
    return { place, ...bootstrapInterval(meanTable(scored.map(({ value }) => value)), draws) };
  });
}
