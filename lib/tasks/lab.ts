/** `deno task lab`: JupyterLab on the notebooks, with the Deno kernel; installs what is missing. */
import { PROJECT_ROOT } from "@lib/experiment/run.ts";
import { type JupyterLab, LabError, openJupyterLab } from "@lib/notebook/jupyter_lab.ts";
import {
  optionLines,
  parseOptions,
  reportFailure,
  type TaskOption,
  UsageError,
} from "@lib/tasks/cli.ts";
import { buildWithBars } from "@lib/tasks/phase_bars.ts";

const OPTIONS = {
  "no-browser": { type: "boolean", help: "print the address instead of opening a browser" },
  port: {
    type: "string",
    value: "N",
    help: "port on this machine (default: the first free from 8888)",
  },
  quiet: { type: "boolean", short: "q", help: "no progress" },
  help: { type: "boolean", short: "h", help: "this text" },
} as const satisfies Record<string, TaskOption>;

function portOf(value: unknown): number {
  if (value === undefined) return 8888;
  const port = Number(value);
  if (Number.isInteger(port) && port > 0 && port < 65_536) return port;
  throw new UsageError(`--port: expected a number from 1 to 65535, found "${value}".`);
}

/** Runs JupyterLab until it ends, and ends it with this process. */
async function runLab({ command, env }: JupyterLab, args: readonly string[]): Promise<void> {
  const child = new Deno.Command(command, { args: [...args], env: { ...env } }).spawn();
  const end = () => child.kill(Deno.build.os === "windows" ? "SIGKILL" : "SIGTERM");
  // Ctrl-C reaches JupyterLab too, which asks whether it is meant; its answer ends us both.
  Deno.addSignalListener("SIGINT", () => {});
  if (Deno.build.os !== "windows") {
    Deno.addSignalListener("SIGTERM", end);
    Deno.addSignalListener("SIGHUP", end);
  }
  const { code, signal } = await child.status;
  if (code === 0 || signal !== null) return;
  throw new LabError(`JupyterLab ended with code ${code}. Its own words are above.`);
}

async function lab(args: readonly string[]): Promise<void> {
  const { values } = parseOptions(OPTIONS, args, false);
  if (values["help"] === true) {
    const usage = "Usage: deno task lab [--no-browser] [--port N]";
    return console.log(
      `Opens the notebooks in JupyterLab.\n\n${usage}\n\n${optionLines(OPTIONS)}`,
    );
  }
  const port = portOf(values["port"]);
  const quiet = values["quiet"] === true;
  const say = (line: string) => quiet || console.error(line);
  await buildWithBars(quiet);
  const jupyter = await openJupyterLab(say);
  const options = [`--notebook-dir=${PROJECT_ROOT}`, `--port=${port}`, "--ip=127.0.0.1"];
  // The file browser opens on notebooks/; the whole project is served so that outputs/ can be seen.
  const view = ["--LabApp.default_url=/lab/tree/notebooks"];
  const browser = values["no-browser"] === true ? ["--no-browser"] : [];
  const root = Deno.uid() === 0 ? ["--allow-root"] : [];
  await runLab(jupyter, [...options, ...view, ...browser, ...root]);
}

if (import.meta.main) {
  try {
    await lab(Deno.args);
    Deno.exit(0);
  } catch (error) {
    Deno.exit(reportFailure(error));
  }
}
