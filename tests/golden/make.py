"""Golden vectors of the native library, made with PyTorch, transformers, PEFT and bitsandbytes.

    python tests/golden/make.py            writes tests/golden/*.safetensors and *.json

Each case is a small random model with a random adapter, run in fp32 on the CPU:
    <case>.json          the configuration, flat, and the versions that made it
    <case>.safetensors   base.*      the checkpoint, bf16 (what the library loads)
                         dequantized.*  4-bit cases: layer 0's weights as bitsandbytes gives them back
                         bnb.*       4-bit cases: the parts bitsandbytes saves
                         lora.*      the adapter before training
                         batch.{i}.* ten batches: see `save_batch`
                         logits, nll, grad.*   of batch 0, with the adapter before training;
                                     grad.* is the gradient of the sum of weight · nll
                         losses, grad_norms    of ten AdamW steps, one a batch
                         final.*     the adapter after them
Samples run one by one and unpadded, prefix and all: packing and sharing are what the library adds.

nf4.safetensors holds bitsandbytes' bytes for the numbers of `hashed_values`, which every reader can
make again.
"""

import json
import math
import platform
from pathlib import Path

import bitsandbytes
import numpy
import peft
import torch
import transformers
from bitsandbytes.functional import dequantize_4bit, quantize_4bit
from safetensors.torch import save_file

HERE = Path(__file__).parent
STEPS = 10
MODULES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]

CASES = {
    "mha_untied": dict(heads=4, kv_heads=4, head_dim=8, hidden=32, ffn=56, seed=1),
    "gqa2_tied_llama3": dict(
        heads=4, kv_heads=2, head_dim=8, hidden=32, ffn=48, tied=True, llama3=True, prefix=7,
        lengths=[23, 5, 38], seed=2, weight_decay=0.01,
    ),
    "gqa4_one_sample": dict(
        heads=4, kv_heads=1, head_dim=10, hidden=36, ffn=52, targets=["q_proj", "v_proj"],
        lengths=[19], rslora=True, rank=6, seed=3,
    ),
    "qwen2_bias_nf4": dict(
        family="qwen2", heads=4, kv_heads=2, head_dim=16, hidden=64, ffn=64, tied=True, layers=1,
        quantization="nf4", seed=4,
    ),
    "qwen3_norm": dict(
        family="qwen3", heads=4, kv_heads=2, head_dim=12, hidden=32, ffn=40, prefix=5, seed=5,
    ),
    "llama_nf4_double": dict(
        heads=4, kv_heads=2, head_dim=16, hidden=64, ffn=128, tied=True, llama3=True, prefix=9,
        quantization="nf4_double", max_grad_norm=0.3, weight_decay=0.05, epsilon=1e-4, seed=6,
    ),
}

DEFAULTS = dict(
    family="llama", layers=2, vocab=80, tied=False, llama3=False, prefix=0, lengths=[9, 1, 14, 6],
    targets=MODULES, rank=4, alpha=8.0, rslora=False, quantization="none", max_grad_norm=1.0,
    weight_decay=0.0, learning_rate=0.01, epsilon=1e-8, rope_theta=10000.0, eps=1e-5,
    max_position=64,
)


def versions():
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "peft": peft.__version__,
        "bitsandbytes": bitsandbytes.__version__,
    }


def make_model(case):
    rope = {"rope_type": "default", "rope_theta": case["rope_theta"]}
    if case["llama3"]:
        rope.update(
            rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
            original_max_position_embeddings=32,
        )
    common = dict(
        vocab_size=case["vocab"], hidden_size=case["hidden"], intermediate_size=case["ffn"],
        num_hidden_layers=case["layers"], num_attention_heads=case["heads"],
        num_key_value_heads=case["kv_heads"], head_dim=case["head_dim"],
        max_position_embeddings=case["max_position"], rms_norm_eps=case["eps"],
        tie_word_embeddings=case["tied"], rope_parameters=rope, attn_implementation="eager",
        bos_token_id=None, eos_token_id=None, pad_token_id=None,
    )
    config_class, model_class = {
        "llama": (transformers.LlamaConfig, transformers.LlamaForCausalLM),
        "qwen2": (transformers.Qwen2Config, transformers.Qwen2ForCausalLM),
        "qwen3": (transformers.Qwen3Config, transformers.Qwen3ForCausalLM),
    }[case["family"]]
    model = model_class(config_class(**common)).float().eval()
    generator = torch.Generator().manual_seed(case["seed"])
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            value = 1 + 0.2 * noise if "norm" in name else 0.15 * noise
            parameter.copy_(value.bfloat16().float())
    return model


