/** `/v1/models`: what the server can answer with. */
import { closest } from "@lib/closest.ts";
import type { Answering, ServedModel } from "./answering.ts";
import { HttpProblem } from "./problem.ts";

/** The model of this name. @throws {HttpProblem} 404 naming those that are there */
export function findModel({ models }: Answering, id: string): ServedModel {
  const found = models.find((model) => model.id === id);
  if (found !== undefined) return found;
  const names = models.map((model) => model.id);
  const guess = closest(id, names);
  throw new HttpProblem(
    404,
    `model: expected ${names.map((name) => `'${name}'`).join(" or ")}, found ` +
      `'${id.slice(0, 100)}'${guess === null ? "" : `; did you mean '${guess}'?`}`,
    { code: "model_not_found", param: "model" },
  );
}

/** A model in OpenAI's form. */
export function modelObject({ id, source, created }: ServedModel) {
  return { id, object: "model", created, owned_by: source };
}

/** All models in OpenAI's form. */
export function modelList({ models }: Answering) {
  return { object: "list", data: models.map(modelObject) };
}
