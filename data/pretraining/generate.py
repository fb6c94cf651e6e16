"""The general-Bengali corpus: seeded documents, plain and in the chat template.

    python3 data/pretraining/generate.py --documents 20 --seed 1

prints documents; `pretrain.py` and `train_tokenizer.py` import the functions.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterator
from pathlib import Path

from bengali import nfc
from compose import Domain, load_domains, load_json
from scenes import Scenes

HERE = Path(__file__).resolve().parent
BOS, EOT, END = "<|begin_of_text|>", "<|eot_id|>", "<|end_of_text|>"
HEADER = "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n"

# How often each kind of document is drawn.
KINDS = {"domain": 34, "narrative": 20, "facts": 7, "dialogue": 8, "instruction": 4, "words": 2, "chat": 26}


class Corpus:
    """Every source of text; `document(rng)` draws one document with its special tokens."""

    def __init__(self, folder: Path = HERE, heldout: bool = False):
        every = load_domains(folder / "domains")
        names = set(load_json(folder / "domains" / "_common.json").get("heldout", []))
        self.domains = [d for d in every if (d.name in names) == heldout]
        self.scenes = Scenes(load_json(folder / "scenes.json"), every[0].slots)
        chat = load_json(folder / "chat.json")
        self.systems, self.requests = chat["systems"], chat["requests"]
        self.titles = chat["titles"]
        self.words = load_words(folder)
        self.heldout = heldout
        self._with_questions = [d for d in self.domains if d.questions]
        self._with_documents = [d for d in self.domains if d.documents]
        self._weights = [d.sentences for d in self._with_documents]

    def domain(self, rng: random.Random) -> Domain:
        return rng.choices(self._with_documents, self._weights)[0]

    def document(self, rng: random.Random) -> str:
        kind = rng.choices(list(KINDS), list(KINDS.values()))[0]
        if self.heldout and kind in ("narrative", "dialogue", "instruction", "words"):
            kind = "domain"
        if kind == "chat":
            return self.chat(rng)
        return BOS + getattr(self, "_" + kind)(rng) + END

    def _domain(self, rng: random.Random) -> str:
        domain = self.domain(rng)
        if rng.random() < 0.2:
            topic = rng.choice(domain.topics)
            return topic + "\n\n" + domain.document(rng, topic)
        text = domain.document(rng)
        if rng.random() < 0.15:
            text += "\n\n" + domain.document(rng)
        return text

    def _narrative(self, rng: random.Random) -> str:
        return "\n".join(self.scenes.narrative(rng) for _ in range(rng.choice((1, 1, 1, 2))))

    def _facts(self, rng: random.Random) -> str:
        domain = rng.choice(self._with_questions)
        return "\n".join(" ".join(domain.question(rng)) for _ in range(rng.randint(1, 3)))

    def _dialogue(self, rng: random.Random) -> str:
        pairs = [self.scenes.conversation(rng) for _ in range(rng.randint(1, 3))]
        return "\n".join(f"— {ask}\n— {answer}" for ask, answer in pairs)

    def _instruction(self, rng: random.Random) -> str:
        return " ".join(self.scenes.instruction(rng) for _ in range(rng.randint(1, 2)))

    def _words(self, rng: random.Random) -> str:
        """A dictation: ordinary words in no order, so that each is known at least by its letters."""
        return "শ্রুতিলিপির শব্দ: " + ", ".join(rng.sample(self.words, rng.randint(15, 40))) + "।"

    def _turn(self, rng: random.Random) -> tuple[str, str]:
        draw = rng.random()
        if draw < 0.4 or (self.heldout and draw < 0.7):
            return rng.choice(self._with_questions).question(rng)
        if draw < 0.7:
            return self.scenes.conversation(rng)
        domain = self.domain(rng)
        topic = rng.choice(domain.topics)
        return rng.choice(self.requests).replace("{topic}", topic), domain.document(rng, topic)

    def chat(self, rng: random.Random) -> str:
        """One conversation of one or two turns in the Llama-3.1 chat template."""
        system = rng.choice(self.systems) if rng.random() < 0.6 else ""
        text = BOS + _message("system", HEADER + system)
        for _ in range(1 if rng.random() < 0.8 else 2):
            ask, answer = self._turn(rng)
            if rng.random() < 0.12:
                ask = rng.choice(self.titles) + " " + ask
            text += _message("user", ask) + _message("assistant", answer)
        return text


def load_words(folder: Path = HERE) -> list[str]:
    """The distinct words of words.txt in NFC, in their order; lines that begin with # are remarks."""
    lines = (folder / "words.txt").read_text("utf-8").splitlines()
    return list(dict.fromkeys(nfc(w) for line in lines if not line.startswith("#") for w in line.split()))


def _message(role: str, content: str) -> str:
    return f"<|start_header_id|>{role}<|end_header_id|>\n\n{content}{EOT}"


def documents(corpus: Corpus, seed: int, count: int) -> Iterator[str]:
    """`count` documents; the same seed gives the same documents."""
    rng = random.Random(seed)
    for _ in range(count):
        yield corpus.document(rng)


def main() -> None:
    parser = argparse.ArgumentParser(description="Print documents of the general-Bengali corpus.")
    parser.add_argument("--documents", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--heldout", action="store_true", help="only the domains kept out of training")
    options = parser.parse_args()
    for text in documents(Corpus(heldout=options.heldout), options.seed, options.documents):
        print(text, end="\n\n")


if __name__ == "__main__":
    main()
