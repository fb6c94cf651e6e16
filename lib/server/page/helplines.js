// @ts-check
/// <reference lib="dom" />
/**
 * Numbers to call, always on the page; they come from the server's dated list and nowhere else.
 *
 * @module
 */
import { byId, make } from "./dom.js";
import { currentLanguage, onLanguage, text } from "./preferences.js";

/** @typedef {import("../page_info.ts").ShownHelpline} ShownHelpline */

/** @param {string} number */
function inOwnDigits(number) {
  if (currentLanguage() !== "bn") return number;
  return number.replace(/\d/g, (digit) => String.fromCodePoint(0x09e6 + Number(digit)));
}

/** @param {ShownHelpline} line */
function link({ number }) {
  return make("a", { href: `tel:${number.replaceAll(/[^+\d]/g, "")}` }, inOwnDigits(number));
}

/**
 * Fills the box of numbers.
 *
 * @param {readonly ShownHelpline[]} helplines emergency numbers first
 */
export function showHelplines(helplines) {
  const first = byId("help-first", HTMLElement);
  const list = byId("help-list", HTMLElement);
  const regions = [...new Set(helplines.map(({ region }) => region))];
  onLanguage(() => {
    first.replaceChildren(...regions.map((region) => {
      const line = helplines.find((one) => one.region === region);
      const name = `${text(`help${region}`)} `;
      return make("span", {}, name, line === undefined ? "" : link(line));
    }));
    list.replaceChildren(...regions.flatMap((region) => [
      make("h3", {}, text(`help${region}`)),
      make(
        "ul",
        {},
        ...helplines.filter((line) => line.region === region).map((line) =>
          make(
            "li",
            {},
            link(line),
            make("span", { lang: "bn" }, `${line.name} · ${line.hours}`),
          )
        ),
      ),
    ]));
  });
}
