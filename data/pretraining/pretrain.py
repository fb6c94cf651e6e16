"""Pretrains the tiny Llama on the generated general Bengali.

    python3 data/pretraining/pretrain.py --out OUT --tokenizer OUT/tokenizer.json

Everything follows from --seed and --documents: documents are generated and tokenised (in parallel
processes), packed into sequences that each begin with a document, and learnt for --steps (or, with
--steps 0, for --minutes). OUT then holds the weights, the configuration files and `training_log.json` (settings, losses, samples).
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer

sys.path.insert(0, str(Path(__file__).resolve().parent))

from generate import BOS, EOT, HEADER, HERE, Corpus, documents  # noqa: E402
from llama import CONFIG, GENERATION_CONFIG, Llama  # noqa: E402

SPLIT_DOCUMENTS, SPLIT_TOKENS = 0.15, 0.1  # see loosened()
WARM = 3  # steps before the clock starts: they compile
CHUNK = 2000  # documents a work item; part of the recipe, since each item has its own seed
PROMPTS = [
    "আমাদের গ্রামের", "গতকাল সকালে আমি", "বাংলাদেশের নদী", "আপনি চাইলে",
    BOS + "<|start_header_id|>system<|end_header_id|>\n\n" + HEADER + EOT
    + "<|start_header_id|>user<|end_header_id|>\n\nবর্ষাকাল সম্পর্কে কিছু বলুন।" + EOT
    + "<|start_header_id|>assistant<|end_header_id|>\n\n",
    BOS + "<|start_header_id|>system<|end_header_id|>\n\n" + HEADER + EOT
    + "<|start_header_id|>user<|end_header_id|>\n\nআমার চাকরি চলে গেছে এবং আমি হতাশ।" + EOT
    + "<|start_header_id|>assistant<|end_header_id|>\n\n",
]


@lru_cache(maxsize=4)
def sources(path: str, heldout: bool) -> tuple[Tokenizer, Corpus, dict[int, tuple[int, int]]]:
    """Tokenizer, corpus and, for every merged token, the two tokens it was merged from."""
    tokenizer = Tokenizer.from_file(path)
    parents = {}
    for merge in json.loads(Path(path).read_text("utf-8"))["model"]["merges"]:
        left, right = merge.split(" ") if isinstance(merge, str) else merge
        parents[tokenizer.token_to_id(left + right)] = (
            tokenizer.token_to_id(left), tokenizer.token_to_id(right))
    return tokenizer, Corpus(heldout=heldout), parents


def loosened(ids: list[int], parents: dict, rng: random.Random) -> list[int]:
    """Some tokens split again into the two they were merged from, repeatedly: the model then also
    learns the rarer pieces that unseen words are made of."""
    out, stack = [], ids[::-1]
    while stack:
        one = stack.pop()
        if one in parents and rng.random() < SPLIT_TOKENS:
            stack += parents[one][::-1]
        else:
            out.append(one)
    return out


def tokens_of(job: tuple[str, int, int, bool, bool]) -> tuple[np.ndarray, np.ndarray]:
    """The tokens of one chunk of documents and the documents' lengths, from
    (tokenizer file, seed, count, held-out domains, loosen some documents)."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    path, seed, count, heldout, loosen = job
    tokenizer, corpus, parents = sources(path, heldout)
    rng = random.Random(seed + 1)
    encoded = []
    for one in tokenizer.encode_batch(list(documents(corpus, seed, count)), add_special_tokens=False):
        loose = loosen and rng.random() < SPLIT_DOCUMENTS
        encoded.append(loosened(one.ids, parents, rng) if loose else one.ids)
    return (np.concatenate([np.array(ids, dtype=np.uint16) for ids in encoded]),
            np.array([len(ids) for ids in encoded], dtype=np.int64))


def pack(flat: np.ndarray, lengths: np.ndarray, length: int) -> np.ndarray:
    """Sequences [n, length + 1], each beginning with a document; the last document of a sequence is
    cut where the sequence is full, and the next sequence begins with the next document."""
    rows, start, end = [], 0, 0
    for count in lengths.tolist():
        end += count
        if end - start > length:
            rows.append(flat[start:start + length + 1])
            start = end
    return np.stack(rows).astype(np.int32)


