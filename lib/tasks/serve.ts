/** `deno task serve`: the page and the OpenAI-compatible API. */
import { loadHelplines } from "@lib/safety/mod.ts";
import type { Answering } from "@lib/server/answering.ts";
import { ModelAnswering } from "@lib/server/model_answering.ts";
import { checkExposure, LOOPBACK, startServer, STOP_LIMIT_MS } from "@lib/server/server.ts";
import { stopSignal } from "@lib/server/stop_signals.ts";
import { runTask, type Task, type TaskContext, UsageError } from "@lib/tasks/cli.ts";
import {
  ANSWERING_OPTIONS,
  openTaskAnswering,
  regionOf,
  systemPromptOf,
  wholeNumberOf,
} from "@lib/tasks/answering_options.ts";
import type { Answering as Opened } from "@lib/workflow/answering.ts";
import { openStudy, servedModels, servedSampling } from "@lib/workflow/serve.ts";

/** Longest conversation with its answer: the caches of all places take memory for it. */
const CONTEXT_TOKENS = 1024;
/** Questions of the study. */
const STUDY_ITEMS = 30;
const MAX_WAITING = 256;

/** A text given as an option, or in the environment, where others cannot list it. */
function tokenOf({ values }: TaskContext): string | null {
  const { token } = values;
  return typeof token === "string" ? token : Deno.env.get("SERVE_TOKEN") ?? null;
}

function portOf(context: TaskContext): number {
  const port = wholeNumberOf(context, "port", 0) ?? 8000;
  if (port <= 65535) return port;
  throw new UsageError(`--port: expected a whole number from 0 to 65535, found '${port}'.`);
}

/**
 * Tries the address before a model is loaded for nothing.
 *
 * @throws {UsageError} a port that is taken, a host that is not this machine's
 */
function checkAddress(hostname: string, port: number): void {
  try {
    Deno.listen({ hostname, port }).close();
  } catch (error) {
    if (error instanceof Deno.errors.AddrInUse) {
      throw new UsageError(
        `--port: expected a free port, found ${port} taken. Choose another, e.g. --port ${
          port + 1
        }.`,
      );
    }
    const why = error instanceof Error ? error.message : String(error);
    throw new UsageError(
      `--host: expected an address of this machine, found '${hostname}' (${why}). ` +
        "For all of its addresses give 0.0.0.0.",
    );
  }
}

/** What is where, for the person at the terminal. */
function linesOf(
  url: string,
  { models }: Answering,
  { study, ratings, token }: {
    readonly study: boolean;
    readonly ratings: string;
    readonly token: string | null;
  },
): string[] {
  return [
    `Page:    ${url}/`,
    ...(study ? [`Study:   ${url}/study`] : []),
    `API:     ${url}/v1 (models: ${models.map(({ id }) => id).join(", ")})`,
    `Ratings: ${ratings}, with consent only`,
    ...(token === null ? [] : ["Token:   asked from every client, as the API key or on the page"]),
    "Ctrl-C ends it.",
  ];
}

/** The model of the run, ready to answer many at once. */
function openForMany(context: TaskContext): Promise<Opened> {
  return openTaskAnswering(context, {
    contextTokens: CONTEXT_TOKENS,
    maxSequences: wholeNumberOf(context, "places", 1) ?? context.config.generation.batch_size,
    maxWaiting: wholeNumberOf(context, "waiting", 1) ?? MAX_WAITING,
  });
}

/** Computes the shared prefixes and takes the caches' memory: what does not fit is said now. */
async function warmUp(answering: Answering): Promise<void> {
  const { signal } = new AbortController();
  for (const { id: system } of answering.models) {
    const messages = [{ role: "user", content: "শুভেচ্ছা" }] as const;
    const sampling = { maxNewTokens: 1 };
    for await (const _ of answering.answer({ system, messages, sampling, stop: [], signal }));
  }
}

async function serve(context: TaskContext): Promise<unknown> {
  const { run, config, say, quiet, values } = context;
  const [port, token, region] = [portOf(context), tokenOf(context), regionOf(context)];
  const host = typeof values["host"] === "string" ? values["host"] : LOOPBACK;
  checkExposure(host, token);
  checkAddress(host, port);
  const helplines = await loadHelplines(undefined, { onWarning: (line) => say(`Note: ${line}`) });
  const items = wholeNumberOf(context, "study-items", 1) ?? STUDY_ITEMS;
  const study = await openStudy(run, config, items);
  await using opened = await openForMany(context);
  const answering = new ModelAnswering(opened.scheduler, {
    models: await servedModels(config, opened.adapter),
    systemPrompt: systemPromptOf(context),
    sampling: servedSampling(config),
    region,
  });
  await warmUp(answering);
  const server = await startServer({
    ...{ answering, run: run.name, host, port, token, helplines, region, study },
    sampling: servedSampling(config),
    ratings: run.pageRatings,
    onFailure: (message) => console.error(`Failure: ${message}`),
  });
  linesOf(server.url, answering, { study: study !== null, ratings: run.pageRatings, token })
    .forEach(say);
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
    ...ANSWERING_OPTIONS,
    context: { type: "string", value: "N", help: "tokens of prompt and answer (default: 1024)" },
    port: { type: "string", value: "N", help: "port, 0 for any that is free (default: 8000)" },
    host: { type: "string", value: "H", help: "address to listen on (default: 127.0.0.1)" },
    token: { type: "string", value: "T", help: "asked from every client, 16 characters or more" },
    places: { type: "string", value: "N", help: "answers decoded together (default: batch_size)" },
    waiting: { type: "string", value: "N", help: "requests that may wait (default: 256)" },
    "study-items": { type: "string", value: "N", help: "questions of /study (default: 30)" },
  },
  run: serve,
};

if (import.meta.main) await runTask(SERVE_TASK);
