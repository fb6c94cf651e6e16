/** The plots that the notebooks saved. */
import type { Run } from "@lib/experiment/run.ts";
import { exists } from "@lib/files.ts";
import { markup } from "../markup.ts";
import type { Section } from "../page.ts";

/** The section; null without plots. */
export async function plotsSection(run: Run): Promise<Section | null> {
  if (!await exists(run.plots)) return null;
  const names: string[] = [];
  for await (const { isFile, name } of Deno.readDir(run.plots)) {
    if (isFile && name.endsWith(".svg")) names.push(name);
  }
  if (names.length === 0) return null;
  const figures = await Promise.all(
    names.sort().map(async (name) => {
      const caption = name.replace(/\.svg$/, "").replaceAll("_", " ");
      const bytes = await Deno.readFile(`${run.plots}/${name}`);
      // As an image, so that no plot's style or id meets another's.
      return markup`<figure class="plot"><img alt="${caption}" src="data:image/svg+xml;base64,${bytes.toBase64()}"></figure>
`;
    }),
  );
  return { id: "plots", title: "Plots of the notebooks", body: markup`${figures}` };
}