def corpus_rows(options, seed: int, count: int, heldout: bool, loosen: bool) -> tuple[torch.Tensor, int]:
    """Packed sequences of `count` documents, and the number of tokens before packing."""
    jobs = [(str(options.tokenizer), seed + i, min(CHUNK, count - start), heldout, loosen)
            for i, start in enumerate(range(0, count, CHUNK))]
    if options.workers == 1 or len(jobs) == 1:
        parts = [tokens_of(job) for job in jobs]
    else:
        with ProcessPoolExecutor(options.workers) as pool:
            parts = list(pool.map(tokens_of, jobs))
    flat = np.concatenate([p[0] for p in parts])
    lengths = np.concatenate([p[1] for p in parts])
    return torch.from_numpy(pack(flat, lengths, options.length)), len(flat)


def batches(rows: torch.Tensor, batch: int, seed: int):
    """Endless shuffled epochs of rows, as (inputs, labels, epoch)."""
    generator = torch.Generator().manual_seed(seed)
    epoch = 0
    while True:
        order = torch.randperm(len(rows), generator=generator).to(rows.device)
        for start in range(0, len(rows) - batch + 1, batch):
            part = rows[order[start:start + batch]].long()
            yield part[:, :-1].contiguous(), part[:, 1:].contiguous(), epoch + start / len(rows)
        epoch += 1


@torch.no_grad()
def evaluate(model: Llama, rows: torch.Tensor, autocast, batch: int = 32) -> float:
    """Mean loss a token over rows."""
    total, count = 0.0, 0
    for start in range(0, len(rows), batch):
        part = rows[start:start + batch].long()
        with autocast():
            loss = model.loss(part[:, :-1], part[:, 1:])
        total, count = total + float(loss) * len(part), count + len(part)
    return total / count


@torch.no_grad()
def sample(model: Llama, tokenizer: Tokenizer, prompt: str, seed: int, autocast,
           length: int = 90, temperature: float = 0.7, top_p: float = 0.9) -> str:
    """A continuation of the prompt, to the end of the turn or `length` tokens."""
    device = model.model.norm.weight.device
    generator = torch.Generator(device=device).manual_seed(seed)
    text = prompt if prompt.startswith(BOS) else BOS + prompt
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    start = len(ids)
    for _ in range(length):
        with autocast():
            logits = model(torch.tensor([ids], device=device))[0, -1].float() / temperature
        p, order = torch.softmax(logits, -1).sort(descending=True)
        p[p.cumsum(0) - p > top_p] = 0
        ids.append(int(order[torch.multinomial(p, 1, generator=generator)]))
        if ids[-1] in CONFIG["eos_token_id"]:
            break
    shown = "" if prompt.startswith(BOS) else prompt
    return shown + tokenizer.decode(ids[start:], skip_special_tokens=True)


def rate(progress: float, peak: float) -> float:
    """Warm-up over the first 2 %, then a cosine down to 2 % of the peak."""
    if progress < 0.02:
        return peak * progress / 0.02
    return peak * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, (progress - 0.02) / 0.98))))


def optimiser_of(model: Llama, peak: float, fused: bool) -> torch.optim.AdamW:
    matrices = [p for p in model.parameters() if p.dim() > 1]
    vectors = [p for p in model.parameters() if p.dim() <= 1]
    return torch.optim.AdamW([{"params": matrices, "weight_decay": 0.1},
                              {"params": vectors, "weight_decay": 0.0}],
                             lr=peak, betas=(0.9, 0.95), eps=1e-8, fused=fused)


def train(model: Llama, rows: torch.Tensor, options, autocast, log: list[dict]) -> dict:
    """Runs until --steps, or until --minutes are over; the schedule follows whichever is set."""
    cuda = rows.is_cuda
    optimiser = optimiser_of(model, options.lr, cuda)
    step_loss = torch.compile(model.loss) if cuda and options.compile else model.loss
    data = batches(rows, options.batch, options.seed)
    start, step, recent, epoch = None, 0, [], 0.0
    while True:
        ids, labels, epoch = next(data)
        seconds = time.perf_counter() - start if start else 0.0
        progress = step / options.steps if options.steps else seconds / (60 * options.minutes)
        if progress >= 1:
            break
        for group in optimiser.param_groups:
            group["lr"] = rate(max(progress, 1e-4), options.lr)
        with autocast():
            loss = step_loss(ids, labels, options.label_smoothing)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        recent.append(loss.detach())
        step += 1
        if start is None and step == WARM:
            if cuda:
                torch.cuda.synchronize()
            start = time.perf_counter()
        if start and step % options.log_every == 0:
            entry = {"step": step, "epoch": round(epoch, 3),
                     "loss": round(float(torch.stack(recent).mean()), 4),
                     "lr": optimiser.param_groups[0]["lr"], "grad_norm": round(float(norm), 3),
                     "tokens": step * ids.numel(), "seconds": round(time.perf_counter() - start, 1)}
            recent.clear()
            log.append(entry)
            print(json.dumps(entry), flush=True)
    return {"steps": step, "epochs": round(epoch, 2), "tokens_seen": step * ids.numel(),
            "train_seconds": round(time.perf_counter() - (start or time.perf_counter()), 1)}


