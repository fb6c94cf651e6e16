/** `deno task chat`: talk to the base and the tuned model. */
import { chat, type ChatIo } from "@lib/chat/chat.ts";
import { LinesIo } from "@lib/chat/lines_io.ts";
import { TerminalIo } from "@lib/chat/terminal/terminal_io.ts";
import { samplingOf } from "@lib/generation/sampling.ts";
import {
  ANSWERING_OPTIONS,
  openTaskAnswering,
  regionOf,
  systemPromptOf,
} from "@lib/tasks/answering_options.ts";
import { runTask, type TaskContext } from "@lib/tasks/cli.ts";

const WELCOME = "An exercise in training a model, no counsellor and no medical device. " +
  "/help lists the commands; Ctrl-C stops an answer; Alt-Enter begins a new line; /quit leaves.";

function transcriptFile(folder: string, now: Date): string {
  const stamp = now.toISOString().replace(/[-:]/g, "").replace("T", "_").slice(0, 15);
  return `${folder}/chats/chat_${stamp}.json`;
}

async function runChat(context: TaskContext): Promise<unknown> {
  const { run, config, values, say, signal } = context;
  const region = regionOf(context);
  await using answering = await openTaskAnswering(context);
  say(WELCOME);
  const options = {
    scheduler: answering.scheduler,
    systemPrompt: systemPromptOf(context),
    sampling: samplingOf(config),
    seed: config.seed,
    region,
    baseModel: config.model.base,
    adapter: answering.adapter,
    defaultFile: (now: Date) => transcriptFile(run.folder, now),
  };
  const talk = (io: ChatIo) => chat(io, options);
  if (!Deno.stdin.isTerminal() || !Deno.stdout.isTerminal()) {
    return (await talk(new LinesIo(say, signal, values["json"] === true))).exchanges;
  }
  using io = new TerminalIo(signal);
  return (await talk(io)).exchanges;
}

if (import.meta.main) {
  await runTask({
    name: "chat",
    summary: "Talks with the tuned model, or with the base model beside it.\n" +
      "At a terminal with line editing and history; lines from a pipe are answered one by one.",
    options: ANSWERING_OPTIONS,
    run: runChat,
  });
  Deno.exit(); // a read of the terminal may still wait for a key
}
