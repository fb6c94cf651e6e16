// @ts-check
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
/**
 * The conversation page.
 *
 * @module
 */
import { Announcer } from "./announcer.js";
import { AnswerCard } from "./answer_card.js";
import { AnswerFailure, readAnswer } from "./completion.js";
import { Consent } from "./consent.js";
import { byId, make } from "./dom.js";
import { showHelplines } from "./helplines.js";
import { onLanguage, startPreferences, text, translate } from "./preferences.js";
import { RatingForm } from "./rating_form.js";

/** @typedef {import("../page_info.ts").PageInfo} PageInfo */
/** @typedef {import("./completion.js").Turn} Turn */
/** @typedef {"base" | "tuned"} Model */
/** @typedef {"single" | "side_by_side" | "blind"} Mode */

const FAILURES = /** @type {const} */ ({
  gone: "errorGone",
  broken: "errorBroken",
  unreachable: "errorUnreachable",
  busy: "errorBusy",
  too_long: "errorTooLong",
  token: "errorToken",
});
const HINTS = /** @type {const} */ ({
  side_by_side: "modeSideBySideHint",
  blind: "modeBlindHint",
});

const form = byId("composer", HTMLFormElement);
const question = byId("question", HTMLTextAreaElement);
const sendButton = byId("send", HTMLButtonElement);
const stopButton = byId("stop", HTMLButtonElement);
const restartButton = byId("restart", HTMLButtonElement);
const turns = byId("turns", HTMLElement);
const problem = byId("problem", HTMLElement);
const temperature = byId("temperature", HTMLInputElement);
const seed = byId("seed", HTMLInputElement);
const announcer = new Announcer(byId("announcer", HTMLElement));

/** Each model's own conversation: it sees its own earlier answers. */
/** @type {Record<Model, Turn[]>} */
let histories = { base: [], tuned: [] };
/** @type {AbortController | null} */
let running = null;

/** @returns {Mode} */
function mode() {
  const value = new FormData(form).get("mode");
  return value === "side_by_side" || value === "blind" ? value : "single";
}

/**
 * The models that answer now, in the order in which their answers stand.
 *
 * @param {PageInfo} info
 * @returns {Model[]}
 */
function askedModels(info) {
  const hasTuned = info.models.some(({ id }) => id === "tuned");
  const chosen = mode();
  if (chosen === "single") return [hasTuned ? "tuned" : "base"];
  const swapped = chosen === "blind" &&
    (crypto.getRandomValues(new Uint8Array(1))[0] ?? 0) % 2 === 1;
  return swapped ? ["tuned", "base"] : ["base", "tuned"];
}

/** The settings now; what is no number counts as its default. */
function settings() {
  return {
    temperature: Math.min(2, Math.max(0, Number(temperature.value) || 0)),
    seed: Math.trunc(Math.abs(Number(seed.value))) || 0,
  };
}

/** @param {boolean} busy */
function setBusy(busy) {
  sendButton.hidden = busy;
  stopButton.hidden = !busy;
  restartButton.disabled = busy;
  turns.setAttribute("aria-busy", String(busy));
}

/**
 * One turn: a question, its answers, and their rating.
 *
 * @param {PageInfo} info
 * @param {Consent} consent
 * @param {string} content
 */
