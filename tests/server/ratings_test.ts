import { assertEquals, assertStringIncludes } from "@std/assert";
import { exists } from "@lib/files.ts";
import { JsonlFile, loadJsonl } from "@lib/jsonl_file.ts";
import { RatingRecord } from "@lib/server/ratings.ts";
import { z } from "zod";
import { withServer } from "./server_fixture.ts";

const CONSENT = { version: 1, agreed_at: "2026-01-02T03:04:05.000Z", language: "bn" };
const submission = (extra: object = {}) => ({
  visitor: "4b8f1e6e-0a67-4a0f-9d77-3c8f7f6b1a11",
  submission: crypto.randomUUID(),
  consent: CONSENT,
  mode: "single",
  settings: { temperature: 0, seed: 42 },
  answers: [{
    place: "only",
    model: "tuned",
    conversation: [{ role: "user", content: "মন ভালো নেই।" }],
    answer: "কী হয়েছে?",
    finish: "stop",
    levels: { exploration: 1 },
    thumb: null,
  }],
  ...extra,
});

Deno.test("a rating with consent is kept once, however often it is sent", () =>
  withServer({}, async ({ ask, folder }) => {
    const rating = submission();
    for (let i = 0; i < 3; i++) {
      const response = await ask("/api/ratings", rating);
      assertEquals([response.status, await response.json()], [201, { kept: true }]);
    }
    const { records } = await loadJsonl(`${folder}/ratings.jsonl`, RatingRecord);
    assertEquals(records.map(({ answers, run }) => [run, answers[0]?.levels]), [
      ["test", { exploration: 1 }],
    ]);
  }));

Deno.test("without consent, or with consent to another text, nothing is kept", () =>
  withServer({}, async ({ ask, folder }) => {
    const cases = [{ consent: undefined }, { consent: null }, {
      consent: { ...CONSENT, version: 9 },
    }];
    for (const extra of cases) {
      const response = await ask("/api/ratings", submission(extra));
      const { error } = await response.json();
      assertEquals([response.status, error.code], [403, "consent_required"]);
      assertStringIncludes(error.message, "Nothing was kept");
    }
    for (const extra of [{ answers: [] }, { mode: "other" }, { more: 1 }, { visitor: "me" }]) {
      const response = await ask("/api/ratings", submission(extra));
      assertEquals([response.status, (await response.json()).error.code], [400, "invalid_value"]);
    }
    assertEquals(await exists(`${folder}/ratings.jsonl`), false);
  }));

Deno.test("many ratings at once are whole lines", () =>
  withServer({}, async ({ ask, folder }) => {
    await Promise.all(Array.from({ length: 40 }, async () => {
      await (await ask("/api/ratings", submission())).body?.cancel();
    }));
    const { records, unreadable } = await loadJsonl(`${folder}/ratings.jsonl`, RatingRecord);
    assertEquals([records.length, unreadable], [40, []]);
  }));

Deno.test("a line torn by a crash stays alone: what is written next is whole", async () => {
  const path = await Deno.makeTempFile();
  const schema = z.strictObject({ n: z.number() });
  try {
    await Deno.writeTextFile(path, '{"n":1}\n{"n":2');
    const file = new JsonlFile<{ n: number }>(path);
    await file.append({ n: 3 });
    await file.append({ n: 4 });
    const { records, unreadable } = await loadJsonl(path, schema);
    assertEquals([records.map(({ n }) => n), unreadable], [[1, 3, 4], [2]]);
  } finally {
    await Deno.remove(path);
  }
});

Deno.test("a rating that cannot be written is said to be lost, and can be sent again", async () => {
  const folder = await Deno.makeTempDir();
  await withServer({ ratings: `${folder}/missing/ratings.jsonl` }, async ({ ask, log }) => {
    const rating = submission();
    const lost = await ask("/api/ratings", rating);
    assertEquals(lost.status, 500);
    assertStringIncludes((await lost.json()).error.message, "could not be written");
    assertEquals(log.length, 1);
    await Deno.mkdir(`${folder}/missing`);
    const kept = await ask("/api/ratings", rating);
    assertEquals(kept.status, 201);
    await kept.body?.cancel();
  });
  await Deno.remove(folder, { recursive: true });
});
