// @ts-check
/// <reference lib="dom" />
/**
 * The four criteria with their levels, as a form.
 *
 * @module
 */
import { freshId, make } from "./dom.js";
import { numeral, onLanguage, text } from "./preferences.js";
import { CRITERIA } from "./texts.js";

/** @typedef {import("./texts.js").Criterion} Criterion */
/** @typedef {Partial<Record<Criterion, 0 | 1 | 2>>} GivenLevels */

const LEVELS = /** @type {const} */ ([0, 1, 2]);

/**
 * A group of radio buttons.
 *
 * @param {() => string} legend
 * @param {readonly { value: string, label: () => string, mark?: () => string }[]} choices
 * @param {string} className
 */
export function choiceGroup(legend, choices, className) {
  const name = freshId("choice");
  const title = make("legend");
  const group = make("fieldset", { class: className }, title);
  const labels = choices.map(({ value, label, mark }) => {
    const words = make("span", { class: "words" });
    const sign = make("span", { class: "mark", "aria-hidden": "true" });
    group.append(
      make("label", {}, make("input", { type: "radio", name, value }), sign, words),
    );
    return { words, sign, label, mark };
  });
  onLanguage(() => {
    title.textContent = legend();
    for (const { words, sign, label, mark } of labels) {
      words.textContent = label();
      sign.textContent = mark?.() ?? "";
    }
  });
  return group;
}

/**
 * The value chosen in a group, or null.
 *
 * @param {HTMLElement} group
 */
export function chosen(group) {
  const input = group.querySelector("input:checked");
  return input instanceof HTMLInputElement ? input.value : null;
}

/** The rubric for one answer. */
export class RubricForm {
  constructor() {
    this.groups = CRITERIA.map((criterion) => ({
      criterion,
      group: choiceGroup(
        () => text(criterion),
        LEVELS.map((level) => ({
          value: String(level),
          mark: () => numeral(level),
          label: () => text(`${criterion}${level}`),
        })),
        "criterion",
      ),
    }));
    this.element = make("div", { class: "rubric" }, ...this.groups.map(({ group }) => group));
  }

  /** What has been chosen so far. @returns {GivenLevels} */
  get levels() {
    /** @type {GivenLevels} */
    const levels = {};
    for (const { criterion, group } of this.groups) {
      const value = LEVELS.find((level) => String(level) === chosen(group));
      if (value !== undefined) levels[criterion] = value;
    }
    return levels;
  }

  /** Criteria without a level. @returns {Criterion[]} */
  get missing() {
    const { levels } = this;
    return CRITERIA.filter((criterion) => levels[criterion] === undefined);
  }

  /** The first radio button of the first criterion without a level. */
  focusMissing() {
    const [criterion] = this.missing;
    const group = this.groups.find((one) => one.criterion === criterion)?.group;
    group?.querySelector("input")?.focus();
  }
}
