import { assertEquals, assertRejects } from "@std/assert";
import { join } from "node:path";
import { installKernelSpec } from "@lib/notebook/kernel_spec.ts";
import { inProjectFolder } from "./notebook_fixture.ts";

Deno.test("the kernelspec starts this Deno and interrupts by signal", async () => {
  await inProjectFolder(async (prefix) => {
    await installKernelSpec({ prefix, deno: "/an/older/deno" });
    const path = await installKernelSpec({ prefix });
    assertEquals(path, join(prefix, "share", "jupyter", "kernels", "deno", "kernel.json"));
    const spec = JSON.parse(await Deno.readTextFile(path));
    assertEquals(spec.argv, [
      Deno.execPath(),
      "jupyter",
      "--kernel",
      "--conn",
      "{connection_file}",
    ]);
    assertEquals([spec.language, spec.interrupt_mode], ["typescript", "signal"]);
  });
});

Deno.test("a prefix that cannot be written to is named", async () => {
  await inProjectFolder(async (folder) => {
    const prefix = join(folder, "file");
    await Deno.writeTextFile(prefix, "");
    await assertRejects(() => installKernelSpec({ prefix }), Error, "Choose a prefix");
  });
});
