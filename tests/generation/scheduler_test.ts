import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import type { Model } from "@lib/engine/model.ts";
import type { AnswerRequest, SystemName } from "@lib/generation/request.ts";
import {
  RequestError,
  Scheduler,
  SchedulerFull,
  type SchedulerOptions,
} from "@lib/generation/scheduler.ts";
import { SamplingError } from "@lib/generation/sampling.ts";
import { loadGoldenModel } from "./golden_model.ts";
import {
  PREFIX,
  promptOf,
  PROMPTS,
  readAll,
  tokenizer,
  withModel,
  withTunedModel,
} from "./fixture.ts";

const SIZES: SchedulerOptions = {
  maxSequences: 4,
  maxSequenceTokens: 400,
  prefixIds: [PREFIX],
};

function request(i: number, extra: Partial<AnswerRequest> = {}): AnswerRequest {
  return {
    system: "tuned",
    promptIds: PROMPTS[i % PROMPTS.length] ?? [],
    sampling: { maxNewTokens: 24, temperature: 1, seed: i, stopIds: tokenizer.stopIds },
    ...extra,
  };
}

const create = (model: Model, options: Partial<SchedulerOptions> = {}) =>
  Scheduler.create(model, tokenizer, { ...SIZES, ...options });

/** The answer to a request when nothing else runs. */
async function alone(model: Model, wanted: AnswerRequest): Promise<readonly number[]> {
  await using scheduler = await create(model, { maxSequences: 1 });
  return (await readAll(scheduler.submit(wanted))).ids;
}

Deno.test("an answer is the same in any company, and base and tuned take turns", () =>
  withTunedModel(async (model) => {
    const systems: readonly SystemName[] = ["base", "tuned"];
    const wanted = [
      ...systems.flatMap((system) => PROMPTS.map((_, i) => request(i, { system }))),
      request(9, { promptIds: promptOf("কেমন আছেন?", "ছোট করে উত্তর দিন।") }), // another prefix
    ];
    const expected = [];
    for (const one of wanted) expected.push(await alone(model, one));
    assert(expected[0]?.join() !== expected[PROMPTS.length]?.join(), "the adapter has no effect");
    await using scheduler = await create(model);
    const early = wanted.slice(0, 7).map((one) => readAll(scheduler.submit(one)));
    await Promise.race(early);
    assert(scheduler.live > 0);
    const late = wanted.slice(7).map((one) => readAll(scheduler.submit(one)));
    const answers = await Promise.all([...early, ...late]);
    assertEquals(answers.map((a) => a.ids), expected);
    assertEquals([scheduler.live, scheduler.waiting], [0, 0]);
  }));

Deno.test("where memory holds one lane, base and tuned wait for each other and nobody starves", async () => {
  const wanted = [0, 1, 2, 3, 4, 5, 6, 7].map((i) =>
    request(i, { system: i % 2 === 0 ? "tuned" : "base" })
  );
  const answers = async (scheduler: Scheduler) =>
    (await Promise.all(wanted.map((one) => readAll(scheduler.submit(one))))).map((a) => a.ids);
  let expected: (readonly number[])[] = [];
  let oneLane = 0;
  let budget = 0;
  await withTunedModel(async (model) => {
    await using scheduler = await create(model, { maxSequences: 2 });
    await readAll(scheduler.submit(request(0)));
    const { total, kv_cache } = model.memory();
    [oneLane, budget] = [total, total + kv_cache / 2];
    expected = await answers(scheduler);
    assert(model.memory().total > budget, "both lanes must not fit");
  });
  await withTunedModel(async (model) => {
    await using scheduler = await create(model, { maxSequences: 2 });
    assertEquals(await answers(scheduler), expected);
    assert(model.memory().total <= oneLane * 1.01);
    // A request that waits for memory and is given up holds nobody up.
    const long = { maxNewTokens: 100, temperature: 1, stopIds: [] };
    const tuned = readAll(scheduler.submit(request(0, { sampling: long })));
    const stop = new AbortController();
    const base = readAll(scheduler.submit(request(1, { system: "base", signal: stop.signal })));
    setTimeout(() => stop.abort(new Error("enough")), 20);
    await assertRejects(() => base, Error, "enough");
    const more = readAll(scheduler.submit(request(2)));
    assertEquals((await tuned).ids.length, 100);
    assert((await more).ids.length > 0);
  }, { memoryBudget: Math.ceil(budget) });
});

