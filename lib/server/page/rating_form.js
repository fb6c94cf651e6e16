// @ts-check
/// <reference lib="dom" />
/**
 * What a visitor thinks of the answers of one turn: criteria, thumbs, and the names after a blind
 * comparison.
 *
 * @module
 */
import { make } from "./dom.js";
import { onLanguage, text } from "./preferences.js";
import { choiceGroup, chosen, RubricForm } from "./rubric_form.js";

/** @typedef {import("./consent.js").Consent} Consent */
/** @typedef {import("./answer_card.js").AnswerCard} AnswerCard */
/** @typedef {import("./completion.js").Turn} Turn */

/**
 * @typedef {object} RatedTurn
 * @property {"single" | "side_by_side" | "blind"} mode
 * @property {{ temperature: number, seed: number }} settings
 * @property {readonly {
 *   model: "base" | "tuned",
 *   place: "only" | "left" | "right",
 *   card: AnswerCard,
 *   conversation: readonly Turn[],
 * }[]} answers
 */

/** Tells one visit from another, nothing more. */
const VISITOR = crypto.randomUUID();

/** The form below the answers of one turn. */
export class RatingForm {
  /**
   * @param {RatedTurn} turn
   * @param {Consent} consent
   * @param {(message: string) => void} say
   */
  constructor(turn, consent, say) {
    this.turn = turn;
    this.consent = consent;
    this.say = say;
    this.submission = crypto.randomUUID();
    this.blind = turn.mode === "blind";
    this.done = false;
    this.parts = turn.answers.map((answer) => ({ ...answer, ...this.part(answer.card) }));
    this.button = make("button", { type: "submit", class: "primary" });
    this.revealButton = make("button", { type: "button", class: "quiet" });
    this.message = make("p", { class: "remark", role: "status" });
    this.element = make(
      "form",
      { class: "rating" },
      ...this.parts.map(({ details }) => details),
      make("div", { class: "row" }, this.button, this.revealButton),
      this.message,
    );
    this.element.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.save();
    });
    this.revealButton.addEventListener("click", () => this.reveal());
    consent.onChange(() => this.show());
    onLanguage(() => this.show());
  }

  /** @param {AnswerCard} card */
  part(card) {
    const rubric = new RubricForm();
    const thumbs = choiceGroup(() => text("thumbLegend"), [
      { value: "up", mark: () => "👍", label: () => text("thumbUp") },
      { value: "down", mark: () => "👎", label: () => text("thumbDown") },
    ], "thumbs");
    const summary = make("summary");
    onLanguage(() => {
      const many = this.turn.answers.length > 1;
      summary.textContent = many
        ? `${text("rateTitle")} — ${text(card.nameKey)}`
        : text("rateTitle");
    });
    const details = make("details", {}, summary, thumbs, rubric.element);
    return { rubric, thumbs, details };
  }

  show() {
    const agreed = this.consent.agreement !== null;
    for (const { details } of this.parts) details.hidden = !agreed || this.done;
    this.button.hidden = !agreed || this.done;
    this.button.textContent = text(this.blind ? "saveAndReveal" : "save");
    this.revealButton.hidden = !this.blind || this.done || agreed;
    this.revealButton.textContent = text("reveal");
    this.element.hidden = this.button.hidden && this.revealButton.hidden && !this.done;
  }

  async save() {
    const { agreement } = this.consent;
    if (agreement === null) return;
    const answers = this.parts.map((part) => ({
      place: part.place,
      model: part.model,
      conversation: part.conversation,
      answer: part.card.text,
      finish: part.card.ended?.finish ?? "broken_off",
      levels: Object.keys(part.rubric.levels).length === 0 ? null : part.rubric.levels,
      thumb: chosen(part.thumbs),
    }));
    if (answers.every(({ levels, thumb }) => levels === null && thumb === null)) {
      return this.tell(text("rateSomething"));
    }
    const { mode, settings } = this.turn;
    const problem = await send({
      ...{ visitor: VISITOR, submission: this.submission, consent: agreement },
      ...{ mode, settings, answers },
    });
    if (problem !== null) return this.tell(`${text("notSaved")} ${problem}`);
    this.finish(text("saved"));
  }

  reveal() {
    this.finish("");
  }

  /** @param {string} message */
  finish(message) {
    this.done = true;
    this.show();
    for (const { card, model } of this.parts) {
      const before = text(card.nameKey);
      if (this.blind) card.reveal(model);
      if (this.blind) message += ` ${before}: ${text(model)}.`;
    }
    this.message.tabIndex = -1;
    this.tell(message.trim());
    this.message.focus({ preventScroll: true });
  }

  /** @param {string} message */
  tell(message) {
    this.message.textContent = message;
  }
}

/**
 * Sends a rating.
 *
 * @param {object} rating
 * @returns {Promise<string | null>} why it was not kept; null when it was
 */
async function send(rating) {
  try {
    const response = await fetch("/api/ratings", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(rating),
    });
    if (response.ok) return null;
    const problem = await response.json().catch(() => null);
    return problem?.error?.message ?? `HTTP ${response.status}`;
  } catch {
    return text("errorUnreachable");
  }
}
