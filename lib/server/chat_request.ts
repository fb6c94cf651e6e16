/** The body of `/v1/chat/completions`: OpenAI's fields, and what this server makes of each. */
import { z } from "zod";
import { closest } from "@lib/closest.ts";
import type { Message } from "@lib/chat/template.ts";
import type { TurnSampling } from "./answering.ts";
import { HttpProblem } from "./problem.ts";

/** Longest conversation in characters; what the model can take in tokens is less, and checked later. */
export const MAX_CONVERSATION_CHARACTERS = 32_000;
const MAX_MESSAGES = 200;

const TextPart = z.strictObject({ type: z.literal("text"), text: z.string() });
const RequestMessage = z.object({
  role: z.enum(["system", "developer", "user", "assistant"]),
  content: z.union([z.string(), z.array(TextPart).min(1)]),
});
const count = z.number().int().min(1);

/** Only the value that asks for nothing: what these would change is not offered here. */
const neutral = <const T extends readonly z.core.util.Literal[]>(...values: T) =>
  z.literal([...values, null]).optional();

const ChatCompletionRequest = z.strictObject({
  model: z.string().min(1),
  messages: z.array(RequestMessage).min(1).max(MAX_MESSAGES),
  stream: z.boolean().nullish(),
  stream_options: z.strictObject({
    include_usage: z.boolean().optional(),
    include_obfuscation: z.boolean().optional(),
  }).nullish(),
  max_tokens: count.nullish(),
  max_completion_tokens: count.nullish(),
  temperature: z.number().min(0).max(2).nullish(),
  top_p: z.number().gt(0).max(1).nullish(),
  seed: z.number().int().nullish(),
  stop: z.union([z.string(), z.array(z.string()).max(4)]).nullish(),
  // Not OpenAI's, but of other servers that speak its API.
  top_k: z.number().int().min(0).nullish(),
  min_p: z.number().min(0).max(1).nullish(),
  repetition_penalty: z.number().gt(0).max(10).nullish(),
  // What they ask for is not offered; saying so is better than an answer to something else.
  n: neutral(1),
  logprobs: neutral(false),
  top_logprobs: neutral(0),
  frequency_penalty: neutral(0),
  presence_penalty: neutral(0),
  response_format: z.strictObject({ type: z.literal("text") }).nullish(),
  tools: z.array(z.unknown()).max(0).nullish(),
  tool_choice: neutral("none", "auto"),
  modalities: z.tuple([z.literal("text")]).nullish(),
  logit_bias: z.strictObject({}).nullish(),
  // About the client or its account: without meaning here, and kept nowhere.
  user: z.unknown().optional(),
  safety_identifier: z.unknown().optional(),
  prompt_cache_key: z.unknown().optional(),
  metadata: z.unknown().optional(),
  store: z.unknown().optional(),
  service_tier: z.unknown().optional(),
  parallel_tool_calls: z.unknown().optional(),
  reasoning_effort: z.unknown().optional(),
  verbosity: z.unknown().optional(),
});

/** A completion request, understood. */
export interface ChatRequest {
  readonly model: string;
  readonly messages: readonly Message[];
  readonly stream: boolean;
  readonly includeUsage: boolean;
  readonly sampling: Partial<TurnSampling>;
  readonly stop: readonly string[];
}

/**
 * Reads a completion request.
 *
 * @throws {HttpProblem} 400 naming the field, what was expected there and what was found
 */
export function parseChatRequest(body: unknown): ChatRequest {
  const parsed = ChatCompletionRequest.safeParse(body, { reportInput: true });
  if (!parsed.success) throw problemOf(parsed.error);
  const request = parsed.data;
  const messages = request.messages.map(messageOf);
  checkTurns(messages);
  return {
    model: request.model,
    messages,
    stream: request.stream ?? false,
    includeUsage: request.stream_options?.include_usage ?? false,
    sampling: samplingOf(request),
    stop: typeof request.stop === "string" ? [request.stop] : request.stop ?? [],
  };
}

