/** Many clients at once, each comparing what it gets with the same request made alone. */

/** One request of the load. */
export interface LoadRequest {
  readonly model: "base" | "tuned";
  readonly messages: readonly { readonly role: "user"; readonly content: string }[];
  readonly temperature: number;
  readonly seed: number;
  readonly max_tokens: number;
}

/** One finished stream. */
export interface StreamOutcome {
  readonly text: string;
  readonly tokens: number;
  /** Until the first text, ms. */
  readonly firstMs: number;
  readonly totalMs: number;
}

/** What the load showed. */
export interface LoadReport {
  readonly streams: number;
  readonly tokens: number;
  readonly seconds: number;
  /** In words; empty when all went well. */
  readonly errors: readonly string[];
  /** Texts that differed from the same request made alone. */
  readonly mixed: number;
  readonly firstMs: readonly number[];
  readonly totalMs: readonly number[];
}

const QUESTIONS = [
  "আমার চাকরি চলে গেছে এবং আমি হতাশ।",
  "কাল পরীক্ষা, ভীষণ ভয় লাগছে।",
  "মেয়েটা আজ প্রথম হাঁটল, কী যে আনন্দ!",
  "পাশের বাড়ির শব্দে রাতে ঘুমাতে পারি না।",
  "বন্ধুটা অনেক দিন আর কথা বলে না।",
  "মায়ের শরীর ভালো নেই, দুশ্চিন্তায় আছি।",
  "নতুন শহরে এসে খুব একা লাগে।",
  "ভাইয়ের সঙ্গে ঝগড়া করে মন খারাপ।",
  "প্রমোশনটা আমিই পেলাম, বিশ্বাস হচ্ছে না।",
  "সংসারের খরচ আর সামলাতে পারছি না।",
  "আমার পোষা বিড়ালটা হারিয়ে গেছে।",
  "সবাই এগিয়ে যাচ্ছে, আমি কোথাও পৌঁছাতে পারছি না।",
];

/** Different requests: both models, greedy and sampled, several seeds. */
export function loadRequests(count: number, maxTokens: number): LoadRequest[] {
  return Array.from({ length: count }, (_, i) => ({
    model: i % 2 === 0 ? "base" : "tuned",
    messages: [{ role: "user", content: QUESTIONS[(i >> 1) % QUESTIONS.length] ?? "" }],
    temperature: i % 3 === 0 ? 0 : 0.8,
    seed: 1000 + i,
    max_tokens: maxTokens - i % 7,
  }));
}

/**
 * Makes one request and reads its stream.
 *
 * @throws {Error} any status but 200, a stream that breaks off
 */
export async function readStream(url: string, request: LoadRequest): Promise<StreamOutcome> {
  const begun = performance.now();
  const response = await fetch(`${url}/v1/chat/completions`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ ...request, stream: true, stream_options: { include_usage: true } }),
  });
  if (!response.ok || response.body === null) {
    throw new Error(`HTTP ${response.status}: ${(await response.text()).slice(0, 200)}`);
  }
  let text = "";
  let tokens = 0;
  let firstMs = 0;
  let pending = "";
  let done = false;
  for await (const part of response.body.pipeThrough(new TextDecoderStream())) {
    const events = (pending + part).split("\n\n");
    pending = events.pop() ?? "";
    for (const event of events) {
      if (event === "data: [DONE]") {
        done = true;
        continue;
      }
      const chunk = JSON.parse(event.slice("data: ".length));
      if (chunk.error !== undefined) throw new Error(chunk.error.message);
      const fresh: string = chunk.choices[0]?.delta.content ?? "";
      if (fresh !== "" && text === "") firstMs = performance.now() - begun;
      text += fresh;
      tokens = chunk.usage?.completion_tokens ?? tokens;
    }
  }
  if (!done) throw new Error("The stream ended without [DONE].");
  return { text, tokens, firstMs, totalMs: performance.now() - begun };
}

/**
 * Keeps `clients` streams open for some seconds.
 *
 * @param alone the text of each request when it was made alone
 */
export async function runLoad(
  url: string,
  requests: readonly LoadRequest[],
  alone: readonly string[],
  clients: number,
  seconds: number,
): Promise<LoadReport> {
  const begun = performance.now();
  const outcomes: StreamOutcome[] = [];
  const errors: string[] = [];
  let mixed = 0;
  let next = 0;
  const work = async (): Promise<void> => {
    while (performance.now() - begun < seconds * 1000) {
      const at = next++ % requests.length;
      try {
        const outcome = await readStream(url, requests[at]!);
        outcomes.push(outcome);
        if (outcome.text !== alone[at]) mixed++;
      } catch (error) {
        errors.push(error instanceof Error ? error.message : String(error));
      }
    }
  };
  await Promise.all(Array.from({ length: clients }, work));
  return {
    streams: outcomes.length,
    tokens: outcomes.reduce((sum, { tokens }) => sum + tokens, 0),
    seconds: (performance.now() - begun) / 1000,
    ...{ errors, mixed },
    firstMs: outcomes.map(({ firstMs }) => firstMs).sort((a, b) => a - b),
    totalMs: outcomes.map(({ totalMs }) => totalMs).sort((a, b) => a - b),
  };
}

/** A percentile of sorted values. */
export function percentile(sorted: readonly number[], share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? NaN;
}
