/**
 * `deno task test`: the whole gate. Formatting, lint, types of lib, tests and every notebook cell, doc
 * examples, unit tests, native tests, the CUDA objects where nvcc is, and all notebooks at smoke size.
 * Ends with one line of counts.
 */
import { compileCuda } from "@lib/build/cuda_tests.ts";
import { buildNative } from "@lib/build/native.ts";
import { runNativeTests } from "@lib/build/native_tests.ts";
import { PROJECT_ROOT } from "@lib/experiment/run.ts";
import { exists } from "@lib/files.ts";
import { checkNotebooks, formatProblem } from "@lib/notebook/check_cells.ts";
import { printLine, Progress } from "@lib/notebook/progress.ts";
import { runNotebook } from "@lib/notebook/runner.ts";
import { SMOKE_SETTINGS } from "@lib/notebook/smoke.ts";
import { optionLines, parseOptions, reportFailure, type TaskOption } from "@lib/tasks/cli.ts";
import { courseNotebooks } from "@lib/tasks/poc.ts";

/** Outcome of one stage. */
interface StageResult {
  readonly passed: number;
  readonly failed: number;
  /** Shown when something failed. */
  readonly output: string;
  /** Shown in any case, beside the counts. */
  readonly note?: string;
}

interface Stage {
  readonly name: string;
  run(): Promise<StageResult>;
}

async function deno(args: readonly string[], env: Record<string, string> = {}) {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [...args],
    cwd: PROJECT_ROOT,
    env: { NO_COLOR: "1", ...env },
    stdout: "piped",
    stderr: "piped",
  }).output();
  const text = new TextDecoder();
  return { ok: code === 0, output: `${text.decode(stdout)}${text.decode(stderr)}` };
}

/** A command that passes or fails as a whole. */
function command(name: string, args: readonly string[]): Stage {
  return {
    name,
    run: async () => {
      const { ok, output } = await deno(args);
      return { passed: ok ? 1 : 0, failed: ok ? 0 : 1, output };
    },
  };
}

/** `deno test`, with its own counts. */
function tests(name: string, args: readonly string[]): Stage {
  return {
    name,
    run: async () => {
      const { ok, output } = await deno(["test", "--allow-all", ...args]);
      const counts = /(\d+) passed(?: \(\d+ steps?\))? \| (\d+) failed/.exec(output);
      const failed = Number(counts?.[2] ?? 0);
      return {
        passed: Number(counts?.[1] ?? 0),
        failed: ok ? failed : Math.max(1, failed),
        output,
      };
    },
  };
}

/** Code that runs in a browser: its many global names must not hide a misspelt one elsewhere. */
const BROWSER_FOLDERS = ["lib/server/page", "tests/browser", "tests/server/browser"];

/** All TypeScript below a folder, as paths from the project's root. */
async function sourcesIn(folder: string): Promise<string[]> {
  const found: string[] = [];
  for await (const { name, isDirectory } of Deno.readDir(`${PROJECT_ROOT}${folder}`)) {
    const path = `${folder}/${name}`;
    if (isDirectory) found.push(...await sourcesIn(path));
    else if (name.endsWith(".ts")) found.push(path);
  }
  return found;
}

/** Types of everything, the browser's code apart from the rest. */
async function types(): Promise<StageResult> {
  const inBrowser = (path: string) => BROWSER_FOLDERS.some((one) => path.startsWith(`${one}/`));
  const all = (await Promise.all(["lib", "tests", "data"].map(sourcesIn))).flat();
  const there = await Promise.all(BROWSER_FOLDERS.map((one) => exists(`${PROJECT_ROOT}${one}`)));
  const checks = [
    await deno(["check", ...all.filter((path) => !inBrowser(path))]),
    await deno(["check", ...BROWSER_FOLDERS.filter((_, i) => there[i])]),
  ];
  const failed = checks.filter(({ ok }) => !ok);
  return {
    passed: checks.length - failed.length,
    failed: failed.length,
    output: failed.map(({ output }) => output).join("\n"),
  };
}

async function notebookCells(): Promise<StageResult> {
  const paths = (await courseNotebooks()).map((name) => `${PROJECT_ROOT}notebooks/${name}`);
  const problems = await checkNotebooks(paths);
  return {
    passed: problems.length === 0 ? paths.length : 0,
    failed: problems.length,
    output: problems.map((problem) => formatProblem(problem)).join("\n"),
  };
}

/**
 * Formats copies and compares: `deno fmt --check` of Deno 2.8.1 reports every notebook that is not in its
 * cache, formatted or not.
 */
async function notebookFormat(): Promise<StageResult> {
  const names = await courseNotebooks();
  const scratch = await Deno.makeTempDir();
  try {
    for (const name of names) {
      await Deno.copyFile(`${PROJECT_ROOT}notebooks/${name}`, `${scratch}/${name}`);
    }
    const copies = names.map((name) => `${scratch}/${name}`);
    const { ok, output } = await deno(["fmt", "--no-config", "--line-width=100", ...copies]);
    const changed: string[] = [];
    for (const name of names) {
      const before = await Deno.readTextFile(`${PROJECT_ROOT}notebooks/${name}`);
      if (before !== await Deno.readTextFile(`${scratch}/${name}`)) changed.push(name);
    }
    const say = changed.map((name) =>
      `${name}: format it with deno fmt --no-config --line-width=100`
    );
    return {
      passed: names.length - changed.length,
      failed: ok ? changed.length : Math.max(1, changed.length),
      output: ok ? say.join("\n") : output,
    };
  } finally {
    await Deno.remove(scratch, { recursive: true });
  }
}

