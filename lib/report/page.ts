/** The page that reports share: one file, no network, light and dark, fit for printing. */
import { type Markup, markup, raw } from "./markup.ts";

/** A section with its heading. */
export interface Section {
  /** Its anchor; unique on the page. */
  readonly id: string;
  readonly title: string;
  readonly body: Markup;
}

/** Colours that colour-blind readers tell apart (Okabe and Ito, 2008), on white and on black. */
const LIGHT = ["#0072b2", "#b34700", "#00795a", "#a8457f", "#8a6100", "#555"];
const DARK = ["#5bb4ec", "#ff9a4d", "#3fd0a5", "#f0a3cf", "#f2c14e", "#bbb"];

/** How many series have a colour of their own. */
export const SERIES_COLORS = LIGHT.length;

const colors = (list: readonly string[]) => list.map((color, i) => `--c${i}: ${color};`).join(" ");

const STYLE = `
:root { color-scheme: light dark; --bg: #fff; --fg: #1c1c1e; --soft: #f3f4f6; --line: #d5d8dd;
  --muted: #595f69; --accent: #0b5f8a; ${colors(LIGHT)} }
@media (prefers-color-scheme: dark) { :root { --bg: #15171a; --fg: #e8e8ea; --soft: #202328;
  --line: #3a3f47; --muted: #a6adb8; --accent: #74bdea; ${colors(DARK)} } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--bg); color: var(--fg); line-height: 1.55; font: 1rem/1.55
  system-ui, "Noto Sans Bengali", "Nirmala UI", "Kohinoor Bangla", "Bangla Sangam MN", Vrinda,
  sans-serif; }
main { max-width: 64rem; margin: 0 auto; padding: 1.5rem 1.25rem 4rem; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: .5rem 0 .25rem; overflow-wrap: anywhere; }
h2 { font-size: 1.25rem; margin: 2.6rem 0 .8rem; padding-bottom: .25rem;
  border-bottom: 1px solid var(--line); }
h3 { font-size: 1.02rem; margin: 1.6rem 0 .5rem; }
a { color: var(--accent); }
nav ul { display: flex; flex-wrap: wrap; gap: .25rem 1.1rem; list-style: none; padding: 0; }
.muted, caption, figcaption, .axis { color: var(--muted); }
.muted, caption, figcaption { font-size: .9rem; }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); gap: .75rem;
  margin: 1.2rem 0; padding: 0; list-style: none; }
.facts li { background: var(--soft); border-radius: .5rem; padding: .7rem .9rem; }
.facts strong { display: block; font-size: 1.2rem; font-variant-numeric: tabular-nums; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; margin: .6rem 0 1rem; }
caption { text-align: left; padding-bottom: .3rem; }
th, td { text-align: left; vertical-align: top; padding: .32rem .8rem .32rem 0;
  border-bottom: 1px solid var(--line); overflow-wrap: break-word; }
thead th:first-child, tbody th { min-width: 8rem; }
th { font-weight: 600; } tbody th { font-weight: 400; }
td.n { font-variant-numeric: tabular-nums; white-space: nowrap; }
figure { margin: 1rem 0; } figcaption { margin-top: .3rem; }
svg { width: 100%; height: auto; display: block; } svg text { font-size: 12px; fill: currentColor; }
.grid { stroke: var(--line); stroke-width: 1; } .zero { stroke: var(--muted); stroke-width: 1; }
.curve { fill: none; stroke-width: 2; } .faint { stroke-width: 1; opacity: .55; }
${LIGHT.map((_, i) => `.s${i} { stroke: var(--c${i}); } .f${i} { fill: var(--c${i}); }`).join("\n")}
.key { display: inline-flex; align-items: center; gap: .4rem; margin-right: 1.1rem; }
.key svg { width: 1.4rem; height: .8rem; }
.plot { background: #fff; padding: .5rem; border-radius: .4rem; }
.plot img { max-width: 100%; height: auto; display: block; margin: 0 auto; }
.answers { display: grid; gap: 1rem; } .answers article { border: 1px solid var(--line);
  border-radius: .6rem; padding: .9rem 1.1rem; }
.answers h3 { margin-top: 0; }
.answers dl { display: grid; grid-template-columns: 6.5rem 1fr; gap: .35rem .8rem; margin: .5rem 0 0; }
.answers dt { color: var(--muted); font-size: .9rem; } .answers dd { margin: 0;
  white-space: pre-wrap; overflow-wrap: anywhere; }
pre { background: var(--soft); padding: .8rem; overflow-x: auto; font-size: .85rem;
  border-radius: .4rem; }
.bars { display: grid; grid-template-columns: minmax(9rem, auto) 1fr auto; gap: .25rem .7rem;
  align-items: center; margin: 0; }
.bars dt { grid-column: 1; } .bars dd { margin: 0; font-variant-numeric: tabular-nums; }
.bars .bar { height: .9rem; background: var(--c0); border-radius: .2rem; min-width: 1px; }
.bars .lost .bar, .bars .bar.lost { background: var(--c1); }
.hash { font-family: ui-monospace, monospace; font-size: .8rem; overflow-wrap: anywhere; }
summary { cursor: pointer; }
@media (max-width: 36rem) { .answers dl { grid-template-columns: 1fr; gap: .1rem; }
  .answers dd { margin-bottom: .5rem; } .bars { grid-template-columns: 1fr auto; }
  .bars dt { grid-column: 1 / -1; } }
@media print { :root { --bg: #fff; --fg: #000; --soft: #f3f4f6; --line: #bbb; --muted: #444;
  --accent: #000; ${colors(LIGHT)} } nav { display: none; } body { font-size: 10.5pt; }
  main { max-width: none; padding: 0; } article, figure, tr, .facts { break-inside: avoid; }
  h2, h3 { break-after: avoid; } .scroll { overflow: visible; } a { text-decoration: none; }
  * { print-color-adjust: exact; }
  details::details-content { content-visibility: visible; display: block; height: auto; } }
@page { margin: 16mm 14mm; }
`;

/** Puts a page together. @param lead what stands under the title */
export function renderPage(title: string, lead: Markup, sections: readonly Section[]): string {
  const page = markup`
    <!DOCTYPE html>
    <html lang="en">
      <head>
        <meta charset="utf-8">
        <meta name="viewport" content="width=device-width, initial-scale=1">
        <title>${title}</title>
        <style>
        ${raw(STYLE)}
        </style>
      </head>
      <body>
        <main>
          <h1>${title}</h1>
          ${lead}
          <nav aria-label="Sections">
            <ul>
              ${
    sections.map(({ id, title }) =>
      markup`
                  <li><a href="#${id}">${title}</a></li>
                `
    )
  }
            </ul>
          </nav>
          ${
    sections.map(({ id, title, body }) =>
      markup`
              <section id="${id}" aria-labelledby="${id}-title">
                <h2 id="${id}-title">${title}</h2>
                ${body}
              </section>
            `
    )
  }
        </main>
      </body>
    </html>
  `;
  return String(page).trimStart();
}
