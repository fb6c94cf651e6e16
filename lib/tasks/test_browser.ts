/**
 * `deno task test:browser [PATTERN]`: the pages and notebooks in a real browser. Needs Chromium, and
 * JupyterLab for the notebooks; what is missing is said in one line and its tests are skipped.
 */
import { PROJECT_ROOT } from "@lib/experiment/run.ts";
import { exists } from "@lib/files.ts";

/** Folders of browser tests: `*_test.ts` in them are run, one file after another. */
const FOLDERS = ["tests/browser", "tests/server/browser"];

async function testFiles(): Promise<string[]> {
  const files: string[] = [];
  for (const folder of FOLDERS) {
    if (!await exists(`${PROJECT_ROOT}${folder}`)) continue;
    for await (const { name } of Deno.readDir(`${PROJECT_ROOT}${folder}`)) {
      if (name.endsWith("_test.ts")) files.push(`${folder}/${name}`);
    }
  }
  return files.toSorted();
}

if (import.meta.main) {
  const wanted = Deno.args.filter((argument) => !argument.startsWith("-"));
  const options = Deno.args.filter((argument) => argument.startsWith("-"));
  const files = (await testFiles()).filter((file) =>
    wanted.length === 0 || wanted.some((one) => file.includes(one))
  );
  if (files.length === 0) {
    console.error(`expected browser tests in ${FOLDERS.join(" or ")}, found none to run`);
    Deno.exit(1);
  }
  const { code } = await new Deno.Command(Deno.execPath(), {
    args: ["test", "--allow-all", ...options, ...files],
    cwd: PROJECT_ROOT,
  }).spawn().status;
  Deno.exit(code);
}
