/** The HTTP server: the page, the OpenAI-compatible API, what is kept of ratings. */
import type { Helplines } from "@lib/safety/helplines.ts";
import type { Region } from "@lib/safety/types.ts";
import {
  type AccessPolicy,
  checkHost,
  checkOrigin,
  checkToken,
  isLoopback,
  MIN_TOKEN_LENGTH,
  Sessions,
} from "./access.ts";
import type { Answering, TurnSampling } from "./answering.ts";
import { readJsonBody } from "./body.ts";
import { completionResponse } from "./completions.ts";
import { secured } from "./headers.ts";
import { askForToken, login } from "./login.ts";
import { findModel, modelList, modelObject } from "./models.ts";
import { pageInfo } from "./page_info.ts";
import { HttpProblem, problemResponse } from "./problem.ts";
import { RatingStore } from "./rating_store.ts";
import { parseRating } from "./ratings.ts";
import { findHandler, type Handler, type Methods, type Routes } from "./router.ts";
import { loadStaticFiles, type StaticFiles, staticResponse } from "./static_files.ts";
import type { StudyDesk } from "@lib/study/desk.ts";
import { studyRoutes } from "./study_routes.ts";

/** What a server is made of. */
export interface ServerOptions {
  readonly answering: Answering;
  /** Address to listen on. @default {"127.0.0.1"} */
  readonly host?: string;
  /** 0: any that is free. @default {0} */
  readonly port?: number;
  /** Asked from every client; needed for any address but loopback. @default {null} */
  readonly token?: string | null;
  /** Name of the run, for the page and for what is kept. */
  readonly run: string;
  /** Settings of answers that ask for none. */
  readonly sampling: TurnSampling;
  readonly helplines: Helplines;
  readonly region: Region;
  /** Append-only file of ratings. */
  readonly ratings: string;
  /** The human study, when the run has answers to rate. @default {null} */
  readonly study?: StudyDesk | null;
  /** Told of failures that are the server's own. Never gets a token or a body. */
  readonly onFailure: (message: string) => void;
}

/** Options that would leave the server open. */
export class ServerOptionsError extends Error {
  override readonly name = "ServerOptionsError";
}

/** A server that listens. */
export interface RunningServer {
  /** Its address, e.g. `http://127.0.0.1:8000`. */
  readonly url: string;
  /** Requests under way, streams included. */
  readonly active: number;
  /**
   * Refuses new answers, lets those under way end, then closes; what is still under way after the
   * limit breaks off with a message.
   */
  stop(limitMs?: number): Promise<void>;
}

/** Status of a response that nobody waits for any more. */
const CLIENT_GONE = 499;
/** Time that answers under way get to end in when the server stops. */
export const STOP_LIMIT_MS = 20_000;

/** Where the server listens unless another address is asked for. */
export const LOOPBACK = "127.0.0.1";

/** @throws {ServerOptionsError} an address others can reach without a token that cannot be guessed */
export function checkExposure(host: string, token: string | null): void {
  if (token === null && !isLoopback(host)) {
    throw new ServerOptionsError(
      `--host ${host}: expected a token too, since others can reach this address, found none. ` +
        `Give one of at least ${MIN_TOKEN_LENGTH} characters with --token, or leave --host out.`,
    );
  }
  if (token !== null && token.length < MIN_TOKEN_LENGTH) {
    throw new ServerOptionsError(
      `--token: expected at least ${MIN_TOKEN_LENGTH} characters, found ${token.length}. ` +
        `For example: ${crypto.randomUUID()}`,
    );
  }
}

/**
 * Starts the server.
 *
 * @throws {ServerOptionsError} options that would leave it open
 */
export async function startServer(options: ServerOptions): Promise<RunningServer> {
  const { host = LOOPBACK, port = 0, token = null } = options;
  checkExposure(host, token);
  const state = new ServerState(options, { host, token });
  const routes = await routesOf(state);
  const server = Deno.serve(
    { hostname: host, port, onListen() {}, onError: (error) => state.failed(error) },
    (request) => state.handle(routes, request),
  );
  const shown = host.includes(":") ? `[${host}]` : host;
  return {
    url: `http://${shown}:${server.addr.port}`,
    get active() {
      return state.active;
    },
    stop: async (limitMs = STOP_LIMIT_MS) => {
      state.stopping = true;
      const timer = setTimeout(() => {
        state.closing.abort(new Error("The server was stopped."));
      }, limitMs);
      try {
        await server.shutdown();
      } finally {
        clearTimeout(timer);
      }
    },
  };
}

