"""Golden PEFT adapters on data/tiny-llama, each with the logits PEFT gives.

    python tests/golden/adapters/make.py

Run in the project's root with torch, transformers and peft; golden.json records the versions.
"""

import json
import pathlib

import peft
import torch
import transformers
from safetensors.torch import load_file, save_file

HERE = pathlib.Path(__file__).parent
BASE = HERE.parents[2] / "data" / "tiny-llama"
IDS = [3840, 10, 200, 300, 400, 1000, 2000, 3000, 77, 3001]
ROWS = [0, 4, 9]

CASES = {
    "list": dict(r=2, lora_alpha=4, target_modules=["q_proj", "v_proj"], lora_dropout=0.1),
    "all_linear": dict(r=2, lora_alpha=5, target_modules="all-linear", use_rslora=True),
    "patterns": dict(
        r=2,
        lora_alpha=4,
        target_modules=r".*\.(q_proj|k_proj|down_proj)",
        rank_pattern={"q_proj": 3, "layers.1.self_attn.k_proj": 1},
        alpha_pattern={"down_proj": 20, "model.layers.0.self_attn.k_proj": 3},
    ),
    "layers": dict(
        r=3,
        lora_alpha=7,
        target_modules=["self_attn.q_proj", "mlp.up_proj", "gate_proj"],
        layers_to_transform=[1, 3],
        exclude_modules=["model.layers.3.mlp.gate_proj"],
        use_rslora=True,
        rank_pattern={"up_proj": 4},
    ),
}


def make(name, settings):
    torch.manual_seed(1)
    base = transformers.AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32)
    config = peft.LoraConfig(task_type="CAUSAL_LM", **settings)
    model = peft.get_peft_model(base, config).eval()
    with torch.no_grad():
        for key, weight in model.named_parameters():
            if "lora_B" in key:
                torch.nn.init.normal_(weight, std=0.05)
            if "lora_" in key and name == "all_linear":
                weight.copy_(weight.bfloat16())
    config.base_model_name_or_path = "data/tiny-llama"
    folder = HERE / name
    model.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    if name == "all_linear":  # as saved by a training in bf16
        path = folder / "adapter_model.safetensors"
        tensors = {key: value.bfloat16() for key, value in load_file(path).items()}
        save_file(tensors, path, {"format": "pt"})
    with torch.no_grad():
        logits = model(torch.tensor([IDS])).logits[0, ROWS]
    return logits.float().contiguous()


def main():
    torch.set_num_threads(1)
    save_file({name: make(name, settings) for name, settings in CASES.items()},
              HERE / "logits.safetensors")
    (HERE / "golden.json").write_text(json.dumps({
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "peft": peft.__version__,
        "ids": IDS,
        "rows": ROWS,
    }, indent=1) + "\n")


main()
