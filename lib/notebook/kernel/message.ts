/**
 * Jupyter messages on the wire: signed, multipart, version 5.3.
 *
 * Source: https://jupyter-client.readthedocs.io/en/stable/messaging.html. Frames are
 * `[routing ids…, "<IDS|MSG>", signature, header, parent_header, metadata, content, buffers…]`;
 * the signature is HMAC-SHA256 over the four JSON frames, in lower-case hexadecimal.
 *
 * @module
 */
import { createHmac, timingSafeEqual } from "node:crypto";
import { z } from "zod";

/** Any JSON object: what Jupyter calls a dict. */
export type JsonObject = Readonly<Record<string, unknown>>;

const jsonObject = z.record(z.string(), z.unknown());
const header = z.looseObject({ msg_id: z.string(), msg_type: z.string() });
const parentHeader = z.looseObject({ msg_id: z.string().optional() });

/** A received message, verified and parsed. */
export interface JupyterMessage {
  readonly id: string;
  readonly type: string;
  /** `msg_id` of the request that caused it; `undefined` where it has none. */
  readonly parentId: string | undefined;
  readonly content: JsonObject;
  readonly metadata: JsonObject;
}

const DELIMITER = "<IDS|MSG>";
const encoder = new TextEncoder();
const decoder = new TextDecoder();

function sign(key: string, frames: readonly Uint8Array[]): string {
  const hmac = createHmac("sha256", key);
  for (const frame of frames) hmac.update(frame);
  return hmac.digest("hex");
}

/** Encodes and signs a request. */
export function encodeMessage(
  { key, session, id, type, content }: {
    readonly key: string;
    readonly session: string;
    readonly id: string;
    readonly type: string;
    readonly content: JsonObject;
  },
): Uint8Array[] {
  const head = {
    msg_id: id,
    msg_type: type,
    session,
    username: "student",
    date: new Date().toISOString(),
    version: "5.3",
  };
  const body = [head, {}, {}, content].map((part) => encoder.encode(JSON.stringify(part)));
  return [encoder.encode(DELIMITER), encoder.encode(sign(key, body)), ...body];
}

/**
 * Verifies and parses a received message.
 *
 * @throws {Error} where a part is missing, the signature does not match or a part is not JSON.
 */
export function decodeMessage(key: string, frames: readonly Uint8Array[]): JupyterMessage {
  const at = frames.findIndex((frame) => decoder.decode(frame) === DELIMITER);
  const parts = frames.slice(at + 1, at + 6);
  const [signature, ...body] = parts;
  if (at < 0 || signature === undefined || body.length < 4) {
    throw new Error(
      `Cannot read a kernel message: expected 5 parts after ${DELIMITER}, found ${parts.length}`,
    );
  }
  const expected = encoder.encode(sign(key, body));
  if (signature.length !== expected.length || !timingSafeEqual(signature, expected)) {
    throw new Error("Cannot trust a kernel message: its signature does not match the key");
  }
  const [head, parent, metadata, content] = body.map((part): unknown =>
    JSON.parse(decoder.decode(part))
  );
  const { msg_id, msg_type } = header.parse(head);
  return {
    id: msg_id,
    type: msg_type,
    parentId: parentHeader.parse(parent ?? {}).msg_id,
    metadata: jsonObject.parse(metadata ?? {}),
    content: jsonObject.parse(content ?? {}),
  };
}
