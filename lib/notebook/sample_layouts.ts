/** Training samples laid out padded, packed, and packed behind one prefix, for {@linkcode layoutSvg}. */
import type { Sample } from "@lib/chat/sample.ts";
import { type TokenLayout, type TokenRun, wrapRuns } from "./token_view.ts";

/**
 * The three layouts of the same samples.
 *
 * @param prefixLength tokens that every sample begins with
 * @param width tokens of a row, and what a sample is padded to
 */
export function sampleLayouts(
  samples: readonly Pick<Sample, "tokens" | "answerStart">[],
  prefixLength: number,
  width: number,
): TokenLayout[] {
  const common: TokenRun = { kind: "prompt", tokens: prefixLength };
  const filling: TokenRun = { kind: "padding", tokens: width };
  const own = samples.map(({ tokens, answerStart }): TokenRun[] => [
    { kind: "question", tokens: answerStart - prefixLength },
    { kind: "answer", tokens: tokens.length - answerStart },
  ]);
  return [
    {
      title: `Padded to ${width} tokens, as most scripts do`,
      rows: own.map((runs) => wrapRuns([common, ...runs, filling], width)[0] ?? []),
    },
    { title: "Packed end to end", rows: wrapRuns(own.flatMap((runs) => [common, ...runs]), width) },
    { title: "Packed behind one shared prefix", rows: wrapRuns([common, ...own.flat()], width) },
  ];
}
