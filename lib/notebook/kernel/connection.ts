/**
 * The connection file by which a kernel and its front end agree on five ports and a key.
 *
 * @module
 */

/** Contents of a connection file, as Jupyter defines it. */
export interface KernelConnection {
  readonly transport: "tcp";
  readonly ip: "127.0.0.1";
  readonly shell_port: number;
  readonly iopub_port: number;
  readonly stdin_port: number;
  readonly control_port: number;
  readonly hb_port: number;
  readonly key: string;
  readonly signature_scheme: "hmac-sha256";
  readonly kernel_name: "deno";
}

/** Five free loopback ports (held together, so that they differ) and a fresh random key. */
export function makeConnection(): KernelConnection {
  const listeners = Array.from(
    { length: 5 },
    () => Deno.listen({ hostname: "127.0.0.1", port: 0 }),
  );
  const ports = listeners.map((listener) => listener.addr.port);
  listeners.forEach((listener) => listener.close());
  const [shell = 0, iopub = 0, stdin = 0, control = 0, heartbeat = 0] = ports;
  return {
    transport: "tcp",
    ip: "127.0.0.1",
    shell_port: shell,
    iopub_port: iopub,
    stdin_port: stdin,
    control_port: control,
    hb_port: heartbeat,
    key: crypto.randomUUID(),
    signature_scheme: "hmac-sha256",
    kernel_name: "deno",
  };
}

/** Writes the connection file so that only its owner can read the key. */
export async function saveConnection(path: string, connection: KernelConnection): Promise<void> {
  await Deno.writeTextFile(path, JSON.stringify(connection), { mode: 0o600 });
}
