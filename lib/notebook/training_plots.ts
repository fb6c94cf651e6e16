/** Curves of a training, redrawn from its log. */
import type { TrainingHistory } from "@lib/experiment/history.ts";
import type { Figure } from "./figure.ts";
import { line, type Series } from "./plot_lines.ts";

type Steps = Pick<TrainingHistory, "steps">;

const curveOf = (
  name: string,
  events: readonly { readonly step: number; readonly loss: number }[],
): Series => ({ name, x: events.map(({ step }) => step), y: events.map(({ loss }) => loss) });

/** Training and validation loss by step, in nats a token. */
export function lossPlot({ steps, validations }: TrainingHistory): Figure {
  return line([curveOf("training", steps), curveOf("validation", validations)], {
    title: "Loss",
    xLabel: "step",
    yLabel: "nats a token",
  });
}

/** One number of every step: the learning rate, the gradient's norm, tokens a second. */
export function stepPlot(
  { steps }: Steps,
  key: "learning_rate" | "grad_norm" | "tokens_per_second",
  title: string,
): Figure {
  const series = { name: title, x: steps.map(({ step }) => step), y: steps.map((one) => one[key]) };
  return line([series], { title, xLabel: "step", height: 260 });
}
