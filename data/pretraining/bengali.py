"""Bengali morphology for the general-text generator: case endings and verb conjugation.

Standard colloquial (cholito) Bengali. Only the forms that the generator needs are here; every form
follows from a word's ending or from a verb's class, and the irregular verbs are written out.
"""

from __future__ import annotations

import unicodedata

CONSONANT_END = set("কখগঘঙচছজঝঞটঠডঢণতথদধনপফবভমযরলশষসহ়য়ঁ")
VOWEL_SIGNS = set("ািীুূৃেৈোৌ")
INDEPENDENT = set("অআইঈউঊঋএঐওঔ")
SHORT_A_WORDS = {"মা", "চা", "পা", "গা", "ঘা", "ছা", "না", "হাওয়া"}


def nfc(text: str) -> str:
    """Text in NFC, the one spelling used everywhere in the project."""
    return unicodedata.normalize("NFC", text)


def genitive(word: str) -> str:
    """The -র / -এর form: নদী → নদীর, গ্রাম → গ্রামের, ভাই → ভাইয়ের."""
    last = word[-1]
    if word.endswith("ৎ"):
        return word[:-1] + "তের"
    if word.endswith("ং"):
        return word[:-1] + "ঙের"
    if word.split()[-1] in SHORT_A_WORDS:
        return word + nfc("য়ের")
    if last in VOWEL_SIGNS:
        return word + "র"
    if last in INDEPENDENT:
        return word + nfc("য়ের")
    return word + "ের"


def locative(word: str) -> str:
    """The -এ / -তে / -য় form: গ্রাম → গ্রামে, বাড়ি → বাড়িতে, ঢাকা → ঢাকায়."""
    last = word[-1]
    if word.endswith("ৎ"):
        return word[:-1] + "তে"
    if word.endswith("ং"):
        return word[:-1] + "ঙে"
    if last == "া":
        return word + nfc("য়")
    if last in VOWEL_SIGNS:
        return word + "তে"
    if last in INDEPENDENT:
        return word + nfc("য়ে")
    return word + "ে"


def objective(word: str) -> str:
    """The -কে form of a person."""
    return word + "কে"


def definite(word: str) -> str:
    """The -টি form of a thing."""
    return word + "টি"


CASES = {"gen": genitive, "loc": locative, "obj": objective, "def": definite}

