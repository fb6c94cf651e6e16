"""Golden vectors of the native library, made with PyTorch, transformers, PEFT and bitsandbytes.

    python tests/golden/make.py [CASE …]   writes tests/golden/*.safetensors and *.json

Each case is a small random model with a random adapter, run in fp32 on the CPU:
    <case>.json          the configuration, flat, and the versions that made it
    <case>.safetensors   base.*      the checkpoint, bf16 (what the library loads)
                         dequantized.*  4-bit cases: layer 0's weights as bitsandbytes gives them back
                         bnb.*       4-bit cases: the parts bitsandbytes saves
                         lora.*      the adapter before training
                         batch.{i}.* ten batches: see `save_batch`
                         logits, nll, grad.*   of batch 0, with the adapter before training;
                                     grad.* is the gradient of the sum of weight · nll
                         nlls, grads.*, more_logits   the same of batches 1 … 9, logits of 1 … 3;
                                     gradients and logits in f16
                         dropout_grads.*       of batches 0 … 2 under dropout; f16
                         losses, grad_norms    of ten AdamW steps, one a batch
                         final.*     the adapter after them
                         rotated.*   the same three when training begins at batch 1, 2, 3, 4; the
                                     adapter in f16
Samples run one by one and unpadded, prefix and all: packing and sharing are what the library adds.

What bf16 costs is measured too, for the rule err(ours, fp32) ≤ 2 · err(naive bf16, fp32): the same
model in bf16 through transformers and PEFT, as QLoRA is trained with them: base and activations bf16,
the adapter's master weights fp32 (PEFT's default) under torch.autocast. Its errors, ‖naive − fp32‖ /
‖fp32‖, stand in <case>.json as naive.*: root mean squares over the ten batches, or over the five runs
of ten steps, because the error of one batch is a matter of luck (up to 3 × more or less).

nf4.safetensors holds bitsandbytes' bytes for the numbers of `hashed_values`, which every reader can
make again.

generation.json holds what transformers' `generate` gives (`generation` as CASE makes it alone): greedy
answers of every case, with and without repetition penalty, and for one case the distributions it would
draw from under several settings: see `make_generation`.
"""

import contextlib
import json
import math
import platform
import sys
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
ROTATIONS = 5  # runs of ten steps; each begins one batch later
DROPOUT = dict(p=0.3, seed=7, batches=3)
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
    "tinyllama_gqa8": dict(
        layers=1, heads=8, kv_heads=1, head_dim=4, hidden=32, ffn=44, lengths=[11, 2, 7], seed=7,
    ),
    "smollm2_tied": dict(
        layers=1, heads=9, kv_heads=3, head_dim=4, hidden=36, ffn=48, tied=True, prefix=4,
        rope_theta=100000.0, lengths=[6, 13], seed=8,
    ),
    "mistral_head_dim": dict(
        family="mistral", layers=1, heads=4, kv_heads=1, head_dim=12, hidden=32, ffn=40,
        rope_theta=1000000.0, lengths=[12, 5], seed=9,
    ),
    "llama32_tied_factor32": dict(
        layers=1, heads=3, kv_heads=1, head_dim=12, hidden=36, ffn=40, tied=True, llama3=True,
        rope_factor=32.0, rope_theta=500000.0, prefix=6, lengths=[21, 8, 3], seed=10,
    ),
}

DEFAULTS = dict(
    family="llama", layers=2, vocab=80, tied=False, llama3=False, prefix=0, lengths=[9, 1, 14, 6],
    targets=MODULES, rank=4, alpha=8.0, rslora=False, quantization="none", max_grad_norm=1.0,
    weight_decay=0.0, learning_rate=0.01, epsilon=1e-8, rope_theta=10000.0, eps=1e-5,
    max_position=64, rope_factor=8.0,
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
            rope_type="llama3", factor=case["rope_factor"], low_freq_factor=1.0, high_freq_factor=4.0,
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
        "mistral": (transformers.MistralConfig, transformers.MistralForCausalLM),
        "qwen2": (transformers.Qwen2Config, transformers.Qwen2ForCausalLM),
        "qwen3": (transformers.Qwen3Config, transformers.Qwen3ForCausalLM),
    }[case["family"]]
    if case["family"] == "mistral":
        common["sliding_window"] = None
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


