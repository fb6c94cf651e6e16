/** The settings of a configuration as rows of a table. */
import { type Config, resolveConfig } from "@lib/config.ts";

/** One setting. */
export type SettingRow = {
  readonly key: string;
  readonly value: string;
  /** The profile's own value where this configuration differs from it, else empty. */
  readonly "profile's own": string;
};

/** Sections of a configuration: what has settings of its own. */
type Section = {
  [K in keyof Config]: Config[K] extends Record<string, unknown> ? K : never;
}[keyof Config];

/**
 * Settings of some sections, values as JSON.
 *
 * @example
 * ```ts
 * import { settingRows } from "@lib/notebook/setting_rows.ts";
 * import { resolveConfig } from "@lib/config.ts";
 * import { assertEquals } from "@std/assert";
 * const rows = settingRows(resolveConfig({ profile: "tiny", set: ["lora.r=3"] }), ["lora"]);
 * assertEquals(rows[0], { key: "lora.r", value: "3", "profile's own": "64" });
 * ```
 */
export function settingRows(config: Config, sections: readonly Section[]): SettingRow[] {
  const usual = resolveConfig({ profile: config.profile });
  return sections.flatMap((section) => {
    const own = new Map(Object.entries(usual[section]));
    return Object.entries(config[section]).map(([key, given]): SettingRow => {
      const [value, before] = [JSON.stringify(given), JSON.stringify(own.get(key))];
      return { key: `${section}.${key}`, value, "profile's own": value === before ? "" : before };
    });
  });
}
