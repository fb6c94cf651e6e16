/**
 * Reading the topic files and the texts for planned defects.
 *
 * @module
 */
import { z } from "zod";
import { Topic } from "./schema.ts";

const exchange = z.strictObject({
  topic: z.string(),
  title: z.string().min(1),
  question: z.string().min(1),
  answer: z.string().min(1),
});

/** Complete rows that cleaning must set apart for review. */
export const QuarantineTexts = z.strictObject({
  self_harm: z.array(exchange).min(1),
  advice: z.array(exchange).min(1),
});
export type QuarantineTexts = z.infer<typeof QuarantineTexts>;

/** Rows in another language or script. */
export const ForeignTexts = z.strictObject({
  pairs: z.array(z.strictObject({ question: z.string().min(1), answer: z.string().min(1) })).min(1),
});

/** Texts too short or too repetitive to teach anything. */
export const ShortTexts = z.strictObject({
  /** At most five code points: what legacy cleaning drops. */
  tiny_answers: z.array(z.string().min(1)).min(1),
  one_word_answers: z.array(z.string().min(1)).min(1),
  one_word_questions: z.array(z.string().min(1)).min(1),
  repeated: z.array(z.string().min(1)).min(1),
});

/** Everything the generator composes from. */
export interface Sources {
  /** By English name, ascending. */
  readonly topics: readonly Topic[];
  readonly quarantine: QuarantineTexts;
  readonly foreign: z.infer<typeof ForeignTexts>;
  readonly short: z.infer<typeof ShortTexts>;
}

const SLOT = /\{([^{}]*)\}/g;

/** All texts in a JSON value with their paths. */
function* texts(value: unknown, path: string): Generator<[string, string]> {
  if (typeof value === "string") yield [path, value];
  else if (value !== null && typeof value === "object") {
    for (const [key, item] of Object.entries(value)) yield* texts(item, `${path}.${key}`);
  }
}

/** Slots that a variant of the situation does not fill, as messages. */
function missingSlots(topic: Topic): string[] {
  return topic.situations.flatMap(({ id, variants, ...rest }) =>
    [...texts(rest, id)].flatMap(([path, text]) =>
      [...text.matchAll(SLOT)].flatMap(([, slot]) => {
        const index = variants.findIndex((variant) => variant[slot ?? ""] === undefined);
        return index < 0 ? [] : [`${path}: {${slot}} is not in variant ${index}`];
      })
    )
  );
}

async function readJson<S extends z.ZodType>(path: URL, schema: S): Promise<z.output<S>> {
  const name = path.pathname.split("/").slice(-2).join("/");
  let value: unknown;
  try {
    value = JSON.parse((await Deno.readTextFile(path)).normalize("NFC"));
  } catch (cause) {
    throw new Error(`Cannot read ${name}: expected a JSON file, found ${cause}.`, { cause });
  }
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  throw new Error(
    `Cannot use ${name}: expected the form of schema.ts, found\n${z.prettifyError(result.error)}`,
  );
}

/**
 * Load all topic files and defect texts beside this module.
 *
 * @throws naming the file and the field that is not as it must be, or the slot no variant fills.
 */
export async function loadSources(): Promise<Sources> {
  const folder = new URL("topics/", import.meta.url);
  const names: string[] = [];
  for await (const entry of Deno.readDir(folder)) {
    if (entry.name.endsWith(".json")) names.push(entry.name);
  }
  const topics: Topic[] = [];
  for (const name of names.sort()) {
    const topic = await readJson(new URL(name, folder), Topic);
    const missing = missingSlots(topic);
    if (missing.length > 0) {
      throw new Error(
        `Cannot use topics/${name}: every slot must be in every variant:\n${missing.join("\n")}`,
      );
    }
    topics.push(topic);
  }
  if (topics.length === 0) throw new Error("Cannot generate: expected topic files, found none.");
  const read = <S extends z.ZodType>(name: string, schema: S) =>
    readJson(new URL(`texts/${name}.json`, import.meta.url), schema);
  return {
    topics,
    quarantine: await read("quarantine", QuarantineTexts),
    foreign: await read("foreign", ForeignTexts),
    short: await read("short", ShortTexts),
  };
}