class CounterDropout(torch.nn.Module):
    """The library's dropout (native/src/ops.h, DropoutSite): Philox4x32-10 with counter (column / 8,
    position, sequence key, step 0) and key (seed ^ site · 0x9E3779B9, 0); eight 16-bit uniforms a
    call. `rows` holds the keys and positions of the sample that runs."""

    def __init__(self, site, rows):
        super().__init__()
        self.site, self.rows = site, rows

    def forward(self, x):
        keys, positions = (numpy.array(v, dtype=numpy.uint64)[:, None] for v in self.rows)
        columns = numpy.arange((x.shape[-1] + 7) // 8, dtype=numpy.uint64)[None, :]
        words = philox((columns, positions, keys & MASK32, 0),
                       (DROPOUT["seed"] ^ (self.site * 0x9E3779B9 & 0xFFFFFFFF), 0))
        halves = [half for word in words for half in (word & 0xFFFF, word >> 16)]
        uniform = numpy.stack(halves, axis=-1).reshape(len(keys), -1)[:, : x.shape[-1]]
        kept = torch.from_numpy(uniform >= round(DROPOUT["p"] * 65536))
        return x * kept.to(x.dtype) / (1 - DROPOUT["p"])


MASK32 = numpy.uint64(0xFFFFFFFF)


def philox(counter, key):
    """Salmon et al. 2011, on arrays: four words from four counters and two keys."""
    c = numpy.broadcast_arrays(*(numpy.asarray(x, dtype=numpy.uint64) for x in counter))
    k0, k1 = (numpy.uint64(x) for x in key)
    for _ in range(10):
        p0, p1 = numpy.uint64(0xD2511F53) * c[0], numpy.uint64(0xCD9E8D57) * c[2]
        shift = numpy.uint64(32)
        c = [(p1 >> shift) ^ c[1] ^ k0, p1 & MASK32, (p0 >> shift) ^ c[3] ^ k1, p0 & MASK32]
        k0 = (k0 + numpy.uint64(0x9E3779B9)) & MASK32
        k1 = (k1 + numpy.uint64(0xBB67AE85)) & MASK32
    return c


GROUPS = [["q_proj", "k_proj", "v_proj"], ["o_proj"], ["gate_proj", "up_proj"], ["down_proj"]]


def put_dropout(model):
    """Puts the library's masks before every lora_A; returns the list that names the sample's rows."""
    rows = []
    for name, module in model.named_modules():
        if not hasattr(module, "lora_dropout"):
            continue
        layer = int(name.split("layers.")[1].split(".")[0])
        group = next(i for i, g in enumerate(GROUPS) if name.split(".")[-1] in g)
        module.lora_dropout["default"] = CounterDropout(4 * layer + group, rows)
    return rows


def run(model, batch, rows=None):
    """Logits before each target (n, V) and its negative log-likelihood (n). rows: of CounterDropout;
    the prefix has sequence key −1, sample s has 103 + 3s."""
    logits_of, ids = [], []
    for s, sample in enumerate(batch["samples"]):
        tokens = torch.tensor([batch["prefix"] + sample])
        if rows is not None:
            keys = [0xFFFFFFFF] * len(batch["prefix"]) + [103 + 3 * s] * len(sample)
            rows[:] = [keys, list(range(len(keys)))]
        logits = model(input_ids=tokens).logits[0].float()
        for sample_index, position, _ in batch["targets"]:
            if sample_index == s:
                logits_of.append(logits[position - 1])
                ids.append(tokens[0, position])
    logits = torch.stack(logits_of)
    return logits, torch.nn.functional.cross_entropy(logits, torch.stack(ids), reduction="none")


def weights_of(batch):
    return torch.tensor([t[2] for t in batch["targets"]])


def measure(model, batch, precision, rows=None):
    """Logits, nll and the gradient of Σ weight · nll by name."""
    model.zero_grad()
    with precision():
        logits, nll = run(model, batch, rows)
    (nll * weights_of(batch)).sum().backward()
    result = {f"grad.{name}": p.grad.clone() for name, p in adapter(model).items()}
    return {"logits": logits.detach().clone(), "nll": nll.detach().clone(), **result}


def train(model, case, batches, precision):
    """Losses and gradient norms of AdamW, one step a batch, and the adapter after them."""
    parameters = adapter(model)
    optimizer = torch.optim.AdamW(
        parameters.values(), lr=case["learning_rate"], weight_decay=case["weight_decay"],
        eps=case["epsilon"],
    )
    losses, norms = [], []
    for batch in batches:
        optimizer.zero_grad()
        with precision():
            _, nll = run(model, batch)
        loss = (nll * weights_of(batch)).sum() / weights_of(batch).sum()
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(parameters.values(), case["max_grad_norm"]))
        optimizer.step()
        losses.append(loss.detach())
    final = {f"final.{name}": p.detach().clone() for name, p in parameters.items()}
    return {"losses": torch.stack(losses), "grad_norms": torch.stack(norms), **final}


