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

/** Folders of a sentence encoder that are looked into. */
const ENCODER_FOLDERS = ["onnx", "1_Pooling"] as const;

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
    const folders: string[] = [];
    const repo = { type: "model", name } as const;
    const list = async (path: string | undefined) => {
      const place = path === undefined ? {} : { path };
      for await (const entry of listFiles({ repo, revision: commit, hubUrl, fetch, ...place })) {
        const { file, folder } = parseEntry(entry);
        if (file !== null) files.push(file);
        if (folder !== null) folders.push(folder);
        if (files.length > MAX_FILES) throw new TypeError("a list without end");
      }
    };
    await list(undefined);
    // A sentence encoder keeps its weights in a folder; other folders hold nothing that is wanted.
    const weighed = files.some(({ path }) => path.endsWith(".safetensors"));
    for (const folder of weighed ? [] : ENCODER_FOLDERS) {
      if (folders.includes(folder)) await list(folder);
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

/** A file, or the name of a folder. */
function parseEntry(value: unknown): { file: RemoteFile | null; folder: string | null } {
  const { type, path, lfs, size, oid } = Entry.parse(value);
  if (type !== "file") return { file: null, folder: type === "directory" ? path : null };
  const file: RemoteFile = lfs
    ? { path, bytes: lfs.size, hash: { kind: "sha256", hex: lfs.oid } }
    : { path, bytes: size, hash: { kind: "git", hex: oid } };
  return { file, folder: null };
}
