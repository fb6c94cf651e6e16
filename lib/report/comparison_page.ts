/** A comparison of runs as one self-contained HTML page. */
import { METRIC_IDS, metricInfo } from "@lib/evaluation/metric_ids.ts";
import type { RunComparison, RunPair } from "@lib/experiment/compare_runs.ts";
import { pairRows, pairTitle } from "./comparison_text.ts";
import type { Differing } from "./differences.ts";
import { htmlTable } from "./html_table.ts";
import { type Markup, markup } from "./markup.ts";
import { renderPage, type Section } from "./page.ts";
import { intervalFigure } from "./svg_intervals.ts";
import { lineFigure } from "./svg_lines.ts";
import { formatValue } from "./text_table.ts";

function curvesSection({ curves }: RunComparison): Section {
  const validated = curves.filter(({ validation_loss }) => validation_loss.length > 0);
  const trained = curves.filter(({ loss }) => loss.length > 0);
  const words = { xLabel: "optimiser step", yLabel: "nats a token" };
  const color = (name: string) => curves.findIndex((one) => one.name === name);
  return {
    id: "curves",
    title: "Curves",
    body: markup`${
      validated.length === 0 ? null : lineFigure(
        validated.map(({ name, validation_steps, validation_loss }) => ({
          ...{ name, x: validation_steps, y: validation_loss, color: color(name) },
        })),
        { title: "Validation loss", ...words },
      )
    }
${
      trained.length === 0 ? null : lineFigure(
        trained.map(({ name, steps, loss }) => ({
          ...{ name, x: steps, y: loss, color: color(name) },
        })),
        { title: "Training loss", ...words },
      )
    }
${
      htmlTable(
        ["run", "steps", "lowest validation loss", "perplexity", "seconds"],
        curves.map(({ name, steps, best_validation_loss: best, seconds }) => [
          name,
          steps.at(-1) ?? 0,
          best === null ? "–" : best.toFixed(4),
          best === null ? "–" : formatValue(Math.exp(best)),
          seconds === null ? "–" : seconds.toFixed(0),
        ]),
        { numeric: [1, 2, 3, 4] },
      )
    }`,
  };
}

/** Shares and F1 times 100. */
function pairFigure({ metrics, system, baseline }: RunPair): Markup | null {
  const ids = METRIC_IDS.filter((id) => ["0..100", "0..1", "share"].includes(metricInfo(id).unit));
  const rows = ids.map((id) => {
    const factor = metricInfo(id).unit === "0..100" ? 1 : 100;
    const scaled = (value: number | null) => value === null ? null : factor * value;
    const { difference, low, high } = metrics[id];
    return {
      name: metricInfo(id).label,
      ...{ value: scaled(difference), low: scaled(low), high: scaled(high) },
    };
  });
  return intervalFigure(rows, {
    title: `${system} − ${baseline}, paired, with 95 % intervals`,
    xLabel: "points of 100",
  });
}

function pairSection(pair: RunPair, place: number): Section {
  return {
    id: `pair-${place + 1}`,
    title: `${pair.system} against ${pair.baseline}`,
    body: markup`<p>${pairTitle(pair)}.</p>
${pairFigure(pair)}
${
      htmlTable(["metric", pair.baseline, pair.system, "difference", "p"], pairRows(pair), {
        numeric: [1, 2, 3, 4],
        caption:
          "95 % intervals of the paired difference; p not corrected for the number of metrics.",
      })
    }
${pair.notes.map((note) => markup`<p class="muted">${note}</p>`)}`,
  };
}

function differingSection(
  id: string,
  title: string,
  runs: readonly string[],
  list: readonly Differing[],
): Section {
  const rows = list.map(({ key, values }) => [key, ...values]);
  const body = list.length === 0 ? markup`<p>None.</p>` : htmlTable(["setting", ...runs], rows);
  return { id, title, body };
}

/** The page. */
export function comparisonPage(comparison: RunComparison): string {
  const { runs, pairs, notes, config_differences, environment_differences } = comparison;
  const lead = markup`<p>${runs.length} runs; the first, ${
    runs[0] ?? ""
  }, is the baseline. Answers of the ${comparison.system} model. Not a medical device, not clinically
validated; the empathy score is an automatic proxy.</p>
${notes.map((note) => markup`<p class="muted">${note}</p>`)}`;
  return renderPage(`Runs ${runs.join(", ")}`, lead, [
    curvesSection(comparison),
    ...pairs.map(pairSection),
    differingSection("configuration", "Settings that differ", runs, config_differences),
    differingSection("environment", "Environments differ in", runs, environment_differences),
  ]);
}
