/** The bench runs on machines without a network: what it imports must stay small and pure. */
import { assertEquals } from "@std/assert";
import { z } from "zod";

const ROOT = new URL("../../", import.meta.url);
const Graph = z.looseObject({
  modules: z.array(z.looseObject({ specifier: z.string(), error: z.string().optional() })),
});

Deno.test("the bench imports zod, the tokenizer, the template and std alone", async () => {
  for (const entry of ["lib/tasks/bench.ts", "lib/bench/worker.ts"]) {
    const { stdout } = await new Deno.Command(Deno.execPath(), {
      args: ["info", "--json", entry],
      cwd: ROOT,
    }).output();
    const { modules } = Graph.parse(JSON.parse(new TextDecoder().decode(stdout)));
    assertEquals(modules.filter(({ error }) => error !== undefined), []);
    const packages = modules.map(({ specifier }) => /^npm:\/?(@?[^@]+)/.exec(specifier)?.[1])
      .filter((name) => name !== undefined);
    const allowed = ["zod", "deno-std", "@huggingface/jinja", "@huggingface/tokenizers"];
    assertEquals([...new Set(packages)].filter((name) => !allowed.includes(name)), [], entry);
    const heavy = modules.filter(({ specifier }) => /plotly|jsdom|kernel\//.test(specifier));
    assertEquals(heavy.map(({ specifier }) => specifier), [], entry);
  }
});
