/** Names of models on the hub: `owner/name`, optionally with `@revision`. */
import { HubError } from "./error.ts";

/** A model on the hub. */
export interface ModelId {
  /** `owner/name`; a few old models have no owner. */
  readonly name: string;
  /** Branch, tag or commit. */
  readonly revision: string;
}

const PART = /^[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?$/;
const REVISION = /^[A-Za-z0-9_][A-Za-z0-9._/-]{0,199}$/;

/** What a model is fetched at when nothing else is said. */
export const DEFAULT_REVISION = "main";

/** Whether a full commit hash was given, rather than a branch or tag. */
export function isCommit(revision: string): boolean {
  return /^[0-9a-f]{40}$/.test(revision);
}

/**
 * Reads `owner/name` or `owner/name@revision`.
 *
 * @param revision taken when the text names none
 * @throws {HubError} text that cannot be a model's name, or a revision that cannot be one
 *
 * @example
 * ```ts
 * import { parseModelId } from "@lib/weights/hub/model_id.ts";
 * import { assertEquals } from "@std/assert";
 * assertEquals(parseModelId("Qwen/Qwen3-8B"), { name: "Qwen/Qwen3-8B", revision: "main" });
 * assertEquals(parseModelId("a/b@v1.0").revision, "v1.0");
 * ```
 */
export function parseModelId(text: string, revision?: string): ModelId {
  const at = text.indexOf("@");
  const name = at < 0 ? text : text.slice(0, at);
  const own = at < 0 ? undefined : text.slice(at + 1);
  if (own !== undefined && revision !== undefined && own !== revision) {
    throw new HubError(
      "id",
      `Expected one revision, found two: '${own}' after the @ and '${revision}'. Give one of them.`,
    );
  }
  const parts = name.split("/");
  const isName = parts.length <= 2 && !name.includes("..") && !name.includes("--") &&
    parts.every((part) => PART.test(part));
  if (!isName) {
    throw new HubError(
      "id",
      `Expected a model's name on the hub such as meta-llama/Llama-3.1-8B-Instruct, found '${text}'. ` +
        "Copy it from the top of the model's page.",
    );
  }
  return { name, revision: checkRevision(own ?? revision ?? DEFAULT_REVISION) };
}

function checkRevision(revision: string): string {
  const parts = revision.split("/");
  if (REVISION.test(revision) && parts.every((part) => part !== "" && !part.startsWith("."))) {
    return revision;
  }
  throw new HubError(
    "id",
    `Expected a branch, tag or commit such as main, found '${revision}'. ` +
      "The model's page lists them under Files and versions.",
  );
}

/**
 * Reads a configured base model as a hub name: `owner/name`, with `@revision` if wanted.
 *
 * @returns null for what can only be a folder
 */
export function hubIdOf(base: string): ModelId | null {
  if (!/^[^/\\]+\/[^/\\@]+(@.+)?$/.test(base)) return null;
  try {
    return parseModelId(base);
  } catch (error) {
    if (error instanceof HubError) return null;
    throw error;
  }
}

/**
 * The revision a configured base model names after its `@`, as PEFT's `revision` key has it.
 *
 * @returns null for the default one, and for a folder
 */
export function hubRevision(base: string): string | null {
  const revision = hubIdOf(base)?.revision ?? DEFAULT_REVISION;
  return revision === DEFAULT_REVISION ? null : revision;
}

/** The name as it is typed: with `@revision` unless that is the default. */
export function formatModelId({ name, revision }: ModelId): string {
  return revision === DEFAULT_REVISION ? name : `${name}@${revision}`;
}
