"""Time by kernel of training steps (or decode steps) of a random 8B Llama through the C ABI.

    python3 kernel_times.py libqlora_cuda.so [steps] [recompute: 0 none, 1 full, 2 auto] [modules] [budget, GB] [P]

Needs PyTorch, for its profiler only (it records every kernel of the process). Prints the kernels of
one optimiser step of 32 samples, longest first, and the share of the step that no kernel fills.
"""

import ctypes as c
import random
import sys
import time
from collections import defaultdict

import torch
from torch.profiler import ProfilerActivity, profile

i32, i64, f64, u64 = c.c_int32, c.c_int64, c.c_double, c.c_uint64


def struct(name, *fields):
    return type(name, (c.Structure,), {"_fields_": [("struct_size", i32), *fields]})


def ints(*names):
    return [(name, i32) for name in names]


ModelConfig = struct(
    "ModelConfig",
    *ints("hidden_size", "intermediate_size", "num_layers", "num_heads", "num_kv_heads", "head_dim"),
    *ints("vocab_size", "max_position", "rope_scaling"),
    *[(n, f64) for n in ("rope_theta", "rope_factor", "rope_low", "rope_high")],
    *ints("rope_original", "tie", "qkv_bias", "qk_norm"),
    ("eps", f64),
    *ints("quantization", "device", "threads", "reserved"),
    ("memory_budget", i64),
)
LoraConfig = struct("LoraConfig", *ints("rank"), ("alpha", f64), ("dropout", f64),
                    *ints("target_modules", "use_rslora"), ("seed", u64))
TrainConfig = struct("TrainConfig",
                     *ints("max_tokens", "max_sequences", "max_targets", "recompute", "reserved"),
                     *[(n, f64) for n in ("beta1", "beta2", "eps", "decay", "max_grad_norm")],
                     ("dropout_seed", u64))
Batch = struct("Batch",
               *ints("num_tokens", "num_sequences", "prefix_length", "num_targets", "reserved"),
               *[(n, c.c_void_p) for n in ("token_ids", "cu_seqlens", "keys", "rows", "ids",
                                           "weights")])
BatchResult = struct("BatchResult", *ints("num_targets"), ("nll_sum", f64), ("weight_sum", f64))
StepResult = struct("StepResult", *ints("clipped"), ("step", i64), ("loss", f64),
                    ("weight_sum", f64), ("grad_norm", f64))


def sized(kind):
    value = kind()
    value.struct_size = c.sizeof(kind)
    return value


def array(values):
    return (i32 * len(values))(*values)


def batch_of(rng, prefix, samples, vocab):
    """The seed's lengths: a shared prefix and 170 ± 60 tokens a sample, three fifths of them answer."""
    ids, cu, rows, targets = [rng.randrange(vocab) for _ in range(prefix)], [prefix], [], []
    for _ in range(samples):
        length = min(340, max(40, round(rng.gauss(170, 60))))
        for i in range(length):
            token = rng.randrange(vocab)
            if i >= length * 2 // 5:
                rows.append(len(ids) - 1)
                targets.append(token)
            ids.append(token)
        cu.append(len(ids))
    arrays = [array(ids), array(cu), array(rows), array(targets)]
    batch = sized(Batch)
    batch.num_tokens, batch.num_sequences = len(ids), samples
    batch.prefix_length, batch.num_targets = prefix, len(rows)
    batch.token_ids, batch.cu_seqlens, batch.rows, batch.ids = [
        c.cast(a, c.c_void_p).value for a in arrays]
    return batch, arrays


