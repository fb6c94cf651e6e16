/** What a hub's refusal means, and the exact next step. */
import { HubError } from "./error.ts";
import type { ModelId } from "./model_id.ts";
import { retryAfterMs } from "./retry.ts";
import type { Token } from "./token.ts";

/** What was asked, and as whom. */
export interface RefusalContext {
  readonly endpoint: string;
  readonly model: ModelId;
  readonly token: Token | null;
  /** Where a token may be saved. */
  readonly tokenFile: string;
  /** Whether the token was sent; it is not over plain http. */
  readonly tokenSent: boolean;
}

/** Where to make a token, and where to put it. */
function tokenSteps({ endpoint, tokenFile }: RefusalContext): string {
  return `create a token of type Read at ${endpoint}/settings/tokens, then set HF_TOKEN to it ` +
    `or save it, alone, as ${tokenFile}`;
}

/**
 * The error for an answer of the hub that is neither a success nor a redirect.
 *
 * @param response its head is read; the body is left alone
 */
export function refusal(response: Response, context: RefusalContext): HubError {
  const { status, headers } = response;
  const code = headers.get("x-error-code") ?? "";
  const { name, revision } = context.model;
  if (code === "GatedRepo") return gated(context);
  if (code === "RevisionNotFound") {
    return new HubError(
      "missing",
      `${name} has no revision '${revision}'. ` +
        `Choose a branch, tag or commit of ${context.endpoint}/${name}/commits, or leave --revision out.`,
    );
  }
  if (code === "EntryNotFound") {
    return new HubError(
      "missing",
      `${name}: a file that the hub lists is not there (status 404). Run this again; ` +
        "if it stays so, tell the model's owner.",
    );
  }
  if (status === 401 || status === 403) return denied(response, context);
  if (status === 404 || status === 410 || code === "RepoNotFound") return notFound(context);
  if (status === 429) return tooMany(response, context);
  const transient = status >= 500 || status === 408 || status === 425;
  const retry = retryAfterMs(headers);
  return new HubError(
    "server",
    `${hostOf(context.endpoint)} answered ${status}${
      transient ? ": it is in trouble, not you. Run this again later" : ""
    }${transient ? ", or set HF_ENDPOINT to a mirror." : `${serverText(response, context)}.`}`,
    { transient, ...(retry === undefined ? {} : { retryAfterMs: retry }) },
  );
}

function gated(context: RefusalContext): HubError {
  const { endpoint, model, token } = context;
  const page = `${endpoint}/${model.name}`;
  const accept = `open ${page} in a browser, sign in and accept the licence`;
  if (token === null) {
    return new HubError(
      "gated",
      `${model.name} is gated: its licence must be accepted first, and no token was found. ` +
        `1. ${capital(accept)}. 2. ${capital(tokenSteps(context))}. 3. Run this again.`,
    );
  }
  if (!context.tokenSent) return insecure(context);
  return new HubError(
    "gated",
    `${model.name} is gated, and the account of the ${token} has no access. ` +
      `1. ${capital(accept)}, with that account; where the owner must approve, wait for it. ` +
      "2. A fine-grained token also needs the right to read public gated repositories: " +
      `tick it at ${endpoint}/settings/tokens. 3. Run this again.`,
  );
}

function denied(response: Response, context: RefusalContext): HubError {
  const { model, token, endpoint } = context;
  const text = response.headers.get("x-error-message") ?? "";
  if (/access to this resource is disabled/i.test(text)) {
    return new HubError("missing", `${model.name} was disabled by the hub. Choose another model.`);
  }
  if (token === null) return notFound(context);
  if (!context.tokenSent) return insecure(context);
  if (response.status === 401) {
    const expired = /expired/i.test(text);
    return new HubError(
      "token",
      `The ${token} ${expired ? "has expired" : "is not accepted"} (status 401). ` +
        `To replace it: ${tokenSteps(context)}. ` +
        "For a model that needs no token, removing the old one does too.",
    );
  }
  return new HubError(
    "token",
    `The ${token} may not read ${model.name} (status 403${serverText(response, context)}). ` +
      `Give it the right to read this repository at ${endpoint}/settings/tokens, ` +
      `or replace it: ${tokenSteps(context)}.`,
  );
}

function notFound(context: RefusalContext): HubError {
  const { endpoint, model, token } = context;
  const secret = token === null
    ? `If it is private: ${tokenSteps(context)}.`
    : `If it is private, the account of the ${token} must have access to it.`;
  return new HubError(
    "missing",
    `${endpoint} has no model ${model.name} that may be read ${
      token === null ? "without a token" : "with this token"
    }. Check the spelling: names are copied best from the model's page. ${secret}`,
  );
}

function tooMany(response: Response, context: RefusalContext): HubError {
  const retry = retryAfterMs(response.headers);
  const signIn = context.token === null
    ? ` Signed in, the limit is higher: ${tokenSteps(context)}.`
    : "";
  return new HubError(
    "rate",
    `${hostOf(context.endpoint)} refuses for now: too many requests (status 429). ` +
      `Run this again later.${signIn}`,
    { transient: true, ...(retry === undefined ? {} : { retryAfterMs: retry }) },
  );
}

function insecure({ endpoint, token }: RefusalContext): HubError {
  return new HubError(
    "settings",
    `${endpoint} asks for a token, but is plain http: the ${token} was not sent, for anybody on ` +
      "the way could read it. Set HF_ENDPOINT to an https address.",
  );
}

/** The server's own words, short, in one line and without the token. */
function serverText(response: Response, { token }: RefusalContext): string {
  const raw = response.headers.get("x-error-message") ?? "";
  const text = (token?.scrub(raw) ?? raw).replaceAll(/[^\x20-\x7e]+/g, " ").trim();
  return text === "" ? "" : `: ${text.slice(0, 200)}`;
}

function hostOf(endpoint: string): string {
  return new URL(endpoint).host;
}

function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
