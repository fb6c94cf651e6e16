/** `deno task agreement`: the empathy proxy against answers graded by hand. */
import { EMPATHY_CRITERIA } from "@lib/evaluation/rubric.ts";
import { scoreEmpathy } from "@lib/evaluation/empathy.ts";
import { gradedAgreement } from "@lib/evaluation/graded_agreement.ts";
import { type GradedAnswer, loadGradedAnswers } from "@lib/evaluation/graded_answers.ts";
import { PROJECT_ROOT } from "@lib/experiment/run.ts";
import { exists } from "@lib/files.ts";
import { agreementLines } from "@lib/report/agreement_text.ts";
import { UsageError } from "@lib/tasks/cli.ts";
import { runProgram } from "@lib/tasks/program.ts";

const HALVES = ["build", "held_out"] as const;
type Half = (typeof HALVES)[number];

/** The larger set where it is, else the older one. */
async function gradedFile(): Promise<string> {
  const folder = `${PROJECT_ROOT}tests/evaluation`;
  const large = `${folder}/graded/answers.jsonl`;
  return await exists(large) ? large : `${folder}/graded_answers.json`;
}

function halfOf(value: unknown): Half {
  const half = HALVES.find((name) => name === (value ?? "build"));
  if (half !== undefined) return half;
  throw new UsageError(`--half: expected ${HALVES.join(" or ")}, found '${value}'.`);
}

/** Answers whose levels differ, with what the scorer saw. */
function disagreements(graded: readonly GradedAnswer[]): string[] {
  return graded.flatMap(({ question, answer, levels, reason }) => {
    const found = scoreEmpathy(question, answer);
    const off = EMPATHY_CRITERIA.filter((name) => found.levels[name] !== levels[name]);
    if (off.length === 0) return [];
    const what = off.map((name) => {
      const seen = [...found.evidence, ...found.against].filter((one) => one.criterion === name);
      const cues = seen.map(({ level, cue }) => `${level} '${cue}'`).join(", ") || "nothing";
      return `  ${name}: graded ${levels[name]}, found ${found.levels[name]} (${cues})`;
    });
    return ["", `Q ${question}`, `A ${answer}`, ...what, ...reason === "" ? [] : [`  ${reason}`]];
  });
}

if (import.meta.main) {
  await runProgram({
    name: "agreement",
    summary:
      "Agreement of the automatic empathy score with answers graded by hand: exact, weighted κ,\n" +
      "Krippendorff's α, each with a 95 % interval by question.",
    positionals: "[GRADED.jsonl]",
    options: {
      half: {
        type: "string",
        value: "build|held_out",
        help: "which half (default build); look at held_out once, when the scorer is finished",
      },
      show: { type: "boolean", help: "list the disagreements (build half only)" },
    },
    async run({ positionals, values }) {
      const half = halfOf(values["half"]);
      if (half === "held_out" && values["show"] === true) {
        throw new UsageError("--show: expected the build half; the held-out one stays unread.");
      }
      const graded = await loadGradedAnswers(positionals[0] ?? await gradedFile());
      const part = graded.filter((one) => one.half === half);
      const report = gradedAgreement(part);
      const shown = values["show"] === true ? disagreements(part) : [];
      return { json: { half, ...report }, lines: [...agreementLines(report, half), ...shown] };
    },
  });
}
