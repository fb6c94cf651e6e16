/** A model from the hub into the cache: only what the course needs, as its standard tools lay it out. */
import { join } from "node:path";
import { type CachedModel, findCached } from "./cached.ts";
import { HubClient, type HubClientOptions } from "./client.ts";
import { downloadFiles, type DownloadOptions } from "./download.ts";
import { HubError } from "./error.ts";
import { ModelCache } from "./layout.ts";
import { formatModelId, type ModelId } from "./model_id.ts";
import type { Repository } from "./remote_file.ts";
import { loadRepository } from "./repository.ts";
import { selectFiles, selectShards, shardNames, WEIGHTS_INDEX } from "./selection.ts";
import { type HubSettings, hubSettings } from "./settings.ts";
import { loadToken, type Token } from "./token.ts";

/** Options of {@linkcode fetchModel}. */
export interface FetchModelOptions extends DownloadOptions {
  /** @default what the hub's variables say */
  readonly settings?: HubSettings;
  /** @default the token in its standard places */
  readonly token?: Token | null;
  readonly policy?: HubClientOptions["policy"];
  readonly onRetry?: HubClientOptions["onRetry"];
}

/** A model that is on this machine. */
export interface FetchedModel {
  readonly name: string;
  readonly revision: string;
  readonly commit: string;
  /** The model folder. */
  readonly folder: string;
  readonly bytes: number;
}

/**
 * Brings a model onto this machine, or finds that it is there. What was fetched before, by this or by
 * the hub's other tools, is not fetched again; a download that broke off goes on.
 *
 * @returns its folder, with every file checked that was fetched now
 * @throws {HubError} with the exact next step; the signal's reason when aborted
 */
export async function fetchModel(
  id: ModelId,
  options: FetchModelOptions = {},
): Promise<FetchedModel> {
  const settings = options.settings ?? hubSettings();
  if (settings.offline) return await fromCache(id, settings);
  const token = options.token === undefined ? await loadToken() : options.token;
  using client = new HubClient(settings, id, token, {
    ...(options.policy === undefined ? {} : { policy: options.policy }),
    ...(options.connections === undefined ? {} : { connections: options.connections }),
    signal: options.signal,
    onRetry: options.onRetry,
  });
  const repository = await loadRepository(client).catch(async (error: unknown) => {
    const here = await usableWithout(error, id, settings);
    if (here === null) throw error;
    options.onMessage?.(
      `${(error as Error).message} Using what is here, at commit ${here.commit}.`,
    );
    return here;
  });
  if ("folder" in repository) return fetched(id, repository);
  const cache = new ModelCache(settings.cache, id.name);
  await downloadSelection(client, cache, repository, options);
  await cache.saveRef(id, repository.commit);
  return await complete(id, settings, repository.commit);
}

/** Small files first: they tell at once whether the licence was accepted, and what the weights are. */
async function downloadSelection(
  client: HubClient,
  cache: ModelCache,
  repository: Repository,
  options: DownloadOptions,
): Promise<void> {
  const { commit, name } = repository;
  const { small, weights } = selectFiles(repository);
  await downloadFiles(client, cache, commit, small, options);
  const index = join(cache.snapshot(commit), WEIGHTS_INDEX);
  const files = weights ??
    selectShards(repository, shardNames(await Deno.readTextFile(index), name));
  await downloadFiles(client, cache, commit, files, options);
}

/** Without the network, a complete model serves as it is. */
async function usableWithout(
  error: unknown,
  id: ModelId,
  settings: HubSettings,
): Promise<CachedModel | null> {
  const unreachable = error instanceof HubError &&
    (["network", "server", "rate"] as const).some((kind) => kind === error.kind);
  if (!unreachable) return null;
  const here = await findCached(id, settings.cache);
  return here?.missing.length === 0 ? here : null;
}

async function fromCache(id: ModelId, settings: HubSettings): Promise<FetchedModel> {
  const here = await findCached(id, settings.cache);
  if (here?.missing.length === 0) return fetched(id, here);
  const found = here === null ? "nothing of it" : `all but ${here.missing.join(", ")}`;
  throw new HubError(
    "offline",
    `${formatModelId(id)}: HF_HUB_OFFLINE is set, and ${found} is in ${settings.cache}. ` +
      "Unset HF_HUB_OFFLINE to fetch it, or set HF_HUB_CACHE to the folder that has it.",
  );
}

async function complete(
  id: ModelId,
  settings: HubSettings,
  commit: string,
): Promise<FetchedModel> {
  const here = await findCached({ ...id, revision: commit }, settings.cache);
  if (here?.missing.length === 0) return fetched(id, here);
  throw new HubError(
    "disk",
    `${settings.cache}: expected ${id.name} complete after fetching it, found it without ` +
      `${
        here?.missing.join(", ") ?? "any file"
      }. Another program removes files there: run this again.`,
  );
}

function fetched(id: ModelId, here: CachedModel): FetchedModel {
  const { name, commit, folder, bytes } = here;
  return { name, revision: id.revision, commit, folder, bytes };
}
