/** Server-sent events at the reader's own pace. */

/** A reader that takes nothing for so long has gone, whatever its connection says. */
const STALL_MS = 60_000;

/**
 * A body of server-sent events.
 *
 * Nothing is read ahead: the next event is asked for when the last one has been taken. When the
 * reader leaves, or takes nothing for a minute, the events' iterator is returned and `onGone` called.
 *
 * @param events the `data` of each event
 * @param onGone frees what is behind the events
 */
export function eventStream(
  events: AsyncIterable<string>,
  onGone: (reason: Error) => void,
  stallMs = STALL_MS,
): ReadableStream<Uint8Array<ArrayBuffer>> {
  const iterator = events[Symbol.asyncIterator]();
  const encoder = new TextEncoder();
  let stall: ReturnType<typeof setTimeout> | undefined;
  const leave = (why: string): void => {
    clearTimeout(stall);
    onGone(new Error(why));
    iterator.return?.().catch(() => {});
  };
  return new ReadableStream({
    async pull(controller) {
      clearTimeout(stall);
      const next = await iterator.next();
      if (next.done === true) return controller.close();
      controller.enqueue(encoder.encode(`data: ${next.value}\n\n`));
      stall = setTimeout(() => {
        leave("The client stopped reading.");
        controller.error(new Error("The client stopped reading."));
      }, stallMs);
    },
    cancel() {
      leave("The client went away.");
    },
  }, { highWaterMark: 0 });
}
