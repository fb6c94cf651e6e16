// @ts-check
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
/**
 * Language and colours: chosen by the visitor, remembered in the browser, applied to the page.
 *
 * @module
 */
import { TEXTS } from "./texts.js";

/** @typedef {import("./texts.js").Language} Language */
/** @typedef {import("./texts.js").TextKey} TextKey */

/** @type {Language} */
let language = remembered("language") === "en" ? "en" : "bn";
/** @type {Set<() => void>} */
const listeners = new Set();

/**
 * A value kept in this browser; null where the browser keeps nothing.
 *
 * @param {string} key
 * @returns {string | null}
 */
export function remembered(key) {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

/**
 * Keeps a value in this browser, or forgets it.
 *
 * @param {string} key
 * @param {string | null} value
 */
export function remember(key, value) {
  try {
    if (value === null) localStorage.removeItem(key);
    else localStorage.setItem(key, value);
  } catch {
    // A browser that keeps nothing: the choice holds until the page is left.
  }
}

/** The language of the page now. @returns {Language} */
export function currentLanguage() {
  return language;
}

/**
 * A text in the current language.
 *
 * @param {TextKey} key
 * @returns {string}
 */
export function text(key) {
  return TEXTS[language][key];
}

/**
 * A number in the digits of the current language.
 *
 * @param {number} value
 * @returns {string}
 */
export function numeral(value) {
  return value.toLocaleString(language === "bn" ? "bn-BD" : "en-US");
}

/**
 * Called now and whenever the language changes.
 *
 * @param {() => void} listener
 */
export function onLanguage(listener) {
  listeners.add(listener);
  listener();
}

/** @param {string | undefined} key @returns {key is TextKey} */
function isKey(key) {
  return key !== undefined && key in TEXTS.bn;
}

/**
 * Puts the texts into every element below one that names them: `data-text` its content,
 * `data-label` its accessible name, `data-placeholder` its placeholder.
 *
 * @param {ParentNode} root
 */
export function translate(root) {
  for (const element of root.querySelectorAll("[data-text], [data-label], [data-placeholder]")) {
    if (!(element instanceof HTMLElement)) continue;
    const { text: content, label, placeholder } = element.dataset;
    if (isKey(content)) element.textContent = text(content);
    if (isKey(label)) element.setAttribute("aria-label", text(label));
    if (isKey(placeholder)) element.setAttribute("placeholder", text(placeholder));
  }
}

/** @param {TextKey} titleKey */
function applyLanguage(titleKey) {
  document.documentElement.lang = language;
  document.title = text(titleKey);
  translate(document);
  for (const listener of listeners) listener();
}

/** @param {string | null} theme */
function applyTheme(theme) {
  if (theme === "light" || theme === "dark") document.documentElement.dataset["theme"] = theme;
  else delete document.documentElement.dataset["theme"];
}

/**
 * Connects the switches in the page's head.
 *
 * @param {TextKey} titleKey
 */
export function startPreferences(titleKey) {
  const button = document.querySelector("#language");
  button?.addEventListener("click", () => {
    language = language === "bn" ? "en" : "bn";
    remember("language", language);
    applyLanguage(titleKey);
    button.setAttribute("lang", language === "bn" ? "en" : "bn");
  });
  button?.setAttribute("lang", language === "bn" ? "en" : "bn");
  const select = document.querySelector("#theme");
  if (select instanceof HTMLSelectElement) {
    select.value = remembered("theme") ?? "system";
    select.addEventListener("change", () => {
      remember("theme", select.value === "system" ? null : select.value);
      applyTheme(select.value);
    });
  }
  applyTheme(remembered("theme"));
  applyLanguage(titleKey);
}
