import {
  assert,
  assertAlmostEquals,
  assertEquals,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { errorStrip } from "@lib/notebook/error_strip.ts";
import { frameSliderHtml } from "@lib/notebook/frame_slider.ts";
import { heatmapBmp } from "@lib/notebook/heatmap.ts";
import { lowRank, singularValues } from "@lib/notebook/svd.ts";
import { seededRandom } from "@lib/random.ts";

const dot = (a: Float64Array, b: Float64Array) => a.reduce((sum, x, i) => sum + x * (b[i] ?? 0), 0);

Deno.test("singular values: of a matrix whose values are known", () => {
  // The Hilbert matrix of order 3; values by numpy.linalg.svd.
  const hilbert = Array.from({ length: 9 }, (_, at) => 1 / (Math.floor(at / 3) + (at % 3) + 1));
  const known = [1.4083189271236538, 0.12232706585390584, 0.0026873403557735292];
  singularValues(hilbert, 3, 3).values.forEach((value, at) =>
    assertAlmostEquals(value, known[at] ?? NaN, 1e-14)
  );
});

Deno.test("singular values: layers are orthonormal and add up, tall, wide and singular", () => {
  const random = seededRandom(4);
  for (const [rows, columns, rank] of [[7, 5, 5], [5, 7, 5], [6, 6, 2], [1, 4, 1], [4, 4, 0]]) {
    const factors = [0, 1].map((at) =>
      Array.from({ length: (at === 0 ? rows! : columns!) * rank! }, () => random() - 0.5)
    );
    const matrix = Array.from({ length: rows! * columns! }, (_, at) => {
      const [i, j] = [Math.floor(at / columns!), at % columns!];
      let sum = 0;
      for (let k = 0; k < rank!; k++) {
        sum += factors[0]![i * rank! + k]! * factors[1]![j * rank! + k]!;
      }
      return sum;
    });
    const layers = singularValues(matrix, rows!, columns!);
    assertEquals(layers.values, layers.values.toSorted((a, b) => b - a));
    layers.values.slice(rank).forEach((value) => assertAlmostEquals(value, 0, 1e-12));
    for (let a = 0; a < rank!; a++) {
      for (let b = 0; b < rank!; b++) {
        assertAlmostEquals(dot(layers.left[a]!, layers.left[b]!), +(a === b), 1e-10);
        assertAlmostEquals(dot(layers.right[a]!, layers.right[b]!), +(a === b), 1e-10);
      }
    }
    lowRank(layers, rank!).forEach((value, at) => assertAlmostEquals(value, matrix[at]!, 1e-12));
  }
});

Deno.test("the best copy of a rank misses what the remaining values say", () => {
  const random = seededRandom(9);
  const matrix = Array.from({ length: 64 }, () => random() - 0.5);
  const layers = singularValues(matrix, 8, 8);
  const lack = lowRank(layers, 3).map((value, at) => value - matrix[at]!);
  const rest = layers.values.slice(3).reduce((sum, value) => sum + value ** 2, 0);
  assertAlmostEquals(dot(lack, lack), rest, 1e-12);
  assertThrows(() => singularValues(matrix, 8, 7), RangeError, "expected 8 × 7 numbers, found 64");
});

Deno.test("a heat map is a bitmap with a pixel a number, the first row on top", () => {
  const bmp = heatmapBmp([1, 0, -1, 0.5, -0.5, 99], 3, 1);
  const view = new DataView(bmp.buffer);
  assertEquals(new TextDecoder().decode(bmp.subarray(0, 2)), "BM");
  assertEquals([view.getUint32(2, true), view.getUint32(18, true), view.getUint32(22, true)], [
    bmp.length,
    3,
    2,
  ]);
  const start = view.getUint32(10, true);
  assertEquals([...bmp.subarray(start + 4, start + 7)], [255, 128, 1], "top row, stored last");
  assertEquals(
    [...bmp.subarray(start, start + 3)],
    [192, 65, 255],
    "beyond the limit: full colour",
  );
  const paletteOf = (entry: number) => [...bmp.subarray(54 + 4 * entry, 54 + 4 * entry + 3)];
  assertEquals(paletteOf(128), [255, 255, 255]);
  assert(paletteOf(255)[2]! > paletteOf(255)[0]! && paletteOf(1)[0]! > paletteOf(1)[2]!);
});

Deno.test("a slider shows one frame, hides the others and escapes its words", () => {
  const page = frameSliderHtml(
    [{ label: "a < b", html: "<i>1</i>" }, { label: "two", html: "<i>2</i>" }],
    { title: '"T"', first: 1 },
  );
  assertStringIncludes(page, 'data-frame="0" data-label="a &lt; b" hidden');
  assertStringIncludes(page, 'data-frame="1" data-label="two">');
  assertStringIncludes(page, 'max="1" value="1"');
  assertStringIncludes(page, "&quot;T&quot;");
  assertEquals(/https?:|<script/.test(page), false, "nothing from the network, no script element");
});

Deno.test("an error strip has a bar a weight, cut at its limit, coloured by block", () => {
  const image = errorStrip([1, -2, 0.5, 0], { blockLength: 2, limit: 1, alt: "four" });
  const svg = new TextDecoder().decode(
    Uint8Array.fromBase64(/base64,([^"]+)"/.exec(image)?.[1] ?? ""),
  );
  const bars = [...svg.matchAll(/V([\d.]+)" stroke="(#\w+)"/g)].map(([, y, color]) => [y, color]);
  assertEquals(bars.map(([y]) => y), ["18.0", "168.0", "55.5", "93.0"]);
  assertEquals(new Set(bars.map(([, color]) => color)).size, 2);
  assertEquals(bars[0]?.[1] === bars[1]?.[1] && bars[2]?.[1] === bars[3]?.[1], true);
});