def save_model(model: Llama, out: Path) -> None:
    """config.json, generation_config.json and model.safetensors (bf16, embeddings tied)."""
    weights = {k: v.detach().to("cpu", torch.bfloat16).contiguous()
               for k, v in model.state_dict().items()}
    part = out / "model.safetensors.part"
    save_file(weights, str(part), metadata={"format": "pt"})
    part.chmod(0o644)
    os.replace(part, out / "model.safetensors")
    for name, value in (("config.json", CONFIG), ("generation_config.json", GENERATION_CONFIG)):
        write_json(out / name, value)


def write_json(path: Path, value) -> None:
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", "utf-8")
    os.replace(part, path)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Pretrain the tiny Llama.")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tokenizer", type=Path, default=HERE.parent / "tiny-llama" / "tokenizer.json")
    parser.add_argument("--documents", type=int, default=900_000)
    parser.add_argument("--length", type=int, default=512, help="tokens a sequence")
    parser.add_argument("--batch", type=int, default=128, help="sequences a step")
    parser.add_argument("--steps", type=int, default=3000, help="0: run for --minutes")
    parser.add_argument("--minutes", type=float, default=4.0)
    parser.add_argument("--lr", type=float, default=2.5e-3)
    parser.add_argument("--label-smoothing", type=float, default=0.1,
                        help="keeps the model from being certain of templates it has seen often")
    parser.add_argument("--seed", type=int, default=2024)
    parser.add_argument("--workers", type=int, default=min(16, os.cpu_count() or 1))
    parser.add_argument("--threads", type=int, default=0, help="CPU threads of torch; 0: its own choice")
    parser.add_argument("--log-every", type=int, default=100)
    parser.add_argument("--no-compile", dest="compile", action="store_false")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.threads:
        torch.set_num_threads(options.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(options.seed)
    torch.set_float32_matmul_precision("high")
    autocast = lambda: torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")
    began = time.perf_counter()
    rows, distinct = corpus_rows(
        options, options.seed * 1_000_000, options.documents, heldout=False, loosen=True)
    rows = rows.to(device)
    held = {}
    for name, heldout, shift in (("fresh documents", False, 1), ("held-out domains", True, 2)):
        seed = options.seed * 1_000_000 + shift * 100_000_000
        held[name] = corpus_rows(options, seed, CHUNK, heldout, loosen=False)[0][:256].to(device)
    prepared = time.perf_counter() - began
    print(f"{options.documents} documents, {distinct} tokens, {len(rows)} sequences; "
          f"{prepared:.0f} s to prepare", flush=True)
    model = Llama(CONFIG).to(device)
    log: list[dict] = []
    result = train(model, rows, options, autocast, log)
    save_model(model, options.out)
    model.load_state_dict({k: v.to(torch.bfloat16).to(v.dtype) for k, v in model.state_dict().items()})
    losses = {name: evaluate(model, part, autocast) for name, part in held.items()}
    tokenizer = Tokenizer.from_file(str(options.tokenizer))
    samples = [sample(model, tokenizer, p, options.seed + i, autocast)
               for p in PROMPTS for i in range(2)]
    summary = {
        "parameters": sum(p.numel() for p in model.parameters()), "documents": options.documents,
        "distinct_tokens": distinct, "prepare_seconds": round(prepared, 1), **result,
        "held_out": {n: {"loss": round(v, 4), "perplexity": round(math.exp(v), 3)}
                     for n, v in losses.items()},
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "torch": torch.__version__,
        "settings": {k: v for k, v in vars(options).items() if k not in ("out", "tokenizer")},
    }
    write_json(options.out / "training_log.json", {**summary, "samples": samples, "log": log})
    print(json.dumps(summary, ensure_ascii=False, indent=2))
    print("\n\n".join(samples))


if __name__ == "__main__":
    main()
