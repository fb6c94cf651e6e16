/**
 * A hub on this machine, for tests: its API, its redirects to a storage of another origin, and any
 * misbehaviour a test asks for.
 */
import { createHash } from "node:crypto";
import { assertEquals } from "@std/assert";
import { randomInt, seededRandom } from "@lib/random.ts";
import { parseModelId } from "@lib/weights/hub/model_id.ts";
import type { RetryPolicy } from "@lib/weights/hub/retry.ts";
import type { HubSettings } from "@lib/weights/hub/settings.ts";
import { fetchModel, type FetchModelOptions } from "@lib/weights/hub/fetch_model.ts";
import { Token } from "@lib/weights/hub/token.ts";

export const TOKEN = "hf_SecretOfTheTestsAbcdefghijklmnopq";
export const COMMIT = "0123456789abcdef0123456789abcdef01234567";
export const MODEL = parseModelId("owner/tiny-model");

/** Waits short enough for tests. */
export const FAST: RetryPolicy = {
  attempts: 4,
  firstDelayMs: 2,
  maxDelayMs: 10,
  maxRetryAfterMs: 2000,
  answerMs: 1000,
  stallMs: 150,
  stallBytes: 2000,
};

/** A request as the hub or the storage saw it. */
export interface Seen {
  readonly host: "hub" | "storage";
  readonly path: string;
  readonly authorization: string | null;
  readonly range: string | null;
}

/** Looks at a request first; undefined lets the server answer as it should. */
export type Misbehaviour = (
  request: Request,
  path: string,
) => Response | undefined | Promise<Response | undefined>;

/** Bytes that look random and are the same in every run. */
export function noise(bytes: number, seed: number): Uint8Array<ArrayBuffer> {
  const random = seededRandom(seed);
  const data = new Uint8Array(bytes);
  for (let at = 0; at < bytes; at++) data[at] = randomInt(random, 256);
  return data;
}

const text = (value: string) => new TextEncoder().encode(value);

/** A sharded model with all that repositories carry besides. */
export function modelFiles(shardBytes = 300_000): Map<string, Uint8Array<ArrayBuffer>> {
  const shards = [1, 2].map((n) => `model-0000${n}-of-00002.safetensors`);
  const index = { weight_map: { a: shards[0], b: shards[1], c: shards[1] } };
  return new Map([
    [".gitattributes", text("*.safetensors filter=lfs")],
    ["README.md", text("# A model")],
    ["config.json", text('{"model_type":"llama"}')],
    ["generation_config.json", text("{}")],
    ["tokenizer.json", noise(60_000, 3)],
    ["tokenizer_config.json", text('{"chat_template":"আপনি"}')],
    ["model.safetensors.index.json", text(JSON.stringify(index))],
    [shards[0] ?? "", noise(shardBytes, 4)],
    [shards[1] ?? "", noise(shardBytes - 12_345, 5)],
    ["pytorch_model.bin", noise(1000, 6)],
    ["model.Q4.gguf", noise(1000, 7)],
    ["original/consolidated.00.pth", noise(1000, 8)],
  ]);
}

/** What of {@linkcode modelFiles} the course needs. */
export const NEEDED = [
  "config.json",
  "generation_config.json",
  "model-00001-of-00002.safetensors",
  "model-00002-of-00002.safetensors",
  "model.safetensors.index.json",
  "tokenizer.json",
  "tokenizer_config.json",
];

const sha256 = (data: Uint8Array) => createHash("sha256").update(data).digest("hex");
const gitHash = (data: Uint8Array) =>
  createHash("sha1").update(`blob ${data.length}\0`).update(data).digest("hex");
const isLarge = (path: string) => /\.(safetensors|bin|gguf|pth)$|^tokenizer\.json$/.test(path);

/** Answers a GET, with Range where it is asked for. */
export function serveBytes(request: Request, data: Uint8Array<ArrayBuffer>): Response {
  const range = /^bytes=(\d+)-(\d+)$/.exec(request.headers.get("range") ?? "");
  if (range === null) return new Response(data, { headers: length(data.length) });
  const [start, end] = [Number(range[1]), Number(range[2]) + 1];
  return new Response(data.slice(start, end), {
    status: 206,
    headers: {
      ...length(end - start),
      "content-range": `bytes ${start}-${end - 1}/${data.length}`,
    },
  });
}

const length = (bytes: number) => ({ "content-length": String(bytes) });

/** The answer as it would be, but the connection breaks off after some bytes. */
export async function cutAfter(response: Response, bytes: number): Promise<Response> {
  const data = (await response.bytes()).slice(0, bytes);
  const body = new ReadableStream({
    start(controller) {
      controller.enqueue(data);
    },
    async pull(controller) {
      await new Promise((resolve) => setTimeout(resolve, 5));
      controller.error(new Error("cut"));
    },
  });
  return new Response(body, { status: response.status, headers: response.headers });
}

