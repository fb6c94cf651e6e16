/** What the hub says of a model: its commit and its files, through the official library. */
import { listFiles, modelInfo } from "@huggingface/hub";
import { z } from "zod";
import type { HubClient } from "./client.ts";
import { HubError } from "./error.ts";
import type { RemoteFile, Repository } from "./remote_file.ts";

const Info = z.looseObject({ sha: z.string().regex(/^[0-9a-f]{40}$/) });
const size = z.number().int().min(0);
const Entry = z.looseObject({
  type: z.string(),
  path: z.string().min(1),
  size: size.default(0),
  oid: z.string().regex(/^[0-9a-f]{40}$/),
  lfs: z.looseObject({ oid: z.string().regex(/^[0-9a-f]{64}$/), size }).nullish(),
});

/** More than any model has at the top of its repository. */
const MAX_FILES = 20_000;

/**
 * Asks for a model's commit and its list of files.
 *
 * @throws {HubError} gated, missing, no network, or answers that are not the hub's
 */
export async function loadRepository(client: HubClient): Promise<Repository> {
  const { settings: { endpoint: hubUrl }, model: { name, revision }, fetch } = client;
  try {
    const { sha: commit } = Info.parse(
      await modelInfo({ name, revision, hubUrl, fetch, additionalFields: ["sha"] }),
    );
    const files: RemoteFile[] = [];
    const repo = { type: "model", name } as const;
    for await (const entry of listFiles({ repo, revision: commit, hubUrl, fetch })) {
      const file = parseEntry(entry);
      if (file !== null) files.push(file);
      if (files.length > MAX_FILES) throw new TypeError("a list without end");
    }
    return { name, commit, files };
  } catch (error) {
    // What the library or the schema cannot read is not the hub's answer.
    const isForeign = error instanceof SyntaxError || error instanceof z.ZodError ||
      error instanceof TypeError;
    if (!isForeign) throw error;
    throw new HubError(
      "server",
      `${new URL(hubUrl).host}: expected the hub's answer about ${name}, found something else. ` +
        "Check HF_ENDPOINT, and whether the network first wants a sign-in page.",
    );
  }
}

function parseEntry(value: unknown): RemoteFile | null {
  const entry = Entry.parse(value);
  if (entry.type !== "file") return null;
  const { path, lfs } = entry;
  return lfs
    ? { path, bytes: lfs.size, hash: { kind: "sha256", hex: lfs.oid } }
    : { path, bytes: entry.size, hash: { kind: "git", hex: entry.oid } };
}