def results_of(build, case, batches, precision):
    """Everything that is compared: per batch, per batch under dropout, per run of ten steps."""
    model = build()
    plain = [measure(model, batch, precision) for batch in batches]
    rows = put_dropout(model)
    dropped = [measure(model, batch, precision, rows) for batch in batches]
    runs = [
        train(build(), case, batches[first:] + batches[:first], precision)
        for first in range(ROTATIONS)
    ]
    return plain, dropped, runs


def errors_of(got, want):
    """Root mean square over the list of ‖got − want‖ / ‖want‖, by name."""
    error = lambda g, w: ((g - w).norm() / w.norm()).item()
    return {
        name: math.sqrt(sum(error(g[name], w[name]) ** 2 for g, w in zip(got, want)) / len(want))
        for name in want[0]
    }


def joined(results, prefix):
    """All tensors whose name begins with prefix as one."""
    return [
        {prefix: torch.cat([value.flatten() for name, value in result.items() if name.startswith(prefix)])}
        for result in results
    ]


def save_results(tensors, plain, dropped, runs):
    for name, value in plain[0].items():
        tensors[name] = value
        if name.startswith("grad."):
            rest = torch.stack([result[name] for result in plain[1:]])
            tensors[name.replace("grad.", "grads.")] = rest.half()
            under = torch.stack([result[name] for result in dropped[: DROPOUT["batches"]]])
            tensors[name.replace("grad.", "dropout_grads.")] = under.half()
    tensors["more_logits"] = torch.stack([result["logits"] for result in plain[1:4]]).half()
    tensors["nlls"] = torch.stack([result["nll"] for result in plain[1:]])
    for name, value in runs[0].items():
        tensors[name] = value
        rest = torch.stack([result[name] for result in runs[1:]])
        tensors[f"rotated.{name}"] = rest.half() if name.startswith("final.") else rest


def naive_errors(got, want):
    """What bf16 costs, under the names of the results; `grad` and `dropout_grad`: all names as one."""
    errors = {**errors_of(got[0], want[0]), **errors_of(got[2], want[2])}
    errors["grad"] = errors_of(joined(got[0], "grad."), joined(want[0], "grad."))["grad."]
    errors["dropout_grad"] = errors_of(joined(got[1], "grad."), joined(want[1], "grad."))["grad."]
    return {f"naive.{name}": float(f"{error:.4g}") for name, error in errors.items()}


def make_case(name, settings):
    case = {**DEFAULTS, **settings}
    tensors = {}

    def build(dtype=torch.float32, parts=None):
        model = make_model(case)
        if case["quantization"] != "none":
            quantize(model, case, {} if parts is None else parts)
        return attach(model.to(dtype), case)

    for key, value in make_model(case).state_dict().items():
        if not (case["tied"] and key == "lm_head.weight"):
            tensors[f"base.{key}"] = value.bfloat16()
    for key, value in adapter(build(parts=tensors)).items():
        tensors[f"lora.{key}"] = value.detach().clone()
    batches = [make_batch(case, i) for i in range(STEPS)]
    for i, batch in enumerate(batches):
        save_batch(tensors, i, batch)
    exact = results_of(build, case, batches, contextlib.nullcontext)
    naive = results_of(
        lambda: build(torch.bfloat16), case, batches, lambda: torch.autocast("cpu", torch.bfloat16)
    )
    save_results(tensors, *exact)
    save_file({key: value.contiguous() for key, value in tensors.items()}, HERE / f"{name}.safetensors")
    case["target_modules"] = sum(1 << i for i, m in enumerate(MODULES) if m in case["targets"])
    case["dropout"] = DROPOUT["p"]
    case["dropout_seed"] = DROPOUT["seed"]
    case.update(naive_errors(naive, exact))
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


NEW_TOKENS = 40
PENALTIES = [1.0, 1.3]
LEAST_MARGIN = 1e-3
SAMPLED_CASE = "gqa2_tied_llama3"
SAMPLINGS = [
    dict(),
    dict(temperature=0.3),
    dict(temperature=1.7),
    dict(top_k=7),
    dict(top_p=0.8),
    dict(min_p=0.2),
    dict(repetition_penalty=1.5),
    dict(temperature=0.7, top_k=20, top_p=0.9, min_p=0.05, repetition_penalty=1.2),
]


def build_case(name):
    case = {**DEFAULTS, **CASES[name]}
    model = make_model(case)
    if case["quantization"] != "none":
        quantize(model, case, {})
    return attach(model, case), case


