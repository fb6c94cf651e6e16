/**
 * A checkpoint's files against the architecture: which tensor lies where, checked before any is used.
 */
import type { Architecture } from "@lib/engine/architecture.ts";
import type { Quantization } from "@lib/engine/model.ts";
import type { SafetensorsFile, TensorInfo } from "@lib/weights/safetensors.ts";

/** A checkpoint that does not hold what its `config.json` promises. */
export class CheckpointError extends Error {
  override readonly name = "CheckpointError";
}

/** A tensor and the file it is read from. */
export interface CheckpointTensor {
  readonly file: SafetensorsFile;
  readonly info: TensorInfo;
}

/** What a checkpoint's tensors are, all of them checked. */
export interface CheckpointContents {
  /** Those to load, in the order of the files. */
  readonly tensors: readonly CheckpointTensor[];
  /** The form of its linears if they are 4-bit already; null: they are whole. */
  readonly quantized: Exclude<Quantization, "none"> | null;
}

/** Tensor → shard, as `model.safetensors.index.json` has it. */
export type WeightMap = ReadonlyMap<string, string>;

interface Expected {
  readonly shape: readonly number[];
  /** One of the seven linears of a layer: may be 4-bit. */
  readonly linear: boolean;
}

const FLOATS: readonly string[] = ["F32", "F16", "BF16"];
/** Suffix of the JSON beside a 4-bit weight. */
export const STATE = ".quant_state.bitsandbytes__nf4";
const MAX_STATE_BYTES = 4096;
const NAMED = 4;

/**
 * Every tensor a model of this architecture has, by name, with its shape.
 */
export function expectedTensors(a: Architecture): Map<string, Expected> {
  const expected = new Map<string, Expected>();
  const dense = (name: string, ...shape: number[]) => expected.set(name, { shape, linear: false });
  const linear = (name: string, ...shape: number[]) =>
    expected.set(`${name}.weight`, { shape, linear: true });
  const q = a.numHeads * a.headDim;
  const kv = a.numKvHeads * a.headDim;
  dense("model.embed_tokens.weight", a.vocabSize, a.hiddenSize);
  for (let i = 0; i < a.numLayers; i++) {
    const layer = `model.layers.${i}`;
    dense(`${layer}.input_layernorm.weight`, a.hiddenSize);
    dense(`${layer}.post_attention_layernorm.weight`, a.hiddenSize);
    for (const [name, size] of [["q", q], ["k", kv], ["v", kv]] as const) {
      linear(`${layer}.self_attn.${name}_proj`, size, a.hiddenSize);
      if (a.qkvBias) dense(`${layer}.self_attn.${name}_proj.bias`, size);
      if (a.qkNorm && name !== "v") dense(`${layer}.self_attn.${name}_norm.weight`, a.headDim);
    }
    linear(`${layer}.self_attn.o_proj`, a.hiddenSize, q);
    linear(`${layer}.mlp.gate_proj`, a.intermediateSize, a.hiddenSize);
    linear(`${layer}.mlp.up_proj`, a.intermediateSize, a.hiddenSize);
    linear(`${layer}.mlp.down_proj`, a.hiddenSize, a.intermediateSize);
  }
  dense("model.norm.weight", a.hiddenSize);
  if (!a.tieWordEmbeddings) dense("lm_head.weight", a.vocabSize, a.hiddenSize);
  return expected;
}

/**
 * Checks the open files of a checkpoint, in this order: the index against the shards, tensors that
 * occur twice, surplus tensors, dtypes and shapes, parts of 4-bit linears, missing tensors.
 *
 * @param folder for messages
 * @param index of a sharded checkpoint, or null
 * @throws {CheckpointError} naming tensor and file, what was expected, found, and what to do
 */
