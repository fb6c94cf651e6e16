/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
/** A real Chromium, driven by the DevTools protocol, before a server with scripted models. */
import { assertEquals } from "@std/assert";
import { exists } from "@lib/files.ts";
import { PROJECT_ROOT } from "@lib/experiment/run.ts";
import puppeteer, { type Browser, type Page } from "puppeteer-core";
import { type FixtureOptions, type ServerFixture, withServer } from "../server_fixture.ts";

const NAMES = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"];

/** Chromium's path: `CHROME_PATH`, or what is on the PATH; null where there is none. */
async function findChromium(): Promise<string | null> {
  const given = Deno.env.get("CHROME_PATH");
  const folders = (Deno.env.get("PATH") ?? "").split(Deno.build.os === "windows" ? ";" : ":");
  const places = folders.flatMap((folder) => NAMES.map((name) => `${folder}/${name}`));
  for (const path of given === undefined ? places : [given]) if (await exists(path)) return path;
  return null;
}

const chromium = await findChromium();
if (chromium === null) {
  console.log(
    "Browser tests of the server: skipped, no Chromium on the PATH (or set CHROME_PATH).",
  );
}

let browser: Browser | null = null;

async function opened(): Promise<Browser> {
  browser ??= await puppeteer.launch({
    executablePath: chromium ?? "",
    // Root cannot use Chromium's sandbox; the pages are our own.
    args: ["--no-sandbox", "--disable-gpu", "--font-render-hinting=none"],
  });
  return browser;
}

// Also when a test was filtered out or failed: nothing is left running.
addEventListener("unload", () => browser?.process()?.kill("SIGKILL"));

/** What a browser test gets. */
export interface PageFixture extends ServerFixture {
  readonly page: Page;
  /** Messages of the page's console that are errors, and exceptions. */
  readonly problems: string[];
  /** Addresses outside the server that the page asked for. */
  readonly foreign: string[];
  screenshot(name: string): Promise<void>;
}

/** How a browser test is set up. */
export interface BrowserTestOptions extends FixtureOptions {
  readonly path?: string;
  readonly width?: number;
  readonly height?: number;
  readonly dark?: boolean;
  /** Whether the page's console may hold errors: a server that goes away leaves some. */
  readonly troubled?: boolean;
  /** Whether the page may be asked from another address: a proxy's. */
  readonly foreign?: boolean;
}

/** A test in a browser; skipped where there is none. */
export function browserTest(
  name: string,
  options: BrowserTestOptions,
  body: (fixture: PageFixture) => Promise<void>,
): void {
  Deno.test({
    name,
    ignore: chromium === null,
    // Chromium and its connection outlive single tests.
    sanitizeOps: false,
    sanitizeResources: false,
    fn: () => withServer(options, (fixture) => withPage(fixture, options, body)),
  });
}

async function withPage(
  fixture: ServerFixture,
  {
    path = "/",
    width = 1000,
    height = 900,
    dark = false,
    troubled = false,
    foreign: elsewhere = false,
  }: BrowserTestOptions,
  body: (fixture: PageFixture) => Promise<void>,
): Promise<void> {
  const context = await (await opened()).createBrowserContext();
  const page = await context.newPage();
  const problems: string[] = [];
  const foreign: string[] = [];
  page.on("console", (message) => message.type() === "error" && problems.push(message.text()));
  page.on("pageerror", (error) => problems.push(String(error)));
  page.on("request", (request) => {
    if (!request.url().startsWith(fixture.server.url)) foreign.push(request.url());
  });
  page.setDefaultTimeout(8_000);
  try {
    await page.setViewport({ width, height });
    await page.emulateMediaFeatures([
      { name: "prefers-color-scheme", value: dark ? "dark" : "light" },
    ]);
    await page.goto(`${fixture.server.url}${path}`);
    const screenshot = async (name: string) => {
      const folder = `${PROJECT_ROOT}outputs/screenshots`;
      await Deno.mkdir(folder, { recursive: true });
      await page.screenshot({ path: `${folder}/${name}.png`, fullPage: true });
    };
    await body({ ...fixture, page, problems, foreign, screenshot });
    if (!elsewhere) assertEquals(foreign, [], "requests to anywhere else");
    if (!troubled) assertEquals(problems, [], "errors in the page's console");
  } finally {
    await context.close();
  }
}

/** Waits for the page's script to be ready. */
export async function ready(page: Page): Promise<void> {
  await page.waitForSelector("html[data-ready]");
}

/** Writes a question and sends it with Enter. */
export async function say(page: Page, text: string): Promise<void> {
  await page.focus("#question");
  await page.keyboard.type(text);
  await page.keyboard.press("Enter");
}

/** Waits until no answer is being written. */
export async function answered(page: Page): Promise<void> {
  await page.waitForFunction(() =>
    document.querySelector(".answer") !== null &&
    document.querySelector(".answer[aria-busy]") === null
  );
}

/** Texts of all elements that match. */
export function texts(page: Page, selector: string): Promise<string[]> {
  return page.$$eval(selector, (found) => found.map((element) => element.textContent ?? ""));
}