/** A refusal as the hub gives it. */
export function refuse(status: number, code?: string, message?: string, more: HeadersInit = {}) {
  const headers = new Headers(more);
  if (code !== undefined) headers.set("x-error-code", code);
  if (message !== undefined) headers.set("x-error-message", message);
  return Response.json({ error: message ?? "no" }, { status, headers });
}

/** A hub and its storage on two ports, and an empty cache folder. */
export class FakeHub implements AsyncDisposable {
  readonly seen: Seen[] = [];
  /** Lines that were shown to the user; checked for the token when the test ends. */
  readonly messages: string[] = [];
  atHub: Misbehaviour = () => undefined;
  atStorage: Misbehaviour = () => undefined;
  /** Requests the storage answers at this moment, and the most there ever were. */
  active = 0;
  mostActive = 0;
  readonly #hub: Deno.HttpServer<Deno.NetAddr>;
  readonly #storage: Deno.HttpServer<Deno.NetAddr>;

  private constructor(
    readonly folder: string,
    readonly files: Map<string, Uint8Array<ArrayBuffer>>,
  ) {
    const quiet = { hostname: "127.0.0.1", port: 0, onListen: () => {} };
    const onError = () => new Response(null, { status: 500 });
    this.#hub = Deno.serve({ ...quiet, onError }, (request) => this.#answer(request, "hub"));
    this.#storage = Deno.serve(
      { ...quiet, onError },
      (request) => this.#answer(request, "storage"),
    );
  }

  static async start(files = modelFiles()): Promise<FakeHub> {
    return new FakeHub(await Deno.makeTempDir(), files);
  }

  get endpoint(): string {
    return `http://127.0.0.1:${this.#hub.addr.port}`;
  }
  get storage(): string {
    return `http://127.0.0.1:${this.#storage.addr.port}`;
  }
  get cache(): string {
    return `${this.folder}/hub`;
  }
  get repository(): string {
    return `${this.cache}/models--owner--tiny-model`;
  }
  get snapshot(): string {
    return `${this.repository}/snapshots/${COMMIT}`;
  }
  get settings(): HubSettings {
    const { endpoint, cache } = this;
    return { endpoint, cache, tokenFile: `${this.folder}/token`, offline: false };
  }

  /** Fetches the model with the test's token, in pieces of 32 KiB. */
  fetch(options: FetchModelOptions = {}) {
    return fetchModel(MODEL, {
      settings: this.settings,
      token: new Token(TOKEN, "HF_TOKEN"),
      policy: FAST,
      pieceBytes: 32 * 1024,
      onMessage: (line) => this.messages.push(line),
      onRetry: (error) => this.messages.push(error.message),
      ...options,
    });
  }

  /** The message of the error that fetching ends with. */
  async refusal(options: FetchModelOptions = {}): Promise<Error & { kind?: string }> {
    const error = await this.fetch(options).then(() => null, (error: unknown) => error);
    if (!(error instanceof Error)) throw new Error("expected an error, the fetch succeeded");
    this.messages.push(Deno.inspect(error));
    return error;
  }

  /** Requests for ranges of one file at the storage. */
  ranges(path: string): Seen[] {
    const hash = sha256(this.files.get(path) ?? new Uint8Array());
    return this.seen.filter((seen) => seen.host === "storage" && seen.path.includes(hash));
  }

  async #answer(request: Request, host: Seen["host"]): Promise<Response> {
    const { pathname } = new URL(request.url);
    const path = decodeURIComponent(pathname);
    const { headers } = request;
    this.seen.push({
      host,
      path,
      authorization: headers.get("authorization"),
      range: headers.get("range"),
    });
    const own = host === "hub" ? this.atHub : this.atStorage;
    return await own(request, path) ??
      (host === "hub" ? this.hubAnswer(request, path) : await this.#storageAnswer(request, path));
  }

  /** What the hub answers when nothing is wrong. */
  hubAnswer(request: Request, path: string): Response {
    const api = `/api/models/${MODEL.name}`;
    if (path === `${api}/revision/main` || path === `${api}/revision/${COMMIT}`) {
      return Response.json({
        _id: "1",
        id: MODEL.name,
        sha: COMMIT,
        private: false,
        gated: false,
        downloads: 1,
        likes: 1,
        lastModified: "2026-01-01T00:00:00.000Z",
      });
    }
    if (path === `${api}/tree/${COMMIT}`) return this.#tree(request);
    const below = `${api}/tree/${COMMIT}/`;
    if (path.startsWith(below)) return Response.json(this.#entries(path.slice(below.length)));
    for (const revision of ["main", COMMIT]) {
      const resolve = `/${MODEL.name}/resolve/${revision}/`;
      if (path.startsWith(resolve)) return this.#resolve(path.slice(resolve.length));
    }
    const cached = `/api/resolve-cache/models/${MODEL.name}/${COMMIT}/`;
    const data = path.startsWith(cached) ? this.files.get(path.slice(cached.length)) : undefined;
    if (data !== undefined) {
      const answer = serveBytes(request, data);
      answer.headers.set("x-repo-commit", COMMIT);
      answer.headers.set("etag", `"${gitHash(data)}"`);
      return answer;
    }
    if (path.startsWith(`${api}/revision/`)) return refuse(404, "RevisionNotFound", "Invalid rev");
    return refuse(404, "RepoNotFound", "Repository not found");
  }

  /** The files directly in a folder; the top is "". */
  #entries(folder: string) {
    return [...this.files].map(([path, data]) => ({
      type: "file",
      path,
      size: data.length,
      oid: isLarge(path) ? gitHash(text(sha256(data))) : gitHash(data),
      ...(isLarge(path) ? { lfs: { oid: sha256(data), size: data.length, pointerSize: 134 } } : {}),
    })).filter(({ path }) => path.slice(0, Math.max(0, path.lastIndexOf("/"))) === folder);
  }

  /** Two pages, as long lists have. */
  #tree(request: Request): Response {
    const all = this.#entries("");
    const names = new Set(
      [...this.files.keys()].filter((path) => path.includes("/")).map((path) => path.split("/")[0]),
    );
    const folders = ["original", ...names].map((path) => ({
      ...{ type: "directory", path, size: 0, oid: COMMIT },
    }));
    if (new URL(request.url).searchParams.has("cursor")) return Response.json(all.slice(5));
    const next = `<${request.url}&cursor=x>; rel="next"`;
    return Response.json([...folders, ...all.slice(0, 5)], { headers: { link: next } });
  }

  #resolve(path: string): Response {
    const data = this.files.get(path);
    if (data === undefined) return refuse(404, "EntryNotFound", "Entry not found");
    const large = isLarge(path);
    const location = large
      ? `${this.storage}/objects/${sha256(data)}?Signature=signed`
      : `/api/resolve-cache/models/${MODEL.name}/${COMMIT}/${path}`;
    return new Response(null, {
      status: large ? 302 : 307,
      headers: {
        location,
        "x-repo-commit": COMMIT,
        "x-linked-etag": `"${large ? sha256(data) : gitHash(data)}"`,
        "x-linked-size": String(data.length),
      },
    });
  }

  async #storageAnswer(request: Request, path: string): Promise<Response> {
    this.active++;
    this.mostActive = Math.max(this.mostActive, this.active);
    await new Promise((resolve) => setTimeout(resolve, 3));
    this.active--;
    return this.stored(request, path);
  }

  /** What the storage answers when nothing is wrong. */
  stored(request: Request, path: string): Response {
    for (const data of this.files.values()) {
      if (path.includes(sha256(data))) return serveBytes(request, data);
    }
    return new Response(null, { status: 404 });
  }

  /** Stops both servers; whatever the test was about, the token must be nowhere. */
  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([this.#hub.shutdown(), this.#storage.shutdown()]);
    try {
      this.assertNoLeak();
    } finally {
      await Deno.remove(this.folder, { recursive: true });
    }
  }

  assertNoLeak(): void {
    const sent = this.seen.filter(({ host, authorization }) => host === "storage" && authorization);
    assertEquals(sent, [], "the token was sent to the storage");
    const inPaths = this.seen.filter(({ path }) => path.includes(TOKEN));
    assertEquals(inPaths, [], "the token is in an address");
    const shown = this.messages.filter((line) => /SecretOfTheTests|signed/.test(line));
    assertEquals(shown, [], "the token or a signed address was shown");
    assertEquals(filesWith(this.folder, "SecretOfTheTests"), [], "the token was written");
  }
}

/** Files below a folder whose content holds a text. */
function filesWith(folder: string, needle: string): string[] {
  return [...Deno.readDirSync(folder)].flatMap(({ name, isDirectory, isFile }) => {
    const path = `${folder}/${name}`;
    if (isDirectory) return filesWith(path, needle);
    const content = isFile ? new TextDecoder().decode(Deno.readFileSync(path)) : "";
    return content.includes(needle) ? [path] : [];
  });
}

/** Names of the files below a folder, sorted, links included. */
export async function namesIn(folder: string): Promise<string[]> {
  const entries = await Array.fromAsync(Deno.readDir(folder));
  return entries.map(({ name }) => name).sort();
}
