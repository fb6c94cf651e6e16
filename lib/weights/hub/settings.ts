/** Where the hub is, where its cache lies, and whether it may be asked: the hub's own variables. */
import { join } from "node:path";
import { HubError } from "./error.ts";

/** Looks a variable up; undefined where it is not set. */
export type Environment = (name: string) => string | undefined;

/** This process's environment; a variable that is set to nothing counts as not set. */
export const processEnvironment: Environment = (name) => Deno.env.get(name) || undefined;

/** What the hub's variables say. */
export interface HubSettings {
  /** `HF_ENDPOINT`, or the hub itself; without a final slash. */
  readonly endpoint: string;
  /** Folder of `models--owner--name` folders. */
  readonly cache: string;
  /** File in which the hub's own tools save the token. */
  readonly tokenFile: string;
  /** Whether nothing may be asked of the network. */
  readonly offline: boolean;
}

const HUB = "https://huggingface.co";

/**
 * Reads `HF_ENDPOINT`, `HF_HOME`, `HF_HUB_CACHE`, `HF_TOKEN_PATH` and `HF_HUB_OFFLINE` as the hub's
 * own tools do.
 *
 * @throws {HubError} an endpoint that is no http address, or a machine without a home folder
 */
export function hubSettings(env: Environment = processEnvironment): HubSettings {
  const home = hubHome(env);
  const cache = env("HF_HUB_CACHE") ?? env("HUGGINGFACE_HUB_CACHE") ?? join(home, "hub");
  return {
    endpoint: parseEndpoint(env("HF_ENDPOINT") ?? HUB),
    cache: expandPath(cache, env),
    tokenFile: expandPath(env("HF_TOKEN_PATH") ?? join(home, "token"), env),
    offline: isTrue(env("HF_HUB_OFFLINE") ?? env("TRANSFORMERS_OFFLINE")),
  };
}

/** `HF_HOME`, or `huggingface` in the user's cache folder: the same place on every system. */
function hubHome(env: Environment): string {
  const given = env("HF_HOME");
  if (given !== undefined) return expandPath(given, env);
  const cache = env("XDG_CACHE_HOME") ?? join("~", ".cache");
  return expandPath(join(cache, "huggingface"), env);
}

/** Replaces `~` at the beginning and `$NAME`, `${NAME}` anywhere. */
function expandPath(path: string, env: Environment): string {
  const named = path.replaceAll(
    /\$(?:(\w+)|\{(\w+)\})/g,
    (whole, bare, braced) => env(bare ?? braced) ?? whole,
  );
  if (!/^~(?=[/\\]|$)/.test(named)) return named;
  const home = env("HOME") ?? env("USERPROFILE");
  if (home === undefined) {
    throw new HubError(
      "settings",
      "Expected a home folder for the hub's cache, found neither HOME nor USERPROFILE. " +
        "Set HF_HOME to a folder with room for the models.",
    );
  }
  return join(home, named.slice(1));
}

function parseEndpoint(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : null;
  const isWeb = url?.protocol === "https:" || url?.protocol === "http:";
  if (url === null || !isWeb || url.username !== "" || url.password !== "") {
    throw new HubError(
      "settings",
      "HF_ENDPOINT: expected an address such as https://huggingface.co, without a user name or " +
        "password in it, found something else. Correct it, or unset it to use the hub itself.",
    );
  }
  return `${url.origin}${url.pathname}`.replace(/\/+$/, "");
}

function isTrue(value: string | undefined): boolean {
  return /^(1|on|yes|true)$/i.test(value?.trim() ?? "");
}
