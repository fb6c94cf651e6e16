"""Golden vectors of BLEU, chrF and ROUGE over odd Bengali pairs, and the Unicode classes behind them.

BLEU and chrF come from sacreBLEU itself; ROUGE from the independent implementation below, written
from the definition (tokens [\\p{L}\\p{M}\\p{N}]+ after NFC, Cf removal and lower case; F1; macro mean).

    python tests/golden/metrics/make.py      # needs sacrebleu 2.6 and regex; writes beside itself
"""
import json
import platform
import random
import unicodedata
from collections import Counter
from pathlib import Path

import regex
import sacrebleu
from sacrebleu.metrics import BLEU, CHRF

HERE = Path(__file__).parent
SEED = 20261122

WORDS = """আপনি আমি মন ভালো খারাপ কষ্ট শুনে লাগছে চাকরি চলে গেছে পরীক্ষা মা বাবা বাড়ি বড় গাঢ় সময় হৃদয়
পারছি না নেই বুঝতে বন্ধু একা রাত ঘুম আসে কথা বলতে চাইলে সাহায্য পাশে আছি ক্ষমা জ্ঞান উৎসব দুঃখ চাঁদ ঋণ
বিশ্ববিদ্যালয় র‍্যাব র‍্যাম উদ্‌যাপন আত্মবিশ্বাস স্ত্রী ঐক্য ঔষধ ওষুধ অ্যাপ ব্যাংক শ্রাবণ""".split()
DIGITS = ["১২", "১,২০০", "৩.৫", "2024", "10,000", "৯:৩০", "৫০%", "৳৫০০", "১ম", "২০২৪-২৫", "3.14", "৭৷৮"]
MARKS = ["।", "।।", "॥", "?", "!", "?!", "...", "…", ",", ";", ":", "—", "–", "-", "“", "”", "\"", "'", "(", ")",
         "[", "]", "/", "\\", "৳", "#", "@", "&", "&amp;", "&quot;", "<skipped>", "*", "+", "=", "~", "^", "|", "{", "}"]
EMOJI = ["😀", "😢😢", "❤️", "👨‍👩‍👧", "🇧🇩", "🙏🏽", "☹", "✓", "𝟙𝟚"]
LATIN = ["OK", "Bangla", "job-interview", "e-mail", "U.S.A.", "naïve", "ＡＢＣ", "你好", "привет", "हिन्दी", "ঢাকা-Dhaka"]
SPACES = [" ", "  ", "\t", "\u00a0", "\u2009", "\u3000", "\u200b", "\ufeff", "\x1c", "\x85", " \n", "-\n", "\u2028"]


def phrase(rng, n):
    parts = []
    for _ in range(n):
        draw = rng.random()
        pool = WORDS if draw < .72 else DIGITS if draw < .8 else EMOJI if draw < .86 else LATIN
        parts.append(rng.choice(pool))
        if rng.random() < .25:
            glue = rng.choice(["", " "])
            parts[-1] += glue + rng.choice(MARKS)
    out = parts[0] if parts else ""
    for part in parts[1:]:
        out += (" " if rng.random() < .9 else rng.choice(SPACES)) + part
    return out + rng.choice(["।", "", "?", "!", " ।", ".", "।।", "  "])


def disturb(rng, text):
    """A hypothesis near the reference: words dropped, swapped, doubled, replaced."""
    words = text.split(" ")
    out = []
    for word in words:
        draw = rng.random()
        if draw < .12:
            continue
        out.append(rng.choice(WORDS) if draw < .22 else word)
        if draw > .95:
            out.append(word)
    if len(out) > 2 and rng.random() < .3:
        i = rng.randrange(len(out) - 1)
        out[i], out[i + 1] = out[i + 1], out[i]
    return " ".join(out)


def precompose(text):
    return (text.replace("\u09a1\u09bc", "\u09dc").replace("\u09a2\u09bc", "\u09dd")
            .replace("\u09af\u09bc", "\u09df"))


