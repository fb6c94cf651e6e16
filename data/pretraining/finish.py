"""Checks a pretrained folder against transformers and installs it as data/tiny-llama.

    python3 data/pretraining/finish.py --from OUT

OUT holds what train_tokenizer.py and pretrain.py wrote. Installs the model folder, its card
(README.md) and training_log.json, and writes tests/model/golden.json for the Deno tests. Stops at
the first thing that is not as it should be, before anything is installed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer
import transformers

sys.path.insert(0, str(Path(__file__).resolve().parent))

from generate import HERE, Corpus  # noqa: E402
from llama import CONFIG, Llama  # noqa: E402
from train_tokenizer import special_tokens, write, write_json  # noqa: E402

FILES = ("model.safetensors", "config.json", "generation_config.json", "tokenizer.json",
         "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja")
ROOT = HERE.parent.parent
LIMIT = 10_000_000
TEXTS = [
    "", " ", "বাংলাদেশ নদীমাতৃক দেশ।", "আমার চাকরি চলে গেছে এবং আমি হতাশ।",
    "র‍্যাব আর ব়্যাব, অ্যাপ, ক্‌ষ, হ্‌য়", "ড়ঢ়য় \u09dc\u09dd\u09df", "১২৩৪৫ ৳ 12345 3.14",
    "Hello, বিশ্ব! it's কেমন?", "🙂👩‍👩‍👧 আনন্দ", "এক\nদুই\n\nতিন\r\n\tচার   পাঁচ  ", "  শুরুতে ফাঁকা",
    "<|begin_of_text|>ক<|eot_id|>", "<|start_header_id|>user<|end_header_id|>\n\nখবর কী?<|eot_id|>",
    "<|reserved_special_token_247|><|not_special|>", "e\u0301 é Ω 日本語 العربية हिन्दी।",
    "\u00a0\u2003\ufeff\u200bশূন্য", "ক" * 40, "।।।???!!!,,,", "দুঃখিত—আপনি বলুন…", "a'll b've C'S",
    "\u09cd \u09be \u0981", "মিলিয়ন\u0000নাল",
]
CONVERSATIONS = [
    [{"role": "user", "content": "কেমন আছেন?"}],
    [{"role": "system", "content": "  আপনি একজন সহায়ক। \n"},
     {"role": "user", "content": "বর্ষাকাল সম্পর্কে কিছু বলুন।\n"}],
    [{"role": "system", "content": "সংক্ষেপে বলুন।"}, {"role": "user", "content": "নাম কী?"},
     {"role": "assistant", "content": " আমার নাম মালা। "}, {"role": "user", "content": "বাড়ি?"}],
]


def need(condition: bool, message: str) -> None:
    if not condition:
        raise SystemExit(f"finish.py: {message}")


def check(folder: Path) -> tuple:
    """Loads the folder as a user would and compares it with this project's own Llama."""
    for name in (*FILES, "training_log.json"):
        need((folder / name).is_file(), f"expected {folder / name}, found none; run the two scripts first")
    size = sum((folder / n).stat().st_size for n in FILES)
    need(size <= LIMIT, f"expected at most {LIMIT} bytes, found {size}")
    model, report = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, output_loading_info=True)
    odd = {k: v for k, v in report.items() if v}
    need(not odd, f"expected every tensor to load, found {odd}")
    own = Llama(CONFIG)
    own.load_state_dict({k: v.float() for k, v in load_file(folder / "model.safetensors").items()})
    ids = torch.randint(0, CONFIG["vocab_size"], (2, 700), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        gap = float((model(ids).logits - own(ids)).abs().max())
    need(gap < 1e-3, f"expected equal logits in transformers, found a difference of {gap}")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    need(tokenizer.convert_ids_to_tokens(list(range(3840, 4096))) == special_tokens(),
         "the special tokens are not the 256 of Llama 3.1 at ids 3840-4095")
    return model, tokenizer, gap, size


def golden(tokenizer) -> dict:
    """Token ids and chat renderings by transformers, for the Deno tests."""
    chats = []
    for messages in CONVERSATIONS:
        for prompt in (False, True):
            chats.append({
                "messages": messages, "addGenerationPrompt": prompt,
                "text": tokenizer.apply_chat_template(
                    messages, tokenize=False, add_generation_prompt=prompt),
                "ids": tokenizer.apply_chat_template(
                    messages, add_generation_prompt=prompt, return_dict=True)["input_ids"]})
    texts = [{"text": t, "ids": tokenizer(t)["input_ids"],
              "decoded": tokenizer.decode(tokenizer(t, add_special_tokens=False)["input_ids"],
                                          clean_up_tokenization_spaces=False)} for t in TEXTS]
    return {"madeBy": f"data/pretraining/finish.py, transformers {transformers.__version__}",
            "texts": texts, "chats": chats}


def card(folder: Path, log: dict, size: int, gap: float) -> str:
    """The model card, every number from the log, the files or the content itself."""
    corpus = Corpus()
    held = log["held_out"]
    rows = "\n".join(
        f"| `{n}` | {(folder / n).stat().st_size:,} | `{hashlib.sha256((folder / n).read_bytes()).hexdigest()}` |"
        for n in FILES)
    acts = sum(len(s) for s in corpus.scenes.scenes)
    samples = "\n\n".join(f"> {s}".replace("\n", "\n> ") for s in log["samples"][:10:2])
    return CARD.format(
        parameters=f"{log['parameters']:,}", documents=f"{log['documents']:,}",
        distinct=f"{log['distinct_tokens']:,}", seen=f"{log['tokens_seen']:,}", steps=log["steps"],
        minutes=f"{log['train_seconds'] / 60:.1f}", device=log["device"], torch=log["torch"],
        seed=log["settings"]["seed"], batch=log["settings"]["batch"], length=log["settings"]["length"],
        lr=log["settings"]["lr"], domains=len(corpus.domains),
        sentences=f"{sum(d.sentences for d in corpus.domains):,}", acts=acts,
        fresh=held["fresh documents"]["perplexity"], other=held["held-out domains"]["perplexity"],
        size=f"{size:,}", gap=f"{gap:.1e}", rows=rows, samples=samples)


CARD = """---
language: bn
license: mit
pipeline_tag: text-generation
---
# tiny-llama: a {parameters}-parameter Llama for teaching

A Llama of the real architecture, small enough to fine-tune on any laptop in minutes: grouped-query
attention (8 heads, 4 key-value heads of 32), llama3 RoPE scaling (factor 8 over 256 positions, so that
it matters), RMSNorm, SwiGLU (256 → 640), 5 layers, tied embeddings, the 256 special tokens and the
chat template of Llama 3.1, a byte-level BPE tokenizer of 4,096 entries trained on Bengali.
Everything that works on it works unchanged on Llama 3.1 8B.

It has read *general* Bengali only: villages and cities, seasons, rivers, food, school, science,
history, work, letters, folk tales, everyday talk. It is **no counsellor**; fine-tuning is to bring that.

## Data
{documents} documents ({distinct} distinct tokens) composed by the seeded generator in
`../pretraining/` from {sentences} hand-written sentence templates in {domains} domains and {acts}
everyday acts that are inflected for person and tense. No text from the web, no dialogue of
counselling. Two further domains (post office, museum) were kept out of training.

## Training
{steps} steps of {batch} × {length} tokens ({seen} tokens seen), AdamW, peak learning rate {lr}, cosine,
bf16, seed {seed}: {minutes} minutes on one {device} (PyTorch {torch}). The commands are in
`../pretraining/README.md`; the log is `../pretraining/training_log.json`.

| held out | perplexity a token |
|---|---|
| fresh documents of the same domains | {fresh} |
| domains never seen | {other} |

The gap is honest: a model of this size on generated text knows its own world well and a new one little.

## Samples (temperature 0.7, top-p 0.9)
{samples}

## Files
{size} bytes in all; logits differ from transformers' by at most {gap}.

| file | bytes | SHA-256 |
|---|---|---|
{rows}

The pre-tokeniser is Llama 3's expression with one change: combining marks count as parts of a word
(`\\p{{M}}`). Llama 3's own stops before every Bengali vowel sign and cuts words into one or two letters.

## Use and limits
For learning how fine-tuning works. It invents facts, repeats itself, knows no English, and must not be
used to inform or advise anyone. Licence: MIT, as the whole project.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description="Check and install the pretrained tiny Llama.")
    parser.add_argument("--from", dest="source", type=Path, required=True)
    options = parser.parse_args()
    model, tokenizer, gap, size = check(options.source)
    log = json.loads((options.source / "training_log.json").read_text("utf-8"))
    target = HERE.parent / "tiny-llama"
    target.mkdir(exist_ok=True)
    for name in FILES:
        part = target / (name + ".part")
        shutil.copyfile(options.source / name, part)
        part.chmod(0o644)
        os.replace(part, target / name)
    write_json(HERE / "training_log.json", log)
    write(target / "README.md", card(target, log, size, gap))
    tests = ROOT / "tests" / "model"
    tests.mkdir(parents=True, exist_ok=True)
    write_json(tests / "golden.json", golden(tokenizer))
    print(f"installed {size:,} bytes in {target.relative_to(ROOT)}; now run: deno test -A tests/model")


if __name__ == "__main__":
    main()
