/**
 * Who may talk to the server: the names it answers to, the origins it accepts, the token it asks for.
 *
 * A page anywhere on the web can make a browser send requests to this machine. Three checks keep it
 * out: the Host header must be a name of ours (else a foreign name has been pointed at this address),
 * an Origin must be our own, and a listening address other than loopback needs a token.
 *
 * @module
 */
import { createHash, timingSafeEqual } from "node:crypto";
import { HttpProblem } from "./problem.ts";

/** What a server accepts. */
export interface AccessPolicy {
  /** The address it listens on. */
  readonly host: string;
  /** Required from every client; null on loopback without one. */
  readonly token: string | null;
}

const LOOPBACK = new Set(["localhost", "127.0.0.1", "[::1]", "::1"]);
const ANY_ADDRESS = new Set(["0.0.0.0", "::", "[::]"]);
/** An address in digits cannot be a foreign name that was pointed at us. */
const ADDRESS = /^(?:\d{1,3}(?:\.\d{1,3}){3}|\[[0-9a-f:.]+\])$/i;
/** Name of the cookie a browser gets in exchange for the token. */
const COOKIE = "session";
/** Shortest token that guessing does not find. */
export const MIN_TOKEN_LENGTH = 16;

/** Whether an address is this machine's own, reachable by nobody else. */
export function isLoopback(host: string): boolean {
  return LOOPBACK.has(host) || /^127(?:\.\d{1,3}){3}$/.test(host);
}

/** The host part of a Host header, without its port, in lower case. */
function nameOf(header: string): string {
  return header.trim().toLowerCase().replace(/:\d+$/, "").replace(/\.$/, "");
}

function isOurName(name: string, host: string): boolean {
  if (isLoopback(name)) return true;
  if (name === host.toLowerCase() || name === `[${host.toLowerCase()}]`) return true;
  return ANY_ADDRESS.has(host) && ADDRESS.test(name);
}

/**
 * Refuses a request for a name that is not ours.
 *
 * @throws {HttpProblem} 421
 */
export function checkHost(request: Request, policy: AccessPolicy): void {
  const header = request.headers.get("host") ?? new URL(request.url).host;
  if (isOurName(nameOf(header), policy.host)) return;
  throw new HttpProblem(
    421,
    `Host: expected localhost or the address the server listens on, found '${
      header.slice(0, 100)
    }'. ` +
      "Open the address that the server printed, or start it with --host NAME.",
    { code: "unknown_host" },
  );
}

/**
 * Refuses a request that another site makes a browser send.
 *
 * @throws {HttpProblem} 403
 */
export function checkOrigin(request: Request): void {
  const origin = request.headers.get("origin");
  const own = request.headers.get("host") ?? new URL(request.url).host;
  const site = request.headers.get("sec-fetch-site");
  const navigation = request.method === "GET" &&
    request.headers.get("sec-fetch-mode") === "navigate";
  const foreignOrigin = origin !== null && originHost(origin) !== own.toLowerCase();
  const foreignSite = (site === "cross-site" || site === "same-site") && !navigation;
  if (!foreignOrigin && !foreignSite) return;
  throw new HttpProblem(
    403,
    `Origin: expected this server's own page, found '${(origin ?? site ?? "").slice(0, 100)}'. ` +
      "Use the page that the server serves, or a client that is no web page.",
    { code: "foreign_origin" },
  );
}

function originHost(origin: string): string | null {
  return URL.canParse(origin) ? new URL(origin).host.toLowerCase() : null;
}

/** Compares in a time that does not depend on where the texts differ. */
export function sameSecret(given: string, expected: string): boolean {
  const digest = (text: string) => createHash("sha256").update(text).digest();
  return timingSafeEqual(digest(given), digest(expected));
}

/** Browsers that have shown the token: each holds a random number of its own, never the token. */
export class Sessions {
  readonly #ids = new Set<string>();

  /** A new session. @returns the value of its `Set-Cookie` header */
  open(): string {
    const id = crypto.randomUUID();
    if (this.#ids.size >= 10_000) this.#ids.clear();
    this.#ids.add(id);
    return `${COOKIE}=${id}; HttpOnly; SameSite=Strict; Path=/`;
  }

  /** Whether a request carries the cookie of an open session. */
  has(request: Request): boolean {
    const cookies = (request.headers.get("cookie") ?? "").split(/;\s*/);
    return cookies.some((pair) =>
      pair.startsWith(`${COOKIE}=`) && this.#ids.has(pair.slice(COOKIE.length + 1))
    );
  }
}

/** Whether a request shows the token, as a bearer token or by the cookie of a session. */
export function isAuthorized(request: Request, policy: AccessPolicy, sessions: Sessions): boolean {
  if (policy.token === null || sessions.has(request)) return true;
  const bearer = /^Bearer (.+)$/i.exec(request.headers.get("authorization") ?? "")?.[1];
  return bearer !== undefined && sameSecret(bearer, policy.token);
}

/**
 * Refuses a request without the token.
 *
 * @throws {HttpProblem} 401
 */
export function checkToken(request: Request, policy: AccessPolicy, sessions: Sessions): void {
  if (isAuthorized(request, policy, sessions)) return;
  throw new HttpProblem(
    401,
    "Authorization: expected 'Bearer TOKEN' with the token the server was started with, found " +
      `${request.headers.has("authorization") ? "another one" : "none"}. ` +
      "Give it as the API key of your client, or open the page in a browser and type it there.",
    { code: "invalid_api_key", headers: { "www-authenticate": "Bearer" } },
  );
}