# Regular verbs: key → (stem before low endings, stem before high endings, stem of the perfect).
_REGULAR = {
    "কর": ("কর", "কর", "কর"), "বল": ("বল", "বল", "বল"), "চল": ("চল", "চল", "চল"),
    "পড়": ("পড়", "পড়", "পড়"), "ধর": ("ধর", "ধর", "ধর"), "বস": ("বস", "বস", "বস"),
    "পর": ("পর", "পর", "পর"), "গড়": ("গড়", "গড়", "গড়"), "ভর": ("ভর", "ভর", "ভর"),
    "থাক": ("থাক", "থাক", "থেক"), "রাখ": ("রাখ", "রাখ", "রেখ"), "ডাক": ("ডাক", "ডাক", "ডেক"),
    "কাট": ("কাট", "কাট", "কেট"), "নাম": ("নাম", "নাম", "নেম"), "আঁক": ("আঁক", "আঁক", "এঁক"),
    "আন": ("আন", "আন", "এন"), "জান": ("জান", "জান", "জেন"), "হাঁট": ("হাঁট", "হাঁট", "হেঁট"),
    "হাস": ("হাস", "হাস", "হেস"), "ভাব": ("ভাব", "ভাব", "ভেব"), "রাঁধ": ("রাঁধ", "রাঁধ", "রেঁধ"),
    "বাঁধ": ("বাঁধ", "বাঁধ", "বেঁধ"), "মাখ": ("মাখ", "মাখ", "মেখ"), "ঢাল": ("ঢাল", "ঢাল", "ঢেল"),
    "ভাজ": ("ভাজ", "ভাজ", "ভেজ"), "মাপ": ("মাপ", "মাপ", "মেপ"), "বাছ": ("বাছ", "বাছ", "বেছ"),
    "ছাড়": ("ছাড়", "ছাড়", "ছেড়"), "পার": ("পার", "পার", "পের"), "সাঁতরা": ("সাঁতরা", "সাঁতরা", "সাঁতরে"),
    "নাড়": ("নাড়", "নাড়", "নেড়"), "লাগ": ("লাগ", "লাগ", "লেগ"), "জাগ": ("জাগ", "জাগ", "জেগ"), "নাচ": ("নাচ", "নাচ", "নেচ"),
    "দেখ": ("দেখ", "দেখ", "দেখ"), "খেল": ("খেল", "খেল", "খেল"), "ফেল": ("ফেল", "ফেল", "ফেল"),
    "শোন": ("শোন", "শুন", "শুন"), "বোঝ": ("বোঝ", "বুঝ", "বুঝ"), "খোঁজ": ("খোঁজ", "খুঁজ", "খুঁজ"),
    "তোল": ("তোল", "তুল", "তুল"), "ওঠ": ("ওঠ", "উঠ", "উঠ"), "খোল": ("খোল", "খুল", "খুল"),
    "ঘোর": ("ঘোর", "ঘুর", "ঘুর"), "বোন": ("বোন", "বুন", "বুন"), "গোন": ("গোন", "গুন", "গুন"),
    "লেখ": ("লেখ", "লিখ", "লিখ"), "শেখ": ("শেখ", "শিখ", "শিখ"), "কেন": ("কেন", "কিন", "কিন"),
    "ফের": ("ফের", "ফির", "ফির"), "চেন": ("চেন", "চিন", "চিন"), "মেশ": ("মেশ", "মিশ", "মিশ"),
    "জেত": ("জেত", "জিত", "জিত"), "কাঁদ": ("কাঁদ", "কাঁদ", "কেঁদ"), "বাঁচ": ("বাঁচ", "বাঁচ", "বেঁচ"),
    "হার": ("হার", "হার", "হের"), "ভোল": ("ভোল", "ভুল", "ভুল"), "কাঁপ": ("কাঁপ", "কাঁপ", "কেঁপ"),
    "লেপ": ("লেপ", "লেপ", "লেপ"), "পোঁত": ("পোঁত", "পুঁত", "পুঁত"),
}
# Verbs in -া / -ো: key → (base, stem of the perfect).
_CAUSATIVE = {
    "চালা": ("চালা", "চালি"), "দাঁড়া": ("দাঁড়া", "দাঁড়ি"), "ঘুমা": ("ঘুমা", "ঘুমি"),
    "শুকা": ("শুকা", "শুকি"), "পাঠা": ("পাঠা", "পাঠি"), "বানা": ("বানা", "বানি"),
    "সাজা": ("সাজা", "সাজি"), "জানা": ("জানা", "জানি"), "বোঝা": ("বোঝা", "বুঝি"),
    "শেখা": ("শেখা", "শিখি"), "দেখা": ("দেখা", "দেখি"), "লাগা": ("লাগা", "লাগি"),
    "তাকা": ("তাকা", "তাকি"), "বেড়া": ("বেড়া", "বেড়ি"), "বেরো": ("বেরো", "বেরি"),
    "মেলা": ("মেলা", "মিলি"), "শোনা": ("শোনা", "শুনি"), "কাটা": ("কাটা", "কাটি"),
    "এগো": ("এগো", "এগি"), "খাওয়া": ("খাওয়া", "খাই"), "নামা": ("নামা", "নামি"),
    "ছড়া": ("ছড়া", "ছড়ি"), "জ্বালা": ("জ্বালা", "জ্বালি"), "বাজা": ("বাজা", "বাজি"),
    "মেশা": ("মেশা", "মিশি"), "ভেজা": ("ভেজা", "ভিজি"),
    "পেরো": ("পেরো", "পেরি"), "সরা": ("সরা", "সরি"), "কমা": ("কমা", "কমি"), "বাড়া": ("বাড়া", "বাড়ি"), "সামলা": ("সামলা", "সামলি"),
    "বদলা": ("বদলা", "বদলি"), "হারা": ("হারা", "হারি"), "মানা": ("মানা", "মানি"), "ফোটা": ("ফোটা", "ফুটি"),
}
# Vowel stems: key → (pres1, pres2, pres3, presh, prog, perf, past, hab, fut, imp, inf, noun)
_VOWEL = {
    "খা": ("খাই", "খাও", "খায়", "খান", "খাচ্ছ", "খেয়ে", "খেল", "খেত", "খাব", "খান", "খেতে", "খাওয়া"),
    "পা": ("পাই", "পাও", "পায়", "পান", "পাচ্ছ", "পেয়ে", "পেল", "পেত", "পাব", "পান", "পেতে", "পাওয়া"),
    "যা": ("যাই", "যাও", "যায়", "যান", "যাচ্ছ", "গিয়ে", "গেল", "যেত", "যাব", "যান", "যেতে", "যাওয়া"),
    "চা": ("চাই", "চাও", "চায়", "চান", "চাইছ", "চেয়ে", "চাইল", "চাইত", "চাইব", "চান", "চাইতে", "চাওয়া"),
    "গা": ("গাই", "গাও", "গায়", "গান", "গাইছ", "গেয়ে", "গাইল", "গাইত", "গাইব", "গান", "গাইতে", "গাওয়া"),
    "দে": ("দিই", "দাও", "দেয়", "দেন", "দিচ্ছ", "দিয়ে", "দিল", "দিত", "দেব", "দিন", "দিতে", "দেওয়া"),
    "নে": ("নিই", "নাও", "নেয়", "নেন", "নিচ্ছ", "নিয়ে", "নিল", "নিত", "নেব", "নিন", "নিতে", "নেওয়া"),
    "হ": ("হই", "হও", "হয়", "হন", "হচ্ছ", "হয়ে", "হল", "হত", "হব", "হোন", "হতে", "হওয়া"),
    "ধো": ("ধুই", "ধোও", "ধোয়", "ধোন", "ধুচ্ছ", "ধুয়ে", "ধুল", "ধুত", "ধোব", "ধোন", "ধুতে", "ধোয়া"),
    "আস": ("আসি", "আসো", "আসে", "আসেন", "আসছ", "এসে", "এল", "আসত", "আসব", "আসুন", "আসতে", "আসা"),
    "পৌঁছা": ("পৌঁছাই", "পৌঁছাও", "পৌঁছায়", "পৌঁছান", "পৌঁছাচ্ছ", "পৌঁছে", "পৌঁছাল", "পৌঁছাত",
             "পৌঁছাব", "পৌঁছান", "পৌঁছাতে", "পৌঁছানো"),
    "সাঁতার কাট": ("সাঁতার কাটি", "সাঁতার কাটো", "সাঁতার কাটে", "সাঁতার কাটেন", "সাঁতার কাটছ",
                  "সাঁতার কেটে", "সাঁতার কাটল", "সাঁতার কাটত", "সাঁতার কাটব", "সাঁতার কাটুন",
                  "সাঁতার কাটতে", "সাঁতার কাটা"),
}
_TAIL = {
    "prog": ("ি", "", "ে", "েন"),
    "past": ("াম", "ে", "", "েন"),
    "hab": ("াম", "ে", "", "েন"),
    "fut": ("", "ে", "ে", "েন"),
}
PERSONS = ("1", "2", "3", "h")


