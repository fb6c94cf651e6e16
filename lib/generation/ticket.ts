/** One request under way: its tokens on their way to text and to its reader. */
import type { Tokenizer } from "@lib/chat/tokenizer.ts";
import type { GeneratedToken } from "@lib/engine/generator.ts";
import { EngineError } from "@lib/engine/status.ts";
import { StreamDecoder } from "@lib/generation/decoder.ts";
import { Outbox } from "@lib/generation/outbox.ts";
import type { AnswerFinish, AnswerRequest } from "@lib/generation/request.ts";
import { StopStrings } from "@lib/generation/stop_strings.ts";

/** A failure of one sequence, not of the engine. */
function notFinite(): EngineError {
  return new EngineError(
    "not_finite",
    "Expected finite logits, found NaN or infinity for this prompt. Look at the adapter's and the " +
      "base's weights; train again with a lower learning rate if the adapter is to blame.",
  );
}

/** A place in the queue, then in the decode. */
export class Ticket {
  readonly events: Outbox;
  readonly #decoder: StreamDecoder;
  readonly #stop: StopStrings;
  readonly #onOver: (ticket: Ticket) => void;
  readonly #forget: () => void;
  #admitted = performance.now();
  #answerSeconds: number | null = null;
  #tokens = 0;
  #logprob = 0;
  #over = false;

  /** @param onOver called once: it was answered, failed, or its reader or signal gave it up */
  constructor(
    readonly request: AnswerRequest,
    tokenizer: Tokenizer,
    onOver: (ticket: Ticket) => void,
  ) {
    this.#decoder = new StreamDecoder(tokenizer);
    this.#stop = new StopStrings(request.stop ?? []);
    this.#onOver = onOver;
    this.events = new Outbox(() => this.#end());
    const { signal } = request;
    const abort = () => this.fail(signal?.reason);
    this.#forget = () => signal?.removeEventListener("abort", abort);
    signal?.addEventListener("abort", abort, { once: true });
  }

  /** Whether nobody waits for more. */
  get over(): boolean {
    return this.#over;
  }

  /** Seconds in the decode that its answer took; null: it has none. */
  get answerSeconds(): number | null {
    return this.#answerSeconds;
  }

  /** It has left the queue. */
  admit(): void {
    this.#admitted = performance.now();
  }

  /** Ends it with an error. */
  fail(reason: unknown): void {
    this.events.fail(reason);
    this.#end();
  }

  /** Takes its next tokens, in order; those behind its end are dropped. It fails alone. */
  accept(fresh: readonly GeneratedToken[]): void {
    try {
      this.#accept(fresh);
    } catch (error) {
      this.fail(error);
    }
  }

  #accept(fresh: readonly GeneratedToken[]): void {
    let text = "";
    const ids: number[] = [];
    let finish: AnswerFinish | null = null;
    for (const { token, logprob, finish: native } of fresh) {
      if (this.#over || finish !== null) break;
      if (native === "failed") return this.fail(notFinite());
      ids.push(token);
      this.#tokens++;
      this.#logprob += logprob;
      const step = this.#stop.push(this.#decoder.push(token));
      text += step.text;
      if (step.stopped) finish = "stop";
      else if (native === "stop" || native === "length") {
        finish = native;
        text += this.#stop.end();
      }
    }
    if (ids.length === 0) return;
    this.events.push({ text, ids, tokens: this.#tokens, logprob: this.#logprob, finish });
    if (finish === null) return;
    this.#answerSeconds = (performance.now() - this.#admitted) / 1000;
    this.#end();
  }

  #end(): void {
    if (this.#over) return;
    this.#over = true;
    this.#forget();
    this.#onOver(this);
  }
}
