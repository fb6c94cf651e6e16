import { assert, assertEquals, assertRejects } from "@std/assert";
import { join } from "node:path";
import {
  interruptAll,
  InterruptedError,
  interruptible,
  setCancelFile,
} from "@lib/notebook/interrupt.ts";
import { findRoot, setupNotebook } from "@lib/notebook/setup.ts";
import { inProjectFolder } from "./notebook_fixture.ts";
import { ROOT } from "./kernel_fixture.ts";

const exists = (path: string) => Deno.stat(path).then(() => true, () => false);

Deno.test("work that ends gives its value, work that throws its own error", async () => {
  assertEquals(await interruptible(() => Promise.resolve(7)), 7);
  await assertRejects(() => interruptible(() => Promise.reject(new TypeError("own"))), TypeError);
  assertEquals(interruptAll(), 0, "nothing runs any more");
});

Deno.test("interrupted work may end in its own way first", async () => {
  let closed = false;
  const work = interruptible(async (signal) => {
    await new Promise((resolve) => signal.addEventListener("abort", resolve));
    await new Promise((resolve) => setTimeout(resolve, 50));
    closed = true;
  });
  await new Promise((resolve) => setTimeout(resolve, 10));
  assertEquals(interruptAll("the test"), 1);
  await assertRejects(() => work, InterruptedError, "Interrupted by the test");
  assert(closed, "the work was not waited for");
});

Deno.test("a cancel file stops running work, and a stale one does not", async () => {
  await inProjectFolder(async (folder) => {
    const path = join(folder, "STOP");
    setCancelFile(path);
    try {
      await Deno.writeTextFile(path, "");
      assertEquals(await interruptible(() => Promise.resolve("done")), "done");
      assert(!(await exists(path)), "the stale file is gone");
      const work = interruptible(() => new Promise(() => {}));
      await new Promise((resolve) => setTimeout(resolve, 20));
      const begun = performance.now();
      await Deno.writeTextFile(path, "");
      await assertRejects(() => work, InterruptedError, path);
      assert(performance.now() - begun < 1500);
      assert(!(await exists(path)), "the file is taken away");
    } finally {
      setCancelFile(undefined);
    }
  });
});

Deno.test({
  name: "Ctrl-C in a task ends the work by its own way, a second one the task",
  ignore: Deno.build.os === "windows",
  fn: async () => {
    const script = `
      import { interruptible } from "@lib/notebook/mod.ts";
      const stopped = interruptible((signal) => new Promise((_, fail) => {
        signal.addEventListener("abort", () => fail(signal.reason));
        console.log("running");
        setTimeout(() => {}, 60_000);
      }));
      console.log(await stopped.then(() => "ended", (error) => error.name));
      Deno.exit(3);`;
    const child = new Deno.Command(Deno.execPath(), {
      args: ["eval", "--config", join(ROOT, "deno.json"), script],
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
    let said = "";
    for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) {
      said += text;
      if (said === "running\n") child.kill("SIGINT");
    }
    assertEquals([said, (await child.status).code], ["running\nInterruptedError\n", 3]);
  },
});

Deno.test("outside a kernel the set-up finds the project and installs nothing", async () => {
  const here = await setupNotebook({ cancelFile: false });
  assertEquals([here.kernel, here.outputHook, here.cancelFile], [false, false, undefined]);
  assertEquals(await findRoot(join(ROOT, "lib", "notebook")), await findRoot(join(ROOT, "lib")));
  const outside = await Deno.makeTempDir();
  try {
    await assertRejects(() => findRoot(outside), Error, "expected deno.json");
  } finally {
    await Deno.remove(outside);
  }
});
