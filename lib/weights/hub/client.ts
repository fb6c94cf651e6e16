/**
 * Requests to the hub. Redirects are followed here, one by one: the token goes to the hub's own origin
 * and to no other, and no address but http and https is ever opened.
 */
import { connectionError } from "./connection_error.ts";
import { HubError } from "./error.ts";
import type { ModelId } from "./model_id.ts";
import { type FilePromise, mergePromise, REDIRECTS, redirectTarget } from "./redirects.ts";
import { refusal, type RefusalContext } from "./refusal.ts";
import { retry, RETRY_POLICY, type RetryPolicy } from "./retry.ts";
import type { HubSettings } from "./settings.ts";
import type { Token } from "./token.ts";

/** Options of {@linkcode HubClient}. */
export interface HubClientOptions {
  /** Connections kept open. @default {8} */
  readonly connections?: number;
  readonly policy?: RetryPolicy;
  readonly signal?: AbortSignal | undefined;
  /** Told before each wait. */
  readonly onRetry?: ((error: HubError, delayMs: number) => void) | undefined;
}

/** An answer after all redirects. */
export interface HubAnswer {
  readonly response: Response;
  /** Where it came from in the end. */
  readonly url: URL;
  /** What the hub itself said of the file, on its way to the storage. */
  readonly promised: FilePromise;
}

/** Options of {@linkcode HubClient.open}. */
export interface OpenOptions {
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal | undefined;
}

const MAX_REDIRECTS = 8;
/** Longest answer of the API; a list of files is far below it. */
const MAX_API_BYTES = 64 * 1024 * 1024;
/** Failures in a row of an API request: a missing network should be told within seconds. */
const API_ATTEMPTS = 4;

/** A client for one model. Close it with `using`: it holds connections. */
export class HubClient implements Disposable {
  readonly #http: Deno.HttpClient;
  readonly #origin: string;
  readonly policy: RetryPolicy;

