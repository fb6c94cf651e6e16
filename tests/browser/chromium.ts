/** A real browser for tests. */
import puppeteer, { type Browser } from "puppeteer-core";
import { findTool } from "@lib/build/toolchain.ts";

const NAMES = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/** Chromium's command: `$CHROMIUM`, else the first that is there; `null` without one. */
export async function findChromium(): Promise<string | null> {
  const asked = Deno.env.get("CHROMIUM");
  for (const name of asked === undefined ? NAMES : [asked]) {
    if (await findTool(name) === null) continue;
    if (name.includes("/")) return name;
    const { stdout } = await new Deno.Command("which", { args: [name] }).output();
    return new TextDecoder().decode(stdout).trim();
  }
  return null;
}

/** Starts Chromium headless. */
export async function startChromium(executablePath: string): Promise<Browser> {
  // Chromium's own sandbox refuses to run as root, as containers do.
  const root = Deno.build.os !== "windows" && Deno.uid() === 0 ? ["--no-sandbox"] : [];
  return await puppeteer.launch({
    executablePath,
    args: [...root, "--lang=en-US"],
    defaultViewport: { width: 1400, height: 1000 },
    protocolTimeout: 300_000,
  });
}
