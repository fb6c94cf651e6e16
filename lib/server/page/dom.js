// @ts-check
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
/**
 * Small helpers to build and find elements.
 *
 * @module
 */

/**
 * The element of this id.
 *
 * @template {HTMLElement} T
 * @param {string} id
 * @param {new () => T} type
 * @returns {T}
 */
export function byId(id, type) {
  const found = document.getElementById(id);
  if (found instanceof type) return found;
  throw new Error(`#${id}: expected a ${type.name}, found ${found?.tagName ?? "nothing"}.`);
}

/**
 * A new element. Text given as children is never read as HTML.
 *
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Readonly<Record<string, string | boolean>>} [attributes] `true`: present, `false`: absent
 * @param {...(Node | string)} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) element.setAttribute(name, "");
    else if (value !== false) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

let counter = 0;

/**
 * An id that no other element has.
 *
 * @param {string} prefix
 */
export function freshId(prefix) {
  return `${prefix}-${++counter}`;
}

/**
 * Scrolls to an element's end, unless the visitor has scrolled away from the page's end.
 *
 * @param {boolean} wasAtEnd
 */
export function followEnd(wasAtEnd) {
  if (wasAtEnd) scrollTo({ top: document.documentElement.scrollHeight, behavior: "instant" });
}

/** Whether the page's end is in view. */
export function atEnd() {
  return innerHeight + scrollY >= document.documentElement.scrollHeight - 80;
}
