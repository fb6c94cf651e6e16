"""Narratives, statements, questions and requests from scenes: ordered everyday acts, inflected for
person and tense. This is where the corpus gets its breadth of syntax: every act occurs in every
person, in eight tenses, negated, asked, wished, requested, and joined by the conjunctive participle,
the infinitive, the conditional and the verbal noun.
"""

from __future__ import annotations

import random

from bengali import conjugate, genitive
from compose import Context, parse

# tense → openings that fit it
TIMES = {
    "pres": ["প্রতিদিন", "রোজ", "সাধারণত", "প্রতি {weekday}", "ছুটির দিনে", "মাঝে মাঝে", "প্রায়ই", "{season.loc}",
             "{month} মাসে", "সময় পেলেই"],
    "past": ["গতকাল", "গত {weekday}", "সেদিন", "পরশু", "আজ সকালে", "গত সপ্তাহে", "কাল বিকেলে", "দুপুরের পর"],
    "pastperf": ["গত বছর", "গত মাসে", "একবার", "কয়েক দিন আগে", "সেবার {season.loc}", "গত {month} মাসে",
                 "{few} বছর আগে"],
    "fut": ["আগামীকাল", "কাল সকালে", "আগামী {weekday}", "সামনের সপ্তাহে", "আগামী মাসে", "বিকেলে", "এ বছর {season.loc}",
            "{few} দিন পর"],
    "prog": ["এখন", "এই মুহূর্তে", "আজ সকাল থেকে", "কয়েক দিন ধরে"],
    "pastprog": ["তখন", "সেই সময়", "কাল এই সময়", "বৃষ্টির সময়", "সন্ধ্যায়"],
    "hab": ["ছোটবেলায়", "আগে", "তখন", "সেই সময়", "গ্রামে থাকতে", "আগেকার দিনে", "স্কুলে পড়ার সময়"],
    "perf": ["আজ", "ইতিমধ্যে", "এইমাত্র", "এ বছর", "কিছুক্ষণ আগে", "এবার"],
}
NEXT = ["তারপর", "এরপর", "পরে", "কিছুক্ষণ পর", "একটু পরে", "সবশেষে", "এর মধ্যে", "তার পরপরই"]
REASONS = {
    "past": ["দেরি হয়ে যাওয়ায়", "সময় কম থাকায়", "বৃষ্টি নামায়", "শরীর ক্লান্ত থাকায়", "হাতে সময় থাকায়", "মা বলেছিলেন বলে"],
    "fut": ["হাতে সময় থাকলে", "আবহাওয়া ভালো থাকলে", "সবাই রাজি হলে", "কাজ তাড়াতাড়ি শেষ হলে", "ছুটি পেলে", "টাকা জমলে"],
    "pres": ["সময় থাকলে", "আবহাওয়া ভালো থাকলে", "মেহমান এলে", "কাজ কম থাকলে", "বৃষ্টি হলে", "ছুটি পেলে"],
}
NEGATIVE = {"pres": ("pres", " না"), "past": ("past", " না"), "fut": ("fut", " না"), "prog": ("prog", " না"),
            "hab": ("hab", " না"), "perf": ("negperf", ""), "pastperf": ("negperf", ""), "pastprog": ("pastprog", " না")}


class Subject:
    """Who acts: the name at first mention, the pronoun after it, and the person of the verb."""

    def __init__(self, rng: random.Random, context: Context, person: str | None = None):
        self.person = person or rng.choices("123h", [30, 7, 38, 25])[0]
        pick = rng.choice
        if self.person == "1":
            self.name, self.own = pick([("আমি", "আমার")] * 3 + [("আমরা", "আমাদের")])
            self.pronoun = self.name
            self.obj = "আমাকে" if self.name == "আমি" else "আমাদের"
        elif self.person == "2":
            self.name, self.own, self.obj = "তুমি", "তোমার", "তোমাকে"
            self.pronoun = "তুমি"
        elif self.person == "3":
            name = pick([context.value("boy", "", True), context.value("girl", "", True),
                         "আমার " + context.value("young", "", True), "ছেলেটি", "মেয়েটি", "ওরা",
                         context.value("boy", "", True) + " আর " + context.value("girl", "", True)])
            many = name == "ওরা" or " আর " in name
            self.name = name
            self.pronoun, self.own, self.obj = ("ওরা", "ওদের", "ওদের") if many else ("সে", "তার", "তাকে")
        else:
            name = pick([context.value("man", "", True), context.value("woman", "", True),
                         "আমার " + context.value("elder", "", True), context.value("elder", "", True),
                         "আপনি", "আপনি", "শিক্ষক", "প্রতিবেশী ভদ্রলোক"])
            self.name = name
            self.pronoun, self.own, self.obj = (
                ("আপনি", "আপনার", "আপনাকে") if name == "আপনি" else ("তিনি", "তাঁর", "তাঁকে"))


