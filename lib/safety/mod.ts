/**
 * Guardrails outside the model: deterministic, on what a person writes and on what the model
 * answers. Not a medical device, not clinically validated.
 *
 * @module
 */
export type {
  AnswerCheck,
  Assessment,
  AssessOptions,
  CheckOptions,
  InputKind,
  Level,
  OutputFinding,
  OutputKind,
  Region,
  Span,
} from "./types.ts";
export { INPUT_KINDS, OUTPUT_KINDS } from "./types.ts";
export { assess } from "./assess.ts";
export { checkAnswer } from "./answer_check.ts";
export { GuardedStream } from "./guarded_stream.ts";
export {
  defaultHelplines,
  type Helpline,
  Helplines,
  helplineWarnings,
  loadHelplines,
} from "./helplines.ts";
