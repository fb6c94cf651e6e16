/** A running server with scripted models, its files in a folder of its own. */
import { defaultHelplines } from "@lib/safety/mod.ts";
import type { TurnSampling } from "@lib/server/answering.ts";
import { type RunningServer, type ServerOptions, startServer } from "@lib/server/server.ts";
import { ScriptedAnswering, type ScriptOptions } from "./scripted_answering.ts";

export const SAMPLING: TurnSampling = {
  maxNewTokens: 40,
  temperature: 0,
  topP: 1,
  topK: 0,
  minP: 0,
  repetitionPenalty: 1,
  seed: 42,
};

/** What a test gets. */
export interface ServerFixture {
  readonly server: RunningServer;
  readonly answering: ScriptedAnswering;
  readonly folder: string;
  /** Everything the server wrote to its log. */
  readonly log: string[];
  /** A request to the server, JSON when a body is given. */
  ask(path: string, body?: unknown, init?: RequestInit): Promise<Response>;
}

/** How the server of a test differs from the plainest one. */
export interface FixtureOptions extends Partial<ServerOptions> {
  readonly script?: ScriptOptions;
  /** Options that need the test's folder. */
  readonly prepare?: (folder: string) => Promise<Partial<ServerOptions>>;
}

/** Runs a test against a server and stops it afterwards. */
export async function withServer(
  options: FixtureOptions,
  body: (fixture: ServerFixture) => Promise<void>,
): Promise<void> {
  const { script, prepare, ...given } = options;
  const folder = await Deno.makeTempDir();
  const answering = new ScriptedAnswering(script);
  const log: string[] = [];
  const server = await startServer({
    answering,
    run: "test",
    sampling: SAMPLING,
    helplines: defaultHelplines(),
    region: "BD",
    ratings: `${folder}/ratings.jsonl`,
    onFailure: (message) => log.push(message),
    ...given,
    ...await prepare?.(folder),
  });
  try {
    await body({
      server,
      answering,
      folder,
      log,
      ask: (path, json, init = {}) =>
        fetch(
          `${server.url}${path}`,
          json === undefined ? init : {
            method: "POST",
            body: JSON.stringify(json),
            ...init,
            headers: { "content-type": "application/json", ...init.headers },
          },
        ),
    });
  } finally {
    await server.stop(200);
    await Deno.remove(folder, { recursive: true });
  }
}

/** A completion request. */
export function question(content: string, extra: Readonly<Record<string, unknown>> = {}) {
  return { model: "tuned", messages: [{ role: "user", content }], ...extra };
}

/** Sends bytes as they are and returns all that comes back: what `fetch` would not send. */
export async function raw(url: string, text: string): Promise<string> {
  const { hostname, port } = new URL(url);
  using connection = await Deno.connect({ hostname, port: Number(port) });
  await connection.write(new TextEncoder().encode(text));
  const reader = connection.readable.pipeThrough(new TextDecoderStream());
  let answer = "";
  for await (const part of reader) {
    answer += part;
    if (/\r\n\r\n/.test(answer)) break;
  }
  return answer;
}

/** Waits until something holds, at most two seconds. */
export async function eventually(holds: () => boolean): Promise<boolean> {
  for (let i = 0; i < 200 && !holds(); i++) await new Promise((done) => setTimeout(done, 10));
  return holds();
}
