"""The same fine-tuning steps by transformers + PEFT + torch.optim.AdamW, on the CPU.

    python3 tests/bench/pytorch_cpu.py JOB.json

JOB.json: {"model": folder, "threads": n, "r", "alpha", "dropout", "learning_rate", "max_grad_norm",
"warmup_steps": n, "steps": [[{"tokens": [...], "answer_start": n}, ...], ...]}. Every step is one
batch, padded to its longest sample (the original project padded to 512, which is slower). The base is
kept in fp32: no 4-bit arithmetic to undo. Prints {"seconds": [per timed step], "losses": [...]}.
"""

import json
import sys
import time

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

MODULES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def batch_of(group):
    length = max(len(sample["tokens"]) for sample in group)
    ids = torch.zeros(len(group), length, dtype=torch.long)
    labels = torch.full((len(group), length), -100)
    mask = torch.zeros(len(group), length, dtype=torch.long)
    for row, sample in enumerate(group):
        tokens, start = sample["tokens"], sample["answer_start"]
        ids[row, :len(tokens)] = torch.tensor(tokens)
        labels[row, start:len(tokens)] = torch.tensor(tokens[start:])
        mask[row, :len(tokens)] = 1
    return ids, labels, mask


def main() -> None:
    with open(sys.argv[1], encoding="utf-8") as file:
        job = json.load(file)
    torch.set_num_threads(job["threads"])
    model = AutoModelForCausalLM.from_pretrained(job["model"], dtype=torch.float32)
    model = get_peft_model(model, LoraConfig(
        r=job["r"], lora_alpha=job["alpha"], lora_dropout=job["dropout"], target_modules=MODULES,
        task_type="CAUSAL_LM"))
    model.train()
    trainable = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trainable, lr=job["learning_rate"])
    seconds, losses = [], []
    for number, group in enumerate(job["steps"]):
        ids, labels, mask = batch_of(group)
        begun = time.perf_counter()
        loss = model(input_ids=ids, attention_mask=mask, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trainable, job["max_grad_norm"])
        optimiser.step()
        optimiser.zero_grad()
        losses.append(float(loss.detach()))
        if number >= job["warmup_steps"]:
            seconds.append(time.perf_counter() - begun)
    print(json.dumps({"seconds": seconds, "losses": losses, "torch": torch.__version__}))


if __name__ == "__main__":
    main()
