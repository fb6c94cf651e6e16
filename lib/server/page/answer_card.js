// @ts-check
/// <reference lib="dom" />
/**
 * One answer on the page: who answers, what has been written so far, how it ended.
 *
 * @module
 */
import { atEnd, followEnd, freshId, make } from "./dom.js";
import { onLanguage, text } from "./preferences.js";

/** @typedef {import("./texts.js").TextKey} TextKey */
/** @typedef {import("./completion.js").Ended} Ended */

/** What the visitor is told of how an answer ended; null: nothing needs saying. */
const REMARKS = /** @type {const} */ ({
  fixed_reply: "fixedReply",
  replaced: "replacedReply",
});

export class AnswerCard {
  /** @param {TextKey} nameKey */
  constructor(nameKey) {
    const id = freshId("answer");
    this.nameKey = nameKey;
    this.text = "";
    /** @type {Ended | null} */
    this.ended = null;
    /** @type {TextKey | null} */
    this.remarkKey = "writing";
    this.name = make("h3", { id });
    this.body = make("p", { class: "text", lang: "bn" });
    this.remark = make("p", { class: "remark" });
    this.element = make(
      "article",
      { class: "answer", "aria-labelledby": id, "aria-busy": "true" },
      this.name,
      this.body,
      this.remark,
    );
    onLanguage(() => this.show());
  }

  show() {
    this.name.textContent = text(this.nameKey);
    this.remark.textContent = this.remarkKey === null ? "" : text(this.remarkKey);
    this.remark.hidden = this.remarkKey === null;
  }

  /** @param {string} piece */
  push(piece) {
    const following = atEnd();
    this.text += piece;
    this.body.append(piece);
    followEnd(following);
  }

  /** @param {Ended} ended */
  end(ended) {
    this.ended = ended;
    const remark = Object.entries(REMARKS).find(([action]) => action === ended.action)?.[1];
    const dropped = ended.dropped > 0 ? "oldestDropped" : null;
    this.close(remark ?? (ended.finish === "length" ? "cutByLength" : dropped));
  }

  /** Ends it without its being whole. @param {TextKey | null} remarkKey */
  close(remarkKey) {
    this.element.removeAttribute("aria-busy");
    this.remarkKey = remarkKey;
    this.show();
  }

  /** Shows whose answer it is. @param {"base" | "tuned"} model */
  reveal(model) {
    this.nameKey = model;
    this.element.dataset["model"] = model;
    this.show();
  }

  /** Whether the model wrote it, to its end: only then is there something to rate. */
  get rateable() {
    return this.ended !== null && this.ended.action !== "fixed_reply" &&
      this.ended.action !== "replaced";
  }
}