export function checkContents(
  folder: string,
  files: readonly SafetensorsFile[],
  index: WeightMap | null,
  architecture: Architecture,
): CheckpointContents {
  const found = tensorsByName(files);
  if (index !== null) checkIndex(folder, found, index, architecture);
  const expected = expectedTensors(architecture);
  const quantized = quantizationOf(folder, found, expected);
  const tensors: CheckpointTensor[] = [];
  for (const tensor of found.values()) {
    if (isRedundant(tensor.info.name, architecture)) continue;
    checkTensor(tensor, expected, found, quantized);
    tensors.push(tensor);
  }
  checkComplete(folder, found, expected, quantized);
  return { tensors, quantized };
}

function tensorsByName(files: readonly SafetensorsFile[]): Map<string, CheckpointTensor> {
  const found = new Map<string, CheckpointTensor>();
  for (const file of files) {
    for (const info of file.header.tensors.values()) {
      const other = found.get(info.name);
      if (other !== undefined) {
        throw new CheckpointError(
          `${file.path}: tensor '${info.name}' is also in ${other.file.path}: expected each tensor ` +
            "in one file. Remove the files that do not belong to this model, or fetch it again.",
        );
      }
      found.set(info.name, { file, info });
    }
  }
  return found;
}

function checkIndex(
  folder: string,
  found: ReadonlyMap<string, CheckpointTensor>,
  index: WeightMap,
  architecture: Architecture,
): void {
  const path = `${folder}/model.safetensors.index.json`;
  for (const [name, shard] of index) {
    const tensor = found.get(name);
    if (tensor?.file.path === `${folder}/${shard}`) continue;
    // Some tools list a tied lm_head that they then leave out.
    if (tensor === undefined && isRedundant(name, architecture)) continue;
    throw new CheckpointError(
      `${path}: expected tensor '${name}' in ${shard}, found it ${
        tensor === undefined ? "in no shard" : `in ${tensor.file.path}`
      }. Index and shards are not of one checkpoint: fetch the model again.`,
    );
  }
  for (const { file, info } of found.values()) {
    if (index.has(info.name)) continue;
    throw new CheckpointError(
      `${path}: expected every tensor of the shards to be listed, found '${info.name}' of ` +
        `${file.path} missing in weight_map. Fetch the model again.`,
    );
  }
}

/** Tensors some checkpoints carry although they follow from others. */
function isRedundant(name: string, architecture: Architecture): boolean {
  return (architecture.tieWordEmbeddings && name === "lm_head.weight") ||
    name.endsWith(".rotary_emb.inv_freq");
}

function quantizationOf(
  folder: string,
  found: ReadonlyMap<string, CheckpointTensor>,
  expected: ReadonlyMap<string, Expected>,
): CheckpointContents["quantized"] {
  const forms = new Map<"nf4" | "nf4_double", string>();
  for (const { info } of found.values()) {
    if (info.dtype !== "U8" || expected.get(info.name)?.linear !== true) continue;
    forms.set(found.has(`${info.name}.nested_absmax`) ? "nf4_double" : "nf4", info.name);
  }
  const [first, second] = [...forms];
  if (first !== undefined && second !== undefined) {
    throw new CheckpointError(
      `${folder}: expected all 4-bit weights with double quantisation or all without, found ` +
        `'${first[1]}' as ${first[0]} and '${second[1]}' as ${second[0]}. Save the checkpoint ` +
        "again with one bnb_4bit_use_double_quant.",
    );
  }
  return first?.[0] ?? null;
}

/** What a part of a 4-bit linear must be. */
export interface LinearPart {
  readonly dtype: "U8" | "F32";
  /** Elements; the least and the most. */
  readonly least: number;
  readonly most: number;
}

