/** What the run was asked to do, and what it ran on. */
import { type Config, resolveConfig } from "@lib/config.ts";
import type { Environment } from "@lib/experiment/environment.ts";
import { differingSettings } from "../differences.ts";
import { htmlTable } from "../html_table.ts";
import { markup } from "../markup.ts";
import type { Section } from "../page.ts";

/** The section on the configuration. */
export function configSection(config: Config): Section {
  const defaults = resolveConfig({ profile: config.profile });
  const changed = differingSettings([defaults, config]);
  return {
    id: "configuration",
    title: "Configuration",
    body: markup`${
      changed.length === 0 ? markup`<p>Profile ${config.profile}, nothing changed.</p>` : htmlTable(
        ["setting", `profile ${config.profile}`, "this run"],
        changed.map(({ key, values }) => [key, ...values]),
        { caption: "Settings that differ from the profile's." },
      )
    }
<details><summary>The whole configuration</summary>
<pre>${JSON.stringify(config, null, 2)}</pre>
</details>`,
  };
}

/** The section on versions and machine. */
export function environmentSection(environment: Environment): Section {
  return {
    id: "environment",
    title: "Environment",
    body: htmlTable(
      ["what", "found"],
      Object.entries(environment).map((
        [key, value],
      ) => [key.replaceAll("_", " "), String(value ?? "–")]),
    ),
  };
}
