import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { escapeHtml, svgImage } from "@lib/notebook/display.ts";
import { formatNumber, table } from "@lib/notebook/table.ts";
import { runCell, type SeenCell, startKernel } from "./kernel_fixture.ts";

/** The content of one media type of a cell's nth message. */
function shown({ messages }: SeenCell, mime: string, at = 0): string {
  const data = messages[at]?.content.data;
  return typeof data === "object" && data !== null ? String(Reflect.get(data, mime)) : "";
}

/** What `work` prints to the console. */
async function printed(work: () => Promise<void>): Promise<string> {
  const original = console.log;
  const lines: string[] = [];
  console.log = (line: string) => lines.push(line);
  try {
    await work();
  } finally {
    console.log = original;
  }
  return lines.join("\n");
}

Deno.test("text is escaped for elements and attributes", () => {
  assertEquals(
    escapeHtml(`<a href="x" id='y'>&`),
    "&lt;a href=&quot;x&quot; id=&#39;y&#39;&gt;&amp;",
  );
  assertStringIncludes(svgImage("<svg/>", 'a "b"'), 'alt="a &quot;b&quot;"');
});

Deno.test("an SVG picture survives its base64", () => {
  const base64 = svgImage("<svg>ক্ষ</svg>", "").match(/base64,([^"]+)/)?.[1] ?? "";
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  assertEquals(new TextDecoder().decode(bytes), "<svg>ক্ষ</svg>");
});

Deno.test("numbers in tables", () => {
  assertEquals(
    [38105, 0.12345, -2.5, 1e-9, 0, NaN].map((value) => formatNumber(value)),
    ["38,105", "0.123", "-2.500", "1.00e-9", "0", "NaN"],
  );
});

Deno.test("outside a kernel a table is aligned text, cut at the most rows", async () => {
  const records = [{ topic: "রাগ", rows: 1200 }, { topic: "joy", rows: 7 }, { topic: "x", rows: 1 }];
  assertEquals(
    await printed(() => table(records, { caption: "Topics", maxRows: 2 })),
    "Topics\ntopic   rows\n-----  -----\nরাগ     1,200\njoy        7\n… 1 more rows",
  );
});

Deno.test("displays in a cell", async (t) => {
  await using kernel = await startKernel();
  await kernel.execute('const nb = await import("@lib/notebook/mod.ts");');

  await t.step("a table escapes text and aligns numbers right", async () => {
    const seen = await runCell(kernel, 'await nb.table([{ "নাম": "<b>", n: 12.5, m: null }])');
    const markup = shown(seen, "text/html");
    assertStringIncludes(markup, ">&lt;b&gt;</td>");
    assert(!markup.includes("<b>"));
    assert(/text-align:right[^>]*>12\.500</.test(markup), markup);
    assertStringIncludes(shown(seen, "text/plain"), "12.500");
  });

  await t.step("lines and displays keep their order, a display its place", async () => {
    const seen = await runCell(
      kernel,
      `console.log("one"); await nb.html("<p>two</p>", { id: "p" }); console.log("three");
       await nb.html("<p>four</p>", { id: "p" }); throw new Error("five");`,
    );
    assertEquals(seen.order, "odoux");
    assertEquals(seen.text, "one\n<p>two</p>three\n<p>four</p>five");
  });

  await t.step("before and after stand side by side", async () => {
    const seen = await runCell(
      kernel,
      'await nb.examples([{ before: "ক .", after: "ক।", note: "danda" }], { after: "Cleaned" })',
    );
    const markup = shown(seen, "text/html");
    for (const part of [">Before<", ">Cleaned<", ">Note<", ">ক .<", ">ক।<", ">danda<"]) {
      assertStringIncludes(markup, part);
    }
  });

  await t.step("progress is one display, updated, with its mark", async () => {
    const seen = await runCell(
      kernel,
      `{
         await using progress = new nb.Progress("সারি", { total: 4 });
         for (let row = 1; row <= 4; row++) {
           progress.update(row);
           await new Promise((go) => setTimeout(go, 100));
         }
       }`,
    );
    assert(/^du+$/.test(seen.order), seen.order);
    assert(seen.order.length <= 4, `drawn too often: ${seen.order}`);
    const last = seen.messages.length - 1;
    assertStringIncludes(shown(seen, "text/plain", last), "সারি 100 %  4/4 steps");
    assertEquals(seen.messages[0]?.content.metadata, { progress: true });
  });

  await t.step("a figure comes as Plotly and as a still picture", async () => {
    const seen = await runCell(
      kernel,
      'await nb.show(nb.bar({ "রাগ": 3 }, { title: "সারি" }))',
      { deadlineMs: 15_000 },
    );
    assertEquals(seen.order, "d");
    assertStringIncludes(shown(seen, "text/html"), '<img src="data:image/svg+xml;base64,');
    const figure = Reflect.get(
      Object(seen.messages[0]?.content.data),
      "application/vnd.plotly.v1+json",
    );
    assertEquals(figure.data[0].x, ["রাগ"]);
  });

  await t.step("a live curve is updated, then gives way to a figure", async () => {
    const seen = await runCell(
      kernel,
      `{
         await using curve = new nb.LiveCurve({ title: "Loss" });
         for (let step = 1; step <= 6; step++) {
           curve.add("train", step, 3 / step);
           await new Promise((go) => setTimeout(go, 100));
         }
       }`,
      { deadlineMs: 15_000 },
    );
    assert(/^du+d$/.test(seen.order), seen.order);
    const last = seen.messages.length - 1;
    assertStringIncludes(shown(seen, "text/plain", last - 1), "train 3 → 0.5 (6 points)");
    assertStringIncludes(shown(seen, "text/plain", last), "[plot: Loss]");
  });
});