async function turn(info, consent, content) {
  problem.hidden = true;
  const chosen = mode();
  const drawn = settings();
  const models = askedModels(info);
  const cards = models.map((model, i) =>
    new AnswerCard(chosen === "blind" ? (i === 0 ? "answerA" : "answerB") : model)
  );
  const row = make("div", { class: "answers", "data-count": String(cards.length) });
  row.append(...cards.map(({ element }) => element));
  const said = make("p", { class: "said", lang: "bn" }, content);
  const item = make("li", {}, make("h3", { "data-text": "you" }), said, row);
  translate(item);
  onLanguage(() => translate(item));
  turns.append(item);
  item.scrollIntoView({ block: "end", behavior: "instant" });

  const controller = new AbortController();
  running = controller;
  setBusy(true);
  const answers = models.map((model, i) => ({
    model,
    place: placeOf(i, models.length),
    card: /** @type {AnswerCard} */ (cards[i]),
    conversation: [...histories[model], /** @type {Turn} */ ({ role: "user", content })],
  }));
  const outcomes = await Promise.allSettled(answers.map(async ({ model, card, conversation }) => {
    const voice = announcer.voice(text(card.nameKey));
    try {
      const ended = await readAnswer(
        { model, messages: conversation, ...drawn, signal: controller.signal },
        (piece) => {
          card.push(piece);
          voice.push(piece);
        },
      );
      card.end(ended);
      histories[model] = [...conversation, { role: "assistant", content: card.text }];
      voice.end(text("finished"));
    } catch (error) {
      const remark = controller.signal.aborted ? "stopped" : "incomplete";
      card.close(remark);
      voice.end(text(remark));
      throw error;
    }
  }));
  running = null;
  setBusy(false);
  const failure = outcomes.find((outcome) => outcome.status === "rejected")?.reason;
  if (failure !== undefined && !controller.signal.aborted) {
    return showProblem(failure, info, consent, content);
  }
  if (cards.every((card) => card.rateable)) {
    const rated = new RatingForm(
      { mode: chosen, settings: drawn, answers },
      consent,
      (message) => announcer.say(message),
    );
    item.append(rated.element);
  }
}

/** @param {number} at @param {number} count @returns {"only" | "left" | "right"} */
function placeOf(at, count) {
  if (count === 1) return "only";
  return at === 0 ? "left" : "right";
}

/**
 * Says what went wrong and offers to try again.
 *
 * @param {unknown} failure
 * @param {PageInfo} info
 * @param {Consent} consent
 * @param {string} content
 */
function showProblem(failure, info, consent, content) {
  const kind = failure instanceof AnswerFailure ? failure.kind : "other";
  const known = kind === "other" ? null : FAILURES[kind];
  const detail = failure instanceof Error ? failure.message : String(failure);
  const retry = make("button", { type: "button", class: "quiet" }, text("retry"));
  retry.addEventListener("click", () => {
    question.focus();
    void turn(info, consent, content);
  });
  const words = known === null ? `${text("errorOther")} ${detail}` : text(known);
  problem.replaceChildren(make("p", {}, words), retry);
  problem.hidden = false;
  problem.scrollIntoView({ block: "nearest", behavior: "instant" });
}

/** @param {PageInfo} info */
function showModes(info) {
  const both = info.models.length > 1;
  byId("modes", HTMLElement).hidden = !both;
  const hint = byId("mode-hint", HTMLElement);
  const show = () => {
    const chosen = mode();
    const single = both ? "modeSingleHint" : "modeBaseHint";
    hint.textContent = text(chosen === "single" ? single : HINTS[chosen]);
  };
  form.addEventListener("change", show);
  onLanguage(show);
}

/** Lets the box grow with what is written in it. */
function fitQuestion() {
  question.style.setProperty("height", "auto");
  question.style.setProperty("height", `${Math.min(question.scrollHeight + 2, 320)}px`);
}

/** @param {PageInfo} info @param {Consent} consent */
function listen(info, consent) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const content = question.value.trim();
    if (content === "" || running !== null) return;
    question.value = "";
    fitQuestion();
    void turn(info, consent, content);
  });
  question.addEventListener("input", fitQuestion);
  question.addEventListener("keydown", (event) => {
    // While an input method composes a letter, Enter belongs to it.
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      form.requestSubmit();
    }
    if (event.key === "Escape") running?.abort();
  });
  stopButton.addEventListener("click", () => {
    running?.abort();
    question.focus();
  });
  restartButton.addEventListener("click", () => {
    histories = { base: [], tuned: [] };
    turns.replaceChildren();
    problem.hidden = true;
    question.focus();
  });
}

async function start() {
  startPreferences("title");
  try {
    const response = await fetch("/api/page");
    if (!response.ok) throw new AnswerFailure("unreachable", `HTTP ${response.status}`);
    /** @type {PageInfo} */
    const info = await response.json();
    temperature.value = String(info.sampling.temperature);
    seed.value = String(info.sampling.seed);
    showHelplines(info.helplines);
    showModes(info);
    byId("to-study", HTMLElement).hidden = !info.study;
    listen(info, new Consent("consent", info.consentVersion));
    sendButton.disabled = false;
    document.documentElement.dataset["ready"] = "true";
  } catch {
    problem.replaceChildren(make("p", {}, text("errorUnreachable")));
    problem.hidden = false;
  }
}

void start();
