/** The page's own files: a fixed list, read once, so that no path can reach anything else. */
import { FileReadError } from "@lib/files.ts";

const FOLDER = new URL("./page/", import.meta.url);
const TYPES: Readonly<Record<string, string>> = {
  html: "text/html; charset=utf-8",
  css: "text/css; charset=utf-8",
  js: "text/javascript; charset=utf-8",
  svg: "image/svg+xml",
};

/** One file as it is served. */
interface StaticFile {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly type: string;
  readonly tag: string;
}

/** Paths that are not simply `/assets/` and the file's name. */
const PAGES: Readonly<Record<string, string>> = {
  "index.html": "/",
  "study.html": "/study",
  "login.html": "/login",
};

/** The files by the path they are served under. */
export type StaticFiles = ReadonlyMap<string, StaticFile>;

/** Reads the page's files. @throws {FileReadError} when they are not there */
export async function loadStaticFiles(): Promise<StaticFiles> {
  const files = new Map<string, StaticFile>();
  for await (const { name, isFile } of Deno.readDir(FOLDER)) {
    const type = TYPES[name.split(".").at(-1) ?? ""];
    if (!isFile || type === undefined) continue;
    const bytes = await Deno.readFile(new URL(name, FOLDER));
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
    files.set(PAGES[name] ?? `/assets/${name}`, {
      bytes,
      type,
      tag: `"${digest.subarray(0, 12).toHex()}"`,
    });
  }
  if (files.has("/")) return files;
  throw new FileReadError(
    `${FOLDER.pathname}index.html: expected the page, found nothing. Restore it from the repository.`,
  );
}

/** A file's response: 304 when the client has it already. */
export function staticResponse({ bytes, type, tag }: StaticFile, request: Request): Response {
  const headers = { "content-type": type, "cache-control": "no-cache", etag: tag };
  // A compressed response carries the tag as a weak one.
  if (request.headers.get("if-none-match")?.replace(/^W\//, "") === tag) {
    return new Response(null, { status: 304, headers });
  }
  return new Response(request.method === "HEAD" ? null : bytes, { headers });
}