def greedy_answers(name, index):
    """The first prompt from seed `index` on whose answers leave no room for rounding: at every step the
    best logit is LEAST_MARGIN above the next."""
    model, case = build_case(name)
    for seed in range(100 * index, 100 * index + 100):
        generator = torch.Generator().manual_seed(5000 * case["seed"] + seed)
        prompt = torch.randint(0, case["vocab"], (4 + 3 * index,), generator=generator).tolist()
        answers, margin = [], math.inf
        for penalty in PENALTIES:
            result = model.generate(
                input_ids=torch.tensor([prompt]), do_sample=False, max_new_tokens=NEW_TOKENS,
                repetition_penalty=penalty, return_dict_in_generate=True, output_scores=True,
            )
            answers.append(result.sequences[0, len(prompt):].tolist())
            for scores in result.scores:
                best = scores[0].topk(2).values
                margin = min(margin, (best[0] - best[1]).item())
        if margin > LEAST_MARGIN:
            return dict(prompt=prompt, answers=answers, margin=float(f"{margin:.4g}"))
    raise ValueError(f"{name}: no prompt of seeds {100 * index} … leaves a margin of {LEAST_MARGIN}")


def uniforms(seeds):
    """What native/cpu/sample.cpp draws with for an answer's first token."""
    words = philox((numpy.zeros_like(seeds), 0, 0, 0), (seeds & MASK32, seeds >> numpy.uint64(32)))
    high, low = words[0] >> numpy.uint64(5), words[1] >> numpy.uint64(6)
    return (high.astype(numpy.float64) * 2**26 + low.astype(numpy.float64)) / 2**53


def boundary_draws(probabilities, draws, order):
    """[seed, id] of draws 3e-6 to 1e-5 beside each boundary between ids of the running sum."""
    kept = [i for i, p in enumerate(probabilities) if p > 0]
    sums = numpy.cumsum([probabilities[i] for i in kept])
    pairs = []
    for at, boundary in enumerate(sums[:-1]):
        for low, high, token in [(-1e-5, -3e-6, kept[at]), (3e-6, 1e-5, kept[at + 1])]:
            width = min(probabilities[kept[at]], probabilities[kept[at + 1]])
            first = numpy.searchsorted(draws, boundary + low)
            if width > 2e-5 and first < len(draws) and draws[first] < boundary + high:
                pairs.append([int(order[first]), token])
    return pairs


def sampled_distributions():
    model, case = build_case(SAMPLED_CASE)
    generator = torch.Generator().manual_seed(77)
    prompt = torch.randint(0, case["vocab"], (9,), generator=generator).tolist()
    logits = model(input_ids=torch.tensor([prompt])).logits[0, -1].tolist()
    drawn = uniforms(numpy.arange(2_000_000, dtype=numpy.uint64))
    order = drawn.argsort()
    settings = []
    for sampling in SAMPLINGS:
        # Its defaults are other than ours: top-k 50.
        result = model.generate(
            input_ids=torch.tensor([prompt]), do_sample=True, max_new_tokens=1,
            **{"top_k": 0, "top_p": 1.0, "temperature": 1.0, **sampling},
            return_dict_in_generate=True, output_scores=True,
        )
        probabilities = result.scores[0][0].double().softmax(-1).tolist()
        pairs = boundary_draws(probabilities, drawn[order], order)
        rounded = [float(f"{p:.8g}") for p in probabilities]
        settings.append(dict(sampling=sampling, probabilities=rounded, draws=pairs))
    return dict(case=SAMPLED_CASE, prompt=prompt, logits=[float(f"{z:.9g}") for z in logits],
                settings=settings)


@torch.no_grad()
def make_generation():
    golden = dict(
        penalties=PENALTIES,
        greedy={name: [greedy_answers(name, i) for i in range(3)] for name in CASES},
        sampled=sampled_distributions(),
        versions=versions(),
    )
    text = json.dumps(golden, separators=(",", ":"))
    (HERE / "generation.json").write_text(text.replace("},{", "},\n{") + "\n")


if __name__ == "__main__":
    torch.set_num_threads(1)
    assert math.isclose(hashed_values(2)[1].item(), 2654435761 / 2**32 - 0.5, rel_tol=1e-6)
    wanted = sys.argv[1:]
    if not wanted:
        make_nf4()
    if not wanted or "generation" in wanted:
        make_generation()
    for name, settings in CASES.items():
        if not wanted or name in wanted:
            make_case(name, settings)
            print(name)
