/** Connections that could not be made or broke off, in words that help. */
import { HubError } from "./error.ts";

/**
 * The error for a connection that failed.
 *
 * @param error what `fetch` or a body threw; its text is not passed on, for it holds signed addresses
 * @param late whether it was given up after waiting
 */
export function connectionError(error: unknown, url: URL, late: boolean): HubError {
  const detail = error instanceof Error ? error.message : "";
  const why = late
    ? "no answer in time"
    : /dns error|lookup/i.test(detail)
    ? "its name cannot be resolved"
    : /certificate|tls|handshake/i.test(detail)
    ? "its certificate is not accepted"
    : /\(Connect\)|refused|unreachable/i.test(detail)
    ? "no connection"
    : "the connection broke off";
  return new HubError(
    "network",
    `${url.host}: ${why}. Check the network (and HTTPS_PROXY, if you need a proxy), then run this ` +
      "again: what is already here is kept. Where the hub is blocked, set HF_ENDPOINT to a mirror.",
    { transient: true },
  );
}
