import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { addShares, chooseRows, peakFigures, runBench } from "@lib/bench/run.ts";
import { formatTable, keeps } from "@lib/bench/table.ts";

const SMALL = {
  backend: "cpu",
  shape: "small",
  quick: true,
  whole: false,
  say: () => {},
} as const;

Deno.test("rows give figures in processes of their own; one that fails leaves the others", async () => {
  const reports = await runBench({
    ...SMALL,
    only: ["ceilings", "epoch", "unshared-recompute", "memory-12gb", "decode", "load", "pytorch"],
    python: "/no/python/here",
  });
  const rows = Object.fromEntries(reports.map((report) => [report.row, report]));
  const failed = reports.filter(({ error }) => error !== null).map(({ row }) => row);
  assertEquals(failed, ["pytorch"]);
  assertStringIncludes(rows["pytorch"]?.error ?? "", "/no/python/here");
  for (const { row, figures, command } of reports) {
    if (row === "pytorch") continue;
    assert(figures.length > 0, row);
    for (const { name, value } of figures) {
      assert(value !== null && value > 0 && Number.isFinite(value), `${row}: ${name} ${value}`);
    }
    assertStringIncludes(command, "--shape small --backend cpu --quick");
    const rowsOf = /--only (\S+)/.exec(command)?.[1]?.split(",");
    assert(rowsOf?.includes(row), command);
  }
  assertStringIncludes(rows["decode"]?.command ?? "", "--only decode ");
  assertStringIncludes(rows["epoch"]?.command ?? "", "--only ceilings,epoch,ceilings-after ");
  assertStringIncludes(rows["memory-12gb"]?.command ?? "", "--only epoch,memory-12gb ");
  const names = (row: string) => rows[row]?.figures.map(({ name }) => name) ?? [];
  assert(names("epoch").includes("share of the sustained product rate"));
  assert(names("epoch").includes("share of the burst product rate"));
  assert(names("memory-12gb").includes("its training against the unlimited one"));
  const losses = rows["epoch"]?.details["losses"];
  assert(Array.isArray(losses) && losses.length === 2 && losses.every(Number.isFinite));
  const table = formatTable(reports);
  assertStringIncludes(table, "decode, batch 64, prefix shared");
  assertStringIncludes(table, "failed");
});

Deno.test("a row that takes too long is stopped, and every row is handed over when done", async () => {
  const seen: number[] = [];
  const reports = await runBench({
    ...SMALL,
    only: ["ceilings", "epoch"],
    python: "",
    rowSeconds: 0.05,
    onRow: (rows) => Promise.resolve(void seen.push(rows.length)),
  });
  assertEquals(seen, [1, 2]);
  for (const { error } of reports) assertStringIncludes(error ?? "", "stopped after 0.05 s");
});

Deno.test("a part of an epoch is scaled to the whole by its tokens", async () => {
  const [report] = await runBench({ ...SMALL, only: ["epoch-qkvo"], python: "" });
  const details = report?.details ?? {};
  const [timed, steps] = [details["stepsTimed"], details["stepsInEpoch"]].map(Number);
  assertEquals([timed, steps], [1, 2]);
  const rate = Number(details["tokensPerSecond"]);
  const training = Number(details["trainingSeconds"]);
  assert(Math.abs(training * rate / Number(details["tokens"]) - 1) < 1e-9);
  const validation = Number(details["validationSeconds"]);
  assert(validation > 0);
  assertEquals(report?.figures[0]?.value, training + validation);
  assertStringIncludes(report?.figures[0]?.note ?? "", "1 of 2 steps, scaled");
});

Deno.test("shares: of the mean of sustained rates, of the fastest burst, on every row with operations", () => {
  const row = (name: string, tera: number, details = {}) => ({
    row: name,
    title: name,
    command: "",
    seconds: 1,
    figures: [{ name: "operations done", value: tera, unit: "TFLOP/s" }],
    details,
    peakBytes: null,
    plannedBytes: null,
    error: null,
  });
  const before = row("ceilings", 1, { productFlops: 800e12, sustainedFlops: 690e12 });
  const after = row("ceilings-after", 1, { productFlops: 700e12, sustainedFlops: 670e12 });
  const [unchanged, epoch, , other] = addShares([before, row("epoch", 544), after, row("x", 340)]);
  assertEquals(unchanged, before);
  const shares = epoch?.figures.slice(1).map((
    { value, bar = null },
  ) => [Math.round(value ?? 0), bar]);
  assertEquals(shares, [[80, { at: "least", value: 80 }], [68, null]]);
  assertEquals(other?.figures.slice(1).map(({ value }) => Math.round(value ?? 0)), [50, 43]);
  const failed = { ...before, figures: [], details: {}, error: "no device" };
  assertEquals(addShares([failed, row("epoch", 544)])[1]?.figures.length, 1, "no rate, no share");
});

Deno.test("an unknown row is refused with those there are", () => {
  assertThrows(() => chooseRows(["epochs"]), RangeError, "epoch-qkvo");
  const order = chooseRows([]).map(({ name }) => name);
  assertEquals(order.slice(0, 4), ["ceilings", "epoch", "ceilings-after", "pytorch"]);
});

Deno.test("bars hold on their own side, and a missing figure keeps none", () => {
  assertEquals(keeps(149, { at: "most", value: 150 }), true);
  assertEquals(keeps(151, { at: "most", value: 150 }), false);
  assertEquals(keeps(79.9, { at: "least", value: 80 }), false);
  assertEquals(keeps(80, { at: "least", value: 80 }), true);
  assertEquals(keeps(null, { at: "least", value: 80 }), null);
  assertEquals(keeps(1, null), null);
});

Deno.test("a peak is set against its plan and its bar", () => {
  const [figure] = peakFigures({ title: "x", peakBar: 6.5e9 }, 6.18e9, 6e9);
  assertEquals([figure?.value, figure?.bar], [6.18, { at: "most", value: 6.5 }]);
  assertStringIncludes(figure?.note ?? "", "planned 6.00 GB, measured 3.0 % more");
  assertEquals(peakFigures({ title: "x", peakBar: 1 }, null, 1), []);
});
