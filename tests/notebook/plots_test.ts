import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { join } from "node:path";
import type { Figure } from "@lib/notebook/figure.ts";
import { figureSvg } from "@lib/notebook/figure_svg.ts";
import { LiveCurve, niceTicks } from "@lib/notebook/live_curve.ts";
import { fiveNumbers, histogramBins } from "@lib/notebook/plot_statistics.ts";
import { bar, groupedBar } from "@lib/notebook/plot_bars.ts";
import { box, histogram } from "@lib/notebook/plot_distributions.ts";
import { line, scatter } from "@lib/notebook/plot_lines.ts";
import { savePlot, show } from "@lib/notebook/show.ts";
import { textWidth } from "@lib/notebook/text_width.ts";
import { inProjectFolder } from "./notebook_fixture.ts";

const TOPICS = ["রাগ", "কৃতজ্ঞতা", "আত্মবিশ্বাস", "বিশ্বাসঘাতকতা", "উদ্বেগ", "ঈর্ষান্বিত"];

const FIGURES: Readonly<Record<string, Figure>> = {
  line: line([
    { name: "প্রশিক্ষণ", y: [3, 2, 1], low: [2, 1, 0.5], high: [4, 3, 2] },
    { name: "যাচাই", x: [1, 3], y: [2.5, 1.5], dashed: true },
  ], { title: "লস", xLabel: "ধাপ", yLabel: "nats per token" }),
  scatter: scatter([{ name: "a", y: [1, NaN, 100] }], { title: "Log", logY: true }),
  upright: bar(TOPICS.map((topic, at) => [`${topic} ${topic}`, at + 0.5]), {
    title: "Upright",
    horizontal: false,
    yLabel: "rows",
  }),
  lying: bar([...TOPICS, "x", "y", "z"].map((topic, at) => [topic, 100 * at]), { title: "Lying" }),
  grouped: groupedBar(["BLEU", "সহানুভূতি"], [
    { name: "base", values: [2, 20], low: [1, 15], high: [4, 26] },
    { name: "tuned", values: [20, 60] },
  ], { title: "Before and after", yLabel: "score" }),
  histogram: histogram({ "প্রশ্ন": [1, 2, 2, 3], "উত্তর": [4, 5, 5, 9] }, { title: "Words" }),
  box: box({ "রাগ": [1, 2, 3, 4, 100], "উদ্বেগ": [5, 6, 7] }, { title: "Tokens" }),
};

/** Texts of an SVG with their anchors, as far as they are not turned. */
function straightTexts(svg: string) {
  return [...svg.matchAll(/<text([^>]*)>(?:<tspan[^>]*>)?([^<]*)</g)].flatMap(
    ([, head = "", text]) => {
      const attribute = (name: string) => head.match(new RegExp(`\\b${name}="([^"]*)"`))?.[1] ?? "";
      if (attribute("transform").includes("rotate") || !text) return [];
      return [{ text, anchor: attribute("text-anchor") || "start", x: Number(attribute("x")) }];
    },
  );
}

for (const [name, figure] of Object.entries(FIGURES)) {
  Deno.test(`the ${name} plot is drawn whole`, async () => {
    const svg = await figureSvg(figure);
    for (const artefact of ["NaN", "Infinity", ">undefined", "TOBESTRIPPED"]) {
      assert(!svg.includes(artefact), `${artefact} in the picture`);
    }
    assertStringIncludes(svg, figure.layout.title.text);
    for (const { title } of [figure.layout.xaxis, figure.layout.yaxis]) {
      assertStringIncludes(svg, title.text);
    }
    const texts = straightTexts(svg).map(({ text }) => text);
    const ticks = texts.filter((text) => /^−?[\d.,]+[kM]?$/.test(text));
    assert(ticks.length >= 4, `too few numbers on the axes: ${texts}`);
    const names = figure.data.flatMap((
      { x, y }: { x?: readonly unknown[]; y?: readonly unknown[] },
    ) => [
      ...x ?? [],
      ...y ?? [],
    ]).filter((value) => typeof value === "string");
    for (const label of names) assertStringIncludes(svg, label);
    if (figure.layout.showlegend) {
      for (const { name } of figure.data) assertStringIncludes(svg, name);
    }
  });
}

Deno.test("labels left of lying bars are not cut", async () => {
  const long = "বিশ্বাসঘাতকতা নিয়ে কষ্ট";
  const figure = bar({ [long]: 3, "রাগ": 5 }, { horizontal: true });
  const texts = straightTexts(await figureSvg(figure)).filter(({ text }) => text === long);
  const [label] = texts;
  assertEquals(label?.anchor, "end");
  assert((label?.x ?? 0) >= textWidth(long, 13), `cut: ends at ${label?.x}`);
});

