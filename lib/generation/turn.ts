/**
 * One turn of a conversation, for chat, batch and server alike: the person's message is assessed; a
 * fixed reply is given, or the model answers, perhaps with a note; its answer is checked before any
 * of it is shown.
 */
import type { Message } from "@lib/chat/template.ts";
import { fitWindow, type Window } from "@lib/chat/window.ts";
import type { AnswerFinish, SystemName } from "@lib/generation/request.ts";
import type { SamplingSettings } from "@lib/generation/sampling.ts";
import type { Scheduler } from "@lib/generation/scheduler.ts";
import {
  assess,
  type Assessment,
  type AssessOptions,
  type CheckOptions,
  GuardedStream,
  type Region,
} from "@lib/safety/mod.ts";

/** A message that is to be answered. */
export interface TurnRequest {
  readonly system: SystemName;
  /** Perhaps a system prompt, then turns; the last is the user's. */
  readonly messages: readonly Message[];
  readonly sampling: SamplingSettings;
  /** @default {0} */
  readonly seed?: number;
  /** Texts that end the answer. @default {[]} */
  readonly stop?: readonly string[];
  /** Whose helplines a fixed reply names. @default {"unknown"} */
  readonly region?: Region;
  /** Gives the turn up. */
  readonly signal?: AbortSignal | undefined;
}

/** What the guardrails can do in a turn. */
export const TURN_ACTIONS = ["none", "note", "fixed_reply", "replaced"] as const;
export type TurnAction = (typeof TURN_ACTIONS)[number];

/** Why a turn ended; `guard`: in a fixed reply, or where the answer was replaced. */
export const TURN_FINISHES = ["stop", "length", "guard"] as const;
export type TurnFinish = (typeof TURN_FINISHES)[number];

/** How a turn went. */
export interface TurnResult {
  /** All that was shown. */
  readonly text: string;
  /** Of the person's message: 0 none … 4 abuse, a minor, a threat. */
  readonly level: Assessment["level"];
  readonly kind: Assessment["kind"];
  /**
   * `note`: the model was given an instruction; `fixed_reply`: it was not asked; `replaced`: its
   * answer was broken off where it said what it must not.
   */
  readonly action: TurnAction;
  /** Kinds of what was found in the model's answer. */
  readonly findings: readonly string[];
  readonly finish: TurnFinish;
  /** Tokens of the prompt; 0 when the model was not asked. */
  readonly promptTokens: number;
  /** Tokens that were generated. */
  readonly tokens: number;
  /** Since the turn began. */
  readonly seconds: number;
  /** Turns at the beginning of the conversation that no longer fit. */
  readonly droppedTurns: number;
}

/** A piece of the answer, checked; or the end. */
export type TurnEvent =
  | { readonly text: string; readonly result: null }
  | { readonly text: ""; readonly result: TurnResult };

/** The guardrails a turn goes through. */
export interface TurnGuard {
  assess(text: string, options: AssessOptions): Assessment;
  stream(options: CheckOptions): GuardedStream;
}

/** Those of `lib/safety`. */
export const TURN_GUARD: TurnGuard = {
  assess,
  stream: (options) => new GuardedStream(options),
};

/** The share of the context that is kept free for an answer, at most. */
const ANSWER_SHARE = 0.5;

/** Tokens that a prompt may have, so that an answer fits behind it. */
export function promptRoom(contextTokens: number, maxNewTokens: number): number {
  return contextTokens - Math.min(maxNewTokens, Math.floor(contextTokens * ANSWER_SHARE));
}

/** The conversation with an instruction at the end of its system prompt. */
function withNote(messages: readonly Message[], note: string): Message[] {
  const [first, ...rest] = messages;
  if (first?.role !== "system") return [{ role: "system", content: note }, ...messages];
  return [{ role: "system", content: `${first.content}\n\n${note}` }, ...rest];
}

/**
 * Answers the last message of a conversation. Leaving the iteration early gives the turn up and frees
 * its place.
 *
 * @returns pieces of checked text as they come, then the result
 * @throws {WindowError} a message that does not fit, or a conversation that ends otherwise
 * @throws {SchedulerFull | RequestError | SamplingError} as {@linkcode Scheduler.submit}
 * @throws the signal's reason when it aborts
 */
export async function* answerTurn(
  scheduler: Scheduler,
  request: TurnRequest,
  guard: TurnGuard = TURN_GUARD,
): AsyncGenerator<TurnEvent, void> {
  const begun = performance.now();
  const { region = "unknown", messages, sampling } = request;
  request.signal?.throwIfAborted();
  const room = promptRoom(scheduler.options.maxSequenceTokens, sampling.maxNewTokens);
  let window = fitWindow(scheduler.tokenizer, messages, room);
  const said = messages.filter(({ role }) => role === "user").map(({ content }) => content);
  const assessment = guard.assess(said.at(-1) ?? "", { region, history: said.slice(0, -1) });
  const { level, kind, reply, note } = assessment;
  if (note !== null) window = fitWindow(scheduler.tokenizer, withNote(messages, note), room);
  const common = { level, kind, droppedTurns: window.dropped };
  const seconds = () => (performance.now() - begun) / 1000;
  if (reply !== null) {
    yield { text: reply, result: null };
    const notAsked = { findings: [], promptTokens: 0, tokens: 0, seconds: seconds() };
    return yield {
      text: "",
      result: { ...common, ...notAsked, text: reply, action: "fixed_reply", finish: "guard" },
    };
  }
  const checked = guard.stream({ region, level });
  const answer = yield* modelAnswer(scheduler, request, window, checked);
  const action = checked.replaced ? "replaced" : note === null ? "none" : "note";
  const findings = [...new Set(checked.findings.map((finding) => finding.kind))];
  const promptTokens = window.ids.length;
  yield {
    text: "",
    result: { ...common, ...answer, action, findings, promptTokens, seconds: seconds() },
  };
}

/** The model's answer, each piece checked before it is shown. */
async function* modelAnswer(
  scheduler: Scheduler,
  { system, sampling, seed = 0, stop = [], signal }: TurnRequest,
  { ids: promptIds }: Window,
  checked: GuardedStream,
): AsyncGenerator<TurnEvent, Pick<TurnResult, "text" | "tokens" | "finish">> {
  const { stopIds } = scheduler.tokenizer;
  const events = scheduler.submit({
    ...{ system, promptIds, stop, signal },
    sampling: { ...sampling, stopIds, seed },
  });
  let text = "";
  let tokens = 0;
  let finish: AnswerFinish | null = null;
  for await (const event of events) {
    ({ tokens, finish } = event);
    const safe = checked.push(event.text) + (finish === null ? "" : checked.end());
    const fresh = text === "" ? safe.trimStart() : safe;
    text += fresh;
    if (fresh !== "") yield { text: fresh, result: null };
    if (checked.replaced) break;
  }
  return { text: text.trimEnd(), tokens, finish: checked.replaced ? "guard" : finish ?? "stop" };
}