Deno.test("first come, first served; a full queue says when to come again", () =>
  withModel(async (model) => {
    await using scheduler = await create(model, { maxSequences: 1, maxWaiting: 3 });
    const order: number[] = [];
    const all = [0, 1, 2, 3].map(async (i) => {
      await readAll(scheduler.submit(request(i, { system: "base" })));
      order.push(i);
    });
    assertEquals([scheduler.live, scheduler.waiting], [1, 3]);
    const error = assertThrows(
      () => scheduler.submit(request(4, { system: "base" })),
      SchedulerFull,
    );
    assert(Number.isInteger(error.retryAfterSeconds) && error.retryAfterSeconds >= 1);
    await Promise.all(all);
    assertEquals(order, [0, 1, 2, 3]);
    await readAll(scheduler.submit(request(4, { system: "base" })));
    await using strict = await create(model, { maxSequences: 2, maxWaiting: 0 });
    const two = [0, 1].map((i) => readAll(strict.submit(request(i, { system: "base" }))));
    assertThrows(() => strict.submit(request(2, { system: "base" })), SchedulerFull);
    await Promise.all(two);
  }));

Deno.test("who leaves or aborts frees the place at once", () =>
  withModel(async (model) => {
    await using scheduler = await create(model, { maxSequences: 2 });
    const long = (i: number, signal?: AbortSignal) =>
      request(i, {
        system: "base",
        sampling: { maxNewTokens: 150, temperature: 1, seed: i, stopIds: [] },
        ...(signal === undefined ? {} : { signal }),
      });
    const stop = new AbortController();
    const waitingOne = new AbortController();
    const aborted = readAll(scheduler.submit(long(0, stop.signal)));
    const left = scheduler.submit(long(1));
    const queued = readAll(scheduler.submit(long(2, waitingOne.signal)));
    const last = readAll(scheduler.submit(request(3, { system: "base" })));
    waitingOne.abort(new Error("changed my mind"));
    await assertRejects(() => queued, Error, "changed my mind");
    for await (const event of left) {
      assert(event.tokens < 150);
      break;
    }
    assert((await last).ids.length > 0);
    assertEquals([scheduler.live, scheduler.waiting], [1, 0]);
    stop.abort(new Error("enough"));
    await assertRejects(() => aborted, Error, "enough");
    assertThrows(
      () => scheduler.submit(long(4, AbortSignal.abort(new Error("late")))),
      Error,
      "late",
    );
    await scheduler.drain();
    assertEquals(scheduler.live, 0);
  }));

Deno.test("a request at the very moment when the last one has ended is answered", () =>
  withModel(async (model) => {
    await using scheduler = await create(model);
    const sampling = { maxNewTokens: 1, stopIds: [] };
    for (let ticks = 0; ticks < 40; ticks++) {
      for await (const { finish } of scheduler.submit(request(0, { system: "base", sampling }))) {
        assertEquals(finish, "length");
      }
      for (let tick = 0; tick < ticks; tick++) await Promise.resolve();
    }
  }));

Deno.test("a slow reader gets everything at once and holds nobody up", () =>
  withModel(async (model) => {
    await using scheduler = await create(model);
    const wanted = request(0, { system: "base" });
    const slow = scheduler.submit(wanted);
    const quick = await readAll(scheduler.submit(wanted));
    await scheduler.drain();
    const { events, ...answer } = await readAll(slow);
    assertEquals(events, 1);
    assertEquals(answer.ids, quick.ids);
    assertEquals(answer.text, quick.text);
    assert(quick.events > 1);
  }));

Deno.test("a request that cannot be answered is refused by itself", () =>
  withModel(async (model) => {
    await using scheduler = await create(model);
    const fine = readAll(scheduler.submit(request(0, { system: "base" })));
    const refuse = (extra: Partial<AnswerRequest>, message: string) =>
      assertThrows(
        () => scheduler.submit(request(1, { system: "base", ...extra })),
        Error,
        message,
      );
    refuse({ system: "tuned" }, "no adapter");
    refuse({ promptIds: [] }, "found 0");
    refuse({ promptIds: Array(400).fill(1) }, "found 400");
    refuse({ promptIds: [1, 1e9] }, "found 1000000000");
    refuse({ stop: [""] }, "empty");
    assert((await fine).ids.length > 0);
    await assertRejects(() => create(model, { maxSequences: 0 }), RequestError, "maxSequences");
  }));

