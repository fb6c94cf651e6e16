/** The chat: messages and commands in, answers out. Knows no terminal; see {@linkcode ChatIo}. */
import { commandHelp, parseInput } from "@lib/chat/commands.ts";
import { type Conversation, messagesOf, type Transcript } from "@lib/chat/conversation.ts";
import { TemplateError } from "@lib/chat/template.ts";
import { WindowError } from "@lib/chat/window.ts";
import { EngineError } from "@lib/engine/status.ts";
import { saveJson } from "@lib/files.ts";
import { RequestError, type SystemName } from "@lib/generation/request.ts";
import type { SamplingSettings } from "@lib/generation/sampling.ts";
import type { Scheduler } from "@lib/generation/scheduler.ts";
import { answerTurn, type TurnResult } from "@lib/generation/turn.ts";
import type { Region } from "@lib/safety/mod.ts";

/** What came of waiting for a line. */
export type ReadLine =
  | { readonly type: "line"; readonly text: string }
  /** Ctrl-C; `empty`: nothing had been typed. */
  | { readonly type: "interrupt"; readonly empty: boolean }
  | { readonly type: "end" };

/** Where a chat takes place. */
export interface ChatIo {
  readLine(): Promise<ReadLine>;
  /** Writes a piece of an answer. */
  write(text: string): void;
  /** Writes a line that is not part of the conversation. */
  note(line: string): void;
  /** Runs work whose signal the person can abort. @returns whether they did */
  stoppable(work: (signal: AbortSignal) => Promise<void>): Promise<boolean>;
  now(): number;
}

/** What a chat is made of. */
export interface ChatOptions {
  readonly scheduler: Scheduler;
  readonly systemPrompt: string;
  readonly sampling: SamplingSettings;
  /** Of the first answer; each further one counts one up. */
  readonly seed: number;
  readonly region?: Region;
  /** Shown, and written into transcripts. */
  readonly baseModel: string;
  readonly adapter: string | null;
  /** Where `/save` without a name writes. */
  readonly defaultFile: (now: Date) => string;
}

/** Failures of one answer, after which the chat goes on. */
const KNOWN_FAILURES = [WindowError, TemplateError, RequestError, EngineError] as const;

/** Milliseconds between two presses of Ctrl-C that leave the program. */
const QUIT_MS = 1000;

/** Runs a chat to its end: `/quit`, the end of the input, or Ctrl-C twice at an empty prompt. */
export async function chat(io: ChatIo, options: ChatOptions): Promise<Conversation> {
  const session = new ChatSession(io, options);
  let interrupted = -Infinity;
  for (;;) {
    const read = await io.readLine();
    if (read.type === "end") return session.conversation;
    if (read.type === "interrupt") {
      if (!read.empty) continue;
      const before = interrupted;
      interrupted = io.now();
      if (interrupted - before <= QUIT_MS) return session.conversation;
      io.note("Ctrl-C again, at once, leaves; /help lists the commands.");
    } else if (await session.take(read.text) === "quit") return session.conversation;
  }
}

/** One chat's state and what a line does to it. */
class ChatSession {
  conversation: Conversation;
  #toldDropped = false;
  #answers = 0;

  constructor(readonly io: ChatIo, readonly options: ChatOptions) {
    this.conversation = {
      system: options.adapter === null ? "base" : "tuned",
      systemPrompt: options.systemPrompt,
      exchanges: [],
    };
  }

  async take(line: string): Promise<"quit" | "go_on"> {
    const input = parseInput(line);
    switch (input.type) {
      case "empty":
        return "go_on";
      case "message":
        await this.#answer(input.text);
        return "go_on";
      case "unknown": {
        const guess = input.guess === null ? "" : ` Did you mean /${input.guess}?`;
        this.io.note(`There is no command /${input.name}.${guess} /help lists them.`);
        return "go_on";
      }
      case "command":
        if (input.name === "quit") return "quit";
        await this.#command(input.name, input.value);
        return "go_on";
    }
  }

  async #command(name: string, value: string): Promise<void> {
    switch (name) {
      case "help":
        return this.io.note(commandHelp());
      case "reset":
        this.conversation = { ...this.conversation, exchanges: [] };
        this.#toldDropped = false;
        return this.io.note("The conversation begins anew.");
      case "save":
        return await this.#save(value);
      case "system":
        return this.#systemPrompt(value);
      default:
        return this.#switch(name === "base" ? "base" : "tuned");
    }
  }

  #switch(system: SystemName): void {
    if (system === "tuned" && this.options.adapter === null) {
      return this.io.note(
        "There is no adapter: only the base model is here. Train one (deno task train), " +
          "or start with --adapter DIR.",
      );
    }
    this.conversation = { ...this.conversation, system };
    this.io.note(`The ${system} model answers from now on.`);
  }

  #systemPrompt(text: string): void {
    if (text === "") {
      const { systemPrompt } = this.conversation;
      return this.io.note(systemPrompt === "" ? "There is no system prompt." : systemPrompt);
    }
    this.conversation = { ...this.conversation, systemPrompt: text };
    this.io.note("The system prompt is set; it counts from the next message on.");
  }

  async #save(value: string): Promise<void> {
    const now = new Date();
    const path = value === "" ? this.options.defaultFile(now) : value;
    const { exchanges, systemPrompt } = this.conversation;
    const transcript: Transcript = {
      format: 1,
      saved: now.toISOString(),
      base_model: this.options.baseModel,
      adapter: this.options.adapter,
      system_prompt: systemPrompt,
      sampling: { ...this.options.sampling },
      exchanges,
    };
    try {
      await saveJson(path, transcript);
      this.io.note(`${exchanges.length} exchanges: ${path}`);
    } catch (error) {
      this.io.note(error instanceof Error ? error.message : String(error));
    }
  }

  async #answer(user: string): Promise<void> {
    const seed = this.options.seed + this.#answers++;
    let shown = "";
    let result: TurnResult | null = null;
    const stopped = await this.io.stoppable(async (signal) => {
      const events = answerTurn(this.options.scheduler, {
        system: this.conversation.system,
        messages: messagesOf(this.conversation, user),
        sampling: this.options.sampling,
        ...(this.options.region === undefined ? {} : { region: this.options.region }),
        ...{ seed, signal },
      });
      try {
        for await (const event of events) {
          this.io.write(event.text);
          shown += event.text;
          result = event.result;
        }
      } catch (error) {
        if (!KNOWN_FAILURES.some((known) => error instanceof known)) throw error;
        this.io.note((error as Error).message);
      }
    });
    if (shown !== "") this.io.write("\n");
    if (stopped) this.io.note("(stopped)");
    else if (shown === "" && result !== null) this.io.note("(The model said nothing.)");
    this.#remember(user, shown.trim(), seed, result);
  }

  /** What was shown is part of the conversation, whole or not; a message without answer is not. */
  #remember(user: string, answer: string, seed: number, result: TurnResult | null): void {
    if (answer === "") return;
    const { system, exchanges } = this.conversation;
    const exchange = { system, user, answer, seed, result };
    this.conversation = { ...this.conversation, exchanges: [...exchanges, exchange] };
    if (result === null || result.droppedTurns === 0 || this.#toldDropped) return;
    this.#toldDropped = true;
    this.io.note(
      "The conversation has grown longer than the model can see: its oldest turns are left out " +
        "from now on. /reset begins anew.",
    );
  }
}
