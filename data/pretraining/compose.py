"""Templates and documents: how the hand-written content becomes running text.

Template syntax
    [a|b|c]     one of the alternatives (nesting allowed; [|x] is optional)
    {slot}      the value bound to `slot` in this document (drawn at its first use)
    {slot.loc}  a case of it (gen, loc, obj, def) or a field of a record
    {slot!}     a fresh draw, distinct from the document's other draws of the slot where possible
"""

from __future__ import annotations

import json
import random
from pathlib import Path

from bengali import CASES, nfc

Node = str | tuple


def parse(text: str) -> list[Node]:
    """The syntax tree of one template; raises ValueError naming the template."""
    nodes, position = _sequence(text, 0, inside=False)
    if position != len(text):
        raise ValueError(f"template ends early at character {position}: {text!r}")
    return nodes


def _sequence(text: str, i: int, inside: bool) -> tuple[list[Node], int]:
    nodes: list[Node] = []
    plain: list[str] = []

    def flush() -> None:
        if plain:
            nodes.append("".join(plain))
            plain.clear()

    while i < len(text):
        char = text[i]
        if inside and char in "|]":
            break
        if char == "[":
            flush()
            options = []
            i += 1
            while True:
                option, i = _sequence(text, i, inside=True)
                options.append(option)
                if i >= len(text):
                    raise ValueError(f"unclosed [ in template {text!r}")
                i += 1
                if text[i - 1] == "]":
                    break
            nodes.append(("any", options))
        elif char == "{":
            flush()
            end = text.index("}", i)
            name, _, field = text[i + 1:end].partition(".")
            fresh = (field or name).endswith("!")
            name, field = name.rstrip("!"), field.rstrip("!")
            nodes.append(("slot", name, field, fresh))
            i = end + 1
        elif char in "]}":
            raise ValueError(f"unexpected {char} at character {i} of template {text!r}")
        else:
            plain.append(char)
            i += 1
    flush()
    return nodes, i


class Context:
    """The bindings of one document."""

    def __init__(self, rng: random.Random, slots: dict[str, list]):
        self.rng = rng
        self.slots = slots
        self.bound: dict[str, object] = {}
        self.used: dict[str, list] = {}

    def value(self, name: str, field: str, fresh: bool) -> str:
        if fresh or name not in self.bound:
            choices = self.slots[name]
            used = self.used.setdefault(name, [])
            item = self.rng.choice(choices)
            for _ in range(4):
                if item not in used:
                    break
                item = self.rng.choice(choices)
            used.append(item)
            if not fresh:
                self.bound[name] = item
        else:
            item = self.bound[name]
        if isinstance(item, dict):
            if field in item:
                return item[field]
            return CASES[field](item["w"]) if field else item["w"]
        return CASES[field](item) if field else item

    def fill(self, nodes: list[Node]) -> str:
        out = []
        for node in nodes:
            if isinstance(node, str):
                out.append(node)
            elif node[0] == "any":
                out.append(self.fill(self.rng.choice(node[1])))
            else:
                out.append(self.value(node[1], node[2], node[3]))
        return "".join(out)


