import { assertEquals } from "@std/assert";
import { ChatTemplate, type Message } from "@lib/chat/template.ts";
import { Tokenizer } from "@lib/chat/tokenizer.ts";
import { goTemplate, modelfile, type TurnMarks, turnMarks } from "@lib/weights/ollama.ts";

const ROOT = decodeURIComponent(new URL("../../", import.meta.url).pathname);

/**
 * Go's text/template as far as these templates use it, over Ollama's `.System` and `.Messages`:
 * actions without trim marks, `if`/`else if`/`else`, one `range`, two variables.
 */
function renderGo(source: string, system: string, messages: readonly Message[]): string {
  const tokens = source.split(/(\{\{.*?\}\})/s);
  let at = 0;
  type Scope = { readonly message: Message | null; readonly last: boolean };
  const holds = (condition: string, { message, last }: Scope): boolean => {
    if (condition === ".System") return system !== "";
    if (condition === "$last") return last;
    if (condition === "not $last") return !last;
    const role = /^eq \.Role "(\w+)"$/.exec(condition)?.[1];
    if (role === undefined) throw new Error(`unknown condition ${condition}`);
    return message?.role === role;
  };
  const block = (scope: Scope, active: boolean): string => {
    let out = "";
    for (; at < tokens.length; at++) {
      const token = tokens[at] ?? "";
      const action = /^\{\{ (.*) \}\}$/s.exec(token)?.[1];
      if (action === undefined) {
        if (token.startsWith("{{")) throw new Error(`unknown action ${token}`);
        out += active ? token : "";
      } else if (action === "end" || action.startsWith("else")) return out;
      else if (action === ".System") out += active ? system : "";
      else if (action === ".Content") out += active ? scope.message?.content ?? "" : "";
      else if (action.startsWith("if ")) {
        let taken = false;
        let condition: string | null = action.slice(3);
        while (condition !== null) {
          at++;
          const here: boolean = active && !taken && (condition === "" || holds(condition, scope));
          out += block(scope, here);
          taken ||= here;
          const next = /^\{\{ (.*) \}\}$/s.exec(tokens[at] ?? "")?.[1] ?? "end";
          condition = next === "end" ? null : next.replace(/^else ?(if )?/, "");
        }
      } else if (action === "range $i, $_ := .Messages") {
        const start = ++at;
        for (const [i, message] of messages.entries()) {
          at = start;
          out += block({ message, last: i === messages.length - 1 }, active);
        }
      } else if (action !== "$last := eq (len (slice $.Messages $i)) 1") {
        throw new Error(`unknown action ${action}`);
      }
    }
    return out;
  };
  return block({ message: null, last: false }, true);
}

const turn = (role: Message["role"], content: string): Message => ({ role, content });
const TALKS: readonly (readonly Message[])[] = [
  [turn("user", "মন ভালো নেই।")],
  [turn("user", "কেমন আছেন?"), turn("assistant", "ভালো।\nআপনি?"), turn("user", "জানি না {{ ok }}")],
];

function assertSame(template: ChatTemplate, marks: TurnMarks | null, bos: string): void {
  if (marks === null) throw new Error("expected marks");
  const go = goTemplate(marks);
  for (const talk of TALKS) {
    for (const system of ["", "আপনি একজন কাউন্সেলর।"]) {
      const turns = system === "" ? talk : [turn("system", system), ...talk];
      assertEquals(bos + renderGo(go, system, talk), template.render(turns, true));
    }
  }
}

Deno.test("Ollama's template writes what Llama 3's own chat template writes", async () => {
  const { template } = await Tokenizer.load(`${ROOT}data/tiny-llama`);
  const bos = "<|begin_of_text|>";
  const marks = turnMarks(template, bos);
  assertSame(template, marks, bos);
  assertEquals(marks?.userOpen, "<|start_header_id|>user<|end_header_id|>\n\n");
  assertEquals(marks?.systemClose, "<|eot_id|>");
});

Deno.test("a ChatML template with a default system prompt is found out too", () => {
  const source = "{% if messages[0].role != 'system' %}<|im_start|>system\nBe kind.<|im_end|>\n" +
    "{% endif %}{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n" +
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
  const template = new ChatTemplate(source, { bos_token: "", eos_token: "" }, "test");
  const marks = turnMarks(template, "");
  assertSame(template, marks, "");
  assertEquals(marks?.preamble, "<|im_start|>system\nBe kind.<|im_end|>\n");
});

Deno.test("a template that does more than wrap turns has no marks", () => {
  const numbered = "{% for m in messages %}{{ loop.index }}:{{ m.content }};{% endfor %}" +
    "{% if add_generation_prompt %}A{% endif %}";
  const refusing = "{{ raise_exception('no') }}";
  for (const source of [numbered, refusing]) {
    const template = new ChatTemplate(source, { bos_token: "", eos_token: "" }, "test");
    assertEquals(turnMarks(template, ""), null);
  }
});

Deno.test("a Modelfile has its lines in order", () => {
  const text = modelfile({
    ...{ from: "./base.gguf", adapter: "./adapter.gguf", marks: null },
    ...{ stops: ["<|eot_id|>"], system: "আপনি সহানুভূতিশীল।", licence: "MIT" },
    ...{ temperature: 0, topP: 1, maxNewTokens: 160 },
  });
  assertEquals(
    text,
    'FROM ./base.gguf\nADAPTER ./adapter.gguf\nPARAMETER stop "<|eot_id|>"\n' +
      "PARAMETER temperature 0\nPARAMETER top_p 1\nPARAMETER num_predict 160\n" +
      'SYSTEM """আপনি সহানুভূতিশীল।"""\nLICENSE """MIT"""\n',
  );
});
