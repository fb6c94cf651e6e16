/** Types of the part of `@std/csv` used here; the npm package ships JavaScript only. */
export interface ParseOptions {
  /** Accept a quote inside an unquoted field and keep it as text. */
  readonly lazyQuotes?: boolean;
  readonly separator?: string;
}

/** Parse RFC 4180 text to rows of fields; blank lines are left out. Throws `SyntaxError`. */
export function parse(text: string, options?: ParseOptions): string[][];

export interface StringifyOptions {
  readonly crlf?: boolean;
  readonly bom?: boolean;
  /** Write the column names as the first row. */
  readonly headers?: boolean;
  readonly columns?: readonly string[];
}

/** Write rows (arrays, or objects when `columns` are given) as RFC 4180 text. */
export function stringify(
  data: readonly (readonly unknown[] | Readonly<Record<string, unknown>>)[],
  options?: StringifyOptions,
): string;