class Domain:
    """One domain file: slots, documents and question-answer groups, all parsed."""

    def __init__(self, raw: dict, common: dict[str, list], where: str):
        self.name = raw["domain"]
        self.topics = [nfc(t) for t in raw["topics"]]
        self.slots = {**common, **raw.get("slots", {})}
        self.where = where
        self.documents = [self._document(d) for d in raw.get("documents", [])]
        self.about = {t: self._about(t, raw.get("documents", [])) for t in self.topics}
        self.questions = [
            {k: [self._parse(t) for t in q.get(k, [])] for k in ("ask", "answer", "more")}
            for q in raw.get("questions", [])
        ]
        self.sentences = sum(
            len(d["open"]) + len(d["body"]) + len(d["close"]) for d in self.documents
        ) + sum(len(q["ask"]) + len(q["answer"]) + len(q["more"]) for q in self.questions)

    def _parse(self, text: str) -> list[Node]:
        try:
            nodes = parse(nfc(text))
        except ValueError as error:
            raise ValueError(f"{self.where}: {error}") from error
        self._check(nodes, text)
        return nodes

    def _check(self, nodes: list[Node], text: str) -> None:
        for node in nodes:
            if isinstance(node, str):
                continue
            if node[0] == "any":
                for option in node[1]:
                    self._check(option, text)
                continue
            _, name, field, _ = node
            if name not in self.slots:
                raise ValueError(f"{self.where}: unknown slot {{{name}}} in {text!r}")
            for item in self.slots[name]:
                if field and field not in CASES and not (isinstance(item, dict) and field in item):
                    raise ValueError(f"{self.where}: slot {name} has no field {field} in {item!r}")

    def _document(self, raw: dict) -> dict:
        parsed = {k: [self._parse(t) for t in raw.get(k, [])] for k in ("open", "body", "close")}
        return {**parsed, "length": raw.get("length", [3, 7]), "shuffle": raw.get("shuffle", False)}

    def _about(self, topic: str, raw: list[dict]) -> list[dict]:
        """The documents that speak of a topic: those with most of its words (by their first four
        letters, so that endings do not matter); all of them where none has any."""
        stems = [word[:4].rstrip("-,") for word in topic.split()]
        scores = []
        for one in raw:
            text = nfc(" ".join(one.get("open", []) + one["body"] + one.get("close", [])))
            scores.append(sum(min(3, text.count(stem)) for stem in stems))
        best = max(scores, default=0)
        return [d for d, score in zip(self.documents, scores) if score == best]

    def document(self, rng: random.Random, topic: str | None = None) -> str:
        """One document: an opening, some body sentences (in their written order), a close; one that
        speaks of the topic where a topic is given."""
        plans = self.documents if topic is None else self.about[topic]
        plan = rng.choices(plans, [len(d["body"]) + 4 for d in plans])[0]
        context = Context(rng, self.slots)
        chosen = list(range(len(plan["body"])))
        count = min(len(chosen), rng.randint(*plan["length"]))
        chosen = rng.sample(chosen, count)
        if not plan["shuffle"]:
            chosen.sort()
        lines = [rng.choice(plan["open"])] if plan["open"] else []
        lines += [plan["body"][i] for i in chosen]
        if plan["close"] and rng.random() < 0.7:
            lines.append(rng.choice(plan["close"]))
        return " ".join(context.fill(line) for line in lines).replace(" \n", "\n")

    def question(self, rng: random.Random) -> tuple[str, str]:
        """One question and its answer of one to four sentences."""
        group = rng.choice(self.questions)
        context = Context(rng, self.slots)
        ask = context.fill(rng.choice(group["ask"]))
        answer = [context.fill(rng.choice(group["answer"]))]
        count = rng.randint(0, min(3, len(group["more"])))
        for i in sorted(rng.sample(range(len(group["more"])), count)):
            answer.append(context.fill(group["more"][i]))
        return ask, " ".join(answer)


def _nfc_tree(value):
    if isinstance(value, str):
        return nfc(value)
    if isinstance(value, list):
        return [_nfc_tree(v) for v in value]
    if isinstance(value, dict):
        return {nfc(k): _nfc_tree(v) for k, v in value.items()}
    return value


def load_json(path: Path):
    """A JSON file with every string in NFC; errors name the file."""
    try:
        return _nfc_tree(json.loads(path.read_text("utf-8")))
    except (OSError, json.JSONDecodeError) as error:
        raise ValueError(f"cannot read {path}: {error}; expected a UTF-8 JSON file") from error


def load_domains(folder: Path) -> list[Domain]:
    """Every domain of the folder, in file-name order; `_common.json` gives the shared slots."""
    common = load_json(folder / "_common.json")["slots"]
    domains = []
    for path in sorted(folder.glob("[!_]*.json")):
        raw = load_json(path)
        for one in raw if isinstance(raw, list) else [raw]:
            domains.append(Domain(one, common, f"{path.name}:{one['domain']}"))
    if not domains:
        raise ValueError(f"no domain file in {folder}: expected domains/*.json beside _common.json")
    return domains
