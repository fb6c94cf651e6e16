/** Failures of the hub and of fetching from it. */

/** What went wrong, for code that must tell cases apart. */
export type HubErrorKind =
  | "id" // not a model id, or a revision that cannot be one
  | "settings" // HF_ENDPOINT or the token cannot be used
  | "gated" // the licence was not accepted
  | "token" // wrong, expired, or without the right to read
  | "missing" // no such repository, revision or file
  | "unsupported" // a repository the course cannot use
  | "offline" // HF_HUB_OFFLINE is set and the model is not here
  | "network" // no connection, or one that was cut
  | "slow" // a connection that hardly moves
  | "rate" // too many requests
  | "server" // 5xx, or an answer that is not the hub's
  | "redirect" // a redirect that leads nowhere
  | "length" // more or fewer bytes than promised
  | "hash" // other bytes than promised
  | "disk"; // no room, or not writable

/** Options of {@linkcode HubError}. */
export interface HubErrorOptions {
  /** Whether the same request may succeed a little later. @default {false} */
  readonly transient?: boolean;
  /** Milliseconds the server asks to wait. */
  readonly retryAfterMs?: number;
}

/** A failure with the exact next step. Its message never holds the token or a signed address. */
export class HubError extends Error {
  override readonly name = "HubError";
  readonly transient: boolean;
  readonly retryAfterMs: number | undefined;

  constructor(readonly kind: HubErrorKind, message: string, options: HubErrorOptions = {}) {
    super(message);
    this.transient = options.transient ?? false;
    this.retryAfterMs = options.retryAfterMs;
  }
}
