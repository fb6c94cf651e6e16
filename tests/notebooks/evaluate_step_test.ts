/** The evaluation step: likelihoods of both systems beside the metrics of their answers. */
import { assert, assertAlmostEquals, assertEquals, assertRejects } from "@std/assert";
import { resolveConfig } from "@lib/config.ts";
import { meanLikelihood, measureLikelihood } from "@lib/evaluation/likelihood.ts";
import { loadEvaluationResults } from "@lib/evaluation/mod.ts";
import { Run, RunError } from "@lib/experiment/run.ts";
import { encodeSamples } from "@lib/chat/sample.ts";
import { toConversation } from "@lib/training/data.ts";
import { loraOptions } from "@lib/training/plan.ts";
import { cleanStep, readCorpus } from "@lib/workflow/clean.ts";
import { evaluateStep, loadMatchingAnswers } from "@lib/workflow/evaluate.ts";
import { saveTestResults, SYSTEMS, testRecords } from "@lib/workflow/generate.ts";
import { openModel, openTokenizer } from "@lib/workflow/model.ts";
import { splitStep } from "@lib/workflow/split.ts";

const SETTINGS = ["data.max_rows=200", "evaluation.samples=5", "evaluation.bootstrap_draws=100"];
const config = resolveConfig({ profile: "tiny", set: SETTINGS });

Deno.test("evaluateStep measures both systems with one prompt and writes what it returns", async () => {
  const outputs = await Deno.makeTempDir();
  const run = await Run.open("evaluate", outputs);
  const model = await openModel(config);
  try {
    await cleanStep(run, config, await readCorpus(config));
    await splitStep(run, config);
    const records = await testRecords(run, config);
    await assertRejects(() => loadMatchingAnswers(run, config), RunError, "04_generate");
    const made = { tokens: 3, finish: "stop", logprob: -1 } as const;
    const answers = SYSTEMS.flatMap((system) =>
      records.map(({ row, group, topic, question, answer: reference }) => ({
        ...{ row, group, topic, question, reference, system, ...made },
        answer: system === "tuned" ? reference : "",
      }))
    );
    await saveTestResults(run, config, answers);

    // An adapter that moves every weight a little: tuned differs from base, whichever way.
    const lora = loraOptions(config);
    await model.attachLora({ ...lora, targetModules: ["q_proj"] });
    const { numHeads, headDim } = model.architecture;
    const b = new Float32Array(numHeads * headDim * lora.r).fill(0.5);
    await model.writeLora("model.layers.0.self_attn.q_proj.lora_B.weight", b);

    const tokenizer = await openTokenizer(config);
    const seen: string[] = [];
    const { results } = await evaluateStep(run, config, model, tokenizer, {
      onProgress: (system, done) => seen.push(`${system} ${done}`),
    });
    assertEquals(await loadEvaluationResults(run.evaluationResults), results);
    const counted = [0, records.length];
    assertEquals(seen, SYSTEMS.flatMap((system) => counted.map((done) => `${system} ${done}`)));
    assertAlmostEquals(results.systems.tuned.metrics.bleu.value ?? 0, 100);
    assertEquals(results.systems.base.metrics.rouge_l.value, 0);

    const { samples } = encodeSamples(
      tokenizer,
      config.prompt.system,
      records.map((record) => toConversation(record, config)),
      config.training.max_sequence_tokens,
    );
    const perplexity = async (on: boolean) => {
      await model.enableLora(on);
      return meanLikelihood(await measureLikelihood(model, samples)).perplexity;
    };
    const { base, tuned } = results.differences.perplexity;
    assertAlmostEquals(base ?? 0, await perplexity(false), 1e-6 * (base ?? 0));
    assertAlmostEquals(tuned ?? 0, await perplexity(true), 1e-6 * (tuned ?? 0));
    assert(base !== tuned, "the adapter was switched");

    const other = resolveConfig({ profile: "tiny", set: ["model.quantization=none"] });
    await assertRejects(() => loadMatchingAnswers(run, other), RunError, "model.quantization");
  } finally {
    await model.close();
    await Deno.remove(outputs, { recursive: true });
  }
});
