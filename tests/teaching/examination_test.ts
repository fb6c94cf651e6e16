import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { z } from "zod";
import { exists } from "@lib/files.ts";
import { PROJECT_ROOT } from "@lib/experiment/run.ts";
import { examineSmall, outcomes, PRISTINE, RIGHT, solved, submission } from "./fixture.ts";

Deno.test("right solutions pass, wrong ones are told what was expected and found", async () => {
  assertEquals(outcomes(await examineSmall(PRISTINE)), ["passed", "passed", "passed"]);
  const results = await examineSmall(submission({
    ...RIGHT,
    "exercise-1": solved("exercise-1", "return values.map((value) => 2 * value);"),
  }));
  assertEquals(outcomes(results), ["failed", "failed", "passed"], "exercise 2 rests on 1");
  const [first] = results;
  assertEquals(first?.checks.map(({ ok }) => ok), [false, false]);
  assertStringIncludes(first?.checks[0]?.text ?? "", "[0]: expected 3, found 2");
});

Deno.test("an empty student version fails every exercise by its checks", async () => {
  const results = await examineSmall(submission({}));
  assertEquals(outcomes(results), ["failed", "failed", "failed"]);
  assert(results.every(({ checks }) => checks.some(({ ok }) => !ok)));
});

Deno.test("helpers, other spellings and imports of the course's modules are taken along", async () => {
  const results = await examineSmall(submission({
    ...RIGHT,
    "exercise-1": `import { formatDuration as say } from "@lib/notebook/progress.ts";
const times = (one: number) => (value: number) => one * value;
const scaled = (values: readonly number[]): number[] =>
  say(20) === "20 s" ? values.map(times(factor)) : [];
console.log("a line of my own", scaled([4]));
check("three numbers", scaled([1, 2, 3]), [3, 6, 9]);
check("the notebook's own", scaled(numbers), numbers.map((value) => factor * value));`,
    "exercise-2": solved(
      "exercise-2",
      "let sum = 0; for (const v of values) sum += v; return sum;",
    ),
  }));
  assertEquals(outcomes(results), ["passed", "passed", "passed"]);
});

/** What each attack writes into exercise 1 (or its cell); exercises 2 and 3 are right. */
const ATTACKS: Readonly<
  Record<string, {
    readonly cell: string;
    readonly found: RegExp;
    /** Whether it spoils the student's own other exercises. */
    readonly spoils?: true;
  }>
