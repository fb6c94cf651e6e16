"""Golden vectors of sacreBLEU's paired bootstrap: the draws, every score of every draw, means, intervals, p-values.

The systems are hypotheses of metrics.json and disturbed copies of them. The draws are stored, because
numpy's generator is not ours: the test feeds them in.

    python tests/golden/metrics/bootstrap.py      # needs sacrebleu 2.6 and metrics.json; writes beside itself
"""
import base64
import json
import random
from pathlib import Path

import numpy as np
import sacrebleu
from sacrebleu.metrics import BLEU, CHRF
from sacrebleu.significance import Result, _paired_bs_test, estimate_ci

HERE = Path(__file__).parent
SEED = 12345
DRAWS = 400
ITEMS = 80


def disturb(rng, text, share):
    words = text.split(" ")
    return " ".join(rng.choice(words) if rng.random() < share else word for word in words)


def compare(metrics, base, other, refs):
    """One paired test, as `sacrebleu --paired-bs` runs it, with the scores of every draw."""
    infos = {}
    for name, metric in metrics.items():
        stats = metric._extract_corpus_statistics(base, [refs])
        infos[name] = (np.array(stats), Result(metric._aggregate_and_compute(stats).score))
    _, results = _paired_bs_test(infos, "other", other, [refs], metrics, DRAWS, -1, SEED)
    picks = np.random.default_rng(SEED).choice(len(refs), size=(DRAWS, len(refs)), replace=True)
    found = {}
    for name, metric in metrics.items():
        def draws(hyps):
            # Whole numbers: sacreBLEU's own float32 sums would cost digits.
            stats = np.array(metric._extract_corpus_statistics(hyps, [refs]))
            return [float(metric._compute_score_from_stats(rows.sum(0).tolist()).score) for rows in stats[picks]]
        result = results[name]
        other_draws = draws(other)
        # sacreBLEU's formula on exact draws; its own float32 would cost digits.
        mean, ci = estimate_ci(np.array(other_draws))
        found[name] = {
            "base": float(infos[name][1].score), "other": float(result.score), "p_value": float(result.p_value),
            "mean": float(mean), "ci": float(ci), "base_draws": draws(base), "other_draws": other_draws,
        }
    return picks, found


def main():
    rng = random.Random(SEED)
    pairs = json.loads((HERE / "metrics.json").read_text())["pairs"][26:26 + ITEMS]
    refs = [pair["reference"] for pair in pairs]
    base = [pair["hypothesis"] for pair in pairs]
    systems = {
        "clearly_worse": [disturb(rng, text, .5) for text in base],
        "hardly_other": [disturb(rng, text, .03) for text in base],
        "mixed": [disturb(rng, text, .4) if i % 2 else refs[i] if i % 6 == 0 else text for i, text in enumerate(base)],
        "shuffled": [disturb(rng, refs[(i + 1) % ITEMS], .1) for i in range(ITEMS)],
    }
    made = {"bleu_intl": BLEU(tokenize="intl"), "chrf++": CHRF(word_order=2)}
    comparisons = {}
    for name, other in systems.items():
        picks, found = compare(made, base, other, refs)
        comparisons[name] = {"hypotheses": other, "metrics": found}
    result = {
        "versions": {"sacrebleu": sacrebleu.__version__, "numpy": np.__version__},
        "seed": SEED, "draws": DRAWS, "references": refs, "base": base,
        "picks": base64.b64encode(picks.astype("uint8").tobytes()).decode(),
        "comparisons": comparisons,
    }
    (HERE / "bootstrap.json").write_text(json.dumps(result, ensure_ascii=False, separators=(",", ":")) + "\n")


main()
