/** Request bodies: bounded in size, time and depth, and made of whole characters. */
import { HttpProblem } from "./problem.ts";

/** Largest body that is read. */
export const MAX_BODY_BYTES = 1_000_000;
/** Time a client has to send its body. */
const BODY_MS = 10_000;
/** A longer body is read to its end and thrown away, up to here, so that its sender sees the answer. */
const DRAIN_BYTES = 64_000_000;
/** Deepest nesting of lists and objects. */
const MAX_DEPTH = 16;

/**
 * Reads a JSON body.
 *
 * @param limitMs time its sender has
 * @throws {HttpProblem} 400 (not UTF-8, not JSON, too deep, lone surrogates), 408, 413, 415
 */
export async function readJsonBody(request: Request, limitMs = BODY_MS): Promise<unknown> {
  const type = (request.headers.get("content-type") ?? "").split(";")[0]?.trim().toLowerCase();
  if (type !== "application/json") {
    throw new HttpProblem(
      415,
      `Content-Type: expected 'application/json', found '${type ?? ""}'. Send the body as JSON.`,
      { code: "unsupported_media_type" },
    );
  }
  const bytes = await readBytes(request, limitMs);
  const text = decodeText(bytes);
  checkDepth(text);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new HttpProblem(
      400,
      `The body: expected JSON, found text that does not parse (${why.slice(0, 200)}). ` +
        "Check its quotes, commas and brackets.",
      { code: "invalid_json" },
    );
  }
  checkCharacters(value, "");
  return value;
}

async function readBytes(request: Request, limitMs: number): Promise<Uint8Array> {
  const announced = Number(request.headers.get("content-length") ?? 0);
  const chunks: Uint8Array[] = [];
  let size = 0;
  const reader = request.body?.getReader();
  if (reader === undefined) return new Uint8Array();
  const late = Promise.withResolvers<"late">();
  const timer = setTimeout(() => late.resolve("late"), limitMs);
  try {
    for (;;) {
      const next = await Promise.race([reader.read(), late.promise]);
      if (next === "late") throw tooSlow(limitMs);
      if (next.done) break;
      size += next.value.length;
      if (size <= MAX_BODY_BYTES) chunks.push(next.value);
      else chunks.length = 0;
      if (size > DRAIN_BYTES) break;
    }
  } finally {
    clearTimeout(timer);
    await reader.cancel().catch(() => {});
  }
  if (size > MAX_BODY_BYTES || announced > MAX_BODY_BYTES) {
    throw tooLarge(Math.max(size, announced));
  }
  return concat(chunks, size);
}

function concat(chunks: readonly Uint8Array[], size: number): Uint8Array {
  const bytes = new Uint8Array(size);
  let at = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, at);
    at += chunk.length;
  }
  return bytes;
}

function tooSlow(limitMs: number): HttpProblem {
  return new HttpProblem(
    408,
    `The body: expected all of it within ${
      limitMs / 1000
    } s, found the connection still sending. ` +
      "Send it in one piece.",
    { code: "request_timeout", headers: { connection: "close" } },
  );
}

function tooLarge(size: number): HttpProblem {
  return new HttpProblem(
    413,
    `The body: expected at most ${MAX_BODY_BYTES.toLocaleString("en-US")} bytes, found ` +
      `${size.toLocaleString("en-US")}. Send a shorter conversation.`,
    { code: "body_too_large" },
  );
}

function decodeText(bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new HttpProblem(
      400,
      "The body: expected UTF-8, found bytes that are no character. Send the body as UTF-8.",
      { code: "invalid_utf8" },
    );
  }
}

/** Counts brackets outside strings, before anything recursive sees the value. */
function checkDepth(text: string): void {
  let depth = 0;
  let quoted = false;
  for (let i = 0; i < text.length; i++) {
    const character = text[i];
    if (quoted && character === "\\") i++;
    else if (character === '"') quoted = !quoted;
    else if (quoted) continue;
    else if (character === "[" || character === "{") depth++;
    else if (character === "]" || character === "}") depth--;
    if (depth <= MAX_DEPTH) continue;
    throw new HttpProblem(
      400,
      `The body: expected at most ${MAX_DEPTH} levels of lists and objects, found more. ` +
        "Send the fields of the API as they are documented.",
      { code: "json_too_deep" },
    );
  }
}

/** Half a surrogate pair is no character: neither the tokenizer nor a file can hold it. */
function checkCharacters(value: unknown, path: string): void {
  if (typeof value === "string") return checkText(value, path);
  if (Array.isArray(value)) {
    return value.forEach((item, i) => checkCharacters(item, `${path}[${i}]`));
  }
  if (typeof value !== "object" || value === null) return;
  for (const [key, item] of Object.entries(value)) {
    checkText(key, path);
    checkCharacters(item, path === "" ? key : `${path}.${key}`);
  }
}

function checkText(text: string, path: string): void {
  if (text.isWellFormed()) return;
  const at = [...text].findIndex((character) => /\p{Surrogate}/u.test(character));
  throw new HttpProblem(
    400,
    `${
      path || "The body"
    }: expected whole characters, found half of a surrogate pair at character ` +
      `${at + 1}. Something cut the text inside an emoji or a rare letter: send it uncut.`,
    { code: "invalid_unicode", param: path || null },
  );
}
