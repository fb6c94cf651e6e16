/** What a redirect of the hub says: where the file is, and what it should be. */
import { HubError } from "./error.ts";

/** The hub's `x-linked-etag`, `x-linked-size` and `x-repo-commit`; null where it did not say. */
export interface FilePromise {
  readonly etag: string | null;
  readonly size: number | null;
  readonly commit: string | null;
}

/** Statuses that name another address. */
export const REDIRECTS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);

/** What was promised before, with what these headers add. */
export function mergePromise(before: FilePromise, headers: Headers): FilePromise {
  const etag = headers.get("x-linked-etag")?.replace(/^W\//, "").replaceAll('"', "") ?? null;
  const size = headers.get("x-linked-size");
  return {
    etag: etag ?? before.etag,
    size: size !== null && /^\d+$/.test(size) ? Number(size) : before.size,
    commit: headers.get("x-repo-commit") ?? before.commit,
  };
}

/**
 * Where a redirect leads: to http or https only, and never from https to http.
 *
 * @throws {HubError} an address that is not followed
 */
export function redirectTarget(response: Response, from: URL): URL {
  const location = response.headers.get("location") ?? "";
  const to = URL.canParse(location, from.href) ? new URL(location, from) : null;
  const isWeb = to?.protocol === "https:" || to?.protocol === "http:";
  if (to === null || !isWeb || (from.protocol === "https:" && to.protocol === "http:")) {
    throw new HubError(
      "redirect",
      `${from.host} redirects to ${
        isWeb ? "plain http" : "no web address"
      }, which is not followed. Unset HF_ENDPOINT if a mirror is set; else run this again later.`,
    );
  }
  return to;
}
