import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import {
  Config,
  ConfigError,
  configKeys,
  PROFILES,
  resolveConfig,
  SEED_ALIASES,
} from "@lib/config.ts";

function message(run: () => unknown): string {
  return assertThrows(run, ConfigError).message;
}

Deno.test("every profile is a whole configuration", () => {
  for (const profile of Object.keys(PROFILES) as (keyof typeof PROFILES)[]) {
    const config = resolveConfig({ profile });
    assertEquals(Config.parse(structuredClone(config)), config);
  }
});

Deno.test("rtx3060 is the seed's configuration", () => {
  const { training, lora, data } = resolveConfig({ profile: "rtx3060" });
  assertEquals([training.epochs, training.batch_size, training.learning_rate], [1, 32, 3e-4]);
  assertEquals([training.max_sequence_tokens, training.max_grad_norm], [512, 0.5]);
  assertEquals([lora.r, lora.alpha, lora.dropout], [16, 32, 0.05]);
  assertEquals([data.max_samples, data.split], [15000, [0.85, 0.1, 0.05]]);
});

Deno.test("a file wins over the profile, --set over the file", () => {
  const file = { name: "my.json", value: { profile: "rtx3060", lora: { r: 8 }, lora_alpha: 64 } };
  const config = resolveConfig({ file, set: ["lora.r=4"] });
  assertEquals([config.profile, config.lora.r, config.lora.alpha], ["rtx3060", 4, 64]);
});

Deno.test("every name of the seed leads to a key", () => {
  const keys = configKeys();
  for (const key of Object.values(SEED_ALIASES)) assertEquals(keys.includes(key), true, key);
  const { training } = resolveConfig({ set: ["max_seq_length=768", "num_train_epochs=3"] });
  assertEquals([training.max_sequence_tokens, training.epochs], [768, 3]);
});

Deno.test("a misspelt key names the nearest one", () => {
  assertStringIncludes(
    message(() => resolveConfig({ set: ["lora.dropuot=0.1"] })),
    "did you mean 'lora.dropout'",
  );
  const file = { name: "my.json", value: { lora_rr: 8 } };
  const text = message(() => resolveConfig({ file }));
  assertStringIncludes(text, "my.json");
  assertStringIncludes(text, "did you mean 'lora_r'");
});

Deno.test("wrong values name key and expectation", () => {
  assertStringIncludes(message(() => resolveConfig({ set: ["lora.r=-1"] })), "lora.r");
  assertStringIncludes(message(() => resolveConfig({ set: ["lora.dropout=1"] })), "lora.dropout");
  assertStringIncludes(
    message(() => resolveConfig({ set: ["data.split=[0.8,0.1,0.05]"] })),
    "sum to 1",
  );
  assertStringIncludes(message(() => resolveConfig({ set: ["lora.r"] })), "key=value");
  assertStringIncludes(
    message(() => resolveConfig({ file: { name: "x.json", value: [] } })),
    "x.json: expected a JSON object",
  );
  assertStringIncludes(
    message(() => resolveConfig({ set: ['lora.target_modules=["q_prj"]'] })),
    "lora.target_modules",
  );
});