async function smoke(): Promise<StageResult> {
  const outputs = `${PROJECT_ROOT}.build/smoke`;
  await Deno.remove(outputs, { recursive: true }).catch(() => {});
  let passed = 0;
  try {
    for (const name of await courseNotebooks()) {
      await runNotebook(`${PROJECT_ROOT}notebooks/${name}`, {
        output: `${outputs}/smoke/notebooks/${name}`,
        parameters: { run: "smoke", profile: "tiny", settings: SMOKE_SETTINGS },
        env: { QLORA_OUTPUTS: outputs },
        onCell: () => {},
        timeoutMs: 120_000,
      });
      passed++;
    }
    return { passed, failed: 0, output: "" };
  } catch (error) {
    return { passed, failed: 1, output: error instanceof Error ? error.message : String(error) };
  }
}

async function native(): Promise<StageResult> {
  const { built, seconds } = await buildNative();
  return { passed: 1, failed: 0, output: `${built} ${seconds}` };
}

async function cuda(): Promise<StageResult> {
  const { compiled, note } = await compileCuda();
  return { passed: compiled ? 1 : 0, failed: 0, output: "", note };
}

/** Tests that hold a clock to something: they run after the others, each alone. */
const TIMED_TESTS = [
  "tests/corpus/scale_test.ts",
  "tests/notebook/conformance_test.ts",
  "tests/notebooks/03_train_interrupt_test.ts",
  "tests/safety/guard_test.ts",
] as const;

const STAGES: readonly Stage[] = [
  command("format", ["fmt", "--check"]),
  { name: "format of notebooks", run: notebookFormat },
  command("lint", ["lint"]),
  { name: "types", run: types },
  { name: "types and lint of notebook cells", run: notebookCells },
  { name: "native build", run: native },
  { name: "native tests", run: runNativeTests },
  { name: "CUDA objects", run: cuda },
  tests("doc examples", ["--doc", "--quiet", "lib"]),
  tests("unit tests", [
    "--parallel",
    `--ignore=${[...BROWSER_FOLDERS, ...TIMED_TESTS].join(",")}`,
    "tests",
  ]),
  tests("timed tests", TIMED_TESTS),
  { name: "notebooks at smoke size", run: smoke },
];

/** Runs the stages; a terminal sees which is under way. @returns whether everything passed */
async function gate(stages: readonly Stage[], quiet: boolean): Promise<boolean> {
  let passed = 0;
  let failed = 0;
  const terminal = Deno.stderr.isTerminal(); // a log has the stages' own lines
  const print = (line: string) => printLine(line, console.log);
  await using bar = new Progress("gate", {
    total: stages.length,
    unit: "stages",
    quiet: quiet || !terminal,
  });
  for (const stage of stages) {
    const begun = performance.now();
    bar.update(bar.done, stage.name);
    const clock = setInterval(() => bar.update(bar.done), 1000);
    let result: StageResult;
    try {
      result = await stage.run();
    } catch (error) {
      const output = error instanceof Error ? error.stack ?? error.message : String(error);
      result = { passed: 0, failed: 1, output };
    } finally {
      clearInterval(clock);
    }
    bar.add();
    passed += result.passed;
    failed += result.failed;
    const seconds = ((performance.now() - begun) / 1000).toFixed(1).padStart(6);
    const counts = `${result.passed} passed, ${result.failed} failed`;
    const note = result.note === undefined ? "" : ` (${result.note})`;
    print(`${seconds} s  ${stage.name}: ${counts}${note}`.trimEnd());
    if (result.failed > 0) print(result.output);
  }
  await bar.finish("");
  print(`${passed} passed, ${failed} failed`);
  return failed === 0;
}

const OPTIONS = {
  quiet: { type: "boolean", short: "q", help: "no progress, a line a stage" },
  help: { type: "boolean", short: "h", help: "this text" },
} as const satisfies Record<string, TaskOption>;

if (import.meta.main) {
  try {
    const { values, positionals } = parseOptions(OPTIONS, Deno.args, true);
    if (values["help"] === true) {
      const names = STAGES.map(({ name }) => `  ${name}`).join("\n");
      console.log(`The whole gate, or the stages whose names hold a word given.\n
Usage: deno task test [options] [WORD …]\n\n${optionLines(OPTIONS)}\n\nStages:\n${names}`);
    } else {
      const stages = STAGES.filter(({ name }) =>
        positionals.length === 0 || positionals.some((word) => name.includes(word))
      );
      Deno.exit(await gate(stages, values["quiet"] === true) ? 0 : 1);
    }
  } catch (error) {
    Deno.exit(reportFailure(error));
  }
}