/** The parts bitsandbytes saves of a linear, by the suffix of its name. */
export function linearParts(
  shape: readonly number[],
  form: Exclude<Quantization, "none">,
): Map<string, LinearPart> {
  const count = shape.reduce((a, b) => a * b, 1);
  const exactly = (dtype: LinearPart["dtype"], n: number): LinearPart => {
    return { dtype, least: n, most: n };
  };
  const blocks = Math.ceil(count / 64);
  const parts = new Map<string, LinearPart>([
    ["", exactly("U8", Math.ceil(count / 2))],
    [".absmax", exactly(form === "nf4" ? "F32" : "U8", blocks)],
    [".quant_map", exactly("F32", 16)],
    [STATE, { dtype: "U8", least: 2, most: MAX_STATE_BYTES }],
  ]);
  if (form === "nf4_double") {
    parts.set(".nested_absmax", exactly("F32", Math.ceil(blocks / 256)));
    parts.set(".nested_quant_map", exactly("F32", 256));
  }
  return parts;
}

/** The code tables are constants: a checkpoint may leave them out. */
const OPTIONAL_PARTS: readonly string[] = [".quant_map", ".nested_quant_map"];

function checkTensor(
  { file, info }: CheckpointTensor,
  expected: ReadonlyMap<string, Expected>,
  all: ReadonlyMap<string, CheckpointTensor>,
  quantized: CheckpointContents["quantized"],
): void {
  const found = `found ${info.dtype} [${info.shape}]`;
  const wanted = expected.get(info.name);
  if (wanted !== undefined && !(wanted.linear && info.dtype === "U8")) {
    if (FLOATS.includes(info.dtype) && info.shape.join() === wanted.shape.join()) return;
    throw new CheckpointError(
      `${file.path}: tensor '${info.name}': expected ${FLOATS.join(", ")}` +
        `${wanted.linear ? " or 4-bit U8" : ""} [${wanted.shape}] by config.json, ${found}. ` +
        "Weights and config.json are not of one model: fetch it again.",
    );
  }
  const at = info.name.indexOf(".weight.");
  const owner = at < 0 ? info.name : info.name.slice(0, at + ".weight".length);
  const linear = expected.get(owner);
  const whole = (all.get(owner)?.info.dtype ?? "U8") !== "U8";
  const parts = linear?.linear === true && quantized !== null && !whole
    ? linearParts(linear.shape, quantized)
    : undefined;
  const part = parts?.get(info.name.slice(owner.length));
  if (part === undefined) {
    throw new CheckpointError(
      `${file.path}: surplus tensor '${info.name}', ${found}: no part of the model that ` +
        "config.json describes, so that the model would not be the one that was saved. Use a " +
        "checkpoint of a supported architecture.",
    );
  }
  const count = info.shape.reduce((a, b) => a * b, 1);
  if (info.dtype === part.dtype && count >= part.least && count <= part.most) return;
  throw new CheckpointError(
    `${file.path}: tensor '${info.name}': expected ${part.dtype} of ${
      part.least === part.most ? part.most : `${part.least} to ${part.most}`
    } elements (bitsandbytes NF4, blocks of 64), ${found}. Fetch the model again.`,
  );
}

function checkComplete(
  folder: string,
  found: ReadonlyMap<string, CheckpointTensor>,
  expected: ReadonlyMap<string, Expected>,
  quantized: CheckpointContents["quantized"],
): void {
  const missing: string[] = [];
  for (const [name, { shape, linear }] of expected) {
    const tensor = found.get(name);
    if (tensor === undefined) missing.push(name);
    if (!linear || quantized === null || (tensor !== undefined && tensor.info.dtype !== "U8")) {
      continue;
    }
    for (const suffix of linearParts(shape, quantized).keys()) {
      const optional = suffix === "" || OPTIONAL_PARTS.includes(suffix);
      if (!optional && !found.has(name + suffix)) missing.push(name + suffix);
    }
  }
  if (missing.length === 0) return;
  throw new CheckpointError(
    `${folder}: expected ${expected.size} tensors by config.json, missing ${missing.length}: ` +
      `${missing.slice(0, NAMED).join(", ")}${missing.length > NAMED ? ", …" : ""}. ` +
      "Fetch the model again.",
  );
}
