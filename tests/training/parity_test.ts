/**
 * A whole training run against PyTorch: `deno task train` on records and an adapter, dropout 0, data
 * unshuffled, must take the losses of transformers + PEFT + torch.optim.AdamW step by step.
 */
import { assert, assertEquals } from "@std/assert";
import { z } from "zod";
import { loadLog } from "@lib/experiment/log.ts";
import { Run } from "@lib/experiment/run.ts";

const ROOT = decodeURIComponent(new URL("../../", import.meta.url).pathname);
const GOLDEN = `${ROOT}tests/golden/train_run`;

const Steps = z.object({ losses: z.array(z.number()), grad_norms: z.array(z.number()) });
const Golden = z.object({
  system: z.string(),
  settings: z.record(z.string(), z.number()),
  none: Steps,
  nf4_double: Steps,
});
const golden = Golden.parse(JSON.parse(await Deno.readTextFile(`${GOLDEN}/losses.json`)));

/** Losses differ by rounding alone; it grows with the steps taken. */
const TOLERANCE = 5e-4;

for (const quantization of ["none", "nf4_double"] as const) {
  Deno.test(`a run with the base in ${quantization} takes PyTorch's losses`, async () => {
    const outputs = await Deno.makeTempDir();
    try {
      const run = await Run.open("parity", outputs);
      await Deno.copyFile(`${GOLDEN}/records.jsonl`, run.split("train"));
      await Deno.writeTextFile(run.split("val"), "");
      const set = [
        `prompt.system=${JSON.stringify(golden.system)}`,
        `model.quantization=${quantization}`,
        "lora.dropout=0",
        "training.shuffle=false",
        ...Object.entries(golden.settings).map(([key, value]) => `${key}=${value}`),
      ].flatMap((pair) => ["--set", pair]);
      const { code, stderr } = await new Deno.Command(Deno.execPath(), {
        args: [
          "task",
          "--quiet",
          "train",
          "--run=parity",
          "--profile=tiny",
          `--adapter=${GOLDEN}/adapter`,
          ...set,
        ],
        cwd: ROOT,
        env: { QLORA_OUTPUTS: outputs, NO_COLOR: "1" },
      }).output();
      assertEquals(code, 0, new TextDecoder().decode(stderr));
      const { events } = await loadLog((await run.experimentLogs())[0] ?? "");
      const steps = events.filter((e) => e.event === "train");
      const expected = golden[quantization];
      assertEquals(steps.length, expected.losses.length);
      steps.forEach((step, i) => {
        const loss = expected.losses[i] ?? NaN;
        const norm = expected.grad_norms[i] ?? NaN;
        assert(
          Math.abs(step.loss - loss) < TOLERANCE * loss,
          `step ${step.step}: loss ${step.loss}, PyTorch ${loss}`,
        );
        assert(
          Math.abs(step.grad_norm - norm) < 10 * TOLERANCE * norm,
          `step ${step.step}: gradient norm ${step.grad_norm}, PyTorch ${norm}`,
        );
      });
    } finally {
      await Deno.remove(outputs, { recursive: true });
    }
  });
}
