/** `deno task model`: fetches a model from the hub, or lists the models that are here. */
import { formatBytes } from "@lib/engine/memory.ts";
import { Progress } from "@lib/notebook/progress.ts";
import { interruptible } from "@lib/notebook/interrupt.ts";
import { type OptionValues, parseOptions, reportFailure, UsageError } from "@lib/tasks/cli.ts";
import type { TaskOption } from "@lib/tasks/cli.ts";
import { loadModelCached } from "@lib/weights/cached_load.ts";
import { fetchModel } from "@lib/weights/hub/fetch_model.ts";
import { parseModelId } from "@lib/weights/hub/model_id.ts";
import { downloadView } from "@lib/weights/hub/progress.ts";
import { hubSettings } from "@lib/weights/hub/settings.ts";
import { listModels, type LocalModel } from "@lib/workflow/local_models.ts";

const OPTIONS = {
  revision: { type: "string", value: "REV", help: "branch, tag or commit (default: main)" },
  connections: { type: "string", value: "N", help: "requests at once, 1 to 32 (default: 8)" },
  quantize: { type: "boolean", help: "also keep the quantised copy that runs load" },
  json: { type: "boolean", help: "print the result as JSON on standard output" },
  quiet: { type: "boolean", short: "q", help: "no progress" },
  help: { type: "boolean", short: "h", help: "this text" },
} as const satisfies Record<string, TaskOption>;

const HELP = `Fetches a model from the Hugging Face hub, or lists the models that are here.

Usage: deno task model                   lists them: name, size, whether complete, where
       deno task model OWNER/NAME        fetches one and prints its folder

      --revision REV    ${OPTIONS.revision.help}
      --connections N   ${OPTIONS.connections.help}
      --quantize        ${OPTIONS.quantize.help}
      --json            ${OPTIONS.json.help}
  -q, --quiet           ${OPTIONS.quiet.help}
  -h, --help            ${OPTIONS.help.help}

Only what training needs is fetched: configuration, tokenizer and safetensors weights. An interrupted
download goes on when it is run again. With --quantize the model is loaded once on this machine's engine,
as training does, and its quantised weights are kept in .cache/quantized (QLORA_CACHE: elsewhere); without
it the first run does so. The hub's own variables are respected: HF_TOKEN, HF_HOME,
HF_HUB_CACHE, HF_ENDPOINT, HF_HUB_OFFLINE.
`;

const say = (quiet: boolean) => (line: string) => quiet || console.error(line);

async function fetchOne(text: string, values: OptionValues, signal: AbortSignal): Promise<void> {
  const { revision, quiet, json } = values;
  const id = parseModelId(text, typeof revision === "string" ? revision : undefined);
  const connections = connectionsOf(values["connections"]);
  await using view = downloadView(id.name, say(quiet === true), { quiet: quiet === true });
  const model = await fetchModel(id, {
    signal,
    connections,
    onProgress: view.onProgress,
    onRetry: view.onRetry,
    onMessage: view.onMessage,
  });
  await view[Symbol.asyncDispose]();
  say(quiet === true)(`${model.name}: complete, ${formatBytes(model.bytes)}`);
  if (values["quantize"] === true) await quantize(model.folder, quiet === true, signal);
  console.log(json === true ? JSON.stringify(model, null, 2) : model.folder);
}

/** Loads the model once, so that the quantised copy is there. */
async function quantize(folder: string, quiet: boolean, signal: AbortSignal): Promise<void> {
  await using bar = new Progress("quantising", { total: 100, unit: "%", quiet });
  await using model = await loadModelCached(folder, {
    worthwhileBytes: 0,
    signal,
    onMessage: say(quiet),
    onProgress: ({ bytesDone, bytesTotal, tensor }) =>
      bar.update(Math.round(100 * bytesDone / bytesTotal), tensor),
  });
  await bar.finish();
  say(quiet)(`Loaded as ${model.quantization}; the next load takes it from there.`);
}

function connectionsOf(value: OptionValues[string]): number | undefined {
  if (value === undefined) return undefined;
  const count = Number(value);
  if (Number.isInteger(count) && count >= 1 && count <= 32) return count;
  throw new UsageError(`--connections: expected a number from 1 to 32, found '${value}'.`);
}

function describe({ name, bytes, complete, missing, partialBytes }: LocalModel): string {
  if (complete) return `${name}: complete, ${formatBytes(bytes)}`;
  const here = formatBytes(bytes + partialBytes);
  return `${name}: not complete, ${here} here, without ${missing.join(", ")}`;
}

async function list(values: OptionValues): Promise<void> {
  const models = await listModels();
  if (values["json"] === true) return console.log(JSON.stringify(models, null, 2));
  for (const model of models) console.log(`${describe(model)}\n    ${model.folder}`);
  const { cache } = hubSettings();
  say(values["quiet"] === true)(
    `Looked in data/ and ${cache}. To fetch one: deno task model OWNER/NAME`,
  );
}

if (import.meta.main) {
  try {
    const { values, positionals } = parseOptions(OPTIONS, Deno.args, true);
    const [name, ...rest] = positionals;
    if (rest.length > 0) throw new UsageError(`Expected one model, found ${positionals.length}.`);
    if (values["help"] === true) console.log(HELP);
    else if (name === undefined) await list(values);
    else await interruptible((signal) => fetchOne(name, values, signal));
  } catch (error) {
    Deno.exit(reportFailure(error));
  }
}
