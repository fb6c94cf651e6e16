/** The user's access token: found in the hub's standard places, and kept to itself. */
import { HubError } from "./error.ts";
import { type Environment, hubSettings, processEnvironment } from "./settings.ts";

/** A token that cannot be printed by accident: however it is shown, the text is not there. */
export class Token {
  readonly #text: string;

  constructor(text: string, /** Where it came from, for messages. */ readonly source: string) {
    this.#text = text;
  }

  /** The value of the Authorization header: the only way the text leaves this object. */
  get authorization(): string {
    return `Bearer ${this.#text}`;
  }

  /** Removes the token from a text that others wrote, such as a server's message. */
  scrub(text: string): string {
    return text.replaceAll(this.#text, "***");
  }

  toString(): string {
    return `token from ${this.source}`;
  }

  toJSON(): string {
    return this.toString();
  }

  [Symbol.for("Deno.customInspect")](): string {
    return this.toString();
  }
}

/**
 * Finds the token: `HF_TOKEN`, `HUGGING_FACE_HUB_TOKEN`, else the file that the hub's own tools save
 * it to (`HF_TOKEN_PATH`, or `token` in `HF_HOME`).
 *
 * @returns null where there is none: most models need none
 * @throws {HubError} a token with characters that no token has, naming only where it stands
 */
export async function loadToken(env: Environment = processEnvironment): Promise<Token | null> {
  for (const name of ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"]) {
    const token = clean(env(name), name);
    if (token !== null) return token;
  }
  const { tokenFile } = hubSettings(env);
  return clean(await readIfThere(tokenFile), tokenFile);
}

function clean(text: string | undefined, source: string): Token | null {
  const bare = text?.replace(/^\uFEFF/, "").trim() ?? "";
  if (bare === "") return null;
  if (!/^[\x21-\x7e]+$/.test(bare)) {
    throw new HubError(
      "settings",
      `${source}: expected one access token such as hf_…, found spaces, line breaks or other ` +
        "characters in it. Copy the token again, whole and alone.",
    );
  }
  return new Token(bare, source);
}

async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await Deno.readTextFile(path);
  } catch (error) {
    const absent = error instanceof Deno.errors.NotFound ||
      error instanceof Deno.errors.NotADirectory || error instanceof Deno.errors.IsADirectory;
    if (absent) return undefined;
    throw error;
  }
}
