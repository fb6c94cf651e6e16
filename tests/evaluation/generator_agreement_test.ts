/** A sanity check only: the corpus generator knows which levels it composed its answers of. */
import { assert } from "@std/assert";
import { seededRandom } from "@lib/random.ts";
import { agreement } from "@lib/evaluation/agreement.ts";
import { scoreEmpathy } from "@lib/evaluation/empathy.ts";
import { EMPATHY_CRITERIA } from "@lib/evaluation/rubric.ts";
import { type ComposedRow, composeOpening } from "../../data/generator/compose.ts";
import { Topic } from "../../data/generator/schema.ts";

const TOPICS = new URL("../../data/generator/topics/", import.meta.url);

async function composedRows(): Promise<ComposedRow[]> {
  const names = await Array.fromAsync(Deno.readDir(TOPICS), (entry) => entry.name);
  const random = seededRandom(7);
  const rows: ComposedRow[] = [];
  for (const name of names.filter((one) => one.endsWith(".json")).sort()) {
    const topic = Topic.parse(JSON.parse(await Deno.readTextFile(new URL(name, TOPICS))));
    for (const situation of topic.situations) {
      rows.push(composeOpening(random, { topic, situation }));
      rows.push(composeOpening(random, { topic, situation }));
    }
  }
  return rows;
}

Deno.test("the proxy recovers the levels that answers were composed of", async () => {
  const rows = await composedRows();
  const scores = rows.map((row) => scoreEmpathy(row.question, row.answer));
  for (const criterion of EMPATHY_CRITERIA) {
    const { n, exact, weightedKappa } = agreement(
      rows.map((row) => row.levels?.[criterion] ?? 0),
      scores.map((score) => score.levels[criterion]),
      3,
    );
    console.log(
      `composed ${criterion.padEnd(14)} n ${n}  exact ${exact.toFixed(2)}  ` +
        `weighted κ ${weightedKappa.toFixed(2)}`,
    );
    assert(weightedKappa > 0.5, `${criterion}: ${weightedKappa}`);
  }
  assert(scores.every((score) => score.safety.pass), "no composed answer is unsafe");
});

Deno.test("answers to other people's questions score lower", async () => {
  const rows = await composedRows();
  const mean = (shift: number): number =>
    rows.reduce((sum, row, i) => {
      const other = rows[(i + shift) % rows.length];
      return sum + scoreEmpathy(row.question, other?.answer ?? "").score;
    }, 0) / rows.length;
  const [own, shifted] = [mean(0), mean(Math.floor(rows.length / 2))];
  assert(own - shifted > 8, `own ${own.toFixed(1)}, others' ${shifted.toFixed(1)}`);
});
