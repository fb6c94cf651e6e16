/**
 * `deno task serve:load`: 200 concurrent streams for a minute against `deno task serve` in a process of
 * its own, with the tiny model. Every text is compared with the same request made alone; the server's
 * memory is read every second.
 *
 *     deno task serve:load [--streams 200] [--seconds 60] [--places 64] [--quiet]
 */
import { parseArgs } from "node:util";
import { PROJECT_ROOT } from "@lib/experiment/run.ts";
import { Progress } from "@lib/notebook/progress.ts";
import { loadRequests, percentile, readStream, runLoad } from "./load_client.ts";
import { saveTinyAdapter } from "./tiny_adapter.ts";

const USAGE = `Many concurrent streams against deno task serve, with the tiny model.

Usage: deno task serve:load [--streams 200] [--seconds 60] [--places 64] [--quiet]`;

const MIB = 2 ** 20;

async function startServed(outputs: string, adapter: string, places: string) {
  const args = ["--profile", "tiny", "--adapter", adapter, "--port", "0", "--quiet"];
  const process = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", `${PROJECT_ROOT}lib/tasks/serve.ts`, ...args, "--places", places],
    env: { QLORA_OUTPUTS: outputs },
    stdout: "piped",
  }).spawn();
  const reader = process.stdout.pipeThrough(new TextDecoderStream()).getReader();
  const { value = "" } = await reader.read();
  if (!value.startsWith("http")) {
    throw new Error(`Expected the server's address, found '${value}'.`);
  }
  return { process, url: value.trim(), reader };
}

async function memory(url: string): Promise<number> {
  return (await (await fetch(`${url}/health`)).json()).rss / MIB;
}

/** What is asked for. */
interface LoadOptions {
  readonly streams: number;
  readonly seconds: number;
  readonly places: string;
  readonly quiet: boolean;
}

/** The server's memory, every second. */
function watchMemory(url: string) {
  const values: number[] = [];
  const timer = setInterval(async () => values.push(await memory(url)), 1000);
  return { values, stop: () => clearInterval(timer) };
}

const mean = (values: readonly number[]) =>
  values.reduce((sum, value) => sum + value, 0) / values.length;

async function measure(
  { streams, seconds, places, quiet }: LoadOptions,
): Promise<boolean> {
  const folder = await Deno.makeTempDir();
  await saveTinyAdapter(`${folder}/adapter`);
  const { process, url, reader } = await startServed(folder, `${folder}/adapter`, places);
  try {
    const requests = loadRequests(48, 64);
    const alone: string[] = [];
    for (const request of requests) alone.push((await readStream(url, request)).text);
    const before = await memory(url);
    await runLoad(url, requests, alone, streams, 5);
    const warm = await memory(url);
    const watched = watchMemory(url);
    const begun = performance.now();
    await using bar = new Progress("load", { total: seconds, unit: "seconds", quiet });
    const clock = setInterval(() => {
      bar.update(Math.min(seconds, Math.floor((performance.now() - begun) / 1000)));
    }, 1000);
    const report = await runLoad(url, requests, alone, streams, seconds);
    clearInterval(clock);
    await bar.finish();
    watched.stop();
    const third = Math.max(1, Math.floor(watched.values.length / 3));
    console.log(JSON.stringify(
      {
        clients: streams,
        seconds: report.seconds.toFixed(1),
        places,
        answers: report.streams,
        errors: report.errors.length,
        first_errors: report.errors.slice(0, 3),
        mixed: report.mixed,
        different_texts: new Set(alone).size,
        tokens_per_second: Math.round(report.tokens / report.seconds),
        first_text_ms: [0.5, 0.95].map((share) => Math.round(percentile(report.firstMs, share))),
        whole_answer_ms: [0.5, 0.95].map((share) => Math.round(percentile(report.totalMs, share))),
        rss_mib: {
          before_load: Math.round(before),
          after_warm_up: Math.round(warm),
          every_15_s: watched.values.filter((_, i) => i % 15 === 0).map(Math.round),
          first_third: Math.round(mean(watched.values.slice(0, third))),
          last_third: Math.round(mean(watched.values.slice(-third))),
          end: Math.round(await memory(url)),
        },
      },
      null,
      2,
    ));
    return report.errors.length === 0 && report.mixed === 0;
  } finally {
    process.kill("SIGTERM");
    await process.status;
    await reader.cancel();
    await Deno.remove(folder, { recursive: true });
  }
}

if (import.meta.main) {
  const { values } = parseArgs({
    args: Deno.args,
    options: {
      streams: { type: "string", default: "200" },
      seconds: { type: "string", default: "60" },
      places: { type: "string", default: "64" },
      quiet: { type: "boolean", short: "q", default: false },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help) {
    console.log(USAGE);
  } else {
    const well = await measure({
      ...values,
      streams: Number(values.streams),
      seconds: Number(values.seconds),
    });
    if (!well) Deno.exit(1);
  }
}
