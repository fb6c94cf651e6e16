/** The project in VS Code: what it recommends and sets, and notebooks that saving leaves alone. */
import { assertEquals } from "@std/assert";
import { join } from "node:path";
import { z } from "zod";
import { PROJECT_ROOT } from "@lib/experiment/run.ts";
import { DENO_METADATA } from "@lib/notebook/kernel_spec.ts";
import { formatNotebook, loadNotebook } from "@lib/notebook/notebook_file.ts";
import { courseNames, NOTEBOOKS } from "@lib/teaching/course.ts";

const extensions = z.strictObject({ recommendations: z.array(z.string()) });
/** Deno's extension finds deno.json, and with it the import map, at the root by itself. */
const settings = z.strictObject({ "deno.enable": z.literal(true) });

const readJson = async (name: string): Promise<unknown> =>
  JSON.parse(await Deno.readTextFile(join(PROJECT_ROOT, ".vscode", name)));

Deno.test("VS Code is told of the extensions for Deno and Jupyter, and to use Deno here", async () => {
  const { recommendations } = extensions.parse(await readJson("extensions.json"));
  assertEquals(recommendations.toSorted(), ["denoland.vscode-deno", "ms-toolsai.jupyter"]);
  settings.parse(await readJson("settings.json"));
});

Deno.test("keys are written in the order of JupyterLab and VS Code", () => {
  const written = formatNotebook({
    nbformat_minor: 5,
    nbformat: 4,
    metadata: { language_info: { version: "2", name: "typescript" }, kernelspec: {} },
    cells: [{
      source: "1 + 1;\n2",
      metadata: { tags: ["b", "a"], editable: true },
      id: "sum",
      execution_count: 1,
      outputs: [{ output_type: "stream", text: ["2\n"], name: "stdout" }],
      cell_type: "code",
    }],
  });
  assertEquals(
    JSON.stringify(JSON.parse(written)),
    '{"cells":[{"cell_type":"code","execution_count":1,"id":"sum",' +
      '"metadata":{"editable":true,"tags":["b","a"]},' +
      '"outputs":[{"name":"stdout","output_type":"stream","text":["2\\n"]}],' +
      '"source":["1 + 1;\\n","2"]}],' +
      '"metadata":{"kernelspec":{},"language_info":{"name":"typescript","version":"2"}},' +
      '"nbformat":4,"nbformat_minor":5}',
  );
});

for (const name of await courseNames()) {
  Deno.test(`${name} stays byte for byte when an editor saves it, and names its kernel`, async () => {
    const path = join(NOTEBOOKS, `${name}.ipynb`);
    const notebook = await loadNotebook(path);
    assertEquals(await Deno.readTextFile(path), formatNotebook(notebook));
    assertEquals(notebook.metadata, DENO_METADATA);
  });
}