def _principal(key: str) -> tuple[str, ...]:
    """The twelve principal parts of a verb, in the order of `_VOWEL`."""
    if key in _VOWEL:
        return _VOWEL[key]
    if key in _CAUSATIVE:
        a, p = _CAUSATIVE[key]
        return (a + "ই", a + "ও", a + "য়", a + "ন", a + "চ্ছ", p + "য়ে", a + "ল", a + "ত", a + "ব",
                a + "ন", a + "তে", a + "নো")
    low, high, perf = _REGULAR[key]
    return (high + "ি", low + "ো", low + "ে", low + "েন", high + "ছ", perf + "ে", high + "ল", high + "ত",
            high + "ব", high + "ুন", high + "তে", low + "া")


def conjugate(key: str, form: str, person: str = "3") -> str:
    """One form of a verb.

    `form`: pres, prog, perf, past, pastprog, pastperf, hab, fut, imp (person 2 or h), inf, cond,
    conj, noun, noungen, negperf. `person`: 1, 2 (তুমি), 3 (সে), h (আপনি, তিনি).
    """
    parts = _principal(nfc_key(key))
    i = PERSONS.index(person)
    if form == "pres":
        text = parts[i]
    elif form in ("prog", "past", "hab", "fut"):
        base = parts[{"prog": 4, "past": 6, "hab": 7, "fut": 8}[form]]
        text = base + _TAIL[form][i]
    elif form == "pastprog":
        text = parts[4] + "িল" + _TAIL["past"][i]
    elif form == "perf":
        text = parts[5] + "ছ" + _TAIL["prog"][i]
    elif form == "pastperf":
        text = parts[5] + "ছিল" + _TAIL["past"][i]
    elif form == "negperf":
        text = parts[i] + "নি"
    elif form == "imp":
        text = parts[9] if person == "h" else parts[1]
    elif form == "inf":
        text = parts[10]
    elif form == "cond":
        text = parts[6] + "ে"
    elif form == "conj":
        text = parts[5]
    elif form == "noun":
        text = parts[11]
    elif form == "noungen":
        text = genitive(parts[11])
    else:
        raise ValueError(f"unknown verb form {form!r}: expected pres, prog, perf, past, pastprog, "
                         "pastperf, negperf, hab, fut, imp, inf, cond, conj, noun or noungen")
    return nfc(text)


_KEYS = {nfc(k): k for table in (_REGULAR, _CAUSATIVE, _VOWEL) for k in table}


def nfc_key(key: str) -> str:
    """The table's own spelling of a verb key; raises KeyError naming an unknown verb."""
    found = _KEYS.get(nfc(key))
    if found is None:
        raise KeyError(f"verb {key!r} is in no conjugation class; add it to bengali.py")
    return found
