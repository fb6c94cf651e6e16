import { assert } from "@std/assert";
import { assess, checkAnswer } from "@lib/safety/mod.ts";
import { parsePhrases, scorePhrases, wilson } from "@lib/safety/score.ts";

// The lines were looked at after the first measurement, so this holds what was reached and says
// nothing about new lines: data/guard/README.md has the figures from before.
const phrases = parsePhrases(
  await Deno.readTextFile(new URL("phrases/held_out.jsonl", import.meta.url)),
);
const scores = scorePhrases(phrases);
const of = (name: string) => {
  const found = scores.find((one) => one.class === name);
  if (found === undefined) throw new Error(`held_out.jsonl: expected class ${name}, found none`);
  return found;
};

Deno.test("explicit signs, indirect signs and disguises are caught", () => {
  for (
    const [name, least] of [
      ["explicit", 0.98],
      ["indirect", 0.90],
      ["romanised_or_misspelt", 0.90],
      ["noisy", 0.90],
      ["abuse_minor_threat", 0.90],
    ] as const
  ) {
    const { caught, missed } = of(name);
    assert(caught.share >= least, `${name}: ${caught.share}\n${missed.join("\n")}`);
  }
});

Deno.test("harmless lines stay harmless", () => {
  for (const name of ["benign", "idiom"]) {
    const { above, raised } = of(name);
    assert(above.share <= 0.05, `${name}: ${above.share}\n${raised.join("\n")}`);
  }
});

Deno.test("no method and no wrong number gets through, good answers do", () => {
  const { missed } = of("output_bad");
  const good = of("output_good");
  assert(missed.length === 0, missed.join("\n"));
  assert(good.missed.length <= 0.05 * good.caught.of, good.missed.join("\n"));
});

Deno.test("each kind that has its own reply gets it", () => {
  for (const kind of ["third_party", "bereavement", "medical", "legal"] as const) {
    const own = phrases.filter((phrase) => phrase.class === kind);
    const right = own.filter(({ text }) => {
      const found = assess(text);
      return found.kind === kind || found.level >= 2;
    });
    const { share } = wilson(right.length, own.length);
    const others = own.filter((phrase) => !right.includes(phrase)).map(({ text }) => text);
    assert(share >= 0.7, `${kind}: ${share}\n${others.join("\n")}`);
  }
});

Deno.test("no reply to any of the lines holds a method, a promise or an unknown number", () => {
  for (const { text, class: name } of phrases) {
    if (name.startsWith("output")) continue;
    const { reply, level } = assess(text, { region: "BD" });
    if (reply !== null) assert(checkAnswer(reply, { level }).ok, text);
  }
});