class Scenes:
    """All scenes, parsed: `acts` are (template of the words before the verb, verb key)."""

    def __init__(self, raw: dict, slots: dict[str, list]):
        self.slots = slots
        self.comments = raw["comments"]
        self.scenes = []
        for scene in raw["scenes"]:
            acts = []
            for act in scene["acts"]:
                before, _, verb = act.rpartition("+")
                conjugate(verb, "pres", "3")
                acts.append((parse(before), verb))
            self.scenes.append(acts)
        self.times = {k: [parse(t) for t in v] for k, v in TIMES.items()}

    def _act(self, context: Context, act: tuple, form: str, person: str = "3") -> str:
        """The act inflected; its alternatives are drawn once a document, so that an answer repeats
        the question's own words."""
        words = context.bound.get(id(act))
        if words is None:
            words = context.bound[id(act)] = context.fill(act[0])
        return words + conjugate(act[1], form, person)

    def _time(self, context: Context, tense: str) -> str:
        return context.fill(context.rng.choice(self.times[tense]))

    def narrative(self, rng: random.Random) -> str:
        """Three to nine sentences in which one subject goes through one scene in one tense."""
        context = Context(rng, self.slots)
        who = Subject(rng, context)
        tense = rng.choices(list(TIMES), [20, 24, 10, 14, 8, 4, 12, 8])[0]
        acts = list(rng.choice(self.scenes))
        keep = sorted(rng.sample(range(len(acts)), rng.randint(4, len(acts))))
        queue = [acts[i] for i in keep]
        lines = []
        first = True
        while queue:
            lines.append(self._step(context, who, tense, queue, first))
            first = False
        if rng.random() < 0.5 and tense in self.comments:
            lines.insert(rng.randint(1, len(lines)), rng.choice(self.comments[tense]))
        if rng.random() < 0.25:
            lines.append(self._aside(context, who, rng.choice(acts)))
        return " ".join(lines)

    def _step(self, context: Context, who: Subject, tense: str, queue: list, first: bool) -> str:
        rng, p = context.rng, who.person
        name = who.name if first else rng.choice([who.pronoun, who.pronoun, ""])
        lead = self._time(context, tense) if first else (rng.choice(NEXT) if rng.random() < 0.35 else "")
        if not first and tense in REASONS and rng.random() < 0.1:
            lead = rng.choice(REASONS[tense])
        head = [lead, name] if rng.random() < 0.6 else [name, lead]
        a = queue.pop(0)
        kind = rng.random()
        if kind < 0.3 or not queue:
            body = self._act(context, a, tense, p)
        elif kind < 0.62:
            body = self._act(context, a, "conj") + " " + self._act(context, queue.pop(0), tense, p)
        elif kind < 0.72 and len(queue) > 1:
            body = (self._act(context, a, "conj") + ", " + self._act(context, queue.pop(0), "conj") + " "
                    + self._act(context, queue.pop(0), tense, p))
        elif kind < 0.8:
            body = self._act(context, a, tense, p) + " আর " + self._act(context, queue.pop(0), tense, p)
        elif kind < 0.88:
            head = [self._act(context, a, "noungen") + rng.choice([" পর", " পরে"]), name]
            body = self._act(context, queue.pop(0), tense, p)
        elif kind < 0.94:
            body = ("প্রথমে " if first else "") + self._act(context, a, tense, p) + ", তারপর " + self._act(
                context, queue.pop(0), tense, p)
        else:
            form, tail = NEGATIVE[tense]
            body = self._act(context, a, tense, p) + ", কিন্তু " + self._act(context, queue.pop(0), form, p) + tail
        return " ".join(x for x in [*head, body] if x) + "।"

    def _aside(self, context: Context, who: Subject, act: tuple) -> str:
        inf, noun = self._act(context, act, "inf"), self._act(context, act, "noun")
        own, p = who.own, who.person
        return context.rng.choice([
            f"{inf} {own} ভালো লাগে।", f"{noun} {own} অনেক দিনের অভ্যাস।", f"{inf} {who.obj} কেউ শেখায়নি।",
            f"{noun} মোটেই কঠিন নয়।", f"{who.pronoun} আরও একবার {inf} {conjugate('চা', 'pres', p)}।",
            f"{inf} বেশি সময় লাগে না।", f"{noun} {own} কাছে সহজ কাজ।",
            f"{who.pronoun} ভালো করেই {inf} {conjugate('পার', 'pres', p)}।",
        ])

    def conversation(self, rng: random.Random) -> tuple[str, str]:
        """A question and a natural answer about everyday acts (আপনি or তুমি asked, আমি answering;
        or a how-to question answered with আপনি)."""
        context = Context(rng, self.slots)
        acts = rng.choice(self.scenes)
        i = rng.randrange(len(acts) - 3)
        return rng.choice([self._asked, self._asked, self._how_to, self._about])(context, acts, i)

    def _asked(self, context: Context, acts: list, i: int) -> tuple[str, str]:
        rng = context.rng
        tense = rng.choice(["pres", "past", "fut", "perf", "pastperf", "hab"])
        person = rng.choice(["h", "h", "2"])
        you = "আপনি" if person == "h" else "তুমি"
        when = self._time(context, tense)
        asked = self._act(context, acts[i], tense, person)
        question = rng.choice([
            f"{you} কি {when} {asked}?", f"{when} {you} কি {asked}?", f"{when} {you} কী কী {conjugate('কর', tense, person)}?",
            f"{you} কখন {asked}?", f"{you} কার সঙ্গে {asked}?", f"আচ্ছা, {you} কি {asked}?",
        ])
        form, tail = NEGATIVE[tense]
        rest = self._step(context, Subject(rng, context, "1"), tense, [acts[i + 1], acts[i + 2]], False)
        mine = self._act(context, acts[i], tense, "1")
        if " কি " in question and rng.random() < 0.35:
            answer = f"না, আমি {self._act(context, acts[i], form, '1')}{tail}। {rng.choice(['তবে ', 'কিন্তু ', ''])}" \
                     f"{self._act(context, acts[i + 1], tense, '1')}।"
        elif " কি " in question:
            answer = f"হ্যাঁ, {rng.choice(['আমি ', ''])}{mine}। {rest}"
        elif "কখন" in question:
            answer = f"আমি {when} {mine}। {rest}"
        elif "কার সঙ্গে" in question:
            other = context.value(rng.choice(["boy", "girl", "woman", "man"]), "gen", True)
            answer = f"{other} সঙ্গে {mine}। {rest}"
        else:
            answer = f"{when} আমি {mine}। {rest}"
        return question, answer

    def _how_to(self, context: Context, acts: list, i: int) -> tuple[str, str]:
        rng = context.rng
        goal = self._act(context, acts[i + 2], "inf")
        goal_cond = self._act(context, acts[i + 2], "noun")
        question = rng.choice([
            f"{goal} চাইলে আগে কী করতে হয়?", f"{goal} হলে আমাকে কী করতে হবে?", f"আমি {goal} চাই, কীভাবে শুরু করব?",
            f"{goal_cond} কি কঠিন কাজ?", f"{goal} কি বেশি সময় লাগে?", f"আপনি কি আমাকে {goal} বলছেন?",
        ])
        one, two = self._act(context, acts[i], "imp", "h"), self._act(context, acts[i + 1], "imp", "h")
        three = self._act(context, acts[i + 2], "inf")
        inf1 = self._act(context, acts[i], "inf")
        conj1, conj2 = self._act(context, acts[i], "conj"), self._act(context, acts[i + 1], "conj")
        cond2 = self._act(context, acts[i + 1], "cond")
        answer = rng.choice([
            f"প্রথমে {one}, তারপর {two}। এরপর সহজেই {three} পারবেন।",
            f"আপনাকে আগে {inf1} হবে। {cond2} কাজটা সহজ হয়ে যাবে।",
            f"চাইলে আপনি {conj1} শুরু করতে পারেন। {conj2} ধীরে ধীরে {three} পারবেন।",
            f"খুব কঠিন নয়। {conj1} {two}, তারপর সময় নিয়ে {three} পারেন।",
            f"আপনি ইচ্ছা করলে আজই {inf1} পারেন। {two}, তাড়াহুড়োর দরকার নেই।",
        ])
        return question, answer

    def _about(self, context: Context, acts: list, i: int) -> tuple[str, str]:
        rng = context.rng
        who = Subject(rng, context, rng.choice(["3", "h"]))
        while who.name == "আপনি":
            who = Subject(rng, context, "h")
        tense = rng.choice(["past", "prog", "fut", "pres"])
        p = who.person
        question = rng.choice([
            f"{who.name} {self._time(context, tense)} কী {conjugate('কর', tense, p)}?",
            f"{who.name} কেন {self._act(context, acts[i], *_neg(tense, p))}{NEGATIVE[tense][1]}?",
            f"{who.name} কি {self._act(context, acts[i], tense, p)}?",
        ])
        queue = [acts[i], acts[i + 1], acts[i + 2]]
        if "কেন" in question:
            reason = rng.choice(["সময় কম", "রাস্তায় অনেক ভিড়", "বাইরে খুব বৃষ্টি", "হাতে অন্য কাজ আছে", "দরকারি জিনিস পাওয়া যায়নি"])
            queue = queue[1:]
            lead = f"{reason}, তাই। "
        else:
            lead = ""
        lines = []
        while queue:
            lines.append(self._step(context, who, tense, queue, False))
        return question, lead + " ".join(lines)

    def instruction(self, rng: random.Random) -> str:
        """A polite list of steps with আপনি, or general advice with verbal nouns and conditionals."""
        context = Context(rng, self.slots)
        acts = rng.choice(self.scenes)
        i = rng.randrange(len(acts) - 4)
        f = lambda k, form, p="h": self._act(context, acts[i + k], form, p)
        polite = rng.choice(["দয়া করে ", "অনুগ্রহ করে ", "আপনি ", "", "একটু "])
        return rng.choice([
            f"{polite}{f(0, 'imp')}। তারপর {f(1, 'imp')}। {f(2, 'noungen')} পর {f(3, 'imp')}।",
            f"আপনি চাইলে {f(0, 'inf')} পারেন। তবে {f(1, 'inf')} ভুলবেন না। {f(2, 'cond')} আরও ভালো হয়।",
            f"{f(0, 'conj')} {f(1, 'imp')}, নইলে {f(2, 'inf')} দেরি হবে। সময় থাকলে {f(3, 'imp')}।",
            f"{f(0, 'inf')} {conjugate(acts[i][1], 'inf')} অনেক কিছু শেখা যায়। {f(1, 'noun')} যেমন দরকার, {f(2, 'noun')}ও তেমনই দরকার।",
            f"যদি {f(0, 'pres')}, তাহলে {f(1, 'inf')} সুবিধা হবে। আর যদি {f(2, 'pres')}, তাহলে {f(3, 'inf')} সহজ হবে।",
            f"যিনি {f(0, 'pres')}, তিনিই পরে {f(1, 'pres')}। কেউ কেউ আবার আগে {f(2, 'pres')}।",
            f"যখন আপনি {f(0, 'fut')}, তখন আমি {f(1, 'fut', '1')}। {f(2, 'noungen')} আগে আমাকে জানাবেন।",
        ])


def _neg(tense: str, person: str) -> tuple[str, str]:
    return NEGATIVE[tense][0], person
