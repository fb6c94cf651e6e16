import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { chat, type ChatIo, type ReadLine } from "@lib/chat/chat.ts";
import { inputLines } from "@lib/chat/lines_io.ts";
import { systemPromptPrefix } from "@lib/chat/prefix.ts";
import { SYSTEM_PROMPT } from "@lib/config.ts";
import type { Model } from "@lib/engine/model.ts";
import { exists } from "@lib/files.ts";
import { Scheduler } from "@lib/generation/scheduler.ts";
import { tokenizer, withModel, withTunedModel } from "../generation/fixture.ts";

/** A person who has decided beforehand what to say. */
class Script implements ChatIo {
  shown = "";
  readonly notes: string[] = [];
  #time = 0;

  /** @param stopAfter milliseconds after which each answer is stopped */
  constructor(readonly inputs: (string | ReadLine)[], readonly stopAfter = Infinity) {}

  readLine(): Promise<ReadLine> {
    this.#time += 400;
    const input = this.inputs.shift() ?? { type: "end" };
    return Promise.resolve(typeof input === "string" ? { type: "line", text: input } : input);
  }
  write(text: string): void {
    this.shown += text;
  }
  note(line: string): void {
    this.notes.push(line);
  }
  async stoppable(work: (signal: AbortSignal) => Promise<void>): Promise<boolean> {
    const stop = new AbortController();
    if (this.stopAfter < Infinity) setTimeout(() => stop.abort(), this.stopAfter);
    await work(stop.signal).catch((error) => {
      if (!stop.signal.aborted) throw error;
    });
    return stop.signal.aborted;
  }
  now(): number {
    return this.#time;
  }
}

async function run(
  model: Model,
  io: Script,
  options: {
    readonly maxNewTokens?: number;
    readonly temperature?: number;
    readonly context?: number;
    readonly file?: string;
  } = {},
) {
  await using scheduler = await Scheduler.create(model, tokenizer, {
    maxSequences: 1,
    maxSequenceTokens: options.context ?? 1024,
    prefixIds: [systemPromptPrefix(tokenizer, SYSTEM_PROMPT)],
  });
  const conversation = await chat(io, {
    scheduler,
    systemPrompt: SYSTEM_PROMPT,
    sampling: { maxNewTokens: options.maxNewTokens ?? 40, temperature: options.temperature ?? 0.7 },
    seed: 3,
    region: "BD",
    baseModel: "tiny",
    adapter: scheduler.hasAdapter ? "adapter" : null,
    defaultFile: () => options.file ?? "",
  });
  await scheduler.drain();
  assertEquals(scheduler.live, 0);
  return conversation;
}

const interrupt = (empty: boolean): ReadLine => ({ type: "interrupt", empty });