def quantize(model, case, tensors):
    """Replaces each linear by what bitsandbytes makes of it; records its parts.

    Inputs are multiples of 64 wide: bitsandbytes 0.50's CPU dequantisation garbles other even widths,
    whose blocks run over the ends of rows.
    """
    for name, module in model.named_modules():
        if not isinstance(module, torch.nn.Linear) or name == "lm_head":
            continue
        double = case["quantization"] == "nf4_double"
        packed, state = quantize_4bit(
            module.weight.data, blocksize=64, compress_statistics=double, quant_type="nf4"
        )
        weight = dequantize_4bit(packed, state).reshape(module.weight.shape)
        tensors[f"bnb.{name}.weight"] = packed
        for key, value in state.as_dict(packed=True).items():
            tensors[f"bnb.{name}.weight.{key}"] = value
        if "layers.0." in name:
            tensors[f"dequantized.{name}.weight"] = weight.clone()
        module.weight.data = weight


def attach(model, case):
    config = peft.LoraConfig(
        r=case["rank"], lora_alpha=case["alpha"], lora_dropout=0.0, bias="none",
        target_modules=case["targets"], use_rslora=case["rslora"], task_type="CAUSAL_LM",
    )
    model = peft.get_peft_model(model, config)
    generator = torch.Generator().manual_seed(case["seed"] + 100)
    with torch.no_grad():
        for parameter in adapter(model).values():
            parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
    return model


def adapter(model):
    """Trainable parameters under the library's names."""
    return {
        name.removeprefix("base_model.model.").replace(".default", ""): parameter
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }


def make_batch(case, index):
    """Prefix tokens and samples; targets are the second half of each sample, and its first token."""
    generator = torch.Generator().manual_seed(1000 * case["seed"] + index)
    draw = lambda n: torch.randint(0, case["vocab"], (n,), generator=generator).tolist()
    prefix = draw(case["prefix"])
    samples = [draw(n) for n in case["lengths"]]
    targets = []  # (sample, position of the target token in prefix + sample, weight)
    for s, sample in enumerate(samples):
        total = len(prefix) + len(sample)
        first = max(1, len(prefix) + len(sample) // 2)
        positions = list(range(first, total))
        if prefix and len(prefix) not in positions:
            positions.insert(0, len(prefix))
        for position in positions:
            targets.append((s, position, [1.0, 0.5, 2.0][(s + position) % 3]))
    return dict(prefix=prefix, samples=samples, targets=targets)


def save_batch(tensors, index, batch):
    """prefix (P), samples concatenated, their lengths, and per target: sample, position of the target
    token in prefix + sample, weight."""
    i32 = lambda values: torch.tensor(values, dtype=torch.int32)
    tensors[f"batch.{index}.prefix"] = i32(batch["prefix"])
    tensors[f"batch.{index}.tokens"] = i32(sum(batch["samples"], []))
    tensors[f"batch.{index}.lengths"] = i32([len(sample) for sample in batch["samples"]])
    tensors[f"batch.{index}.target_samples"] = i32([t[0] for t in batch["targets"]])
    tensors[f"batch.{index}.target_positions"] = i32([t[1] for t in batch["targets"]])
    tensors[f"batch.{index}.target_weights"] = torch.tensor([t[2] for t in batch["targets"]])


def run(model, batch):
    """Logits before each target (n, V) and its negative log-likelihood (n)."""
    rows, ids = [], []
    for s, sample in enumerate(batch["samples"]):
        tokens = torch.tensor([batch["prefix"] + sample])
        logits = model(input_ids=tokens).logits[0]
        for sample_index, position, _ in batch["targets"]:
            if sample_index == s:
                rows.append(logits[position - 1])
                ids.append(tokens[0, position])
    logits = torch.stack(rows)
    return logits, torch.nn.functional.cross_entropy(logits, torch.stack(ids), reduction="none")


def train(model, case, batches, tensors):
    weights = [torch.tensor([t[2] for t in batch["targets"]]) for batch in batches]
    parameters = adapter(model)
    optimizer = torch.optim.AdamW(
        parameters.values(), lr=case["learning_rate"], weight_decay=case["weight_decay"],
        eps=case["epsilon"],
    )
    losses, norms = [], []
    for step, batch in enumerate(batches):
        optimizer.zero_grad()
        logits, nll = run(model, batch)
        weight_sum = weights[step].sum()
        loss = (nll * weights[step]).sum() / weight_sum
        loss.backward()
        if step == 0:
            tensors["logits"] = logits.detach().clone()
            tensors["nll"] = nll.detach().clone()
            for name, parameter in parameters.items():
                tensors[f"grad.{name}"] = (parameter.grad * weight_sum).clone()
        norms.append(torch.nn.utils.clip_grad_norm_(parameters.values(), case["max_grad_norm"]))
        optimizer.step()
        losses.append(loss.detach())
    tensors["losses"] = torch.stack(losses)
    tensors["grad_norms"] = torch.stack(norms)
    for name, parameter in parameters.items():
        tensors[f"final.{name}"] = parameter.detach().clone()


def make_case(name, settings):
    case = {**DEFAULTS, **settings}
    tensors = {}
    model = make_model(case)
    for key, value in model.state_dict().items():
        if not (case["tied"] and key == "lm_head.weight"):
            tensors[f"base.{key}"] = value.bfloat16()
    if case["quantization"] != "none":
        quantize(model, case, tensors)
    model = attach(model, case)
    for key, value in adapter(model).items():
        tensors[f"lora.{key}"] = value.detach().clone()
    batches = [make_batch(case, i) for i in range(STEPS)]
    for i, batch in enumerate(batches):
        save_batch(tensors, i, batch)
    train(model, case, batches, tensors)
    save_file({key: value.contiguous() for key, value in tensors.items()}, HERE / f"{name}.safetensors")
    case["target_modules"] = sum(1 << i for i, m in enumerate(MODULES) if m in case["targets"])
    case["versions"] = versions()
    (HERE / f"{name}.json").write_text(json.dumps(case, indent=2) + "\n")


def hashed_values(count):
    """i → ((i · 2654435761 mod 2³²) / 2³² − .5) · (1 + ⌊i/64⌋ mod 7), in fp32."""
    i = numpy.arange(count, dtype=numpy.uint64)
    uniform = ((i * 2654435761) % 2**32).astype(numpy.float64) / 2**32 - 0.5
    return torch.from_numpy((uniform * (1 + (i // 64) % 7)).astype(numpy.float32))


def make_nf4():
    tensors = {}
    for name, count in {"odd": 101, "large": 64 * 600 + 32}.items():
        values = hashed_values(count)
        packed, state = quantize_4bit(values, blocksize=64, quant_type="nf4")
        tensors[f"{name}.packed"] = packed.flatten()
        tensors[f"{name}.absmax"] = state.absmax
        _, double = quantize_4bit(values, blocksize=64, compress_statistics=True, quant_type="nf4")
        tensors[f"{name}.absmax_codes"] = double.absmax
        tensors[f"{name}.absmax2"] = double.state2.absmax
        tensors[f"{name}.offset"] = double.offset.reshape(1)
        restored = bitsandbytes.functional.dequantize_blockwise(double.absmax, double.state2)
        tensors[f"{name}.absmax_restored"] = restored + double.offset
    save_file({k: v.contiguous() for k, v in tensors.items()}, HERE / "nf4.safetensors")


if __name__ == "__main__":
    torch.set_num_threads(1)
    assert math.isclose(hashed_values(2)[1].item(), 2654435761 / 2**32 - 0.5, rel_tol=1e-6)
    make_nf4()
    for name, settings in CASES.items():
        make_case(name, settings)
        print(name)