function samplingOf(request: z.infer<typeof ChatCompletionRequest>): Partial<TurnSampling> {
  const given = {
    maxNewTokens: request.max_completion_tokens ?? request.max_tokens,
    temperature: request.temperature,
    topP: request.top_p,
    topK: request.top_k,
    minP: request.min_p,
    repetitionPenalty: request.repetition_penalty,
    // Seeds are 64 bits without a sign in the engine.
    seed: request.seed === null || request.seed === undefined ? undefined : Math.abs(request.seed),
  };
  return Object.fromEntries(
    Object.entries(given).filter(([, value]) => value !== null && value !== undefined),
  );
}

function messageOf({ role, content }: z.infer<typeof RequestMessage>): Message {
  const text = typeof content === "string" ? content : content.map((part) => part.text).join("\n");
  return { role: role === "developer" ? "system" : role, content: text };
}

function checkTurns(messages: readonly Message[]): void {
  const characters = messages.reduce((sum, { content }) => sum + content.length, 0);
  if (characters > MAX_CONVERSATION_CHARACTERS) {
    throw new HttpProblem(
      400,
      `messages: expected at most ${
        MAX_CONVERSATION_CHARACTERS.toLocaleString("en-US")
      } characters ` +
        `in all, found ${characters.toLocaleString("en-US")}. Leave the oldest turns out.`,
      { code: "context_length_exceeded", param: "messages" },
    );
  }
  const last = messages.length - 1;
  const misplaced = messages.findIndex(({ role }, i) => role === "system" && i > 0);
  if (misplaced >= 0) {
    throw invalid(`messages[${misplaced}].role`, "a system message only in the first place");
  }
  if (messages[last]?.role !== "user") {
    throw invalid(
      `messages[${last}].role`,
      "the last message to be the user's",
      messages[last]?.role,
    );
  }
  if (messages[last].content.trim() === "") {
    throw invalid(`messages[${last}].content`, "some text", "none");
  }
}

function invalid(param: string, expected: string, found?: string): HttpProblem {
  const what = found === undefined ? "" : `, found ${found}`;
  return new HttpProblem(400, `${param}: expected ${expected}${what}.`, {
    code: "invalid_value",
    param,
  });
}

/** Fields that exist in OpenAI's API and are refused when they ask for something. */
const NOT_OFFERED: Readonly<Record<string, string>> = {
  n: "one answer a request is made; send the request again with another seed",
  logprobs: "log-probabilities are not offered; leave the field out",
  top_logprobs: "log-probabilities are not offered; leave the field out",
  frequency_penalty: "use repetition_penalty instead",
  presence_penalty: "use repetition_penalty instead",
  response_format: "answers are plain text",
  tools: "tools are not offered; leave the field out",
  tool_choice: "tools are not offered; leave the field out",
  modalities: "answers are plain text",
  logit_bias: "biases are not offered; leave the field out",
};

function problemOf(error: z.ZodError): HttpProblem {
  const issue = error.issues[0];
  if (issue === undefined) return invalid("body", "the fields of the API");
  if (issue.code === "unrecognized_keys" && issue.path.length === 0) {
    const key = issue.keys[0] ?? "";
    const guess = closest(key, Object.keys(ChatCompletionRequest.shape));
    return new HttpProblem(
      400,
      `${key}: no such field${guess === null ? "" : `; did you mean '${guess}'?`}`,
      { code: "unknown_parameter", param: key },
    );
  }
  const param = pathText(issue.path);
  const hint = NOT_OFFERED[String(issue.path[0])];
  const found = "input" in issue && issue.input !== undefined
    ? `, found ${brief(issue.input)}`
    : "";
  const message = `${param || "The body"}: ${issue.message}${found}` +
    (hint === undefined ? "." : `: ${hint}.`);
  return new HttpProblem(400, message, {
    code: hint === undefined ? "invalid_value" : "unsupported_value",
    param: param || null,
  });
}

function pathText(path: readonly PropertyKey[]): string {
  return path.map((key) => typeof key === "number" ? `[${key}]` : `.${String(key)}`).join("")
    .replace(/^\./, "");
}

function brief(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length <= 80 ? text : `${text.slice(0, 80)}…`;
}
