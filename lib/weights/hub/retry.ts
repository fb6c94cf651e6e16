/** Trying again: exponential backoff, and the time a server asks for. */
import { formatDuration } from "@lib/notebook/progress.ts";
import { HubError } from "./error.ts";

/** How long to wait for what. */
export interface RetryPolicy {
  /** Failures in a row without progress after which it is given up. */
  readonly attempts: number;
  /** Before the second attempt; doubled each time. */
  readonly firstDelayMs: number;
  readonly maxDelayMs: number;
  /** Longest time a server may ask us to wait. */
  readonly maxRetryAfterMs: number;
  /** Until the answer's head must be here. */
  readonly answerMs: number;
  /** A connection must bring this many bytes in this time, else it is given up. */
  readonly stallMs: number;
  readonly stallBytes: number;
}

/** For lines as people have them. */
export const RETRY_POLICY: RetryPolicy = {
  attempts: 6,
  firstDelayMs: 1000,
  maxDelayMs: 30_000,
  maxRetryAfterMs: 300_000,
  answerMs: 30_000,
  stallMs: 30_000,
  stallBytes: 32 * 1024,
};

/** Options of {@linkcode retry}. */
export interface RetryOptions {
  readonly policy: RetryPolicy;
  readonly signal?: AbortSignal | undefined;
  /** Whether the attempt that just failed got further all the same; failures are then counted anew. */
  readonly progressed?: () => boolean;
  /** Told before each wait. */
  readonly onRetry?: ((error: HubError, delayMs: number) => void) | undefined;
}

/**
 * Runs an attempt until it succeeds, fails for good, or has failed too often in a row.
 *
 * @throws the last error; the signal's reason when it is aborted
 */
export async function retry<T>(attempt: () => Promise<T>, options: RetryOptions): Promise<T> {
  const { policy, signal, progressed, onRetry } = options;
  for (let failures = 1;; failures++) {
    signal?.throwIfAborted();
    try {
      return await attempt();
    } catch (error) {
      signal?.throwIfAborted();
      if (!(error instanceof HubError) || !error.transient) throw error;
      if (progressed?.() === true) failures = 1;
      const asked = error.retryAfterMs;
      if (failures >= policy.attempts || (asked ?? 0) > policy.maxRetryAfterMs) {
        throw givenUp(error, failures);
      }
      const delay = asked ?? backoff(failures, policy);
      onRetry?.(error, delay);
      await sleep(delay, signal);
    }
  }
}

/** Half of the delay is drawn, so that many clients do not come back at once. */
function backoff(failures: number, policy: RetryPolicy): number {
  const delay = Math.min(policy.maxDelayMs, policy.firstDelayMs * 2 ** (failures - 1));
  return delay * (0.5 + Math.random() / 2);
}

function givenUp(error: HubError, failures: number): HubError {
  const wait = error.retryAfterMs;
  const tail = wait !== undefined && wait > 1000
    ? ` It asks to come back in ${formatDuration(wait / 1000)}.`
    : failures > 1
    ? ` Tried ${failures} times.`
    : "";
  return new HubError(error.kind, `${error.message}${tail}`);
}

/** Resolves after a time. @throws the signal's reason when it is aborted before */
export function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, ms);
    if (signal?.aborted) stop();
    else signal?.addEventListener("abort", stop, { once: true });
  });
}

/**
 * How long an answer asks to wait: `Retry-After` in seconds or as a date, else the reset time of the
 * hub's `RateLimit` header when nothing is left of the quota.
 *
 * @param now milliseconds since 1970
 * @returns milliseconds; undefined where it asks nothing
 */
export function retryAfterMs(headers: Headers, now: number = Date.now()): number | undefined {
  const after = headers.get("retry-after")?.trim();
  if (after !== undefined && /^\d+(\.\d+)?$/.test(after)) return Number(after) * 1000;
  if (after !== undefined && !Number.isNaN(Date.parse(after))) {
    return Math.max(0, Date.parse(after) - now);
  }
  const reset = /;\s*r\s*=\s*0\s*;\s*t\s*=\s*(\d+)/.exec(headers.get("ratelimit") ?? "")?.[1];
  return reset === undefined ? undefined : Number(reset) * 1000;
}
