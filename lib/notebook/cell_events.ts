/**
 * What the headless runner tells while it runs a notebook.
 *
 * @module
 */
import { z } from "zod";
import type { CellMessage } from "./kernel/client.ts";

/** What the runner says about each code cell: before, while and after it runs. */
export interface CellEvent {
  readonly kind: "start" | "progress" | "end";
  readonly notebook: string;
  /** Number of the code cell among the code cells, from 1. */
  readonly cell: number;
  readonly cells: number;
  /** First line of the cell that is not empty. */
  readonly title: string;
  /** The cell's own progress line; empty unless the kind is `progress`. */
  readonly progress: string;
  /** Seconds since the cell started. */
  readonly seconds: number;
  readonly status: "running" | "ok" | "error";
}

const displayed = z.object({
  data: z.object({ "text/plain": z.string().optional() }),
  metadata: z.object({ progress: z.literal(true) }),
});

/** Prints one line a finished cell: `01_clean  3/12  ok    0.4 s  const rows = …`. */
export function printCellEvent(event: CellEvent): void {
  if (event.kind !== "end") return;
  const name = event.notebook.replace(/^.*[\\/]/, "").replace(/\.ipynb$/, "");
  const place = `${event.cell}/${event.cells}`.padStart(7);
  const time = `${event.seconds.toFixed(1)} s`.padStart(8);
  console.log(`${name} ${place}  ${event.status.padEnd(5)} ${time}  ${event.title}`);
}

/** The text of a progress display (see `Progress`); `undefined` for any other message. */
export function progressText({ content }: CellMessage): string | undefined {
  const { data, metadata: marks } = displayed.safeParse(content).data ?? {};
  return marks?.progress ? data?.["text/plain"] : undefined;
}
