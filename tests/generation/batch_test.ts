import {
  assert,
  assertEquals,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { systemPromptPrefix } from "@lib/chat/prefix.ts";
import { SYSTEM_PROMPT } from "@lib/config.ts";
import type { Model } from "@lib/engine/model.ts";
import { FileReadError } from "@lib/files.ts";
import { type BatchItem, type BatchOptions, runBatch } from "@lib/generation/batch.ts";
import { BatchJournal } from "@lib/generation/batch_journal.ts";
import type { BatchSettings } from "@lib/generation/batch_record.ts";
import { loadPrompts, parsePrompts } from "@lib/generation/prompt_file.ts";
import { Scheduler } from "@lib/generation/scheduler.ts";
import { loadBatchResults } from "@lib/workflow/batch.ts";
import { tokenizer, withTunedModel } from "./fixture.ts";

const ROOT = decodeURIComponent(new URL("../../", import.meta.url).pathname);

Deno.test("prompts are read from text, CSV, JSON Lines and JSON", () => {
  const wanted = ["কেমন আছেন?", "মন, খারাপ।"];
  const files = {
    "a.txt": "কেমন আছেন?\r\n\nমন, খারাপ।",
    "b.csv": 'id,Question,note\n1,কেমন আছেন?,\n2,"মন, খারাপ।",x\n',
    "c.csv": 'কেমন আছেন?\n"মন, খারাপ।"\n',
    "d.jsonl": '"কেমন আছেন?"\n{"prompt":" মন, খারাপ। ","id":2}\n',
    "e.json": '[{"question":"কেমন আছেন?"},"মন, খারাপ।"]',
    "f.json": '{"prompts":["কেমন আছেন?","মন, খারাপ।"]}',
  };
  for (const [name, text] of Object.entries(files)) {
    assertEquals(parsePrompts(text, name), wanted, name);
  }
});

Deno.test("a file that holds no prompts is refused with its name and what is wrong", async () => {
  const cases: [name: string, text: string, expected: string][] = [
    ["a.txt", "\n \n", "holds none"],
    ["a.csv", "id,promt\n1,ক\n", "did you mean 'prompt'"],
    ["a.csv", "prompt,id\n,1\n", "prompt 1 is empty"],
    ["a.csv", "prompt\nক, খ\n", "row 2 has 2 fields"],
    ["a.jsonl", '"ক"\n{"prompt"\n', "line 2"],
    ["a.jsonl", '{"answer":"ক"}', "prompt 1 has no field"],
    ["a.json", '{"prompt":"ক"}', "prompts"],
    ["a.json", '["\\ud800"]', "lone surrogate"],
    ["a.docx", "ক", ".txt, .csv"],
  ];
  for (const [name, text, expected] of cases) {
    const error = assertThrows(() => parsePrompts(text, name), FileReadError);
    assertStringIncludes(error.message, name);
    assertStringIncludes(error.message, expected);
  }
  await assertRejects(() => loadPrompts("no.txt"), FileReadError, "no such file");
});

Deno.test("the ten prompts that ship are ten, apart, and no crisis", async () => {
  const prompts = await loadPrompts(`${ROOT}data/prompts.json`);
  assertEquals([prompts.length, new Set(prompts).size], [10, 10]);
  assertEquals(prompts[0], "আমার চাকরি চলে গেছে এবং আমি হতাশ।");
  assertEquals(prompts, prompts.map((prompt) => prompt.normalize("NFC")));
});

const SETTINGS: BatchSettings = {
  ...{ system_prompt: SYSTEM_PROMPT, region: "BD", max_new_tokens: 16, temperature: 0.8 },
  ...{ top_p: 1, top_k: 0, min_p: 0, repetition_penalty: 1 },
};
const OPTIONS: BatchOptions = { settings: SETTINGS, weights: { base: "b", tuned: "t" } };
const PROMPTS = ["কেমন আছেন?", "আমি আর বাঁচতে চাই না।", "কাল পরীক্ষা।", "ক ".repeat(3000), "মন ভালো।"];
const ITEMS: BatchItem[] = PROMPTS.flatMap((prompt, index) => [
  { index, prompt, system: "base", seed: index },
  { index, prompt, system: "tuned", seed: index },
]);

const create = (model: Model) =>
  Scheduler.create(model, tokenizer, {
    maxSequences: 2,
    maxSequenceTokens: 400,
    prefixIds: [systemPromptPrefix(tokenizer, SYSTEM_PROMPT)],
  });

async function withJournalFile(body: (path: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await body(`${folder}/deep/r.journal.jsonl`);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** Records without how long they took. */
const timeless = <T extends { seconds: number }>(records: readonly T[]) =>
  records.map(({ seconds: _, ...rest }) => rest);

Deno.test("a batch gives a record each, and an interrupted one goes on where it was", () =>
  withTunedModel((model) =>
    withJournalFile(async (path) => {
      await using scheduler = await create(model);
      const whole = await (async () => {
        using journal = await BatchJournal.open(`${path}.whole`);
        return await runBatch(scheduler, ITEMS, journal, OPTIONS);
      })();
      assertEquals(whole.map((r) => [r.index, r.system]), ITEMS.map((i) => [i.index, i.system]));
      assertEquals(whole[2]?.action, "fixed_reply");
      assertStringIncludes(whole[6]?.error ?? "", "Shorten it");
      assert(whole[0]?.answer !== whole[1]?.answer, "base and tuned answer the same");

      const stop = new AbortController();
      {
        using journal = await BatchJournal.open(path);
        const onRecord = () => stop.abort(new Error("Ctrl-C"));
        const options = { ...OPTIONS, signal: stop.signal, onRecord };
        await assertRejects(() => runBatch(scheduler, ITEMS, journal, options), Error, "Ctrl-C");
      }
      // A crash while a record was being written.
      await Deno.writeTextFile(path, '{"key":"torn', { append: true });
      const fresh: string[] = [];
      using journal = await BatchJournal.open(path);
      assert(journal.earlier.size >= 1 && journal.earlier.size < ITEMS.length);
      const again = await runBatch(scheduler, ITEMS, journal, {
        ...OPTIONS,
        onRecord: ({ key }, isEarlier) => isEarlier || fresh.push(key),
      });
      assertEquals(timeless(again), timeless(whole));
      assertEquals(fresh.length, ITEMS.length - journal.earlier.size);
      using third = await BatchJournal.open(path);
      assertEquals(third.earlier.size, ITEMS.length);
    })
  ));

Deno.test("other settings, weights or seeds are answered anew, and nothing is lost", () =>
  withTunedModel((model) =>
    withJournalFile(async (path) => {
      await using scheduler = await create(model);
      const item: BatchItem = { index: 0, prompt: "কেমন আছেন?", system: "base", seed: 0 };
      const variants: [BatchItem, BatchOptions][] = [
        [item, OPTIONS],
        [{ ...item, seed: 9 }, OPTIONS],
        [item, { ...OPTIONS, settings: { ...SETTINGS, temperature: 0.9 } }],
        [item, { ...OPTIONS, settings: { ...SETTINGS, system_prompt: "ছোট করে বলুন।" } }],
        [item, { ...OPTIONS, weights: { base: "retrained", tuned: "t" } }],
      ];
      for (const round of [0, 1]) {
        for (const [one, options] of variants) {
          using journal = await BatchJournal.open(path);
          const earlier: boolean[] = [];
          const onRecord = (_: unknown, isEarlier: boolean) => earlier.push(isEarlier);
          await runBatch(scheduler, [one], journal, { ...options, onRecord });
          assertEquals(earlier, [round === 1]);
        }
      }
      assertEquals((await Deno.readTextFile(path)).trim().split("\n").length, variants.length);
    })
  ));

Deno.test("a journal that cannot be written ends the batch, with its name", () =>
  withTunedModel((model) =>
    withJournalFile(async (path) => {
      await using scheduler = await create(model);
      const journal = await BatchJournal.open(path);
      journal[Symbol.dispose]();
      await assertRejects(() => runBatch(scheduler, ITEMS, journal, OPTIONS), Error, "r.journal");
      await scheduler.drain();
      assertEquals([scheduler.live, scheduler.waiting], [0, 0]);
    })
  ));

Deno.test("deno task batch: a CSV to results, Ctrl-C keeps what is done, the next run goes on", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const rows = Array.from({ length: 24 }, (_, i) => `আজ ${i + 1} নম্বর দিন, মনটা কেমন যেন।`);
    await Deno.writeTextFile(`${folder}/p.csv`, `prompt\n"${rows.join('"\n"')}"\n`);
    const command = () =>
      new Deno.Command(Deno.execPath(), {
        args: [
          ...["run", "--allow-read", "--allow-write", "--allow-env", "--allow-sys", "--allow-ffi"],
          ...["lib/tasks/batch.ts", "--profile=tiny", `${folder}/p.csv`, `--out=${folder}/r.json`],
          ...["--set=generation.temperature=2", "--set=generation.max_new_tokens=40"],
          "--set=generation.batch_size=2",
        ],
        cwd: ROOT,
        env: { QLORA_OUTPUTS: folder, NO_COLOR: "1" },
        stdout: "piped",
        stderr: "piped",
      }).spawn();
    const first = command();
    const journal = `${folder}/r.journal.jsonl`;
    for (let lines = 0; lines < 4;) {
      await new Promise((resolve) => setTimeout(resolve, 30));
      lines = (await Deno.readTextFile(journal).catch(() => "")).split("\n").length;
    }
    first.kill("SIGINT");
    const interrupted = await first.output();
    assertEquals(interrupted.code, 130, new TextDecoder().decode(interrupted.stderr));
    const partial = await loadBatchResults(`${folder}/r.json`);
    assert(!partial.complete && partial.results.length >= 3 && partial.results.length < 24);
    const second = await command().output();
    const said = new TextDecoder().decode(second.stderr);
    assertEquals(second.code, 0, said);
    assertStringIncludes(said, "in the journal already");
    const results = await loadBatchResults(`${folder}/r.json`);
    assert(results.complete);
    assertEquals(results.results.map((record) => record.prompt), rows);
    const before = new Map(partial.results.map((record) => [record.key, record]));
    assertEquals(results.results.filter((r) => before.has(r.key)), partial.results);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
