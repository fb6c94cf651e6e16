"""The original project's fine-tuning steps by transformers + PEFT on a GPU, at their best setting.

    python3 tests/bench/pytorch_gpu.py JOB.json

JOB.json: {"config": {...} of transformers' LlamaConfig, "r", "alpha", "dropout", "length": tokens every
sample is padded to, "prompt": tokens before the answer, "own": tokens of a sample without padding,
"effective_batch": samples an optimiser step, "batch_sizes": [micro-batches to try], "warmup",
"steps": timed micro-batches each, "seconds": stop trying when this much time has passed}.

The base is kept in bf16 (no 4-bit arithmetic to undo), its weights are random and made on the GPU.
Samples are padded to one length with an attention mask, as the original's collator does. sdpa
attention, bf16 autocast (PEFT keeps its own weights in fp32), tf32 allowed, fused AdamW, LoRA on all
linears. Timed: micro-batches of forward and
backward; the optimiser's step is timed once and charged per effective batch. With gradient
checkpointing every batch size, without it the largest that fits. Prints one JSON line:
{"runs": [{"checkpointing", "batch", "samples_per_second", "tokens_per_second", "memory_bytes"}, ...],
"optimizer_seconds", "torch", "transformers", "peft", "init_seconds"}.
"""

import gc
import json
import sys
import time

import peft
import torch
import transformers
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

MODULES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def make_model(job, device):
    config = LlamaConfig(**job["config"], attn_implementation="sdpa", use_cache=False)
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            model = LlamaForCausalLM(config)
    finally:
        torch.set_default_dtype(before)
    model = get_peft_model(model, LoraConfig(
        r=job["r"], lora_alpha=job["alpha"], lora_dropout=job["dropout"], target_modules=MODULES,
        task_type="CAUSAL_LM"))
    model.train()
    return model


def batch_of(job, size, device):
    length, own = job["length"], job["own"]
    ids = torch.randint(0, job["config"]["vocab_size"], (size, length), device=device)
    mask = torch.zeros(size, length, dtype=torch.long, device=device)
    mask[:, :own] = 1
    labels = torch.full((size, length), -100, device=device)
    labels[:, job["prompt"]:own] = ids[:, job["prompt"]:own]
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def wait(device):
    if device == "cuda":
        torch.cuda.synchronize()


def time_batches(model, job, size, device):
    """Seconds of one micro-batch: the median."""
    seconds = []
    for number in range(job["warmup"] + job["steps"]):
        batch = batch_of(job, size, device)
        wait(device)
        begun = time.perf_counter()
        with torch.autocast(device, dtype=torch.bfloat16, enabled=device == "cuda"):
            loss = model(**batch).loss
        loss.backward()
        wait(device)
        if number >= job["warmup"]:
            seconds.append(time.perf_counter() - begun)
    return sorted(seconds)[len(seconds) // 2]


def time_optimizer(model, device):
    trainable = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=3e-4, fused=device == "cuda")
    seconds = []
    for _ in range(3):
        for p in trainable:
            p.grad = torch.zeros_like(p) if p.grad is None else p.grad
        wait(device)
        begun = time.perf_counter()
        torch.nn.utils.clip_grad_norm_(trainable, 0.5)
        optimizer.step()
        optimizer.zero_grad()
        wait(device)
        seconds.append(time.perf_counter() - begun)
    return min(seconds)


def main() -> None:
    with open(sys.argv[1], encoding="utf-8") as file:
        job = json.load(file)
    begun = time.perf_counter()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cudnn.allow_tf32 = True
    torch.manual_seed(0)
    model = make_model(job, device)
    wait(device)
    result = {"runs": [], "torch": torch.__version__, "transformers": transformers.__version__,
              "peft": peft.__version__, "init_seconds": time.perf_counter() - begun}
    optimizer_seconds = None

    def attempt(checkpointing, size):
        """False when it does not fit."""
        nonlocal optimizer_seconds
        if device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        try:
            seconds = time_batches(model, job, size, device)
        except torch.cuda.OutOfMemoryError:
            model.zero_grad(set_to_none=True)
            gc.collect()
            torch.cuda.empty_cache()
            return False
        if optimizer_seconds is None:
            optimizer_seconds = time_optimizer(model, device)
        effective = seconds * job["effective_batch"] / size + optimizer_seconds
        rate = job["effective_batch"] / effective
        memory = torch.cuda.max_memory_allocated() if device == "cuda" else 0
        result["runs"].append({"checkpointing": checkpointing, "batch": size,
                               "samples_per_second": rate,
                               "tokens_per_second": rate * job["length"],
                               "memory_bytes": memory})
        print(f"PyTorch: checkpointing {checkpointing}, batch {size}: {rate:.2f} samples/s",
              file=sys.stderr, flush=True)
        return True

    def in_time():
        return time.perf_counter() - begun < job["seconds"]

    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    model.enable_input_require_grads()
    for size in sorted(job["batch_sizes"], reverse=True):  # the largest first: the likely best
        if in_time():
            attempt(True, size)
    model.gradient_checkpointing_disable()
    for size in sorted(job["batch_sizes"], reverse=True):
        if in_time() and attempt(False, size):
            break
    print(json.dumps({**result, "optimizer_seconds": optimizer_seconds}))


if __name__ == "__main__":
    main()
