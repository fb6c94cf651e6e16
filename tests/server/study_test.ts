import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { StudyDesk } from "@lib/study/desk.ts";
import type { StudyItem } from "@lib/study/items.ts";
import { raterSteps } from "@lib/study/order.ts";
import { loadStudyRatings } from "@lib/study/ratings.ts";
import { withServer } from "./server_fixture.ts";

const ITEMS: readonly StudyItem[] = Array.from({ length: 7 }, (_, i) => ({
  row: 100 + i,
  group: i,
  question: `প্রশ্ন ${i}`,
  answers: { base: `ভিত্তি ${i}`, tuned: `শেখা ${i}`, reference: `মূল ${i}` },
}));
const CONSENT = { version: 1, agreed_at: "2026-01-02T03:04:05.000Z", language: "bn" } as const;
const LEVELS = { reaction: 1, interpretation: 0, exploration: 2, support: 1 } as const;

/** A server with a study, and a function that opens the study again as a restart would. */
async function withStudy(
  body: (
    ask: Parameters<Parameters<typeof withServer>[1]>[0]["ask"],
    path: string,
  ) => Promise<void>,
): Promise<void> {
  const folder = await Deno.makeTempDir();
  const path = `${folder}/study.jsonl`;
  try {
    const study = await StudyDesk.open({
      id: "test-study",
      run: "test",
      items: ITEMS,
      seed: 5,
      path,
    });
    await withServer({ study }, ({ ask }) => body(ask, path));
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("a rater sees every question once, goes on after a break, and is told the end", () =>
  withStudy(async (ask, path) => {
    let view = await (await ask("/api/study?rater=মিতা")).json();
    const seen: number[] = [];
    while (view.item !== null) {
      assertEquals([view.done, view.total], [seen.length, ITEMS.length]);
      seen.push(view.item.row);
      assert(!/base|tuned|reference/.test(JSON.stringify(view)), "blind");
      const levels = view.item.answers.map(() => LEVELS);
      const given = {
        study: view.study,
        rater: "মিতা",
        consent: CONSENT,
        row: view.item.row,
        levels,
      };
      const response = await ask("/api/study", given);
      assertEquals(response.status, 201);
      view = await response.json();
      if (seen.length !== 3) continue;
      // As after a restart: what has been rated is not shown again.
      const again = await StudyDesk.open({
        id: "test-study",
        run: "test",
        items: ITEMS,
        seed: 5,
        path,
      });
      assertEquals(again.next("মিতা"), view);
    }
    assertEquals(seen.toSorted(), ITEMS.map(({ row }) => row));
    const { records } = await loadStudyRatings(path);
    for (const { row, answers } of records) {
      assertEquals(answers.map(({ system }) => system).toSorted(), ["base", "reference", "tuned"]);
      assertEquals(ITEMS.find((item) => item.row === row)?.group, row - 100);
    }
  }));

Deno.test("levels are kept for the system that stood where they were given", () =>
  withStudy(async (ask, path) => {
    const { study, item } = await (await ask("/api/study?rater=R1")).json();
    const names = { "ভিত্তি": "base", "শেখা": "tuned", "মূল": "reference" } as const;
    const levels = item.answers.map((_: string, i: number) => ({ ...LEVELS, reaction: i }));
    await (await ask("/api/study", { study, rater: "R1", consent: CONSENT, row: item.row, levels }))
      .body?.cancel();
    const { records } = await loadStudyRatings(path);
    const shown = item.answers.map((answer: string) =>
      names[answer.split(" ")[0] as keyof typeof names]
    );
    assertEquals(records[0]?.answers.map(({ system }) => system), shown);
    assertEquals(records[0]?.answers.map(({ levels }) => levels.reaction), [0, 1, 2]);
  }));

Deno.test("raters see different orders, and no system stands first more often than another", () => {
  const orders = new Set<string>();
  const firsts = new Map<string, number>();
  for (let rater = 0; rater < 20; rater++) {
    const steps = raterSteps(12, `rater ${rater}`, 1);
    orders.add(steps.map(({ item }) => item).join());
    for (const { systems } of steps) {
      systems.forEach((system, place) => {
        const key = `${system} ${place}`;
        firsts.set(key, (firsts.get(key) ?? 0) + 1);
      });
    }
  }
  assertEquals(orders.size, 20);
  const large = raterSteps(12, "rater 1", Number.MAX_SAFE_INTEGER);
  assert(
    JSON.stringify(large) !== JSON.stringify(raterSteps(12, "rater 1", 1)),
    "any seed will do",
  );
  assertEquals([...firsts.values()], Array(9).fill(20 * 12 / 3));
});

Deno.test("ratings without consent, of another study or with gaps are refused", () =>
  withStudy(async (ask, path) => {
    const { study, item } = await (await ask("/api/study?rater=R1")).json();
    const whole = {
      study,
      rater: "R1",
      consent: CONSENT,
      row: item.row,
      levels: [LEVELS, LEVELS, LEVELS],
    };
    const cases: readonly [extra: object, status: number, says: string][] = [
      [{ consent: null }, 403, "Nothing was kept"],
      [{ study: "other" }, 400, "Reload"],
      [{ row: 1 }, 400, "Reload"],
      [{ rater: "" }, 400, "name or code"],
      [{ rater: "<script>" }, 400, "name or code"],
      [{ levels: [LEVELS, LEVELS] }, 400, "every answer"],
      [{ levels: [LEVELS, LEVELS, { ...LEVELS, support: 3 }] }, 400, "every answer"],
      [{ levels: [LEVELS, LEVELS, { reaction: 1 }] }, 400, "every answer"],
    ];
    for (const [extra, status, says] of cases) {
      const response = await ask("/api/study", { ...whole, ...extra });
      assertEquals(response.status, status, JSON.stringify(extra));
      assertStringIncludes((await response.json()).error.message, says);
    }
    const nameless = await ask("/api/study?rater=%20");
    assertEquals(nameless.status, 400);
    await nameless.body?.cancel();
    assertEquals((await loadStudyRatings(path)).records, []);
  }));

Deno.test("without answers to rate the study says what to run", () =>
  withServer({}, async ({ ask }) => {
    const response = await ask("/api/study?rater=R1");
    assertEquals(response.status, 404);
    assertStringIncludes((await response.json()).error.message, "deno task generate");
  }));
