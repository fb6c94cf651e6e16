/** What a build was made from, so that an unchanged one is reused. */
import { PROJECT_ROOT } from "@lib/experiment/run.ts";
import { exists, loadJson } from "@lib/files.ts";
import { z } from "zod";

/** Written beside a built library. */
export const Stamp = z.strictObject({
  /** SHA-256 over the sources. */
  inputs: z.string(),
  compiler: z.string(),
  /** The message of a build that failed with these inputs. */
  failure: z.string().optional(),
});
export type Stamp = z.infer<typeof Stamp>;

/** The stamp, or null where there is none or it is not readable as one. */
export async function loadStamp(file: string): Promise<Stamp | null> {
  if (!await exists(file)) return null;
  const stamp = Stamp.safeParse(await loadJson(file, "Delete it and build again."));
  return stamp.success ? stamp.data : null;
}

/** `CMakeLists.txt` and every file of these folders of `native/`, relative to it, sorted. */
export async function listSources(folders: readonly string[]): Promise<string[]> {
  const files = ["CMakeLists.txt"];
  for (const folder of folders) {
    for await (const entry of Deno.readDir(`${PROJECT_ROOT}native/${folder}`)) {
      if (entry.isFile && !entry.name.startsWith(".")) files.push(`${folder}/${entry.name}`);
    }
  }
  return files.sort();
}

/** SHA-256 over every source's name and bytes. */
export async function hashSources(folders: readonly string[]): Promise<string> {
  const parts: Uint8Array<ArrayBuffer>[] = [];
  for (const name of await listSources(folders)) {
    parts.push(new TextEncoder().encode(`${name}\0`));
    parts.push(await Deno.readFile(`${PROJECT_ROOT}native/${name}`));
  }
  const all = await new Blob(parts).arrayBuffer();
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", all));
  return Array.from(digest, (b) => b.toString(16).padStart(2, "0")).join("");
}
