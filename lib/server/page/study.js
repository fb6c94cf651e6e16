// @ts-check
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
/**
 * The rating page of the human study: a question, three answers in an order that says nothing, twelve
 * levels, the next question.
 *
 * @module
 */
import { Consent } from "./consent.js";
import { byId, freshId, make } from "./dom.js";
import {
  numeral,
  onLanguage,
  remember,
  remembered,
  startPreferences,
  text,
} from "./preferences.js";
import { RubricForm } from "./rubric_form.js";

/** @typedef {import("@lib/study/desk.ts").StudyView} StudyView */

const ANSWERS = /** @type {const} */ (["answerA", "answerB", "answerC"]);
/** Version of the text that raters agree to. */
const CONSENT_VERSION = 1;

const entry = byId("entry", HTMLFormElement);
const sheet = byId("sheet", HTMLFormElement);
const rater = byId("rater", HTMLInputElement);
const problem = byId("problem", HTMLElement);
const missing = byId("missing", HTMLElement);
/** @type {StudyView | null} */
let view = null;
/** @type {RubricForm[]} */
let rubrics = [];

/**
 * @param {string} path
 * @param {RequestInit} [init]
 * @returns {Promise<StudyView>}
 */
async function ask(path, init) {
  const response = await fetch(path, init).catch(() => null);
  if (response === null) throw new Error(text("errorUnreachable"));
  const body = await response.json().catch(() => null);
  if (response.ok) return body;
  throw new Error(body?.error?.message ?? `HTTP ${response.status}`);
}

/** @param {() => Promise<StudyView>} request */
async function advance(request) {
  problem.hidden = true;
  try {
    show(await request());
  } catch (error) {
    problem.textContent = error instanceof Error ? error.message : String(error);
    problem.hidden = false;
  }
}

/** @param {StudyView} next */
function show(next) {
  view = next;
  const { item, done, total } = next;
  entry.hidden = true;
  sheet.hidden = item === null;
  byId("done", HTMLElement).hidden = item !== null;
  missing.textContent = "";
  if (item === null) return;
  byId("progress", HTMLProgressElement).value = done / total;
  byId("said", HTMLElement).textContent = item.question;
  rubrics = item.answers.map(() => new RubricForm());
  byId("answers", HTMLElement).replaceChildren(...item.answers.map((answer, i) => {
    const id = freshId("answer");
    return make(
      "article",
      { class: "answer", "aria-labelledby": id },
      make("h3", { id, "data-text": ANSWERS[i] ?? "answerA" }, text(ANSWERS[i] ?? "answerA")),
      make("p", { class: "text", lang: "bn" }, answer),
      /** @type {RubricForm} */ (rubrics[i]).element,
    );
  }));
  showCount();
  const heading = byId("asked", HTMLElement);
  heading.focus({ preventScroll: true });
  sheet.scrollIntoView({ block: "start", behavior: "instant" });
}

function showCount() {
  if (view === null) return;
  const place = `${numeral(view.done + 1)} / ${numeral(view.total)}`;
  byId("count", HTMLElement).textContent = `${numeral(view.done)} / ${numeral(view.total)}`;
  byId("asked", HTMLElement).textContent = `${text("questionOf")} ${place}`;
}

/** Says which answer still lacks a level and goes there. @returns {boolean} whether all are rated */
function complete() {
  const at = rubrics.findIndex((rubric) => rubric.missing.length > 0);
  const rubric = rubrics[at];
  if (rubric === undefined) return true;
  const names = rubric.missing.map((criterion) => text(criterion)).join(", ");
  missing.textContent = `${text("rateAll")} ${text(ANSWERS[at] ?? "answerA")}: ${names}`;
  rubric.focusMissing();
  return false;
}

/** @param {Consent} consent */
function listen(consent) {
  entry.addEventListener("submit", (event) => {
    event.preventDefault();
    remember("rater", rater.value.trim());
    void advance(() => ask(`/api/study?${new URLSearchParams({ rater: rater.value.trim() })}`));
  });
  sheet.addEventListener("submit", (event) => {
    event.preventDefault();
    const current = view;
    const { agreement } = consent;
    if (current?.item === null || current === null || agreement === null || !complete()) return;
    const body = JSON.stringify({
      study: current.study,
      rater: rater.value.trim(),
      consent: agreement,
      row: current.item.row,
      levels: rubrics.map((rubric) => rubric.levels),
    });
    const headers = { "content-type": "application/json" };
    void advance(() => ask("/api/study", { method: "POST", headers, body }));
  });
  const enter = () => {
    const agreed = consent.agreement !== null;
    entry.hidden = !agreed || view !== null;
    sheet.hidden = !agreed || view === null || view.item === null;
  };
  consent.onChange(enter);
  enter();
}

startPreferences("studyTitle");
rater.value = remembered("rater") ?? "";
onLanguage(showCount);
listen(new Consent("study-consent", CONSENT_VERSION));
document.documentElement.dataset["ready"] = "true";
