/** `deno task serve`: the page and the OpenAI-compatible API. */
import { loadHelplines, type Region } from "@lib/safety/mod.ts";
import { startServer, STOP_LIMIT_MS } from "@lib/server/server.ts";
import { stopSignal } from "@lib/server/stop_signals.ts";
import { runTask, type Task, type TaskContext, UsageError } from "@lib/tasks/cli.ts";
import { openServedModels, openStudy, servedSampling } from "@lib/workflow/serve.ts";

const REGIONS = ["BD", "IN"] as const;

function text({ values }: TaskContext, name: string): string | null {
  const value = values[name];
  return typeof value === "string" ? value : null;
}

/** A whole number of an option, checked. */
function count(context: TaskContext, name: string, low: number, high: number): number | null {
  const value = text(context, name);
  if (value === null) return null;
  const number = Number(value);
  if (Number.isInteger(number) && number >= low && number <= high) return number;
  throw new UsageError(
    `--${name}: expected a whole number from ${low} to ${high}, found '${value}'.`,
  );
}

function regionOf(context: TaskContext): Region {
  const value = text(context, "region");
  if (value === null) return "unknown";
  const region = REGIONS.find((known) => known === value.toUpperCase());
  if (region !== undefined) return region;
  throw new UsageError(`--region: expected ${REGIONS.join(" or ")}, found '${value}'.`);
}

/** A taken port is the commonest failure: say what to do. */
function explained(error: unknown, port: number): unknown {
  if (!(error instanceof Deno.errors.AddrInUse)) return error;
  return new UsageError(
    `--port: expected a free port, found ${port} taken. Choose another, e.g. --port ${port + 1}.`,
  );
}

async function serve(context: TaskContext): Promise<unknown> {
  const { run, config, say, quiet } = context;
  const port = count(context, "port", 0, 65535) ?? 8000;
  const region = regionOf(context);
  const token = text(context, "token") ?? Deno.env.get("SERVE_TOKEN") ?? null;
  const places = count(context, "places", 1, 4096) ?? config.generation.batch_size;
  const helplines = await loadHelplines(undefined, { onWarning: (line) => say(`Note: ${line}`) });
  const study = await openStudy(run, config, count(context, "study-items", 1, 10_000) ?? 30);
  await using models = await openServedModels(run, config, {
    ...{ region, places, maxWaiting: count(context, "waiting", 1, 100_000) ?? 256 },
    contextTokens: count(context, "context", 64, 1_000_000),
    givenAdapter: text(context, "adapter") !== null,
  });
  const server = await startServer({
    answering: models.answering,
    ...{ run: run.name, port, token, region, helplines, study },
    host: text(context, "host") ?? "127.0.0.1",
    sampling: servedSampling(config),
    ratings: run.pageRatings,
    onFailure: (message) => console.error(`Failure: ${message}`),
  }).catch((error) => {
    throw explained(error, port);
  });
  if (models.adapter === null) {
    say(`Note: the run '${run.name}' has no adapter; only the base model answers.`);
  }
  say(`Page:    ${server.url}/`);
  if (study !== null) say(`Study:   ${server.url}/study`);
  say(
    `API:     ${server.url}/v1 (models: ${models.answering.models.map(({ id }) => id).join(", ")})`,
  );
  say(`Ratings: ${run.pageRatings}, with consent only`);
  if (token !== null) say("Token:   asked from every client, as the API key or on the page");
  if (quiet) console.log(server.url);
  const signal = await stopSignal();
  const seconds = STOP_LIMIT_MS / 1000;
  say(`${signal}: ${server.active} requests under way get ${seconds} s; again to end at once.`);
  await server.stop();
  return { url: server.url, stopped_by: signal };
}

/** The task, for its own tests too. */
export const SERVE_TASK: Task = {
  name: "serve",
  summary: "Serves the run's model: a page to talk with it, and an OpenAI-compatible API.\n" +
    "On this machine alone, unless --host is given with --token (or SERVE_TOKEN).",
  handlesInterrupts: true,
  options: {
    port: { type: "string", value: "N", help: "port, 0 for any that is free (default: 8000)" },
    host: { type: "string", value: "H", help: "address to listen on (default: 127.0.0.1)" },
    token: { type: "string", value: "T", help: "asked from every client, 16 characters or more" },
    region: { type: "string", value: "R", help: "whose helplines: BD or IN (default: both)" },
    places: { type: "string", value: "N", help: "answers decoded together (default: batch_size)" },
    waiting: { type: "string", value: "N", help: "requests that may wait (default: 256)" },
    context: { type: "string", value: "N", help: "tokens of prompt and answer (default: 1024)" },
    "study-items": { type: "string", value: "N", help: "questions of /study (default: 30)" },
  },
  run: serve,
};

if (import.meta.main) await runTask(SERVE_TASK);
