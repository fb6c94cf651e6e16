/** The human study's part of the server. */
import { z } from "zod";
import { type StudyDesk, StudySubmission } from "@lib/study/desk.ts";
import { StudyError } from "@lib/study/items.ts";
import { readJsonBody } from "./body.ts";
import { HttpProblem } from "./problem.ts";
import { Consent, noConsent } from "./ratings.ts";
import type { Handler, Methods } from "./router.ts";

/** Paths of the study; they say what is missing when there is none. */
export function studyRoutes(
  desk: StudyDesk | null,
  guarded: (handler: Handler) => Handler,
): readonly (readonly [path: string, methods: Methods])[] {
  return [["/api/study", {
    GET: guarded((request) => {
      const rater = new URL(request.url).searchParams.get("rater") ?? "";
      return Response.json(refusing(() => opened(desk).next(rater)));
    }),
    POST: guarded(async (request) => {
      const submission = parseSubmission(await readJsonBody(request));
      const view = await refusing(() => opened(desk).rate(submission));
      return Response.json(view, { status: 201 });
    }),
  }]];
}

function opened(desk: StudyDesk | null): StudyDesk {
  if (desk !== null) return desk;
  throw new HttpProblem(
    404,
    "The study: expected answers of this run to rate (test_results.json), found none. " +
      "Run 04_generate (deno task generate), then start the server again.",
    { code: "no_study" },
  );
}

function parseSubmission(body: unknown): StudySubmission {
  if (!z.object({ consent: Consent }).safeParse(body).success) throw noConsent();
  const parsed = StudySubmission.safeParse(body);
  if (parsed.success) return parsed.data;
  throw new HttpProblem(
    400,
    `The rating: ${z.prettifyError(parsed.error)}. Rate every answer on every criterion.`,
    { code: "invalid_value" },
  );
}

/** Turns what the study refuses into a refusal of the server. */
function refusing<T>(work: () => T): T {
  const refuse = (error: unknown): never => {
    if (!(error instanceof StudyError)) throw error;
    throw new HttpProblem(400, error.message, { code: "invalid_value" });
  };
  try {
    const result = work();
    return result instanceof Promise ? result.catch(refuse) as T : result;
  } catch (error) {
    return refuse(error);
  }
}