def main():
    arguments = sys.argv[1:] + [""] * 6
    lib = c.CDLL(arguments[0])
    steps, recompute = int(arguments[1] or 4), int(arguments[2] or 2)
    modules, budget = int(arguments[3] or 127), float(arguments[4] or 0)
    prefix = int(arguments[5] or 336)
    for name in ("model", "trainer"):
        getattr(lib, f"qlora_{name}_error").restype = c.c_char_p
    error = c.create_string_buffer(2048)

    for kind, name in ((ModelConfig, "model_config"), (LoraConfig, "lora_config"), (Batch, "batch"),
                       (TrainConfig, "train_config"), (BatchResult, "batch_result"),
                       (StepResult, "step_result")):
        found = getattr(lib, f"qlora_sizeof_{name}")()
        if found != c.sizeof(kind):
            sys.exit(f"qlora_{name}: {c.sizeof(kind)} bytes here, {found} in the library")

    def check(status, handle=None, kind="model"):
        if status != 0:
            message = getattr(lib, f"qlora_{kind}_error")(handle) if handle else error.value
            sys.exit(f"status {status}: {message.decode()}")

    config = sized(ModelConfig)
    lib.qlora_model_config_default(c.byref(config))
    config.memory_budget = int(budget * 1e9)
    model, trainer = c.c_void_p(), c.c_void_p()
    check(lib.qlora_model_create(c.byref(config), c.byref(model), error, i64(2048)))
    began = time.time()
    check(lib.qlora_model_load_random(model, u64(1), f64(0.02)), model)
    check(lib.qlora_model_finalize(model), model)
    lora = sized(LoraConfig)
    lib.qlora_lora_config_default(c.byref(lora))
    lora.target_modules = modules
    check(lib.qlora_model_attach_lora(model, c.byref(lora)), model)
    rng = random.Random(1)
    batches = [batch_of(rng, prefix, 32, config.vocab_size) for _ in range(steps + 2)]
    train = sized(TrainConfig)
    lib.qlora_train_config_default(c.byref(train))
    train.max_tokens = max(b.num_tokens for b, _ in batches)
    train.max_sequences, train.recompute = 32, recompute
    train.max_targets = max(b.num_targets for b, _ in batches)
    check(lib.qlora_trainer_create(model, c.byref(train), c.byref(trainer), error, i64(2048)))
    print(f"model and trainer ready in {time.time() - began:.1f} s")

    def step(batch):
        result, done = sized(BatchResult), sized(StepResult)
        check(lib.qlora_trainer_accumulate(trainer, c.byref(batch), None, c.byref(result)), trainer,
              "trainer")
        check(lib.qlora_trainer_step(trainer, f64(1e-4), c.byref(done)), trainer, "trainer")
        return done.loss

    for batch, _ in batches[:2]:
        print(f"loss {step(batch):.4f}")
    seconds = []
    for batch, _ in batches[2:]:
        began = time.time()
        step(batch)
        seconds.append(time.time() - began)
    tokens = [b.num_tokens for b, _ in batches[2:]]
    print("ms a step:", " ".join(f"{1e3 * s:.1f} ({t})" for s, t in zip(seconds, tokens)))
    print(f"{1e3 * sum(seconds) / len(seconds):.1f} ms a step of 32 samples, "
          f"{sum(tokens) / sum(seconds):.0f} tokens/s, a 399-step epoch {399 * sum(seconds) / len(seconds):.1f} s")

    with profile(activities=[ProfilerActivity.CUDA]) as recorded:
        began = time.time()
        for batch, _ in batches[2:]:
            step(batch)
        torch.cuda.synchronize()
        wall = time.time() - began
    kernels = defaultdict(lambda: [0, 0.0])
    for event in recorded.events():
        name = event.name.replace("qlora::cuda::", "").replace("(anonymous namespace)::", "")
        kernels[name][0] += 1
        kernels[name][1] += event.device_time
    total = sum(t for _, t in kernels.values())
    print(f"kernels {total / 1e3 / steps:.1f} ms a step, wall {1e3 * wall / steps:.1f} (profiled)")
    for name, (count, us) in sorted(kernels.items(), key=lambda item: -item[1][1])[:45]:
        print(f"{us / 1e3 / steps:9.3f} ms {100 * us / total:5.1f} % {count / steps:7.0f} x {name[:110]}")
    lib.qlora_trainer_destroy(trainer)
    lib.qlora_model_destroy(model)


if __name__ == "__main__":
    main()
