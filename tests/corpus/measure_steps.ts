/**
 * Cleans and splits a CSV in a process of its own and prints its peak memory in bytes:
 *
 *     deno run --allow-all tests/corpus/measure_steps.ts FILE.csv
 */
import { cleanStrict } from "@lib/corpus/clean.ts";
import { loadCorpus } from "@lib/corpus/csv.ts";
import { groupRecords } from "@lib/corpus/groups.ts";
import { splitByGroup } from "@lib/corpus/split.ts";

const { rows } = await loadCorpus(Deno.args[0] ?? "");
splitByGroup(groupRecords(cleanStrict(rows).records));
// The high-water mark where the system tells it, else what is held now.
const status = Deno.build.os === "linux" ? await Deno.readTextFile("/proc/self/status") : "";
const peak = /^VmHWM:\s+(\d+) kB/m.exec(status)?.[1];
console.log(peak === undefined ? Deno.memoryUsage().rss : Number(peak) * 1024);
