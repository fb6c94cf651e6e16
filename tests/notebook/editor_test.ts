/** What a student sees underlined in an editor with Deno's extension: nothing but true mistakes. */
import { assertEquals } from "@std/assert";
import { join } from "node:path";
import { z } from "zod";
import { PROJECT_ROOT } from "@lib/experiment/run.ts";
import { loadNotebook } from "@lib/notebook/notebook_file.ts";
import { courseNames, NOTEBOOKS } from "@lib/teaching/course.ts";
import { LanguageServer } from "./language_server.ts";
import { inProjectFolder, writeNotebook } from "./notebook_fixture.ts";

/** The project's settings for Deno's extension, without their prefix. */
async function denoSettings(): Promise<Record<string, unknown>> {
  const path = join(PROJECT_ROOT, ".vscode", "settings.json");
  const settings = z.record(z.string(), z.unknown()).parse(
    JSON.parse(await Deno.readTextFile(path)),
  );
  return Object.fromEntries(
    Object.entries(settings).map(([key, value]) => [key.replace(/^deno\./, ""), value]),
  );
}

Deno.test("no cell of the course has a problem in an editor, and a mistake is one", async (t) => {
  await using server = await LanguageServer.start(PROJECT_ROOT, await denoSettings());
  await t.step("mistakes, in their own cell and across cells", async () => {
    await inProjectFolder(async (folder) => {
      const path = await writeNotebook(folder, [
        'import { escapeHtml } from "@lib/notebook/mod.ts";\nconst label = escapeHtml("a");',
        "label.toFixed(2);",
        "label.length;",
        'const size: number = "large";',
      ]);
      const found = await server.problems(path, await loadNotebook(path));
      const seen = found.map(({ cell, message }) => [cell, message.split(".")[0]]);
      assertEquals(seen, [
        ["cell-1", "2551: Property 'toFixed' does not exist on type 'string'"],
        ["cell-3", "2322: Type 'string' is not assignable to type 'number'"],
      ]);
    });
  });
  for (const name of await courseNames()) {
    await t.step(name, async () => {
      const path = join(NOTEBOOKS, `${name}.ipynb`);
      assertEquals(await server.problems(path, await loadNotebook(path)), []);
    });
  }
});
