/** What a run was made with: versions, machine, commit. Written to the log and the report. */
import type { Library } from "@lib/engine/library.ts";
import { PROJECT_ROOT } from "@lib/experiment/run.ts";
import { z } from "zod";

/** Versions and machine of a run; no user name, no paths. */
export const Environment = z.strictObject({
  deno: z.string(),
  v8: z.string(),
  typescript: z.string(),
  os: z.string(),
  arch: z.string(),
  cpus: z.number().int(),
  memory_bytes: z.number(),
  backend: z.string(),
  engine_version: z.string(),
  device: z.string(),
  isa: z.string().nullable(),
  threads: z.number().int().nullable(),
  commit: z.string().nullable(),
});
export type Environment = z.infer<typeof Environment>;

/** Describes this machine and the loaded engine. */
export async function describeEnvironment(library: Library): Promise<Environment> {
  const { description } = library;
  return {
    deno: Deno.version.deno,
    v8: Deno.version.v8,
    typescript: Deno.version.typescript,
    os: Deno.build.os,
    arch: Deno.build.arch,
    cpus: navigator.hardwareConcurrency,
    memory_bytes: Deno.systemMemoryInfo().total,
    backend: description.backend,
    engine_version: description.version,
    device: description.device,
    isa: description.isa ?? null,
    threads: description.threads ?? null,
    commit: await currentCommit(),
  };
}

/** The checked-out commit, read from .git without running git; null outside a checkout. */
async function currentCommit(): Promise<string | null> {
  try {
    const head = (await Deno.readTextFile(`${PROJECT_ROOT}.git/HEAD`)).trim();
    const ref = /^ref: (.+)$/.exec(head)?.[1];
    if (ref === undefined) return head;
    return (await Deno.readTextFile(`${PROJECT_ROOT}.git/${ref}`)).trim();
  } catch {
    return null;
  }
}
