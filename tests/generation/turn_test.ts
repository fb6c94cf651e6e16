import { assert, assertEquals, assertRejects } from "@std/assert";
import { systemPromptPrefix } from "@lib/chat/prefix.ts";
import type { Message } from "@lib/chat/template.ts";
import { WindowError } from "@lib/chat/window.ts";
import { SYSTEM_PROMPT } from "@lib/config.ts";
import type { Model } from "@lib/engine/model.ts";
import { Scheduler } from "@lib/generation/scheduler.ts";
import { answerTurn, TURN_GUARD, type TurnGuard, type TurnResult } from "@lib/generation/turn.ts";
import { GuardedStream } from "@lib/safety/mod.ts";
import { tokenizer, withModel } from "./fixture.ts";

const SAMPLING = { maxNewTokens: 48, temperature: 1 };

const create = (model: Model) =>
  Scheduler.create(model, tokenizer, {
    maxSequences: 2,
    maxSequenceTokens: 512,
    prefixIds: [systemPromptPrefix(tokenizer, SYSTEM_PROMPT)],
  });

const ask = (...turns: string[]): Message[] => [
  { role: "system", content: SYSTEM_PROMPT },
  ...turns.map((content, i): Message => ({ role: i % 2 === 0 ? "user" : "assistant", content })),
];

interface Outcome {
  readonly shown: string;
  readonly result: TurnResult;
}

async function turn(
  scheduler: Scheduler,
  messages: readonly Message[],
  extra: { readonly seed?: number; readonly guard?: TurnGuard; readonly region?: "BD" } = {},
): Promise<Outcome> {
  const { guard = TURN_GUARD, ...more } = extra;
  let shown = "";
  const request = { system: "base", messages, sampling: SAMPLING, ...more } as const;
  for await (const { text, result } of answerTurn(scheduler, request, guard)) {
    shown += text;
    if (result !== null) return { shown, result };
  }
  throw new Error("no result");
}

Deno.test("an ordinary message is answered by the model, with its record", () =>
  withModel(async (model) => {
    await using scheduler = await create(model);
    const { shown, result } = await turn(scheduler, ask("আজ আকাশটা খুব সুন্দর।"), { seed: 4 });
    assertEquals([result.level, result.kind, result.action], [0, "none", "none"]);
    assertEquals(result.text, shown.trimEnd());
    assert(result.tokens > 0 && result.promptTokens > 100 && result.seconds > 0);
    assert(!shown.includes("\uFFFD"));
    const again = await turn(scheduler, ask("আজ আকাশটা খুব সুন্দর।"), { seed: 4 });
    assertEquals(again.shown, shown);
    const other = await turn(scheduler, ask("আজ আকাশটা খুব সুন্দর।"), { seed: 5 });
    assert(other.shown !== shown);
  }));

Deno.test("a crisis gets the fixed reply, and the model is not asked", () =>
  withModel(async (model) => {
    await using scheduler = await create(model);
    const messages = ask("আমি আর বাঁচতে চাই না।");
    const { shown, result } = await turn(scheduler, messages, { region: "BD" });
    assert(result.level >= 2);
    assertEquals([result.action, result.finish, result.tokens], ["fixed_reply", "guard", 0]);
    assert(shown.includes("৯৯৯"), shown);
    assertEquals(result.text, shown);
  }));

Deno.test("a note reaches the model in its system prompt and the shared prefix still serves", () =>
  withModel(async (model) => {
    await using scheduler = await create(model);
    const note = "নরম স্বরে, ছোট বাক্যে উত্তর দিন।";
    const guard: TurnGuard = {
      ...TURN_GUARD,
      assess: () => ({ level: 1, kind: "distress", spans: [], reply: null, note }),
    };
    const asked: string[] = [];
    const { submit } = scheduler;
    scheduler.submit = (request) => {
      asked.push(tokenizer.decode(request.promptIds, false));
      return submit.call(scheduler, request);
    };
    const { result } = await turn(scheduler, ask("মনটা ভালো নেই।"), { guard });
    assertEquals([result.action, result.kind], ["note", "distress"]);
    assert(asked[0]?.includes(`${SYSTEM_PROMPT}\n\n${note}<|eot_id|>`), asked[0]);
  }));

Deno.test("what the model must not say is never shown, and its place is free at once", () =>
  withModel(async (model) => {
    await using scheduler = await create(model);
    const plain = await turn(scheduler, ask("আজ আকাশটা খুব সুন্দর।"), { seed: 4 });
    const forbidden = plain.shown.slice(12, 16);
    /** Lets text through by fours and holds one piece for forbidden. */
    class Strict extends GuardedStream {
      #held = "";
      #stopped = false;
      override get replaced(): boolean {
        return this.#stopped;
      }
      override push(text: string): string {
        this.#held += text;
        this.#stopped = this.#held.includes(forbidden);
        return this.#stopped ? "[replaced]" : "";
      }
      override end(): string {
        return "";
      }
    }
    const guard: TurnGuard = { ...TURN_GUARD, stream: () => new Strict() };
    const { shown, result } = await turn(scheduler, ask("আজ আকাশটা খুব সুন্দর।"), { seed: 4, guard });
    assertEquals([shown, result.text], ["[replaced]", "[replaced]"]);
    assertEquals([result.action, result.finish], ["replaced", "guard"]);
    assert(result.tokens < plain.result.tokens);
    await scheduler.drain();
    assertEquals(scheduler.live, 0);
  }));

Deno.test("old turns leave the window whole; a message that cannot fit is refused", () =>
  withModel(async (model) => {
    await using scheduler = await create(model);
    const long = "আজ সারা দিন অনেক কাজ ছিল, তাই কথা বলার সময় পাইনি। ".repeat(6);
    const { result } = await turn(scheduler, ask(long, long, long, long, "কেমন আছেন?"));
    assert(result.droppedTurns >= 1);
    assert(result.promptTokens <= 512 - 48);
    await assertRejects(() => turn(scheduler, ask(long.repeat(5))), WindowError);
    await assertRejects(() => turn(scheduler, ask("ক\ud800")), WindowError);
  }));