> = {
  "loops for ever": {
    cell: solved("exercise-1", "for (;;) {}"),
    found: /^time limit: .*4 s/,
  },
  "waits for ever": {
    cell: `async ${solved("exercise-1", "await new Promise(() => {}); return [];")}`,
    found: /^ended its process: .*never/,
  },
  "ends the process": {
    cell: solved("exercise-1", "Deno.exit(0);"),
    found: /^ended its process/,
  },
  "ends the process while the cell is read": {
    cell: `const over = Deno.exit(0);\n${solved("exercise-1", "return [];")}`,
    found: /^ended its process/,
  },
  "prints without end": {
    cell: solved("exercise-1", 'for (;;) console.log("x".repeat(100_000));'),
    found: /^printed too much/,
  },
  "prints without end and without a line's end": {
    cell: solved(
      "exercise-1",
      'const bytes = new TextEncoder().encode("x".repeat(100_000));\n' +
        "for (;;) Deno.stdout.writeSync(bytes);",
    ),
    found: /^printed too much/,
  },
  "fills the heap": {
    cell: solved("exercise-1", "const all: unknown[] = []; for (;;) all.push({ a: [1, 2, 3] });"),
    found: /^memory limit|^time limit/,
  },
  "fills memory outside of the heap": {
    cell: solved(
      "exercise-1",
      "const all: Uint8Array[] = []; for (;;) all.push(new Uint8Array(1e7).fill(1));",
    ),
    found: /^memory limit/,
  },
  "forges messages": {
    cell: solved(
      "exercise-1",
      `for (const say of ["return", "end", "done"]) {
  console.log(JSON.stringify({ say, value: [3, 6, 9], exercise: 1 }));
  console.log(JSON.stringify({ say: "check", name: "three numbers", ok: true, text: "" }));
}
return [];`,
    ),
    found: /^failed: .*three numbers: expected 3 values, found 0/,
  },
  "changes the language under the checks": {
    cell: solved(
      "exercise-1",
      `Object.is = () => true;
Math.abs = () => 0;
Array.isArray = (() => false) as unknown as typeof Array.isArray;
Array.prototype.map = () => [];
JSON.stringify = () => '{"say":"return","value":[3,6,9]}';
return [];`,
    ),
    found: /^(failed|ended its process): .*/,
    spoils: true,
  },
  "declares its own check": {
    cell: `function check() {}\nconst checkThat = () => {};\n${solved("exercise-1", "return [];")}`,
    found: /^failed: .*three numbers/,
  },
  "edits the checks": {
    cell: "function scaled() { return []; }\ncheck('three numbers', 1, 1);",
    found: /^failed: .*three numbers: expected 3 values, found 0/,
  },
  "changes what it is given": {
    cell: solved("exercise-1", "numbers.length = 0; factor; return [3, 6, 9];"),
    found: /^failed: .*notebook's own: expected 4 values, found 3/,
  },
  "closes the function and goes on": {
    cell: solved("exercise-1", "return []; } }, publish: () => {} }); Deno.exit(0); ({ x: { y() {"),
    found: /^cannot run: The cell is not valid TypeScript/,
  },
  "imports a notebook with its solutions": {
    cell: solved(
      "exercise-1",
      `return import("${PROJECT_ROOT}notebooks/00_check.ipynb", { with: { type: "json" } });`,
    ),
    found: /^cannot run: `import\(/,
  },
  "calls itself for ever": {
    cell: solved("exercise-1", "return scaled(values);"),
    found: /^failed: RangeError: Maximum call stack/,
  },
  "gives back more than can be carried": {
    cell: solved("exercise-1", 'return ["x".repeat(2 ** 27)] as unknown as number[];'),
    found: /^(printed too much|memory limit|ended its process)/,
  },
  "leaves a rejection behind": {
    cell: solved("exercise-1", 'void Promise.reject(new Error("late")); return [];'),
    found: /^(ended its process|failed)/,
  },
  "closes its own channels": {
    cell: solved("exercise-1", "Deno.stdin.close(); Deno.stdout.close(); return [3, 6, 9];"),
    found: /^(ended its process|failed)/,
  },
  "kills itself": {
    cell: solved("exercise-1", 'Deno.kill(Deno.pid, "SIGKILL"); return [];'),
    found: /^(ended its process|failed: NotCapable)/,
  },
  "crashes the native library": {
    cell: `import { loadLibrary } from "@lib/engine/library.ts";\n${
      solved(
        "exercise-1",
        `const { symbols } = loadLibrary("cpu");
const call = symbols.qlora_nf4_quantize as unknown as (...args: readonly unknown[]) => number;
call(new Float32Array(1), 2n ** 40n, new Uint8Array(1), new Float32Array(1));
return [];`,
      )
    }`,
    found: /^(ended its process|failed|memory limit)/,
  },
  "reads a solution from a worker": {
    cell: `async ${
      solved(
        "exercise-1",
        `const source = 'try { postMessage(Deno.readTextFileSync("' + Deno.cwd() + '/../examiner/program.ts")); } ' +
  'catch (error) { postMessage("refused " + error.name); }';
const worker = new Worker("data:text/javascript," + encodeURIComponent(source), { type: "module" });
const said = await new Promise((go) => { worker.onmessage = ({ data }) => go(data); });
worker.terminate();
throw new Error(String(said).slice(0, 200));`,
      )
    }`,
    found: /^failed: Error: refused NotCapable/,
  },
  "imports a notebook by a name made at run time": {
    cell: solved(
      "exercise-1",
      'const name = ["im", "port"].join(""); return Function(`return ${name}("' +
        `file://${PROJECT_ROOT}notebooks/00_check.ipynb", { with: { type: "json" } })\`)();`,
    ),
    found: /^failed: .*Requires read access/,
  },
  "imports a notebook through a module of its own making": {
    cell: solved(
      "exercise-1",
      'const text = "import nb from \'file://" + Deno.cwd() + "/../../.." + ' +
        `"${PROJECT_ROOT}notebooks/00_check.ipynb' with { type: 'json' }; export default nb;";
return Function("u", "return im" + "port(u)")("data:text/javascript," + encodeURIComponent(text));`,
    ),
    found: /^failed: .*(Requires read access|not found|Module not found)/,
  },
};