/** What the requests of one server share. */
class ServerState {
  readonly closing = new AbortController();
  readonly sessions = new Sessions();
  stopping = false;
  active = 0;

  constructor(readonly options: ServerOptions, readonly policy: AccessPolicy) {}

  /** Answers a request; whatever goes wrong has its own status and message. */
  async handle(routes: Routes, request: Request): Promise<Response> {
    this.active++;
    request.signal.addEventListener("abort", () => this.active--, { once: true });
    try {
      checkHost(request, this.policy);
      checkOrigin(request);
      return secured(await findHandler(routes, request)(request));
    } catch (error) {
      if (request.signal.aborted) return new Response(null, { status: CLIENT_GONE });
      return this.failed(error);
    }
  }

  /** The response to an error: a refusal says why, our own failures go to the log. */
  failed(error: unknown): Response {
    if (error instanceof HttpProblem) return secured(problemResponse(error));
    const why = error instanceof Error ? error.message : String(error);
    this.options.onFailure(why);
    return secured(problemResponse(
      new HttpProblem(500, `The server failed: ${why}`, { code: "server_failure" }),
    ));
  }

  /** A handler for those who have shown the token. */
  guarded(handler: Handler): Handler {
    return (request) => {
      checkToken(request, this.policy, this.sessions);
      return handler(request);
    };
  }

  /** Refuses new answers while the server stops. */
  checkRunning(): void {
    if (!this.stopping) return;
    throw new HttpProblem(503, "The server is being stopped. Ask again when it is back.", {
      code: "stopping",
      headers: { "retry-after": "30" },
    });
  }
}

async function routesOf(state: ServerState): Promise<Routes> {
  const { answering, study = null } = state.options;
  const store = await RatingStore.open(state.options.ratings);
  const info = pageInfo(answering, { ...state.options, study: study !== null });
  const routes = new Map<string, Methods>([
    ["/v1/models", { GET: state.guarded(() => Response.json(modelList(answering))) }],
    ["/v1/models/*", {
      GET: state.guarded((request) => {
        const id = new URL(request.url).pathname.split("/").at(-1) ?? "";
        return Response.json(modelObject(findModel(answering, id)));
      }),
    }],
    ["/v1/chat/completions", { POST: state.guarded((request) => complete(state, request)) }],
    ["/api/page", { GET: state.guarded(() => Response.json(info)) }],
    ["/api/ratings", {
      POST: state.guarded(async (request) => {
        await store.add(parseRating(await readJsonBody(request), state.options.run));
        return Response.json({ kept: true }, { status: 201 });
      }),
    }],
    ["/health", { GET: () => Response.json(health(state)) }],
    ...studyRoutes(study, (handler) => state.guarded(handler)),
  ]);
  addPages(routes, state, await loadStaticFiles());
  return routes;
}

function health({ options: { answering }, stopping }: ServerState) {
  const { live, waiting } = answering;
  return { status: stopping ? "stopping" : "ok", live, waiting, rss: Deno.memoryUsage().rss };
}

async function complete(state: ServerState, request: Request): Promise<Response> {
  state.checkRunning();
  const body = await readJsonBody(request);
  return await completionResponse(state.options.answering, body, {
    signals: [request.signal, state.closing.signal],
    onFailure: state.options.onFailure,
  });
}

/** The page's files; pages themselves only for those who have shown the token. */
function addPages(routes: Map<string, Methods>, state: ServerState, files: StaticFiles): void {
  const { policy, sessions } = state;
  for (const [path, file] of files) {
    const open = path.startsWith("/assets/") || path === "/login";
    routes.set(path, {
      GET: (request) =>
        (open ? null : askForToken(request, policy, sessions)) ?? staticResponse(file, request),
      ...(path === "/login" ? { POST: (request) => login(request, policy, sessions) } : {}),
    });
  }
}
