import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { decodeMessage, encodeMessage } from "@lib/notebook/kernel/message.ts";
import { encodeFrame, ZmtpSocket } from "@lib/notebook/kernel/zmtp.ts";

const bytes = (text: string) => new TextEncoder().encode(text);

Deno.test("a frame of up to 255 bytes has a one-byte length, a longer one eight", () => {
  assertEquals([...encodeFrame(bytes("ab"), 1)], [1, 2, 97, 98]);
  const long = encodeFrame(new Uint8Array(256), 0);
  assertEquals([...long.subarray(0, 9)], [2, 0, 0, 0, 0, 0, 0, 1, 0]);
  assertEquals(long.length, 9 + 256);
});

const REQUEST = { key: "secret", session: "s", id: "m1", type: "execute_request" } as const;

Deno.test("a message survives its encoding", () => {
  const frames = encodeMessage({ ...REQUEST, content: { code: "লাইন" } });
  const message = decodeMessage("secret", [bytes("routing id"), ...frames]);
  assertEquals([message.id, message.type, message.parentId], ["m1", "execute_request", undefined]);
  assertEquals(message.content, { code: "লাইন" });
});

Deno.test("a message signed with another key is refused", () => {
  const frames = encodeMessage({ ...REQUEST, content: {} });
  assertThrows(() => decodeMessage("other", frames), Error, "signature");
});

Deno.test("a changed message is refused", () => {
  const frames = encodeMessage({ ...REQUEST, content: { code: "1" } });
  frames[5] = bytes('{"code":"2"}');
  assertThrows(() => decodeMessage("secret", frames), Error, "signature");
});

Deno.test("a message that is cut short is refused", () => {
  const frames = encodeMessage({ ...REQUEST, content: {} }).slice(0, 4);
  assertThrows(() => decodeMessage("secret", frames), Error, "expected 5 parts");
});

/** A peer that answers the ZMTP handshake, then sends what it is given in small pieces. */
async function serve(pieces: readonly Uint8Array[], greet = true): Promise<number> {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  void (async () => {
    using connection = await listener.accept();
    listener.close();
    const greeting = new Uint8Array(64);
    greeting.set([0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3, 0, 78, 85, 76, 76]);
    await connection.write(greet ? greeting : new Uint8Array(64));
    await connection.write(encodeFrame(bytes("\u0005READY"), 4));
    for (const piece of pieces) {
      for (let at = 0; at < piece.length;) at += await connection.write(piece.subarray(at));
    }
    const rest = new Uint8Array(1024);
    while (await connection.read(rest) !== null); // closing unread would reset the connection
  })().catch(() => {});
  await Promise.resolve();
  return listener.addr.port;
}

Deno.test("messages arrive whole however the network cuts them", async () => {
  const big = new Uint8Array(300_000).fill(7);
  const wire = [
    ...encodeFrame(bytes("one"), 1),
    ...encodeFrame(big, 0),
    ...encodeFrame(new Uint8Array(0), 0),
  ];
  const cuts = [1, 4, 5, 6, 1000, 70_001, wire.length];
  const pieces = cuts.map((cut, at) => Uint8Array.from(wire.slice(cuts[at - 1] ?? 0, cut)));
  using socket = await ZmtpSocket.connect({ port: await serve(pieces), type: "DEALER" });
  const [one, seven] = await socket.receive() ?? [];
  assertEquals(one, bytes("one"));
  assertEquals([seven?.length, seven?.every((byte) => byte === 7)], [300_000, true]);
  assertEquals(await socket.receive(), [new Uint8Array(0)]);
});

Deno.test("a peer that speaks something else is named", async () => {
  const port = await serve([], false);
  await assertRejects(
    () => ZmtpSocket.connect({ port, type: "SUB" }),
    Error,
    "expected a ZMTP 3 greeting",
  );
});