Deno.test("a conversation with base and tuned, saved as it was", () =>
  withTunedModel(async (model) => {
    const folder = await Deno.makeTempDir();
    try {
      const io = new Script([
        "আজ মনটা ভালো নেই।",
        "",
        "/base",
        "কাল পরীক্ষা।",
        "/tuned",
        "/save",
        "/save /nowhere/at/all.json",
        "/system",
        "/system ছোট করে বলুন।",
        "কেমন আছেন?",
        `/save ${folder}/b.json`,
        "/reset",
        "/hlep",
        "/help",
        "/quit",
        "never read",
      ]);
      const conversation = await run(model, io, { file: `${folder}/a.json` });
      assertEquals(io.inputs, ["never read"]);
      assertEquals(conversation.exchanges, []);
      const first = JSON.parse(await Deno.readTextFile(`${folder}/a.json`));
      assertEquals(first.exchanges.map((e: { system: string }) => e.system), ["tuned", "base"]);
      assertEquals(first.exchanges.map((e: { seed: number }) => e.seed), [3, 4]);
      const second = JSON.parse(await Deno.readTextFile(`${folder}/b.json`));
      assertEquals(second.exchanges.length, 3);
      assertEquals(second.system_prompt, "ছোট করে বলুন।");
      for (const { answer, result } of second.exchanges) {
        assertStringIncludes(io.shown, answer);
        assertEquals(result.text.trim(), answer);
      }
      const notes = io.notes.join("\n");
      for (
        const said of ["/nowhere/at", SYSTEM_PROMPT, "mean /help", "begins anew", "/save [FILE]"]
      ) {
        assertStringIncludes(notes, said);
      }
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  }));

Deno.test("without an adapter the base answers and /tuned says why not; a crisis is met", () =>
  withModel(async (model) => {
    const io = new Script(["/tuned", "আমি আর বাঁচতে চাই না।"]);
    const { exchanges, system } = await run(model, io);
    assertEquals(system, "base");
    assertStringIncludes(io.notes[0] ?? "", "no adapter");
    assertEquals(exchanges[0]?.result?.action, "fixed_reply");
    assertStringIncludes(io.shown, "৯৯৯");
  }));

Deno.test("a failed answer is told of, and the chat goes on", () =>
  withModel(async (model) => {
    const { call } = model;
    let fails = false;
    model.call = (work, message, signal) =>
      fails
        ? call.call(model, () => 2, () => "The caches do not fit.", signal)
        : call.call(model, work, message, signal);
    const io = new Script(["কাল পরীক্ষা।", "কেমন আছেন?"]);
    const { note } = io;
    io.note = (line) => {
      fails = false;
      note.call(io, line);
    };
    const readLine = io.readLine.bind(io);
    let reads = 0;
    io.readLine = () => {
      fails = ++reads === 1;
      return readLine();
    };
    const { exchanges } = await run(model, io);
    assertEquals(io.notes, ["The caches do not fit."]);
    assertEquals(exchanges.map((e) => e.user), ["কেমন আছেন?"]);
  }));

Deno.test("Ctrl-C stops the answer, which is remembered as far as it was shown", () =>
  withModel(async (model) => {
    for (const milliseconds of [1, 20, 60, 120]) {
      const io = new Script(["একটা লম্বা গল্প বলুন।"], milliseconds);
      const { exchanges } = await run(model, io, { maxNewTokens: 900, temperature: 2 });
      const stopped = io.notes.includes("(stopped)");
      assert(stopped || milliseconds > 1);
      for (const { answer, result } of exchanges) {
        assertEquals(result === null, stopped);
        assertEquals(io.shown.trim(), answer);
      }
    }
  }));

Deno.test("Ctrl-C at an empty prompt leaves the second time within a second", () =>
  withModel(async (model) => {
    const twice = new Script([interrupt(true), interrupt(true), "still there"]);
    await run(model, twice);
    assertEquals(twice.inputs, ["still there"]);
    const cleared = new Script([interrupt(false), interrupt(false), "/help"]);
    await run(model, cleared);
    assertEquals([cleared.inputs.length, cleared.notes.length], [0, 1]);
    const slow = new Script([interrupt(true), "/help", "/help", interrupt(true), "/help"]);
    await run(model, slow);
    assertEquals(slow.inputs.length, 0);
  }));

Deno.test("turns that fall out of the window are told of once; a message too long is refused", () =>
  withModel(async (model) => {
    const long = "আজ সারা দিন অনেক কাজ ছিল। ".repeat(6);
    const io = new Script([long, long, long, long, long.repeat(20), "কেমন আছেন?"]);
    const { exchanges } = await run(model, io, { context: 300 });
    const dropped = exchanges.map((e) => e.result?.droppedTurns ?? 0);
    assert((dropped.at(-1) ?? 0) > 0, dropped.join());
    assertEquals(io.notes.filter((note) => note.includes("oldest turns")).length, 1);
    assertEquals(io.notes.filter((note) => note.includes("Shorten it")).length, 1);
    assertEquals(exchanges.length, 5);
  }));

function bytesOf(text: string, size: number): ReadableStream<Uint8Array> {
  const bytes = new TextEncoder().encode(text);
  const chunks = Array.from(
    { length: Math.ceil(bytes.length / size) },
    (_, i) => bytes.slice(i * size, (i + 1) * size),
  );
  return ReadableStream.from(chunks);
}

Deno.test("plain lines: any chunks, CRLF, joined by backslashes, the last without line feed", async () => {
  for (const size of [1, 2, 7, 1000]) {
    const lines = await Array.fromAsync(inputLines(bytesOf("এক\r\nদুই\\\nতিন\n\nচার", size)));
    assertEquals(lines, ["এক", "দুই\nতিন", "", "চার"]);
    assertEquals(await Array.fromAsync(inputLines(bytesOf("এক\\", size))), ["এক"]);
  }
  const broken = ReadableStream.from([Uint8Array.of(0xe0, 0xa6, 0x0a)]);
  await assertRejects(() => Array.fromAsync(inputLines(broken)), TypeError);
});

const ROOT = decodeURIComponent(new URL("../../", import.meta.url).pathname);

interface Step {
  readonly wait: string;
  readonly send?: string;
  readonly pause?: number;
  readonly signal?: number;
}

interface PtyOutcome {
  readonly output: string;
  readonly code: number | null;
  readonly steps: number;
  readonly restored: boolean;
}

/** An empty prompt, as it is drawn. */
const PROMPT = "\r\x1b[J> \r> ";

/** The task in a pseudo-terminal; null where there is no Python with one. */
async function atTerminal(
  steps: readonly Step[],
  outputs: string,
  ...args: string[]
): Promise<PtyOutcome | null> {
  const file = `${outputs}/steps.json`;
  await Deno.writeTextFile(file, JSON.stringify(steps));
  try {
    const { code, stdout, stderr } = await new Deno.Command("python3", {
      args: [
        `${ROOT}tests/chat/drive_pty.py`,
        file,
        ...[Deno.execPath(), "task", "--quiet", "chat", "--profile=tiny", ...args],
      ],
      cwd: ROOT,
      env: { QLORA_OUTPUTS: outputs },
    }).output();
    const text = new TextDecoder();
    if (code === 0) return JSON.parse(text.decode(stdout));
    if (!/ModuleNotFoundError/.test(text.decode(stderr))) throw new Error(text.decode(stderr));
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  console.log("skipped: no Python with pseudo-terminals is here");
  return null;
}

async function withFolder(body: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await body(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("at a terminal: editing, history, a paste of lines, commands, and a clean end", () =>
  withFolder(async (folder) => {
    const outcome = await atTerminal([
      { wait: PROMPT, send: "আজ মনটা ভালো নাX\x7f\x7fনেই।\x1b[H\x1b[3~এ\x01\x1b[3~আ\r" },
      { wait: `\n${PROMPT}`, send: "\x1b[200~এক\nদুই\x1b[201~ তিন\x1b\rচার\r" },
      { wait: `\n${PROMPT}`, send: `\x1b[A\x1b[A\x03/save ${folder}/chat.json\r` },
      { wait: "exchanges", send: "" },
      { wait: `\n${PROMPT}`, send: "\x03" },
      { wait: "at once, leaves", send: "\x03" },
    ], folder);
    if (outcome === null) return;
    assertEquals([outcome.code, outcome.steps, outcome.restored], [0, 6, true], outcome.output);
    const saved = JSON.parse(await Deno.readTextFile(`${folder}/chat.json`));
    const said = saved.exchanges.map((exchange: { user: string }) => exchange.user);
    assertEquals(said, ["আজ মনটা ভালো নেই।", "এক\nদুই তিন\nচার"]);
  }));

Deno.test("at a terminal: Ctrl-C stops a long answer and the program goes on; a signal restores", () =>
  withFolder(async (folder) => {
    const outcome = await atTerminal(
      [
        { wait: PROMPT, send: "একটা লম্বা গল্প বলুন।\r" },
        { wait: "বলুন।\r\r\n", pause: 0.05, send: "\x03" },
        { wait: "(stopped)" },
        { wait: `\n${PROMPT}`, signal: 15 },
      ],
      folder,
      ...["generation.temperature=2", "generation.max_new_tokens=1500"].map((s) => `--set=${s}`),
    );
    if (outcome === null) return;
    assertEquals([outcome.steps, outcome.restored], [4, true], outcome.output);
    assert(outcome.code !== 0);
  }));

Deno.test("lines from a pipe are answered on standard output, the rest goes to standard error", () =>
  withFolder(async (folder) => {
    const child = new Deno.Command(Deno.execPath(), {
      args: ["task", "--quiet", "chat", "--profile=tiny", "--system=ছোট করে বলুন।"],
      cwd: ROOT,
      env: { QLORA_OUTPUTS: folder, NO_COLOR: "1" },
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    const input = child.stdin.getWriter();
    await input.write(new TextEncoder().encode(`কেমন আছেন?\n/save ${folder}/c.json\n/nothing`));
    await input.close();
    const { code, stdout, stderr } = await child.output();
    const text = new TextDecoder();
    assertEquals(code, 0, text.decode(stderr));
    assert(await exists(`${folder}/c.json`));
    const saved = JSON.parse(await Deno.readTextFile(`${folder}/c.json`));
    assertEquals(saved.system_prompt, "ছোট করে বলুন।");
    assertEquals(text.decode(stdout).trim(), saved.exchanges[0].answer);
    assertStringIncludes(text.decode(stderr), "no command /nothing");
  }));
