import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { exists } from "@lib/files.ts";

const ROOT = decodeURIComponent(new URL("../../", import.meta.url).pathname);

interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a task as a user does, its outputs in a folder of its own. */
async function task(outputs: string, name: string, ...args: string[]): Promise<Outcome> {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["task", "--quiet", name, ...args],
    cwd: ROOT,
    env: { QLORA_OUTPUTS: outputs, NO_COLOR: "1" },
  }).output();
  const text = new TextDecoder();
  return { code, stdout: text.decode(stdout), stderr: text.decode(stderr) };
}

async function withOutputs(body: (outputs: string) => Promise<void>): Promise<void> {
  const outputs = await Deno.makeTempDir();
  try {
    await body(outputs);
  } finally {
    await Deno.remove(outputs, { recursive: true });
  }
}

const HEADER = "Topics,Question-Title,Questions,Answers\n";

Deno.test("clean, split, train and generate run one after another", () =>
  withOutputs(async (outputs) => {
    const set = (...pairs: string[]) => pairs.flatMap((pair) => ["--set", pair]);
    const small = set(
      "data.max_rows=120",
      "training.max_steps=2",
      "training.eval_samples=4",
      "evaluation.samples=2",
      "generation.max_new_tokens=8",
    );
    const clean = await task(outputs, "clean", "--run", "t", "--profile=tiny", ...small, "--json");
    assertEquals(clean.code, 0, clean.stderr);
    assertEquals(JSON.parse(clean.stdout).rawRows, 120);
    // Later steps take the run's own configuration.
    for (const name of ["split", "train", "generate"]) {
      const { code, stderr } = await task(outputs, name, "--run", "t");
      assertEquals(code, 0, stderr);
    }
    const made = [
      "config.json",
      "clean.jsonl",
      "dropped.jsonl",
      "train.jsonl",
      "test_results.json",
    ];
    for (const file of [...made, "llama31_bengali_empathy/adapter_model.safetensors"]) {
      assertEquals(await exists(`${outputs}/t/${file}`), true, file);
    }
    const again = await task(outputs, "train", "--run", "t", "--json");
    assertEquals(JSON.parse(again.stdout).resumed_from, 2);
  }));

Deno.test("a CSV that cannot be used is refused with file, place and remedy", () =>
  withOutputs(async (outputs) => {
    const cases: [name: string, content: string | Uint8Array<ArrayBuffer>, expected: RegExp][] = [
      ["missing column", "Topics,Question-Title,Questions\nক,খ,গ\n", /Answers/],
      ["empty", "", /empty/i],
      ["stray quote", `${HEADER}ক,খ,"গ" ঘ,ঙ\n`, /row 1/],
      ["wrong encoding", Uint8Array.from([0xff, 0xfe, 0x54, 0x00]), /UTF-16|UTF-8/],
    ];
    for (const [name, content, expected] of cases) {
      const file = `${outputs}/bad.csv`;
      if (typeof content === "string") await Deno.writeTextFile(file, content);
      else await Deno.writeFile(file, content);
      const csv = JSON.stringify(file);
      const { code, stderr } = await task(
        outputs,
        "clean",
        "--run",
        "t",
        "--set",
        `data.csv=${csv}`,
      );
      assertEquals(code, 1, name);
      assertStringIncludes(stderr, "bad.csv", name);
      assertMatch(stderr, expected, name);
      assertEquals(stderr.includes("    at "), false, `${name}: a stack is no help`);
    }
  }));

Deno.test("a step out of order names the step to run first", () =>
  withOutputs(async (outputs) => {
    for (
      const [name, first] of [["split", "clean"], ["train", "split"], [
        "generate",
        "split",
      ]] as const
    ) {
      const { code, stderr } = await task(outputs, name, "--run", "t", "--profile", "tiny");
      assertEquals(code, 1);
      assertStringIncludes(stderr, `deno task ${first}`);
    }
  }));

Deno.test("misspelt options, keys, profiles and runs are refused with exit code 2 or 1", () =>
  withOutputs(async (outputs) => {
    const option = await task(outputs, "clean", "--profil", "tiny");
    assertEquals(option.code, 2);
    assertStringIncludes(option.stderr, "--profile");
    const key = await task(outputs, "clean", "--set", "data.max_row=3");
    assertEquals(key.code, 2);
    assertStringIncludes(key.stderr, "data.max_rows");
    const profile = await task(outputs, "clean", "--profile", "rtx3066");
    assertEquals(profile.code, 2);
    assertStringIncludes(profile.stderr, "rtx3060");
    const run = await task(outputs, "clean", "--run", "../x");
    assertEquals(run.code, 1);
    assertStringIncludes(run.stderr, "--run NAME");
  }));

Deno.test("a model folder that is not one is refused before anything is loaded", () =>
  withOutputs(async (outputs) => {
    const small = ["--profile", "tiny", "--set", "data.max_rows=60"];
    await task(outputs, "clean", "--run", "t", ...small);
    await task(outputs, "split", "--run", "t");
    const { code, stderr } = await task(outputs, "train", "--run", "t", "--model", outputs);
    assertEquals(code, 1);
    assertStringIncludes(stderr, "config.json");
    // A checkpoint cut off while being downloaded.
    await Deno.mkdir(`${outputs}/cut`);
    for (const entry of Deno.readDirSync(`${ROOT}data/tiny-llama`)) {
      await Deno.copyFile(`${ROOT}data/tiny-llama/${entry.name}`, `${outputs}/cut/${entry.name}`);
    }
    await Deno.truncate(`${outputs}/cut/model.safetensors`, 100_000);
    const cut = await task(outputs, "train", "--run", "t", "--model", `${outputs}/cut`);
    assertEquals(cut.code, 1);
    assertMatch(cut.stderr, /model\.safetensors.*truncated/);
  }));