  constructor(
    readonly settings: HubSettings,
    readonly model: ModelId,
    readonly token: Token | null,
    readonly options: HubClientOptions = {},
  ) {
    this.policy = options.policy ?? RETRY_POLICY;
    this.#origin = new URL(settings.endpoint).origin;
    // One connection a range: over HTTP/2 all ranges would share one connection's window.
    this.#http = Deno.createHttpClient({
      http2: false,
      poolMaxIdlePerHost: options.connections ?? 8,
    });
  }

  [Symbol.dispose](): void {
    this.#http.close();
  }

  /** The token is not sent in the clear, unless to this very machine. */
  get #tokenSent(): boolean {
    const { protocol, hostname } = new URL(this.settings.endpoint);
    return this.token !== null &&
      (protocol === "https:" || /^(localhost|127(\.\d+){3}|\[::1\])$/.test(hostname));
  }

  get #context(): RefusalContext {
    return {
      endpoint: this.settings.endpoint,
      model: this.model,
      token: this.token,
      tokenFile: this.settings.tokenFile,
      tokenSent: this.#tokenSent,
    };
  }

  /** Address of a file at a commit. */
  fileUrl(commit: string, path: string): URL {
    const file = path.split("/").map(encodeURIComponent).join("/");
    return new URL(`${this.settings.endpoint}/${this.model.name}/resolve/${commit}/${file}`);
  }

  /**
   * One request, redirects followed. Tries once.
   *
   * @throws {HubError} anything but a success
   */
  async open(url: URL, options: OpenOptions = {}): Promise<HubAnswer> {
    let promised: FilePromise = { etag: null, size: null, commit: null };
    let at = url;
    for (let hop = 0; hop <= MAX_REDIRECTS; hop++) {
      const response = await this.#send(at, options);
      if (at.origin === this.#origin) promised = mergePromise(promised, response.headers);
      if (response.ok) return { response, url: at, promised };
      await response.body?.cancel();
      if (!REDIRECTS.has(response.status)) throw this.#refused(response, at);
      at = redirectTarget(response, at);
    }
    throw new HubError(
      "redirect",
      `${url.host}: expected a file, found more than ${MAX_REDIRECTS} redirects in a row. ` +
        "Unset HF_ENDPOINT if a mirror is set; else run this again later.",
    );
  }

  /** A storage's refusal says nothing of the user's rights: its signed address ran out, or it is down. */
  #refused(response: Response, at: URL): HubError {
    if (at.origin === this.#origin) return refusal(response, this.#context);
    const transient = response.status !== 416;
    return new HubError(
      transient ? "server" : "length",
      `${at.host}, where the hub keeps the file, answered ${response.status}. Run this again later.`,
      { transient },
    );
  }

  async #send(url: URL, { headers = {}, signal }: OpenOptions): Promise<Response> {
    const late = new AbortController();
    const timer = setTimeout(() => late.abort(), this.policy.answerMs);
    const signals = [late.signal, signal, this.options.signal].filter((s) => s !== undefined);
    try {
      return await fetch(url, {
        client: this.#http,
        redirect: "manual",
        signal: AbortSignal.any(signals),
        headers: {
          ...headers,
          // Lengths and hashes are of the file itself, not of a packed form.
          "accept-encoding": "identity",
          "user-agent": `bengali-empathy-qlora; deno/${Deno.version.deno}`,
          ...(this.#tokenSent && url.origin === this.#origin
            ? { authorization: this.token?.authorization ?? "" }
            : {}),
        },
      });
    } catch (error) {
      signal?.throwIfAborted();
      this.options.signal?.throwIfAborted();
      if (error instanceof Deno.errors.NotCapable) throw error;
      throw connectionError(error, url, late.signal.aborted);
    } finally {
      clearTimeout(timer);
    }
  }

  /**
   * `fetch` for the official library: with the token where it may go, redirects, retries, and refusals
   * as {@linkcode HubError}s. Answers come whole.
   */
  readonly fetch: typeof fetch = (input) => {
    const url = new URL(input instanceof Request ? input.url : input);
    const { policy, options: { signal, onRetry } } = this;
    const attempts = Math.min(API_ATTEMPTS, policy.attempts);
    return retry(async () => {
      const { response } = await this.open(url, { headers: { accept: "application/json" } });
      const body = await this.#readWhole(response, url);
      return new Response(body, { status: response.status, headers: response.headers });
    }, { policy: { ...policy, attempts }, signal, onRetry });
  };

  async #readWhole(response: Response, url: URL): Promise<Uint8Array<ArrayBuffer>> {
    const { signal } = this.options;
    const reader = response.body?.getReader();
    const stop = () => void reader?.cancel().catch(() => {});
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      stop();
    }, this.policy.answerMs);
    signal?.addEventListener("abort", stop, { once: true });
    try {
      const bytes = await readAtMost(reader, MAX_API_BYTES, url);
      if (late) throw connectionError(null, url, true);
      return bytes;
    } catch (error) {
      signal?.throwIfAborted();
      throw error instanceof HubError ? error : connectionError(error, url, late);
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener("abort", stop);
    }
  }
}

async function readAtMost(
  reader: ReadableStreamDefaultReader<Uint8Array<ArrayBuffer>> | undefined,
  limit: number,
  url: URL,
): Promise<Uint8Array<ArrayBuffer>> {
  const chunks: Uint8Array<ArrayBuffer>[] = [];
  let bytes = 0;
  for (let part = await reader?.read(); part?.value !== undefined; part = await reader?.read()) {
    bytes += part.value.length;
    if (bytes > limit) {
      await reader?.cancel();
      throw new HubError(
        "server",
        `${url.host}: expected a list of at most ${limit} bytes, found more. Check HF_ENDPOINT.`,
      );
    }
    chunks.push(part.value);
  }
  return new Uint8Array(await new Blob(chunks).arrayBuffer());
}