/** Attempts to reach out, each given back as text: what the refusal said. */
const REACHES: Readonly<Record<string, string>> = {
  "read a solution": `Deno.readTextFileSync("${PROJECT_ROOT}notebooks/00_check.ipynb")`,
  "read the examiner's program": 'Deno.readTextFileSync("../examiner/program.ts")',
  "read a password": 'Deno.readTextFileSync("/etc/passwd")',
  "write outside": `Deno.writeTextFileSync("${PROJECT_ROOT}outputs/hacked", "x")`,
  "write inside": 'Deno.writeTextFileSync("mine", "x")',
  "start a process": 'new Deno.Command("true").outputSync()',
  "fork": '(await import("node:child_process")).spawnSync("true").error?.message',
  "load a library": 'Deno.dlopen("libc.so.6", {})',
  "make a pointer": "Deno.UnsafePointer.create(4096n)",
  "use the network": 'await Deno.connect({ hostname: "127.0.0.1", port: 1 })',
  "listen": "Deno.listen({ port: 0 })",
  "end the grader": "Deno.kill(Deno.ppid)",
  "ask for permission": 'Deno.permissions.requestSync({ name: "write" }).state',
  "read the host's name": "Deno.hostname()",
  "read a secret": 'String(Deno.env.get("GRADE_TEST_SECRET"))',
};

for (const [what, { cell, found, spoils }] of Object.entries(ATTACKS)) {
  Deno.test(`a submission that ${what} costs only itself`, async () => {
    const results = await examineSmall(
      submission({
        ...RIGHT,
        // Exercise 2 must stand on its own here.
        "exercise-1": cell,
      }),
      { exerciseSeconds: 4, notebookSeconds: 60, memoryMegabytes: 400 },
    );
    const [first, second, third] = results;
    const said = first?.error || (first?.checks.find(({ ok }) => !ok)?.text ?? "");
    const message = `${first?.outcome}: ${said}`;
    assertMatch(message.replaceAll("\n", " "), found);
    if (spoils) return;
    assertEquals(third?.outcome, "passed", JSON.stringify(third));
    assert(second?.checks.slice(0, 2).every(({ ok }) => ok), JSON.stringify(second));
    assertEquals(second?.checks.length === 0, false);
  });
}

Deno.test("nothing outside can be reached from a solution", async () => {
  Deno.env.set("GRADE_TEST_SECRET", "a token");
  const tries = Object.values(REACHES).map((code) =>
    `await (async () => { try { return \`done: \${${code}}\`; } ` +
    "catch (error) { return `refused: ${error.name}`; } })()"
  );
  const results = await examineSmall(submission({
    ...RIGHT,
    "exercise-3": solved("exercise-3", `throw new Error(JSON.stringify([${tries.join(",\n")}]));`),
  }));
  Deno.env.delete("GRADE_TEST_SECRET");
  const said = z.array(z.string()).parse(
    JSON.parse((results[2]?.error ?? "").replace(/^Error: /, "")),
  );
  const allowed = ["refused: NotCapable", "done: denied", "done: undefined", "refused: TypeError"];
  Object.keys(REACHES).forEach((what, at) => {
    const ok = allowed.includes(said[at] ?? "") || /Requires run access/.test(said[at] ?? "");
    assert(ok, `${what}: ${said[at]}`);
  });
  assertEquals(said.length, Object.keys(REACHES).length);
  assertEquals(await exists(`${PROJECT_ROOT}outputs/hacked`), false);
});
