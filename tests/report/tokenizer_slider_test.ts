import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { JSDOM } from "jsdom";
import { tokenizerSlider } from "@lib/report/tokenizer_slider.ts";

Deno.test("moving the slider changes the perplexity and leaves the bits per byte", () => {
  const nats = 100 * Math.log(8);
  const slider = tokenizerSlider({ nats, letters: 100, bytes: 300 }, 100);
  const { window } = new JSDOM(slider, { runScripts: "dangerously" });
  const { document } = window;
  const shown = () => document.querySelector("output")?.textContent ?? "";
  assertEquals(shown(), "100 tokens: perplexity 8.00");
  assertStringIncludes(document.body.textContent ?? "", "1.000");
  const input = document.querySelector("input");
  input.value = "0.5";
  input.dispatchEvent(new window.Event("input"));
  assertEquals(shown(), "50 tokens: perplexity 64.0");
  input.value = "3";
  input.dispatchEvent(new window.Event("input"));
  assertEquals(shown(), "300 tokens: perplexity 2.00");
  assert(!/<script|https?:/.test(slider));
});
