/** Every task of deno.json: who asks for silence gets it, and a log gets plain lines. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import config from "../../deno.json" with { type: "json" };

const ROOT = decodeURIComponent(new URL("../../", import.meta.url).pathname);

/** Tasks whose words are another program's. */
const OTHERS_WORDS = ["semantic:install", "test:browser", "test:gpu"];

/** Tasks not run here: they stay, run for minutes, or have tests of their own. */
const NOT_RUN = [...OTHERS_WORDS, "grade", "lab", "poc", "test", "serve", "serve:load"];

interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

async function task(args: readonly string[], outputs = ""): Promise<Outcome> {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["task", "--quiet", ...args],
    cwd: ROOT,
    env: { NO_COLOR: "1", ...outputs === "" ? {} : { QLORA_OUTPUTS: outputs } },
    stdin: "null",
  }).output();
  const text = new TextDecoder();
  return { code, stdout: text.decode(stdout), stderr: text.decode(stderr) };
}

const tasks = Object.keys(config.tasks);

Deno.test("every task that can be long takes --quiet", async () => {
  const waiting = tasks.filter((name) => !OTHERS_WORDS.includes(name));
  const without: string[] = [];
  const look = async () => {
    for (let name = waiting.shift(); name !== undefined; name = waiting.shift()) {
      const { code, stdout } = await task([name, "--help"]);
      if (code !== 0 || !stdout.includes("--quiet")) without.push(name);
    }
  };
  await Promise.all([look(), look()]);
  assertEquals(without, []);
});

const SMALL = [
  "data.max_rows=120",
  "training.max_steps=2",
  "training.eval_samples=4",
  "evaluation.samples=2",
  "evaluation.bootstrap_draws=100",
  "generation.max_new_tokens=4",
].flatMap((pair) => ["--set", pair]);

/** A small command line of each task, in an order in which each has what it needs. */
const lines = (outputs: string): Readonly<Record<string, readonly string[]>> => ({
  build: ["--without-cuda"],
  clean: ["--run", "a", "--profile", "tiny", ...SMALL],
  split: ["--run", "a"],
  train: ["--run", "a"],
  generate: ["--run", "a"],
  evaluate: ["--run", "a"],
  report: ["--run", "a"],
  compare: ["a", "b", "--html", `${outputs}/compare.html`],
  sweep: ["--run", "a", "--vary", "lora.r=2", "--train-only"],
  score: [`${outputs}/pairs.jsonl`, "--draws", "100"],
  guard: ["--score", `${outputs}/phrases.jsonl`],
  chat: ["--run", "a"],
  batch: [`${outputs}/prompts.txt`, "--run", "a"],
  export: ["--run", "a", "--to", "gguf-adapter"],
  bench: [..."--steps 1 --rounds 1 --set data.max_rows=120".split(" "), "--json", `${outputs}/f`],
  agreement: [],
  handout: ["--notebook", "00_check", "--out", `${outputs}/handout`],
  model: [],
});

/** Tasks that tell more than results when they are not quiet, with what they must show then. */
const SHOWN: Readonly<Record<string, RegExp>> = {
  clean: /^cleaning 100 % .*120\/120 rows .*$[^]*^near-duplicates 100 %[^]*^quarantine 100 %/m,
  split: /^grouping by answer 100 % [^]*^leak check by question 100 % .* texts/m,
  train:
    /^tokenising 100 % [^]*^loading 100 % [^]*^validation 100 % [^]*^train 100 % {2}2\/2 steps/m,
  generate: /^base 100 % .*2\/2 answers/m,
  evaluate:
    /^base, likelihood 100 % [^]*^scoring tuned 100 % [^]*^comparing tuned with base 100 %/m,
  compare: /^scoring a 100 % [^]*^comparing b 100 % .*metrics/m,
  sweep: /^1\/1 a__lora\.r-2$[^]*^train 100 % {2}2\/2 steps/m,
  score: /^scoring pairs 100 % .*2\/2 answers/m,
  guard: /^scoring 100 % .*1\/1 phrases/m,
  bench: /^engine, round 1\/1 100 % .*3\/3 steps/m,
};

Deno.test("without a terminal every task writes plain lines, with --quiet no progress", async () => {
  const outputs = await Deno.makeTempDir();
  try {
    const reference = "শুনে খারাপ লাগছে।";
    const pairs = [1, 2].map((group) =>
      JSON.stringify({ hypothesis: reference, reference, group })
    );
    await Deno.writeTextFile(`${outputs}/pairs.jsonl`, pairs.join("\n"));
    const phrase = { text: "আজ মন ভালো নেই।", class: "sad", level: [0, 1] };
    await Deno.writeTextFile(`${outputs}/phrases.jsonl`, JSON.stringify(phrase));
    await Deno.writeTextFile(`${outputs}/prompts.txt`, "আজ মন ভালো নেই।\n");
    const runs = lines(outputs);
    assertEquals([...Object.keys(runs), ...NOT_RUN].toSorted(), tasks.toSorted());
    for (const [name, args] of Object.entries(runs)) {
      const { code, stdout, stderr } = await task([name, ...args], outputs);
      assertEquals(code, 0, `${name}: ${stderr}`);
      // deno-lint-ignore no-control-regex -- the control characters are what is looked for
      assert(!/[\r\x1b]/.test(stdout + stderr), `${name} redraws where nothing can be redrawn`);
      const shown = SHOWN[name];
      if (shown === undefined) continue;
      assertMatch(stderr, shown, name);
      const quiet = await task([name, ...args, "--quiet"], outputs);
      assertEquals(quiet.stderr, "", name);
      if (name === "generate") await copyRun(`${outputs}/a`, `${outputs}/b`);
    }
  } finally {
    await Deno.remove(outputs, { recursive: true });
  }
});

/** The files that a comparison reads. */
async function copyRun(from: string, to: string): Promise<void> {
  await Deno.mkdir(to);
  for await (const { name, isFile } of Deno.readDir(from)) {
    if (isFile) await Deno.copyFile(`${from}/${name}`, `${to}/${name}`);
  }
}
