/** `deno task generate`: notebook 04_generate as a command. */
import { runTask } from "@lib/tasks/cli.ts";
import { loadingBar } from "@lib/tasks/phase_bars.ts";
import {
  type AnswerRecord,
  answerRecords,
  saveTestResults,
  SYSTEMS,
  testRecords,
} from "@lib/workflow/generate.ts";
import { attachTunedLora, openModel, openTokenizer } from "@lib/workflow/model.ts";

if (import.meta.main) {
  await runTask({
    name: "generate",
    summary: "Answers the held-out test questions with the base and the tuned model.",
    async run({ run, config, say, progress, signal }) {
      const records = await testRecords(run, config);
      const tokenizer = await openTokenizer(config);
      const loading = loadingBar(progress);
      const model = await openModel(config, { onProgress: loading.onProgress, signal });
      await loading[Symbol.asyncDispose]();
      try {
        await attachTunedLora(model, run, config);
        const answers: AnswerRecord[] = [];
        for (const system of SYSTEMS) {
          const bar = progress(system, { total: records.length, unit: "answers" });
          const onAnswer = (done: number) => bar.update(done);
          answers.push(
            ...await answerRecords(system, model, tokenizer, records, config, { onAnswer, signal }),
          );
          await bar.finish();
        }
        await saveTestResults(run, config, answers);
        say(`${answers.length} answers: ${run.testResults}`);
        return { answers: answers.length, file: run.testResults };
      } finally {
        await model.close();
      }
    },
  });
}
