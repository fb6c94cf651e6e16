/** Bars with whiskers from values that have intervals. */
import type { Figure } from "./figure.ts";
import { groupedBar } from "./plot_bars.ts";
import type { PlotOptions } from "./plot_layout.ts";

/** A value with the ends of its interval. */
interface Interval {
  readonly value: number;
  readonly low: number;
  readonly high: number;
}

/**
 * One bar a name, its interval as a whisker.
 *
 * @param name what the bars are, for the legend
 */
export function intervalBars(
  names: readonly string[],
  intervals: readonly Interval[],
  { name, ...options }: PlotOptions & { readonly name: string },
): Figure {
  const of = (end: keyof Interval) => intervals.map((one) => one[end]);
  const series = { name, values: of("value"), low: of("low"), high: of("high") };
  return groupedBar(names, [series], options);
}
