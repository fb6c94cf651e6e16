/** How the run trained: curves, steps, memory. */
import type { TrainingHistory } from "@lib/experiment/history.ts";
import { htmlTable, readable } from "../html_table.ts";
import { type Markup, markup } from "../markup.ts";
import type { Section } from "../page.ts";
import { lineFigure } from "../svg_lines.ts";

/** Loss over the steps, training behind validation. */
export function lossFigure({ steps, validations }: TrainingHistory): Markup {
  return lineFigure([
    {
      name: "training loss",
      x: steps.map((s) => s.step),
      y: steps.map((s) => s.loss),
      faint: true,
    },
    {
      name: "validation loss",
      x: validations.map((v) => v.step),
      y: validations.map((v) => v.loss),
    },
  ], { title: "Loss", xLabel: "optimiser step", yLabel: "nats a token" });
}

function otherFigures({ steps }: TrainingHistory): Markup {
  const x = steps.map(({ step }) => step);
  const one = (title: string, yLabel: string, y: readonly number[]) =>
    lineFigure([{ name: title.toLowerCase(), x, y }], { title, xLabel: "optimiser step", yLabel });
  return markup`${one("Learning rate", "", steps.map((step) => step.learning_rate))}
${one("Gradient norm before clipping", "", steps.map((step) => step.grad_norm))}
${one("Tokens a second", "", steps.map((step) => step.tokens_per_second))}`;
}

/** What the steps add up to. */
export function trainingRows(history: TrainingHistory): [string, string][] {
  const { steps, validations, events } = history;
  const start = events.find((event) => event.event === "run_start");
  const end = events.find((event) => event.event === "run_end");
  const [first, last] = [steps[0], steps.at(-1)];
  const best = validations.toSorted((a, b) => a.loss - b.loss)[0];
  const rates = steps.map((step) => step.tokens_per_second).toSorted((a, b) => a - b);
  const rows: [string, string][] = [];
  if (first !== undefined && last !== undefined) {
    rows.push(["steps", `${last.step} of ${start?.total_steps ?? "?"}`]);
    rows.push(["epochs", last.epoch.toFixed(2)]);
    rows.push(["training loss", `${first.loss.toFixed(3)} → ${last.loss.toFixed(3)}`]);
    rows.push(["tokens a second, median", readable(rates[Math.floor(rates.length / 2)] ?? 0)]);
    const bytes = Math.max(...steps.map((step) => step.memory_bytes));
    rows.push(["memory of the engine, largest", `${readable(Math.round(bytes / 1e6))} MB`]);
    rows.push(["steps with clipped gradient", String(steps.filter((step) => step.clipped).length)]);
  }
  if (best !== undefined) {
    const { loss, perplexity, step } = best;
    rows.push([
      "lowest validation loss",
      `${loss.toFixed(4)} (perplexity ${perplexity.toFixed(2)}) at step ${step}`,
    ]);
  }
  if (start !== undefined) {
    rows.push(["training samples", readable(start.train_samples)]);
    rows.push(["validation samples", readable(start.validation_samples)]);
    rows.push(["samples left out, too long", readable(start.too_long)]);
    rows.push(["shared prefix, tokens", readable(start.prefix_tokens)]);
    rows.push(["trainable parameters", readable(start.trainable_parameters)]);
    rows.push(["seed", String(start.seed)]);
  }
  if (end !== undefined) {
    rows.push(["ended", end.message === null ? end.reason : `${end.reason}: ${end.message}`]);
  }
  return rows;
}

/** The section. */
export function trainingSection(history: TrainingHistory): Section {
  const name = history.log.split(/[/\\]/).pop() ?? "";
  return {
    id: "training",
    title: "Training",
    body: markup`${history.steps.length === 0 ? null : lossFigure(history)}
${htmlTable(["what", "value"], trainingRows(history), { numeric: [1] })}
${
      history.steps.length === 0
        ? null
        : markup`<details><summary>More curves</summary>${otherFigures(history)}</details>`
    }
<p class="muted">From ${name} and the parts it was resumed from.</p>`,
  };
}
