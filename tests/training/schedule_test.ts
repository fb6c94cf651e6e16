import { assertAlmostEquals } from "@std/assert";
import { learningRate } from "@lib/training/schedule.ts";

// From transformers 5: get_scheduler(name, AdamW(lr=1), num_warmup_steps=3, num_training_steps=11),
// the learning rate of steps 0 … 10.
const EXPECTED = {
  linear: [0, 1 / 3, 2 / 3, 1, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125],
  cosine: [
    0,
    0.3333333333333333,
    0.6666666666666666,
    1,
    0.9619397662556434,
    0.8535533905932737,
    0.6913417161825449,
    0.5,
    0.3086582838174551,
    0.14644660940672627,
    0.03806023374435663,
  ],
  constant: [0, 1 / 3, 2 / 3, 1, 1, 1, 1, 1, 1, 1, 1],
} as const;

for (const [kind, rates] of Object.entries(EXPECTED)) {
  Deno.test(`${kind} equals transformers' schedule`, () => {
    const schedule = {
      kind: kind as keyof typeof EXPECTED,
      peak: 1,
      totalSteps: 11,
      warmupSteps: 3,
    };
    rates.forEach((rate, step) => assertAlmostEquals(learningRate(schedule, step), rate, 1e-12));
  });
}
