/**
 * Turns the messages that cells publish into the outputs that a notebook file stores.
 *
 * @module
 */
import { z } from "zod";
import type { CellMessage } from "./kernel/client.ts";
import { type NotebookOutput, toLines } from "./notebook_file.ts";

const bundle = z.looseObject({
  data: z.record(z.string(), z.unknown()),
  metadata: z.record(z.string(), z.unknown()).nullish(),
  transient: z.looseObject({ display_id: z.string().optional() }).nullish(),
});
const stream = z.looseObject({ name: z.string(), text: z.string() });
const failure = z.looseObject({
  ename: z.string().catch("Error"),
  evalue: z.string().catch(""),
  traceback: z.array(z.string()).catch([]),
});

/** A cell's error as the kernel reported it. */
export type CellFailure = z.output<typeof failure>;

/** JSON values stay as they are; text becomes lines, as Jupyter stores it. */
function storedBundle(data: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(data).map(([mime, value]) => [
      mime,
      typeof value === "string" ? toLines(value) : value,
    ]),
  );
}

/** The outputs of one cell while it runs. Displays are shared by the cells of one notebook. */
export class CellOutputs {
  readonly outputs: NotebookOutput[] = [];
  readonly #displays: Map<string, NotebookOutput[]>;
  #error: CellFailure | undefined;
  #clearNext = false;

  /** @param displays outputs by display_id, one map for the whole notebook */
  constructor(displays: Map<string, NotebookOutput[]>) {
    this.#displays = displays;
  }

  /** The error that ended the cell, if one did. */
  get error(): CellFailure | undefined {
    return this.#error;
  }

  /** Takes in one published message. */
  add({ type, content }: CellMessage): void {
    if (type === "clear_output") {
      if (content.wait === true) this.#clearNext = true;
      else this.outputs.length = 0;
      return;
    }
    if (type === "update_display_data") return this.#update(content);
    const stored = this.#store(type, content);
    if (!stored) return;
    if (this.#clearNext) this.outputs.length = 0;
    this.#clearNext = false;
    if (!this.#joinStream(stored)) this.outputs.push(stored);
  }

  #store(type: string, content: unknown): NotebookOutput | undefined {
    switch (type) {
      case "stream": {
        const { name, text } = stream.parse(content);
        return { output_type: "stream", name, text: toLines(text) };
      }
      case "error": {
        this.#error = failure.parse(content);
        const { ename, evalue, traceback } = this.#error;
        return { output_type: "error", ename, evalue, traceback };
      }
      case "execute_result":
      case "display_data":
        return this.#storeBundle(type, content);
      default:
        return undefined;
    }
  }

  #storeBundle(type: "execute_result" | "display_data", content: unknown): NotebookOutput {
    const { data, metadata, transient, execution_count: count } = bundle.parse(content);
    const stored: NotebookOutput = {
      output_type: type,
      data: storedBundle(data),
      metadata: metadata ?? {},
      ...(type === "execute_result" ? { execution_count: count } : {}),
    };
    const id = transient?.display_id;
    if (id !== undefined) this.#displays.set(id, [...this.#displays.get(id) ?? [], stored]);
    return stored;
  }

  /** Consecutive pieces of one stream are one output, as every front end shows them. */
  #joinStream(next: NotebookOutput): boolean {
    const last = this.outputs.at(-1);
    if (next.output_type !== "stream" || last?.output_type !== "stream") return false;
    if (last.name !== next.name) return false;
    const text = [last.text, next.text].flat().join("");
    last.text = toLines(text);
    return true;
  }

  #update(content: unknown): void {
    const { data, metadata, transient } = bundle.parse(content);
    for (const shown of this.#displays.get(transient?.display_id ?? "") ?? []) {
      shown.data = storedBundle(data);
      shown.metadata = metadata ?? {};
    }
  }
}
