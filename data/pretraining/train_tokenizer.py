"""The tokenizer of the tiny Llama: byte-level BPE in the layout of Llama 3.1.

    python3 data/pretraining/train_tokenizer.py --out data/tiny-llama

4,096 entries: 3,840 of BPE (256 bytes and 3,584 merges), then the 256 special tokens of Llama 3.1
under their own names and in their own order. The pre-tokeniser is Llama 3's expression with one
change: combining marks (\\p{M}) count as parts of a word. The original lets `\\p{L}+` stop before
every Bengali vowel sign and so cuts words into pieces of one or two letters; see README.md.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from generate import HEADER, HERE, Corpus, documents

VOCABULARY = 4096
PATTERN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{M}\p{N}]?[\p{L}\p{M}]+|\p{N}{1,3}|"
           r" ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
SAMPLE_DOCUMENTS, SAMPLE_SEED, HEADER_LINES = 60_000, 7, 3_000
ROLES = ("system", "user", "assistant", "ipython")


def special_tokens() -> list[str]:
    """The 256 special tokens of Llama 3.1, in the order of their ids."""
    named = {0: "begin_of_text", 1: "end_of_text", 4: "finetune_right_pad_id", 6: "start_header_id",
             7: "end_header_id", 8: "eom_id", 9: "eot_id", 10: "python_tag"}
    names, reserved = [], 0
    for i in range(256):
        if i in named:
            names.append(f"<|{named[i]}|>")
        else:
            names.append(f"<|reserved_special_token_{reserved}|>")
            reserved += 1
    return names


def training_text(corpus: Corpus) -> Iterator[str]:
    """Documents without their special tokens, and the header of the chat template."""
    specials = special_tokens()[:11]
    for text in documents(corpus, SAMPLE_SEED, SAMPLE_DOCUMENTS):
        for token in specials:
            text = text.replace(token, "\n")
        yield text
    for _ in range(HEADER_LINES):
        yield HEADER + " ".join(ROLES)


def build(corpus: Corpus) -> Tokenizer:
    """The trained tokenizer with its special tokens and its one-BOS post-processor."""
    tokenizer = Tokenizer(models.BPE(ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(PATTERN), behavior="isolated", invert=False),
        pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True, use_regex=False),
    ])
    tokenizer.decoder = decoders.ByteLevel(add_prefix_space=True, trim_offsets=True, use_regex=True)
    names = special_tokens()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(names), min_frequency=2, show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()))
    tokenizer.train_from_iterator(training_text(corpus), trainer)
    found = tokenizer.get_vocab_size()
    if found != VOCABULARY - len(names):
        raise SystemExit(f"expected {VOCABULARY - len(names)} BPE entries, found {found}: add text")
    tokenizer.add_special_tokens([AddedToken(n, special=True, normalized=False) for n in names])
    bos = names[0]
    template = processors.TemplateProcessing(
        single=[bos, "$A"], pair=[bos, "$A", f"{bos}:1", "$B:1"],
        special_tokens=[(bos, tokenizer.token_to_id(bos))])
    tokenizer.post_processor = processors.Sequence(
        [processors.ByteLevel(add_prefix_space=True, trim_offsets=False, use_regex=True), template])
    return tokenizer


def save(tokenizer: Tokenizer, folder: Path) -> None:
    """Every file of the folder that depends on the tokenizer alone."""
    folder.mkdir(parents=True, exist_ok=True)
    bos, eos, pad = "<|begin_of_text|>", "<|eot_id|>", "<|finetune_right_pad_id|>"
    write(folder / "tokenizer.json", json.dumps(
        json.loads(tokenizer.to_str()), ensure_ascii=False, separators=(",", ":")) + "\n")
    template = (HERE / "chat_template.jinja").read_text("utf-8")
    write(folder / "chat_template.jinja", template)
    decoder = {str(tokenizer.token_to_id(n)): {
        "content": n, "lstrip": False, "normalized": False, "rstrip": False, "single_word": False,
        "special": True} for n in special_tokens()}
    write_json(folder / "tokenizer_config.json", {
        "added_tokens_decoder": decoder, "bos_token": bos, "chat_template": template,
        "clean_up_tokenization_spaces": False, "eos_token": eos, "model_input_names":
        ["input_ids", "attention_mask"], "model_max_length": 2048, "pad_token": pad,
        "tokenizer_class": "PreTrainedTokenizerFast"})
    write_json(folder / "special_tokens_map.json",
               {"bos_token": bos, "eos_token": eos, "pad_token": pad})


def write(path: Path, text: str) -> None:
    """Writes beside the file, then renames."""
    part = path.with_name(path.name + ".part")
    part.write_text(text, "utf-8")
    os.replace(part, path)


def write_json(path: Path, value) -> None:
    write(path, json.dumps(value, ensure_ascii=False, indent=2) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the tokenizer of the tiny Llama.")
    parser.add_argument("--out", type=Path, default=HERE.parent / "tiny-llama")
    options = parser.parse_args()
    tokenizer = build(Corpus())
    save(tokenizer, options.out)
    for name, heldout in (("fresh documents", False), ("held-out domains", True)):
        text = " ".join(t.replace(HEADER, "") for t in documents(Corpus(heldout=heldout), 99, 500))
        count = len(tokenizer.encode(text, add_special_tokens=False).ids)
        print(f"{name}: {len(text) / count:.2f} characters a token")
    print("header:", len(tokenizer.encode(HEADER, add_special_tokens=False).ids), "tokens")


if __name__ == "__main__":
    main()