def pairs():
    rng = random.Random(SEED)
    base = "আপনার চাকরি চলে যাওয়ার কথা শুনে সত্যিই খারাপ লাগছে।"
    out = [
        (base, base), ("", base), (" ", base), ("।", "।"), ("মন", "মন"), ("মন", "মনে"), ("মন ভালো", "মন ভালো"),
        (base, "মন"), ("মন", base), ("।।।???!!!", base), ("!!! ??? ...", "!!! ??? ..."), ("\u200d", "মন"),
        (precompose(base), unicodedata.normalize("NFD", base)),
        (unicodedata.normalize("NFC", base), unicodedata.normalize("NFD", base)),
        ("র‍্যাব এসেছে", "র্যাব এসেছে"), ("উদ্‌যাপন করি আজ", "উদ্যাপন করি আজ"),
        ("১২৩ টাকা, ৪.৫ কেজি।", "123 টাকা, 4.5 কেজি."), ("👨‍👩‍👧 পরিবার", "👨‍👩‍👧 পরিবার"),
        ("কথা কথা কথা কথা কথা কথা", "কথা বলুন কথা শুনুন"), ("a.b.c, 1,2 1.5 3- -4", "a.b.c, 1,2 1.5 3- -4"),
        ("&quot;মন&quot; &lt;ভালো&gt; &amp; খারাপ", "\"মন\" <ভালো> & খারাপ"), ("মন\nভালো-\nনেই", "মন ভালোনেই"),
        ("(মন) [ভালো] {নেই}", "(মন) [ভালো] {নেই} /আজ/"), ("𝟙𝟚 😀.", "𝟙𝟚 😀."), ("😀.", "(😀"), ("ОК। OK", "OK। ОК"),
    ]
    while len(out) < 340:
        reference = phrase(rng, rng.choice([1, 2, 3, 4, 5, 8, 12, 20, 35]))
        kind = rng.random()
        if kind < .6:
            hypothesis = disturb(rng, reference)
        elif kind < .7:
            hypothesis = phrase(rng, rng.choice([0, 1, 3, 6, 15, 30]))
        elif kind < .78:
            hypothesis = precompose(reference)
        elif kind < .86:
            hypothesis = unicodedata.normalize(rng.choice(["NFC", "NFD", "NFKC"]), disturb(rng, reference))
        elif kind < .92:
            hypothesis = reference
        elif kind < .96:
            hypothesis = reference.replace("\u200d", "").replace("\u200c", "")
        else:
            hypothesis = disturb(rng, reference) * 2
        out.append((hypothesis, reference))
    for length in (150, 300, 600):  # long texts, one without a word in common
        reference = phrase(rng, length)
        out += [(disturb(rng, reference), reference), (reference, reference), ("ঋ " * length, reference), ("", reference)]
    return out


def tokens(text):
    text = regex.sub(r"\p{Cf}", "", unicodedata.normalize("NFC", text)).lower()
    return regex.findall(r"[\p{L}\p{M}\p{N}]+", text)


def f_measure(matches, hyp, ref):
    if matches == 0:
        return 0.0
    precision, recall = matches / hyp, matches / ref
    return 2 * precision * recall / (precision + recall)


def rouge(hypothesis, reference):
    hyp, ref = tokens(hypothesis), tokens(reference)
    if hyp and hyp == ref:
        return {"rouge1": 1.0, "rouge2": 1.0, "rougeL": 1.0}
    scores = {}
    for n in (1, 2):
        a = Counter(tuple(hyp[i:i + n]) for i in range(len(hyp) - n + 1))
        b = Counter(tuple(ref[i:i + n]) for i in range(len(ref) - n + 1))
        scores[f"rouge{n}"] = f_measure((a & b).total(), a.total(), b.total())
    table = [[0] * (len(ref) + 1) for _ in range(len(hyp) + 1)]
    for i, x in enumerate(hyp):
        for j, y in enumerate(ref):
            table[i + 1][j + 1] = table[i][j] + 1 if x == y else max(table[i][j + 1], table[i + 1][j])
    scores["rougeL"] = f_measure(table[-1][-1], len(hyp), len(ref))
    return scores


def metrics():
    made = {f"bleu_{tok}": BLEU(tokenize=tok) for tok in ("13a", "intl", "char", "none")}
    made["bleu1_intl"] = BLEU(tokenize="intl", max_ngram_order=1)
    made["bleu_intl_effective"] = BLEU(tokenize="intl", effective_order=True)
    made["chrf"] = CHRF()
    made["chrf++"] = CHRF(word_order=2)
    return made


def main():
    made = metrics()
    items = pairs()
    corpora = []
    for start, end in [(0, len(items)), (0, 50), (26, 126), (1, 2), (100, 103), (200, 340), (7, 8)]:
        hyps = [h for h, _ in items[start:end]]
        refs = [r for _, r in items[start:end]]
        corpora.append({"start": start, "end": end} |
                       {name: metric.corpus_score(hyps, [refs]).score for name, metric in made.items()})
    single = [{name: metric.corpus_score([h], [[r]]).score for name, metric in made.items()} | rouge(h, r)
              for h, r in items]
    result = {
        "versions": {"sacrebleu": sacrebleu.__version__, "regex": regex.__version__,
                     "python": platform.python_version(), "unicodedata": unicodedata.unidata_version},
        "seed": SEED,
        "signatures": {name: str(metric.get_signature()) for name, metric in made.items()},
        "pairs": [{"hypothesis": h, "reference": r, **s} for (h, r), s in zip(items, single)],
        "corpora": corpora,
    }
    (HERE / "metrics.json").write_text(json.dumps(result, ensure_ascii=False, separators=(",", ":")) + "\n")
    classes = {}
    for name in "PSN":
        pattern = regex.compile(r"\p{%s}" % name)
        points = [c for c in range(0x110000) if not 0xd800 <= c < 0xe000 and pattern.match(chr(c))]
        ranges = []
        for c in points:
            if ranges and ranges[-1][1] == c - 1:
                ranges[-1][1] = c
            else:
                ranges.append([c, c])
        classes[name] = ranges
    spaces = [c for c in range(0x110000) if chr(c).isspace()]
    text = json.dumps({"versions": result["versions"], "classes": classes, "spaces": spaces})
    (HERE / "unicode_classes.json").write_text(text + "\n")


main()
