/** Tables and pictures that notebooks take from lib in a line. */
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { fileURLToPath } from "node:url";
import { resolveConfig } from "@lib/config.ts";
import type { TrainingHistory } from "@lib/experiment/history.ts";
import type { Figure } from "@lib/notebook/figure.ts";
import { intervalBars } from "@lib/notebook/interval_bars.ts";
import { forecastRow, profileRow, trainableRow } from "@lib/notebook/plan_rows.ts";
import { sampleLayouts } from "@lib/notebook/sample_layouts.ts";
import { SideBySide } from "@lib/notebook/side_by_side.ts";
import { differingRows, validationCurves } from "@lib/notebook/sweep_view.ts";
import { tokenPieces } from "@lib/notebook/token_pieces.ts";
import { lossPlot, stepPlot } from "@lib/notebook/training_plots.ts";
import type { Forecast } from "@lib/training/forecast.ts";
import { loadMatrices, loadMatrix } from "@lib/weights/load_matrix.ts";
import { ModelFolderError } from "@lib/weights/folder.ts";

/** A tokenizer of bytes: the decoder shows � where a letter is not whole. */
const bytes = {
  decode: (ids: readonly number[]) => new TextDecoder().decode(Uint8Array.from(ids)),
};

Deno.test("a letter spread over several tokens is one piece, of the kind of its last token", () => {
  const tokens = Int32Array.from(new TextEncoder().encode("a:মনখ"));
  assertEquals(tokenPieces(bytes, { tokens, answerStart: 5 }, 1), [
    { text: "a", kind: "prompt" },
    { text: ":", kind: "question" },
    { text: "ম", kind: "question" },
    { text: "ন", kind: "answer" },
    { text: "খ", kind: "answer" },
  ]);
});

const SAMPLES = [
  { tokens: new Int32Array(6), answerStart: 4 },
  { tokens: new Int32Array(5), answerStart: 3 },
];

Deno.test("layouts: padding fills each row, packing leaves none, a prefix is laid down once", () => {
  const [padded, packed, shared] = sampleLayouts(SAMPLES, 2, 8);
  const lengths = padded?.rows.map((row) => row.reduce((n, run) => n + run.tokens, 0));
  assertEquals(lengths, [8, 8]);
  const count = (layout: typeof packed, kind: string) =>
    layout?.rows.flat().filter((run) => run.kind === kind).reduce((n, run) => n + run.tokens, 0);
  assertEquals([count(padded, "padding"), count(packed, "padding")], [2 + 3, 0]);
  assertEquals([count(packed, "prompt"), count(shared, "prompt")], [4, 2]);
  assertEquals([count(packed, "answer"), count(shared, "answer")], [4, 4]);
  assertEquals([count(packed, "question"), count(shared, "question")], [3, 3]);
});

Deno.test("texts grow side by side, and what they hold is no markup", () => {
  const view = new SideBySide("কে?", ["base", "tuned"]);
  void view.add("tuned", "<b>");
  void view.add("tuned", "আমি");
  assertStringIncludes(view.markup, "<b>tuned</b><br>&lt;b&gt;আমি</td>");
  assertStringIncludes(view.markup, "<b>base</b><br></td>");
});

Deno.test("interval bars carry their ends", () => {
  const { data } = intervalBars(["x", "y"], [
    { value: 2, low: 1, high: 4 },
    { value: 5, low: 5, high: 5 },
  ], { name: "α" });
  assertStringIncludes(JSON.stringify(data), '"array":[2,0]');
  assertStringIncludes(JSON.stringify(data), '"arrayminus":[1,0]');
});

/** Points of every curve of a figure. */
const points = ({ data }: Figure) =>
  data.map((trace) => trace.type === "scatter" ? [trace.x, trace.y] : trace.type);

const step = (at: number) => ({ step: at, loss: 3 / at, learning_rate: at / 10 });
const HISTORY = {
  steps: [step(1), step(2)],
  validations: [{ step: 2, loss: 1.25 }],
} as unknown as TrainingHistory;

Deno.test("curves of a training stand at their steps", () => {
  assertEquals(points(lossPlot(HISTORY)), [
    [[1, 2], [3, 1.5]],
    [[2], [1.25]],
  ]);
  const rate = stepPlot(HISTORY, "learning_rate", "Learning rate");
  assertEquals(points(rate), [[[1, 2], [0.1, 0.2]]]);
});

Deno.test("compared runs: a curve a run, a column a run", () => {
  const curve = {
    ...{ name: "a", steps: [1], loss: [2], seconds: 1, best_validation_loss: 2 },
    ...{ validation_steps: [0, 4], validation_loss: [3, 2] },
  };
  const figure = validationCurves({ curves: [curve] }, "Validation");
  assertEquals([figure.data[0]?.name, points(figure)], ["a", [[[0, 4], [3, 2]]]]);
  const differences = [{ key: "lora.r", values: ["2", "32"] }];
  assertEquals(differingRows({ runs: ["a", "b"], config_differences: differences }), [
    { setting: "lora.r", a: "2", b: "32" },
  ]);
});

Deno.test("what does not fit is a row too", () => {
  assertEquals(forecastRow("a card", 32, null), { card: "a card", memory: "does not fit" });
  const run = {
    ...{ microBatchTokens: 2048, memoryBytes: 11e9, stepSeconds: 1, seconds: 90, resident: false },
    ...{ kept: { products: 4 } as Forecast["kept"], embeddingsOnHost: true },
  };
  assertEquals(forecastRow("a card", 32, run), {
    card: "a card",
    memory: "11.00 GB",
    "micro-batch": 2048,
    "layers kept": "4 of 32",
    "on the host": "embeddings",
    "the epoch": "1 min 30 s",
  });
  assertEquals(trainableRow("m", null, true)["longest sample, tokens"], "does not fit");
  const fit = { length: 1024, bytes: 6e9, onHost: false };
  assertEquals(Object.values(trainableRow("m", fit, false)), ["m", 1024, "6.00 GB", "", ""]);
  const tiny = profileRow(resolveConfig({ profile: "tiny" }));
  assertEquals([tiny.profile, tiny.model, tiny["LoRA rank"]], ["tiny", "data/tiny-llama", 64]);
});

const TINY = fileURLToPath(new URL("../../data/tiny-llama", import.meta.url));

Deno.test("a matrix is read by its name; a name that is not there is told with the folder", async () => {
  const name = "model.layers.0.self_attn.k_proj.weight";
  const one = await loadMatrix(TINY, name);
  assertEquals(one.values.length, one.shape.reduce((a, b) => a * b));
  assert(one.values.some((value) => value !== 0));
  const all = await loadMatrices(`${TINY}/model.safetensors`);
  assertEquals(all.find((matrix) => matrix.name === name), one);
  assertEquals(all.map((matrix) => matrix.name), all.map((matrix) => matrix.name).toSorted());
  const error = await assertRejects(() => loadMatrix(TINY, "no.such"), ModelFolderError);
  assertStringIncludes(error.message, "expected the tensor no.such");
  assertStringIncludes(error.message, TINY);
});
