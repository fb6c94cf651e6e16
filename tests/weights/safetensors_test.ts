import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import {
  SafetensorsError,
  SafetensorsFile,
  saveSafetensors,
  toFloat32,
} from "@lib/weights/safetensors.ts";

async function withFile(run: (path: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await run(`${folder}/x.safetensors`);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** A file from a header object and a number of data bytes. */
async function write(path: string, header: unknown, dataBytes: number): Promise<void> {
  const json = typeof header === "string" ? header : JSON.stringify(header);
  const text = new TextEncoder().encode(json);
  const file = new Uint8Array(8 + text.length + dataBytes);
  new DataView(file.buffer).setBigUint64(0, BigInt(text.length), true);
  file.set(text, 8);
  await Deno.writeFile(path, file);
}

async function refusal(path: string): Promise<string> {
  const error = await assertRejects(() => SafetensorsFile.open(path), SafetensorsError);
  assertStringIncludes(error.message, path);
  return error.message;
}

Deno.test("tensors survive a round trip, dtypes and shapes included", () =>
  withFile(async (path) => {
    const a = Float32Array.from([1.5, -2, 3e-9, Infinity]);
    const b = Uint8Array.from([1, 2, 3]);
    await saveSafetensors(
      path,
      new Map(
        [
          ["b", { dtype: "U8", shape: [3], data: b }],
          ["a", { dtype: "F32", shape: [2, 2], data: a }],
        ] as const,
      ),
      { format: "pt" },
    );
    using file = await SafetensorsFile.open(path);
    assertEquals(file.header.metadata, { format: "pt" });
    const read = await file.read("a");
    assertEquals(read.info.shape, [2, 2]);
    assertEquals(toFloat32(read.data, "F32"), a);
    assertEquals((await file.read("b")).data, b);
    await assertRejects(() => file.read("c"), SafetensorsError, "no tensor named 'c'");
  }));

Deno.test("half-precision data is widened exactly", () => {
  const bf16 = Uint8Array.from([0x80, 0x3f, 0x00, 0xc0]);
  assertEquals([...toFloat32(bf16, "BF16")], [1, -2]);
  const f16 = Uint8Array.from([0x00, 0x3c, 0x01, 0x00]);
  assertEquals([...toFloat32(f16, "F16")], [1, 2 ** -24]);
});

Deno.test("a truncated file is refused before use", () =>
  withFile(async (path) => {
    await saveSafetensors(
      path,
      new Map([["a", { dtype: "F32", shape: [64], data: new Float32Array(64) }]] as const),
    );
    const whole = await Deno.readFile(path);
    for (const bytes of [0, 5, 20, whole.length - 1]) {
      await Deno.writeFile(path, whole.subarray(0, bytes));
      assertStringIncludes(await refusal(path), bytes < 8 ? "at least 8 bytes" : "truncated");
    }
  }));

Deno.test("headers that lie are refused", () =>
  withFile(async (path) => {
    const tensor = (shape: number[], offsets: number[], dtype = "F32") => ({
      dtype,
      shape,
      data_offsets: offsets,
    });
    await write(path, "not json", 0);
    assertStringIncludes(await refusal(path), "not JSON");
    await write(path, { a: tensor([2], [0, 4]) }, 8);
    assertStringIncludes(await refusal(path), "expected 8 bytes, found 4");
    await write(path, { a: tensor([2], [0, 8], "F31") }, 8);
    assertStringIncludes(await refusal(path), "dtype");
    await write(path, { a: tensor([-2], [0, 8]) }, 8);
    assertStringIncludes(await refusal(path), "shape");
    await write(path, { a: tensor([2], [0, 8]), b: tensor([2], [4, 12]) }, 12);
    assertStringIncludes(await refusal(path), "overlap");
    await write(path, { a: { ...tensor([2], [0, 8]), extra: 1 } }, 8);
    assertStringIncludes(await refusal(path), "extra");
  }));

Deno.test("data that does not fit its shape is not written", () =>
  withFile(async (path) => {
    const tensors = new Map(
      [["a", { dtype: "F32", shape: [3], data: new Float32Array(2) }]] as const,
    );
    await assertRejects(() => saveSafetensors(path, tensors), SafetensorsError, "expected 12");
    await assertRejects(() => Deno.stat(path), Deno.errors.NotFound);
  }));