Deno.test("settings out of range are refused by name", () =>
  withModel(async (model) => {
    await using scheduler = await create(model);
    const settings = { temperature: [-1, NaN, Infinity], topP: [0, 1.5, NaN], minP: [-0.1, 2] };
    const more = {
      topK: [-1, 1.5],
      repetitionPenalty: [0, NaN],
      seed: [-1, 0.5],
      maxNewTokens: [0],
    };
    for (const [name, values] of Object.entries({ ...settings, ...more })) {
      for (const value of values) {
        const sampling = { maxNewTokens: 4, stopIds: [], [name]: value };
        assertThrows(
          () => scheduler.submit(request(0, { system: "base", sampling })),
          SamplingError,
          `${name}: expected`,
        );
      }
    }
    const stop = ["\ud800"];
    assertThrows(() => scheduler.submit(request(0, { system: "base", stop })), SamplingError);
  }));

Deno.test("closing gives up what is under way, with the reason", () =>
  withTunedModel(async (model) => {
    const scheduler = await create(model, { maxSequences: 1 });
    const under = [0, 1].map((i) => readAll(scheduler.submit(request(i))));
    const outcomes = Promise.allSettled(under);
    await scheduler.close();
    await scheduler.close();
    for (const outcome of await outcomes) {
      assert(outcome.status === "rejected" && outcome.reason instanceof RequestError);
    }
    assertThrows(() => scheduler.submit(request(0)), RequestError, "closed");
    // A model that is closed under a scheduler closes it first.
    const another = await create(model);
    const lost = Promise.allSettled([readAll(another.submit(request(0)))]);
    await model.close();
    assertEquals((await lost)[0]?.status, "rejected");
  }));

Deno.test("a lost engine fails everybody with the reason, later requests too", () =>
  withModel(async (model) => {
    const scheduler = await create(model, { maxSequences: 2 });
    const under = [0, 1, 2].map((i) => readAll(scheduler.submit(request(i, { system: "base" }))));
    const { call } = model;
    let calls = 0;
    model.call = (run, message, signal) =>
      ++calls < 8
        ? call.call(model, run, message, signal)
        : call.call(model, () => 7, () => "the GPU fell off the bus", signal);
    for (const outcome of await Promise.allSettled(under)) {
      assertEquals(outcome.status, "rejected");
      assert(outcome.status === "rejected" && /fell off/.test(String(outcome.reason)));
    }
    assertThrows(() => scheduler.submit(request(0, { system: "base" })), Error, "fell off");
    model.call = call;
    await scheduler.close();
  }));

Deno.test("a prompt whose logits are not finite fails alone", async () => {
  // One row of the embeddings is NaN: who writes that token is lost, nobody else.
  const bad = 7;
  await using model = await loadGoldenModel("mha_untied", (name, bytes) => {
    if (name !== "model.embed_tokens.weight") return;
    const width = bytes.length / 80;
    for (let at = bad * width; at < (bad + 1) * width; at += 2) bytes.set([0xc0, 0x7f], at);
  });
  await using scheduler = await Scheduler.create(model, tokenizer, {
    maxSequences: 3,
    maxSequenceTokens: 40,
  });
  const ask = (...promptIds: number[]) =>
    readAll(scheduler.submit({
      system: "tuned",
      promptIds,
      sampling: { maxNewTokens: 3, stopIds: [] },
    }));
  const [fine, lost, alsoFine] = await Promise.allSettled([ask(1, 2), ask(1, bad), ask(3, 4)]);
  assertEquals([fine?.status, alsoFine?.status], ["fulfilled", "fulfilled"]);
  assert(lost?.status === "rejected" && /finite logits/.test(String(lost.reason)));
  assertEquals((await ask(1, 2)).ids.length, 3);
});

Deno.test("an answer ends before its stop string, which is never shown in part", () =>
  withModel(async (model) => {
    await using scheduler = await create(model);
    const wanted = request(0, {
      system: "base",
      sampling: { maxNewTokens: 60, temperature: 1, seed: 3, stopIds: [] },
    });
    const free = await readAll(scheduler.submit(wanted));
    const at = Math.floor(free.text.length / 2);
    const stop = free.text.slice(at, at + 4);
    const first = free.text.indexOf(stop);
    const cut = await readAll(scheduler.submit({ ...wanted, stop: ["nowhere", stop] }));
    assertEquals([cut.text, cut.finish], [free.text.slice(0, first), "stop"]);
    assert(cut.ids.length < free.ids.length);
    assertEquals((await readAll(scheduler.submit({ ...wanted, stop: ["\0"] }))).text, free.text);
  }));
