import { assert, assertEquals } from "@std/assert";
import { resolveConfig } from "@lib/config.ts";
import { CleanRecord, loadRecords, parseCorpus, SavedDroppedRow } from "@lib/corpus/mod.ts";
import { Run } from "@lib/experiment/run.ts";
import { cleanStep } from "@lib/workflow/clean.ts";

const CSV = `Topics,Question-Title,Questions,Answers
[একাকী],একা,আজ খুব একা লাগছে .,"পাশে আছি, কী হয়েছে বলুন তো?"
[একাকী],একা,আজ খুব একা লাগছে।,আচ্ছা
`;

for (const [cleaning, reason] of [["strict", "one_word_answer"], ["legacy", "legacy_short_turn"]]) {
  Deno.test(`${cleaning} cleaning writes every row to one of two files that read back`, async () => {
    const outputs = await Deno.makeTempDir();
    try {
      const run = await Run.open("a", outputs);
      const config = resolveConfig({ set: [`data.cleaning=${cleaning}`] });
      const { records } = await cleanStep(run, config, parseCorpus(CSV));
      assertEquals((await loadRecords(run.cleanRecords, CleanRecord)).records, records);
      const dropped = (await loadRecords(run.droppedRows, SavedDroppedRow)).records;
      assertEquals(records.map(({ row }) => row), [1]);
      assertEquals(dropped.map((row) => [row.row, row.reason]), [[2, reason]]);
      assert(!(await Deno.readTextFile(run.cleanReport)).includes(outputs));
    } finally {
      await Deno.remove(outputs, { recursive: true });
    }
  });
}
