// @ts-check
/// <reference lib="dom" />
/**
 * Whether a visitor's ratings may be kept: asked first, remembered, changed at any time.
 *
 * @module
 */
import { byId } from "./dom.js";
import { currentLanguage, onLanguage, remember, remembered, text } from "./preferences.js";

/** @typedef {{ version: number, agreed_at: string, language: "bn" | "en" }} Agreement */

/** The consent text, its two buttons, and the line that stands in its place afterwards. */
export class Consent {
  /**
   * @param {string} key under which the choice is remembered
   * @param {number} version of the text that is shown
   */
  constructor(key, version) {
    this.key = key;
    this.version = version;
    this.question = byId("consent", HTMLElement);
    this.state = byId("consent-state", HTMLElement);
    /** @type {Set<() => void>} */
    this.listeners = new Set();
    /** @type {"open" | "refused" | Agreement} */
    this.choice = this.recall();
    byId("consent-agree", HTMLButtonElement).addEventListener("click", () => {
      this.choose({
        version,
        agreed_at: new Date().toISOString(),
        language: currentLanguage(),
      });
    });
    byId("consent-decline", HTMLButtonElement).addEventListener(
      "click",
      () => this.choose("refused"),
    );
    byId("consent-change", HTMLButtonElement).addEventListener("click", () => {
      this.choose("open");
      byId("consent-agree", HTMLButtonElement).focus();
    });
    onLanguage(() => this.show());
  }

  /** The agreement, or null while there is none. @returns {Agreement | null} */
  get agreement() {
    return typeof this.choice === "string" ? null : this.choice;
  }

  /**
   * Called whenever the choice changes.
   *
   * @param {() => void} listener
   */
  onChange(listener) {
    this.listeners.add(listener);
  }

  /** @returns {"open" | "refused" | Agreement} */
  recall() {
    const kept = remembered(this.key);
    if (kept === null) return "open";
    if (kept === "refused") return "refused";
    try {
      const value = JSON.parse(kept);
      return value.version === this.version ? value : "open";
    } catch {
      return "open";
    }
  }

  /** @param {"open" | "refused" | Agreement} choice */
  choose(choice) {
    this.choice = choice;
    remember(
      this.key,
      choice === "open" ? null : choice === "refused" ? choice : JSON.stringify(choice),
    );
    this.show();
    if (choice !== "open") byId("consent-change", HTMLButtonElement).focus();
    for (const listener of this.listeners) listener();
  }

  show() {
    const open = this.choice === "open";
    this.question.hidden = !open;
    this.state.hidden = open;
    const line = this.state.querySelector("span");
    if (line === null) return;
    line.textContent = text(this.agreement === null ? "consentRefused" : "consentGiven");
  }
}
