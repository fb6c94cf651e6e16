/** Perplexity and bits per byte against transformers, from text to number. */
import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { encodeSamples } from "@lib/chat/sample.ts";
import { resolveConfig } from "@lib/config.ts";
import { meanLikelihood, measureLikelihood } from "@lib/evaluation/likelihood.ts";
import { bitsPerByteTable, perplexityTable, utf8Bytes } from "@lib/evaluation/perplexity.ts";
import { scoreOf } from "@lib/evaluation/statistics.ts";
import { openModel, openTokenizer } from "@lib/workflow/model.ts";
import golden from "../golden/metrics/likelihood.json" with { type: "json" };

/** float32 on either side, in another order. */
const RELATIVE = 1e-5;

Deno.test("likelihoods, perplexity and bits per byte are those of transformers", async () => {
  const set = ["model.quantization=none", "engine.backend=cpu"];
  const config = resolveConfig({ profile: "tiny", set });
  const tokenizer = await openTokenizer(config);
  const { samples, tooLong } = encodeSamples(
    tokenizer,
    golden.system,
    golden.items.map(({ question: user, answer }, id) => ({ id, user, answer })),
    config.training.max_sequence_tokens,
  );
  assertEquals([samples.length, tooLong.length], [golden.items.length, 0]);
  const model = await openModel(config);
  try {
    const measured = await measureLikelihood(model, samples);
    measured.forEach((one, i) => {
      const expected = golden.items[i]!;
      assertEquals(one.tokens, expected.tokens, expected.answer);
      assertEquals(utf8Bytes(expected.answer), expected.bytes);
      assertAlmostEquals(one.nll, expected.nll, RELATIVE * expected.nll, expected.answer);
      assertAlmostEquals(one.textNll, expected.text_nll, RELATIVE * expected.nll, expected.answer);
    });
    const perplexity = scoreOf(perplexityTable(measured));
    const bits = scoreOf(bitsPerByteTable(measured, golden.items.map(({ answer }) => answer)));
    assertAlmostEquals(perplexity, golden.perplexity, RELATIVE * golden.perplexity);
    assertAlmostEquals(bits, golden.bits_per_byte, RELATIVE);
    assertAlmostEquals(meanLikelihood(measured).perplexity, perplexity, 1e-9 * perplexity);
    assert(golden.items.some(({ tokens }) => tokens <= 3), "a very short answer is among them");
  } finally {
    await model.close();
  }
});
