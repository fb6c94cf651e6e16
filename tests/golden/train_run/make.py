"""Losses of a short fine-tuning run by transformers + PEFT + torch, from text to optimiser step.

    python3 tests/golden/train_run/make.py

Reads records.jsonl beside it and data/tiny-llama; writes adapter/ (a PEFT adapter with random A and
B) and losses.json: the loss and the gradient norm of every step, with the base unquantised and with its
linears rounded to NF4 with double quantisation by bitsandbytes. tests/training/parity_test.ts runs
`deno task train` on the same records and adapter and compares step by step. Make it again whenever
data/tiny-llama changes.
"""

import json
from pathlib import Path

import bitsandbytes
import bitsandbytes.functional as bnb
import peft
import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, get_linear_schedule_with_warmup

HERE = Path(__file__).resolve().parent
MODEL = HERE.parents[2] / "data" / "tiny-llama"
SYSTEM = "আপনি একজন সহানুভূতিশীল বাংলা কাউন্সেলর।"
BATCH, EPOCHS, PEAK, DECAY, CLIP, WARMUP = 4, 2, 2e-3, 0.01, 0.5, 0.25


def samples() -> list[tuple[list[int], int]]:
    """Token ids of every conversation, and where its answer begins."""
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    out = []
    for line in (HERE / "records.jsonl").read_text("utf-8").splitlines():
        record = json.loads(line)
        turns = [{"role": "system", "content": SYSTEM},
                 {"role": "user", "content": record["question"]}]
        prompt = tokenizer.apply_chat_template(turns, add_generation_prompt=True,
                                               return_dict=False)
        full = tokenizer.apply_chat_template(
            turns + [{"role": "assistant", "content": record["answer"]}], return_dict=False)
        assert full[:len(prompt)] == prompt
        out.append((full, len(prompt)))
    return out


def base(nf4: bool):
    model = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32)
    if nf4:
        for name, module in model.named_modules():
            if isinstance(module, torch.nn.Linear) and name != "lm_head":
                packed, state = bnb.quantize_4bit(module.weight.data, quant_type="nf4",
                                                  compress_statistics=True)
                module.weight.data = bnb.dequantize_4bit(packed, state).to(torch.float32)
    return model


def make_adapter() -> None:
    torch.manual_seed(7)
    config = LoraConfig(r=4, lora_alpha=8, lora_dropout=0.0, task_type="CAUSAL_LM",
                        target_modules=["q_proj", "v_proj", "o_proj", "up_proj", "down_proj"])
    model = get_peft_model(base(False), config)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.02)
    model.save_pretrained(HERE / "adapter")
    (HERE / "adapter" / "README.md").unlink(missing_ok=True)
    path = HERE / "adapter" / "adapter_config.json"
    settings = json.loads(path.read_text("utf-8"))
    settings["base_model_name_or_path"] = "data/tiny-llama"
    path.write_text(json.dumps(settings, indent=2) + "\n", "utf-8")


def batch_of(group):
    length = max(len(ids) for ids, _ in group)
    ids = torch.zeros(len(group), length, dtype=torch.long)
    labels = torch.full((len(group), length), -100)
    mask = torch.zeros(len(group), length, dtype=torch.long)
    for row, (tokens, start) in enumerate(group):
        ids[row, :len(tokens)] = torch.tensor(tokens)
        labels[row, start:len(tokens)] = torch.tensor(tokens[start:])
        mask[row, :len(tokens)] = 1
    return ids, labels, mask


def run(nf4: bool) -> dict:
    model = PeftModel.from_pretrained(base(nf4), HERE / "adapter", is_trainable=True)
    model.train()
    trainable = [p for p in model.parameters() if p.requires_grad]
    data = samples()
    steps = [data[i:i + BATCH] for i in range(0, len(data), BATCH)] * EPOCHS
    optimiser = torch.optim.AdamW(trainable, lr=PEAK, weight_decay=DECAY)
    warmup = -(-len(steps) * WARMUP // 1)
    schedule = get_linear_schedule_with_warmup(optimiser, int(warmup), len(steps))
    losses, norms = [], []
    for group in steps:
        ids, labels, mask = batch_of(group)
        logits = model(input_ids=ids, attention_mask=mask).logits[:, :-1]
        loss = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100)
        loss.backward()
        norms.append(float(torch.nn.utils.clip_grad_norm_(trainable, CLIP)))
        optimiser.step()
        schedule.step()
        optimiser.zero_grad()
        losses.append(float(loss.detach()))
    return {"losses": losses, "grad_norms": norms}


def main() -> None:
    make_adapter()
    result = {
        "versions": {m.__name__: m.__version__ for m in (torch, transformers, peft, bitsandbytes)},
        "system": SYSTEM,
        "settings": {
            "training.batch_size": BATCH, "training.epochs": EPOCHS,
            "training.learning_rate": PEAK, "training.weight_decay": DECAY,
            "training.max_grad_norm": CLIP, "training.warmup_ratio": WARMUP,
        },
        "none": run(False),
        "nf4_double": run(True),
    }
    (HERE / "losses.json").write_text(
        json.dumps(result, ensure_ascii=False, indent=2) + "\n", "utf-8")
    print(json.dumps(result["nf4_double"], indent=1))


if __name__ == "__main__":
    main()
