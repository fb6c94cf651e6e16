/** Which request goes where: a fixed table of paths and methods. */
import { HttpProblem } from "./problem.ts";

/** Answers one request. */
export type Handler = (request: Request) => Response | Promise<Response>;

/** Handlers of a path, by method. `GET` answers `HEAD` too. */
export type Methods = Readonly<Partial<Record<"GET" | "POST", Handler>>>;

/** Paths and what they answer to; `/*` at the end of one stands for any one last part. */
export type Routes = ReadonlyMap<string, Methods>;

/**
 * The handler of a request.
 *
 * @throws {HttpProblem} 404 an unknown path, 405 a method it has not, with `Allow`
 */
export function findHandler(routes: Routes, request: Request): Handler {
  const { pathname } = new URL(request.url);
  const methods = routes.get(pathname) ?? routes.get(pathname.replace(/[^/]+$/, "*"));
  if (methods === undefined) {
    throw new HttpProblem(
      404,
      `${pathname.slice(0, 200)}: expected a path of this server, found an unknown one. ` +
        "The API is at /v1/chat/completions and /v1/models, the page at /.",
      { code: "unknown_path" },
    );
  }
  const method = request.method === "HEAD" ? "GET" : request.method;
  const handler = method === "GET" || method === "POST" ? methods[method] : undefined;
  if (handler !== undefined) return handler;
  const allowed = Object.keys(methods).flatMap((name) => name === "GET" ? ["GET", "HEAD"] : [name]);
  throw new HttpProblem(
    405,
    `${pathname}: expected ${allowed.join(" or ")}, found ${request.method}.`,
    { code: "method_not_allowed", headers: { allow: allowed.join(", ") } },
  );
}
