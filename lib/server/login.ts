/** Exchanging the token for a browser's session, so that the token never stands in an address. */
import { type AccessPolicy, isAuthorized, sameSecret, type Sessions } from "./access.ts";
import { HttpProblem } from "./problem.ts";

/** Pages a visitor can be sent on to. */
const NEXT_PAGES = ["/", "/study"];
/** A form that holds a token is short. */
const MAX_FORM_BYTES = 10_000;

function seeOther(location: string, headers: Readonly<Record<string, string>> = {}): Response {
  return new Response(null, { status: 303, headers: { location, ...headers } });
}

/** Sends a visitor without a session to the login page; null for one who may pass. */
export function askForToken(
  request: Request,
  policy: AccessPolicy,
  sessions: Sessions,
): Response | null {
  if (isAuthorized(request, policy, sessions)) return null;
  const next = new URL(request.url).pathname;
  return seeOther(next === "/" ? "/login" : `/login?next=${encodeURIComponent(next)}`);
}

/**
 * Takes the form of the login page.
 *
 * @throws {HttpProblem} 413, 415 when it is no such form
 */
export async function login(
  request: Request,
  policy: AccessPolicy,
  sessions: Sessions,
): Promise<Response> {
  const type = request.headers.get("content-type") ?? "";
  if (!type.startsWith("application/x-www-form-urlencoded")) {
    throw new HttpProblem(
      415,
      `Content-Type: expected the login page's form, found '${type.slice(0, 100)}'. ` +
        "Programs send 'Authorization: Bearer TOKEN' instead.",
      { code: "unsupported_media_type" },
    );
  }
  if (Number(request.headers.get("content-length") ?? Infinity) > MAX_FORM_BYTES) {
    throw new HttpProblem(413, "The form: expected a token, found more than one could be.");
  }
  const form = new URLSearchParams(await request.text());
  const wanted = form.get("next") ?? "/";
  const next = NEXT_PAGES.includes(wanted) ? wanted : "/";
  const given = (form.get("token") ?? "").trim();
  if (policy.token === null || sameSecret(given, policy.token)) {
    return seeOther(next, { "set-cookie": sessions.open() });
  }
  return seeOther(`/login?wrong=1&next=${encodeURIComponent(next)}`);
}
