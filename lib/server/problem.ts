/** Refusals that reach a client, in the form the OpenAI clients read. */

/** Details of an {@linkcode HttpProblem}. */
export interface ProblemOptions {
  /** Short machine-readable reason, e.g. `model_not_found`. @default {null} */
  readonly code?: string | null;
  /** The field that is at fault, e.g. `messages[0].content`. @default {null} */
  readonly param?: string | null;
  readonly headers?: Readonly<Record<string, string>>;
}

/** A request that is refused: the message says what was expected, what was found and what to do. */
export class HttpProblem extends Error {
  override readonly name = "HttpProblem";

  constructor(readonly status: number, message: string, readonly options: ProblemOptions = {}) {
    super(message);
  }
}

/** OpenAI's `type` of an error with this status. */
function typeOf(status: number): string {
  if (status === 429) return "rate_limit_error";
  if (status === 401) return "authentication_error";
  if (status === 403) return "permission_error";
  return status >= 500 ? "server_error" : "invalid_request_error";
}

/** The error object of OpenAI's API: what stands in an error body and in a stream that breaks off. */
export function problemBody(problem: HttpProblem): { readonly error: Record<string, unknown> } {
  const { status, message, options: { code = null, param = null } } = problem;
  return { error: { message, type: typeOf(status), param, code } };
}

/** The response to a refused request. */
export function problemResponse(problem: HttpProblem): Response {
  return Response.json(problemBody(problem), {
    status: problem.status,
    headers: { ...problem.options.headers },
  });
}
