/** Checks a page as a strict parser and a few rules see it. */
import { assert, assertEquals } from "@std/assert";
import { JSDOM } from "jsdom";
import { parse } from "parse5";

/** Fails on any parse error, doubled id, dangling link, or anything loaded from elsewhere. */
export function assertValidPage(page: string): void {
  const errors: string[] = [];
  parse(page, {
    sourceCodeLocationInfo: true,
    onParseError: ({ code, startLine, startCol }) =>
      errors.push(`${code} at ${startLine}:${startCol}`),
  });
  assertEquals(errors, []);
  const { document } = new JSDOM(page).window;
  const all = [...document.querySelectorAll("*")];
  const ids = all.map(({ id }) => id).filter((id: string) => id !== "");
  assertEquals(ids.length, new Set(ids).size, "an id occurs twice");
  for (const link of document.querySelectorAll("a[href]")) {
    const target = link.getAttribute("href") ?? "";
    assert(target.startsWith("#") && ids.includes(target.slice(1)), `link to ${target}`);
  }
  const loaded = all.flatMap((element) =>
    ["src", "srcset", "data", "xlink:href", "poster"].flatMap((name) =>
      element.getAttribute(name) ?? []
    )
  );
  assertEquals(loaded.filter((url: string) => !url.startsWith("data:")), []);
  assert(!/@import|url\(|<script|<link|<iframe/i.test(page), "something is loaded or run");
  assertRules(document);
}

/** Rules of structure that readers and screen readers rely on. */
function assertRules(document: JSDOM["window"]["document"]): void {
  assertEquals(document.querySelectorAll("h1").length, 1);
  assert((document.documentElement.getAttribute("lang") ?? "") !== "");
  let depth = 1;
  for (const head of document.querySelectorAll("h1,h2,h3,h4")) {
    const level = Number(head.tagName.slice(1));
    assert(level <= depth + 1, `heading '${head.textContent}' skips a level`);
    depth = level;
  }
  for (const image of document.querySelectorAll("img")) assert(image.hasAttribute("alt"));
  for (const svg of document.querySelectorAll("svg")) {
    assert(svg.hasAttribute("aria-label") || svg.getAttribute("aria-hidden") === "true");
  }
  for (const table of document.querySelectorAll("table")) {
    const columns = table.querySelectorAll("thead th").length;
    assert(columns > 0);
    for (const row of table.querySelectorAll("tbody tr")) {
      assertEquals(row.children.length, columns);
    }
    for (const head of table.querySelectorAll("th")) assert(head.hasAttribute("scope"));
  }
}
