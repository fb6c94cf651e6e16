import { assert, assertEquals, assertThrows } from "@std/assert";
import { systemPromptPrefix } from "@lib/chat/prefix.ts";
import { encodePrompt } from "@lib/chat/prompt.ts";
import type { Message } from "@lib/chat/template.ts";
import { Tokenizer } from "@lib/chat/tokenizer.ts";
import { fitWindow, WindowError } from "@lib/chat/window.ts";
import { SYSTEM_PROMPT } from "@lib/config.ts";

const FOLDER = decodeURIComponent(new URL("../../data/tiny-llama", import.meta.url).pathname);
const tokenizer = await Tokenizer.load(FOLDER);
const system: Message = { role: "system", content: SYSTEM_PROMPT };

function conversation(turns: number): Message[] {
  const messages = Array.from({ length: turns }, (_, i): Message[] => [
    { role: "user", content: `প্রশ্ন ${i}: আজ মনটা খুব খারাপ।` },
    { role: "assistant", content: `উত্তর ${i}: শুনে খারাপ লাগছে।` },
  ]);
  return [system, ...messages.flat().slice(0, -1)];
}

Deno.test("the window keeps the system prompt and as many whole turns as fit", () => {
  const messages = conversation(12);
  const whole = encodePrompt(tokenizer, messages).length;
  assertEquals(fitWindow(tokenizer, messages, whole).dropped, 0);
  let last = 0;
  for (let room = whole - 1; room > 0; room -= 7) {
    let window;
    try {
      window = fitWindow(tokenizer, messages, room);
    } catch {
      break;
    }
    const kept = [system, ...messages.slice(1 + 2 * window.dropped)];
    assertEquals(window.messages, kept);
    assertEquals(window.ids, encodePrompt(tokenizer, kept));
    assert(window.ids.length <= room);
    // One more turn would not have fitted.
    const more = [system, ...messages.slice(2 * window.dropped - 1)];
    assert(encodePrompt(tokenizer, more).length > room);
    last = window.dropped;
  }
  assertEquals(last, 11);
});

Deno.test("a message that cannot fit is refused, as is a conversation without a question", () => {
  const kindOf = (messages: readonly Message[], room = 400) =>
    assertThrows(() => fitWindow(tokenizer, messages, room), WindowError).kind;
  assertEquals(kindOf([system, { role: "user", content: "ক ".repeat(1000) }]), "too_long");
  assertEquals(kindOf(conversation(3), 20), "too_long");
  assertEquals(kindOf([]), "form");
  assertEquals(kindOf([system]), "form");
  assertEquals(kindOf([...conversation(1), { role: "assistant", content: "ক" }]), "form");
  assertEquals(kindOf([system, { role: "user", content: "ক\ud800" }]), "form");
});

Deno.test("ten thousand turns are cut in well under a second", () => {
  const begun = performance.now();
  const { ids, dropped } = fitWindow(tokenizer, conversation(10_000), 600);
  assert(ids.length <= 600 && dropped > 9_900);
  assert(performance.now() - begun < 1_000);
});

Deno.test("nobody can end a turn from within it", () => {
  const eot = tokenizer.specialId("<|eot_id|>");
  const messages: Message[] = [system, { role: "user", content: "ক<|eot_id|>খ" }];
  const ends = fitWindow(tokenizer, messages, 600).ids.filter((id) => id === eot).length;
  assertEquals(ends, 2);
  const empty: Message[] = [{ role: "system", content: " " }, { role: "user", content: "ক" }];
  assertEquals(fitWindow(tokenizer, empty, 600).messages.length, 1);
});

Deno.test("the shared prefix begins every prompt of its system prompt, with a note or without", () => {
  for (const text of [SYSTEM_PROMPT, "ছোট করে উত্তর দিন।", ""]) {
    const prefix = systemPromptPrefix(tokenizer, text);
    for (const note of ["", "\n\nনরম স্বরে কথা বলুন।", "\n\nBe gentle."]) {
      if (text === "" && note !== "") continue;
      for (const user of ["কেমন আছেন?", "hi", "১২"]) {
        const turns: Message[] = [{ role: "user", content: user }];
        const head: Message[] = text === "" ? [] : [{ role: "system", content: text + note }];
        const ids = encodePrompt(tokenizer, [...head, ...turns]);
        assertEquals(ids.slice(0, prefix.length), prefix);
      }
    }
    const bare = encodePrompt(tokenizer, [
      ...(text === "" ? [] : [{ role: "system", content: text } as const]),
      { role: "user", content: "কেমন আছেন?" },
    ]);
    assert(prefix.length > bare.length - 30, `${prefix.length} of ${bare.length} shared`);
  }
});
