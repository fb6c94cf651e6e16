/** What the page has to know of the server: models, settings, numbers to call. */
import type { Helplines } from "@lib/safety/helplines.ts";
import type { Region } from "@lib/safety/types.ts";
import type { Answering, TurnSampling } from "./answering.ts";
import { CONSENT_VERSION } from "./ratings.ts";

/** A number to call, as the page shows it. */
export interface ShownHelpline {
  readonly number: string;
  readonly region: "BD" | "IN";
  readonly name: string;
  readonly hours: string;
}

/** The answer of `/api/page`. */
export interface PageInfo {
  readonly run: string;
  readonly models: readonly { readonly id: string; readonly source: string }[];
  readonly sampling: TurnSampling;
  readonly consentVersion: number;
  readonly helplines: readonly ShownHelpline[];
  readonly study: boolean;
}

/** The helplines of a region; those of every region where it is unknown, emergency numbers first. */
export function shownHelplines(helplines: Helplines, region: Region): ShownHelpline[] {
  const emergency = Object.values(helplines.regions).map((one) => one.emergency);
  return helplines.lines
    .filter((line) => region === "unknown" || line.region === region)
    .toSorted((a, b) => Number(emergency.includes(b.number)) - Number(emergency.includes(a.number)))
    .map(({ number, region: country, name, hours }) => ({ number, region: country, name, hours }));
}

/** Puts the page's information together. */
export function pageInfo(
  answering: Answering,
  options: {
    readonly run: string;
    readonly sampling: TurnSampling;
    readonly helplines: Helplines;
    readonly region: Region;
    readonly study: boolean;
  },
): PageInfo {
  return {
    run: options.run,
    models: answering.models.map(({ id, source }) => ({ id, source })),
    sampling: options.sampling,
    consentVersion: CONSENT_VERSION,
    helplines: shownHelplines(options.helplines, options.region),
    study: options.study,
  };
}
