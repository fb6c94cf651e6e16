/** Models that answer by script, so that HTTP can be tested in milliseconds. */
import {
  type Answering,
  BusyError,
  type GuardReport,
  type ServedModel,
  TurnError,
  type TurnEvent,
  type TurnRequest,
} from "@lib/server/answering.ts";

/** How the script is played. */
export interface ScriptOptions {
  /** Between two pieces. @default {0} */
  readonly delayMs?: number;
  /** Requests answered at once; more are refused. @default {Infinity} */
  readonly places?: number;
  /** @default both */
  readonly models?: readonly ServedModel["id"][];
}

const CALM: GuardReport = {
  level: 0,
  kind: "none",
  action: "none",
  findings: [],
  dropped_turns: 0,
};

/** The pieces of the answer to a question: they name the system, so that a mix-up would show. */
export function scriptedPieces(system: string, question: string): string[] {
  const told = `আপনি লিখেছেন: ${question}। `;
  const own = system === "tuned"
    ? ["শুনে সত্যিই খারাপ লাগছে। ", "এই মুহূর্তে কোনটা সবচেয়ে ", "ভারী লাগছে?"]
    : ["ঠিক আছে। ", "বুঝলাম।"];
  return [told, ...own];
}

/** Answers by script. A question `!busy`, `!long`, `!old`, `!break` or `!danger` gets what it asks for. */
export class ScriptedAnswering implements Answering {
  readonly models: readonly ServedModel[];
  readonly contextTokens = 512;
  readonly waiting = 0;
  live = 0;
  /** Answers that were left before their end. */
  abandoned = 0;
  /** All requests, for a look at what arrived. */
  readonly requests: TurnRequest[] = [];

  constructor(readonly options: ScriptOptions = {}) {
    this.models = (options.models ?? ["base", "tuned"]).map((id) => ({
      id,
      source: `test/${id}`,
      created: 1_700_000_000,
    }));
  }

  async *answer(request: TurnRequest): AsyncGenerator<TurnEvent> {
    this.requests.push(request);
    const question = request.messages.at(-1)?.content ?? "";
    if (question === "!long") throw new TurnError("Too long.", "context_length_exceeded");
    if (question === "!busy" || this.live >= (this.options.places ?? Infinity)) {
      throw new BusyError("All places are taken. Try again in 7 seconds.", 7);
    }
    this.live++;
    let finished = false;
    try {
      yield* this.#play(request, question);
      finished = true;
    } finally {
      this.live--;
      if (!finished) this.abandoned++;
    }
  }

  async *#play({ system, signal }: TurnRequest, question: string): AsyncGenerator<TurnEvent> {
    if (question.startsWith("!danger")) {
      yield { text: "আপনি একা নন। এখনই ৯৯৯ নম্বরে ফোন করুন।", result: null };
      const guard = { ...CALM, level: 3, kind: "intent", action: "fixed_reply" } as const;
      yield { text: "", result: { ...NOTHING, finish: "content_filter", guard } };
      return;
    }
    let count = 0;
    for (const text of scriptedPieces(system, question)) {
      await pause(this.options.delayMs ?? 0, signal);
      if (question === "!break" && count === 2) throw new Error("the engine was lost");
      yield { text, result: null };
      count++;
    }
    const guard = question === "!old" ? { ...CALM, dropped_turns: 2 } : CALM;
    yield {
      text: "",
      result: { finish: "stop", promptTokens: 11, completionTokens: count, guard },
    };
  }
}

const NOTHING = { promptTokens: 0, completionTokens: 0 };

/** Waits, unless the signal aborts. */
function pause(ms: number, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  return new Promise((resolve, reject) => {
    const timer = setTimeout(done, ms);
    signal.addEventListener("abort", stop, { once: true });
    function done() {
      signal.removeEventListener("abort", stop);
      resolve();
    }
    function stop() {
      clearTimeout(timer);
      reject(signal.reason);
    }
  });
}
