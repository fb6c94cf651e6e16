import { assertEquals, assertMatch } from "@std/assert";
import { isaFlags } from "@lib/build/native.ts";
import { findTool, installCommand } from "@lib/build/toolchain.ts";

const ROOT = decodeURIComponent(new URL("../../", import.meta.url).pathname);

Deno.test("each system gets the one command that installs a compiler", async () => {
  const only = (name: string) => (command: string) => Promise.resolve(command === name);
  assertEquals(await installCommand("darwin", only("")), "xcode-select --install");
  assertMatch(await installCommand("windows", only("")), /^winget install .*BuildTools/);
  assertMatch(await installCommand("linux", only("apt-get")), /^sudo apt-get install -y g\+\+$/);
  assertMatch(await installCommand("linux", only("dnf")), /^sudo dnf install/);
  assertMatch(await installCommand("linux", only("nothing")), /package manager/);
});

Deno.test("a program that is not there is null, not an error", async () => {
  assertEquals(await findTool("no-such-program-here"), null);
  assertMatch((await findTool(Deno.execPath()))?.version ?? "", /deno/);
});

Deno.test("a machine without a compiler gets one message with the command", async () => {
  if (Deno.build.os !== "linux") return;
  const folder = await Deno.makeTempDir();
  try {
    const { code, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "--allow-all", "--quiet", `${ROOT}lib/tasks/build.ts`, "--force"],
      cwd: ROOT,
      clearEnv: true,
      env: { PATH: folder, HOME: folder, NO_COLOR: "1", DENO_DIR: denoFolder() },
    }).output();
    const text = new TextDecoder().decode(stderr);
    assertEquals(code, 1, text);
    assertMatch(text, /Expected a C\+\+17 compiler .*found none/);
    assertMatch(text, /install/);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

/** Where this Deno keeps what it has downloaded. */
function denoFolder(): string {
  return Deno.env.get("DENO_DIR") ?? `${Deno.env.get("HOME")}/.cache/deno`;
}

Deno.test("the direct build compiles the same sources with the same flags as CMake", async () => {
  const cmake = await Deno.readTextFile(`${ROOT}native/cpu/sources.cmake`);
  const listed = [...cmake.matchAll(/cpu\/(\w+\.cpp)/g)].map((match) => match[1] ?? "");
  const present: string[] = [];
  for await (const entry of Deno.readDir(`${ROOT}native/cpu`)) {
    if (entry.name.endsWith(".cpp")) present.push(entry.name);
  }
  assertEquals([...new Set(listed)].toSorted(), present.toSorted());
  const defined = [...cmake.matchAll(/COMPILE_DEFINITIONS (\w+)/g)].map((match) => `-D${match[1]}`);
  for (const flag of defined) {
    assertEquals(present.some((source) => isaFlags(source).includes(flag)), true, flag);
  }
  for (const source of present) {
    for (const flag of isaFlags(source)) {
      const name = flag.replace(/^-D/, "");
      assertEquals(cmake.includes(name), true, `${source}: ${name} is not in sources.cmake`);
    }
  }
});
