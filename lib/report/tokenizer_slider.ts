/** A slider for notebooks: one loss, cut into more or fewer tokens. */
import { FONT_STACK } from "@lib/notebook/display.ts";
import { markup } from "./markup.ts";

/** What a text cost a model. */
export interface SliderText {
  /** Nats over the whole text. */
  readonly nats: number;
  readonly letters: number;
  readonly bytes: number;
}

/** Tokens a letter, from many letters a token to a token a byte. */
const RANGE = { least: 0.1, most: 3, step: 0.05 } as const;

/** What the slider shows at its place; also run by the browser, so it names nothing from outside. */
function perplexityAt(nats: number, letters: number, tokensPerLetter: number): string {
  const tokens = Math.max(1, Math.round(letters * tokensPerLetter));
  return `${tokens} tokens: perplexity ${Math.exp(nats / tokens).toPrecision(3)}`;
}

/**
 * HTML with a slider: how many tokens a tokenizer makes of a letter. The perplexity runs through its
 * whole range while the bits per byte stay where they are.
 *
 * It holds its own few lines of script in an attribute, so it works in JupyterLab, VS Code and exported
 * pages alike; where scripts are off, it shows the values at its beginning.
 *
 * @param tokens how many tokens this model's tokenizer made; where the slider stands at first
 */
export function tokenizerSlider({ nats, letters, bytes }: SliderText, tokens: number): string {
  const start = Math.min(RANGE.most, Math.max(RANGE.least, tokens / letters));
  const script = `this.nextElementSibling.textContent = (${perplexityAt})` +
    `(${nats}, ${letters}, Number(this.value))`;
  return String(markup`<div style="font-family:${FONT_STACK};max-width:34rem">
<label>tokens a letter, ${RANGE.least} to ${RANGE.most}
<input type="range" min="${RANGE.least}" max="${RANGE.most}" step="${RANGE.step}" value="${
    start.toFixed(2)
  }" style="width:100%" oninput="${script}">
<output style="font-size:1.2em;font-weight:600">${
    perplexityAt(nats, letters, start)
  }</output></label>
<p>bits per byte, whatever the tokenizer: <b>${(nats / Math.LN2 / bytes).toFixed(3)}</b></p>
</div>`);
}
