/** An Ollama Modelfile beside an exported model: weights, chat template, stops, system prompt. */
import type { ChatTemplate, Message } from "@lib/chat/template.ts";

/** What every turn is wrapped in, found out by rendering the model's own chat template. */
export interface TurnMarks {
  /** Before the first turn when there is no system prompt. */
  readonly preamble: string;
  readonly systemOpen: string;
  readonly systemClose: string;
  readonly userOpen: string;
  readonly userClose: string;
  readonly assistantOpen: string;
  readonly assistantClose: string;
}

/** What a Modelfile says. */
export interface ModelfileOptions {
  /** File of the model, or of the base model. */
  readonly from: string;
  /** File of an adapter on top. */
  readonly adapter?: string;
  readonly marks: TurnMarks | null;
  readonly stops: readonly string[];
  readonly system: string;
  readonly licence: string;
  readonly temperature: number;
  readonly topP: number;
  readonly maxNewTokens: number;
}

const message = (role: Message["role"], content: string): Message => ({ role, content });
const [S, U, A, V] = ["\u2402s", "\u2402u", "\u2402a", "\u2402v"];

/**
 * Finds what a chat template writes around the turns.
 *
 * @param bos what the runtime itself writes at the very beginning
 * @returns null for a template that does more than wrap turns: Ollama has no form for it
 */
export function turnMarks(template: ChatTemplate, bos: string): TurnMarks | null {
  const talk = [message("system", S), message("user", U), message("assistant", A)];
  try {
    const render = (turns: readonly Message[], prompt: boolean) =>
      withoutStart(template.render(turns, prompt), bos);
    const [beforeS, afterS = "", betweenUA = "", betweenAV = "", end = ""] = split(
      render([...talk, message("user", V)], true),
      [S, U, A, V],
    );
    const userClose = split(render(talk.slice(0, 2), false), [U])[1] ?? "";
    const assistantClose = split(render(talk, false), [A])[1] ?? "";
    const userOpen = betweenAV.slice(assistantClose.length);
    const alone = split(render([message("user", U)], true), [U])[0] ?? "";
    const marks: TurnMarks = {
      preamble: alone.slice(0, alone.length - userOpen.length),
      systemOpen: beforeS ?? "",
      systemClose: afterS.slice(0, afterS.length - userOpen.length),
      userOpen,
      userClose,
      assistantOpen: end.slice(userClose.length),
      assistantClose,
    };
    const whole = [
      [marks.systemClose + userOpen, afterS],
      [userClose + marks.assistantOpen, betweenUA],
      [assistantClose + userOpen, betweenAV],
      [userClose + marks.assistantOpen, end],
      [marks.preamble + userOpen, alone],
    ];
    const isPlain = whole.every(([built, found]) => built === found) &&
      !Object.values(marks).some((mark) => mark.includes("{{") || mark.includes('"""'));
    return isPlain ? marks : null;
  } catch {
    return null;
  }
}

function withoutStart(text: string, start: string): string {
  return start !== "" && text.startsWith(start) ? text.slice(start.length) : text;
}

/** The stretches between marks that occur once each, in this order. */
function split(text: string, marks: readonly string[]): string[] {
  const parts: string[] = [];
  let rest = text;
  for (const mark of marks) {
    const [before = "", ...after] = rest.split(mark);
    if (after.length !== 1) throw new RangeError(`expected ${mark} once`);
    parts.push(before);
    rest = after[0] ?? "";
  }
  return [...parts, rest];
}

/** The marks as a template in Go's syntax over Ollama's `.System` and `.Messages`. */
export function goTemplate(marks: TurnMarks): string {
  const { preamble, systemOpen, systemClose, userOpen, userClose } = marks;
  const { assistantOpen, assistantClose } = marks;
  return `{{ if .System }}${systemOpen}{{ .System }}${systemClose}{{ else }}${preamble}{{ end }}` +
    "{{ range $i, $_ := .Messages }}{{ $last := eq (len (slice $.Messages $i)) 1 }}" +
    `{{ if eq .Role "user" }}${userOpen}{{ .Content }}${userClose}` +
    `{{ if $last }}${assistantOpen}{{ end }}` +
    `{{ else if eq .Role "assistant" }}${assistantOpen}{{ .Content }}` +
    `{{ if not $last }}${assistantClose}{{ end }}{{ end }}{{ end }}`;
}

/** The Modelfile's text. */
export function modelfile(options: ModelfileOptions): string {
  const { from, adapter, marks, stops, system, licence } = options;
  const quoted = (value: string) => `"""${value.replaceAll('"""', '"')}"""`;
  return [
    `FROM ${from}`,
    ...(adapter === undefined ? [] : [`ADAPTER ${adapter}`]),
    ...(marks === null ? [] : [`TEMPLATE ${quoted(goTemplate(marks))}`]),
    ...stops.map((stop) => `PARAMETER stop ${JSON.stringify(stop)}`),
    `PARAMETER temperature ${options.temperature}`,
    `PARAMETER top_p ${options.topP}`,
    `PARAMETER num_predict ${options.maxNewTokens}`,
    ...(system === "" ? [] : [`SYSTEM ${quoted(system)}`]),
    `LICENSE ${quoted(licence)}`,
  ].join("\n") + "\n";
}