Deno.test("values that are not finite are gaps, so that the figure is valid JSON", () => {
  const [trace] = line([{ name: "a", y: [1, NaN, Infinity] }]).data;
  assertEquals(trace?.type === "scatter" && trace.y, [1, null, null]);
});

Deno.test("intervals become error bars about the values", () => {
  const [base] = FIGURES.grouped?.data ?? [];
  const errors = base?.type === "bar" ? base.error_y : undefined;
  assertEquals([errors?.array, errors?.arrayminus], [[2, 6], [1, 5]]);
});

Deno.test("rows of unequal length are refused by name", () => {
  assertThrows(
    () => line([{ name: "loss", x: [1], y: [1, 2] }]),
    RangeError,
    'Cannot plot "loss": expected 2 values in x',
  );
  assertThrows(() => groupedBar(["a"], [{ name: "b", values: [] }]), RangeError, "found 0");
});

Deno.test("bins hold every finite value, whole numbers in whole bins", () => {
  const values = [1, 2, 2, 3, 10, NaN];
  const bins = histogramBins(values, 4);
  assertEquals([bins.width, bins.centres], [3, [2, 5, 8, 11]]);
  assertEquals(bins.count(values), [4, 0, 0, 1]);
  const fractions = histogramBins([0, 0.5, 1], 2);
  assertEquals(fractions.count([0, 0.5, 1]), [1, 2], "the last edge is inside");
  assertEquals(histogramBins([5], 3).count([5, 5]), [2]);
});

Deno.test("quartiles are those of type 7", () => {
  assertEquals(fiveNumbers([4, 1, 3, 2]), {
    q1: 1.75,
    median: 2.5,
    q3: 3.25,
    low: 1,
    high: 4,
    mean: 2.5,
  });
  assertThrows(() => fiveNumbers([NaN]), RangeError, "at least one finite value");
});

Deno.test("ticks are round numbers within the range", () => {
  assertEquals(niceTicks(0, 1), [0, 0.2, 0.4, 0.6, 0.8, 1]);
  assertEquals(niceTicks(0.37, 2.9), [0.5, 1, 1.5, 2, 2.5]);
  assertEquals(niceTicks(3, 3), [3]);
});

Deno.test("a live curve of 20,000 steps is redrawn in less than 30 ms", () => {
  const curve = new LiveCurve({ title: "<Loss>", xLabel: "ধাপ" });
  for (let step = 1; step <= 20_000; step++) {
    curve.add("train", step, 3 / Math.sqrt(step));
    if (step % 100 === 0) curve.add("যাচাই", step, 3.5 / Math.sqrt(step));
  }
  curve.svg();
  const times = Array.from({ length: 5 }, () => {
    const begun = performance.now();
    curve.svg();
    return performance.now() - begun;
  });
  assert(Math.min(...times) < 30, `took ${times} ms`);
  const picture = curve.svg();
  assertStringIncludes(picture, "&lt;Loss&gt;");
  assertStringIncludes(picture, "যাচাই 0.02475");
  assert(picture.length < 40_000, `${picture.length} letters a redraw`);
});

Deno.test("a plot is saved as a picture and as a page that needs no network", async () => {
  await inProjectFolder(async (folder) => {
    const base = join(folder, "plots", "loss");
    const figure = line([{ name: "</script>", y: [1, 2] }], { title: "Loss" });
    assertEquals(await savePlot(figure, `${base}.svg`), [`${base}.svg`]);
    assertEquals(await savePlot(figure, base, { page: true }), [`${base}.svg`, `${base}.html`]);
    const names = [...Deno.readDirSync(join(folder, "plots"))].map(({ name }) => name);
    assertEquals(names.toSorted(), ["loss.html", "loss.svg", "plotly.min.js"]);
    const page = await Deno.readTextFile(`${base}.html`);
    assertStringIncludes(page, await Deno.readTextFile(`${base}.svg`));
    assertEquals(page.match(/<\/script>/g)?.length, 2, "data cannot end the script");
    assert(!/(src|href)="https?:/.test(page));
  });
});

Deno.test("showing with saveTo saves the picture, without a kernel too", async () => {
  await inProjectFolder(async (folder) => {
    const figure = line([{ name: "train", y: [1, 2] }], { title: "Loss" });
    await show(figure, { saveTo: join(folder, "plots", "shown") });
    const picture = await Deno.readTextFile(join(folder, "plots", "shown.svg"));
    assert(/^<svg[^]*Loss[^]*<\/svg>\s*$/.test(picture), picture.slice(0, 200));
    await show(figure);
    assertEquals([...Deno.readDirSync(join(folder, "plots"))].length, 1);
  });
});
