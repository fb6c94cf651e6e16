"""Golden likelihoods: what transformers gives answers of the sample corpus under the model that ships with the course.

    python tests/golden/metrics/likelihood.py      # needs torch and transformers; writes beside itself
"""
import csv
import gzip
import json
import math
from pathlib import Path

import torch
import transformers

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
SYSTEM = "আপনি একজন সহানুভূতিশীল বাংলা কাউন্সেলর।"
ODD = [("মন ভালো নেই।", "।"), ("হ্যালো", "OK 👍🏽 ১২৩ র‍্যাব"), ("?", "আপনার কথা শুনে খারাপ লাগছে। " * 12)]


def main():
    folder = ROOT / "data/tiny-llama"
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with gzip.open(ROOT / "data/sample_corpus.csv.gz", "rt", encoding="utf-8-sig", newline="") as file:
        rows = [row for row in list(csv.reader(file))[1:] if len(row) == 4 and row[2].strip() and row[3].strip()]
    pairs = [(row[2].strip(), row[3].strip()) for row in rows[::len(rows) // 20][:20]]
    pairs += [(question, answer.strip()) for question, answer in ODD]
    items = []
    for question, answer in pairs:
        prompt = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": question}]
        start = len(tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_dict=False))
        ids = tokenizer.apply_chat_template(prompt + [{"role": "assistant", "content": answer}], return_dict=False)
        with torch.no_grad():
            logits = model(torch.tensor([ids])).logits[0].double()
        nll = torch.nn.functional.cross_entropy(logits[start - 1:-1], torch.tensor(ids[start:]), reduction="none")
        items.append({"question": question, "answer": answer, "tokens": len(ids) - start, "nll": nll.sum().item(),
                      "text_nll": nll[:-1].sum().item(), "bytes": len(answer.encode())})
    total = lambda key: sum(item[key] for item in items)
    result = {"versions": {"torch": torch.__version__, "transformers": transformers.__version__}, "system": SYSTEM,
              "items": items, "perplexity": math.exp(total("nll") / total("tokens")),
              "bits_per_byte": total("text_nll") / math.log(2) / total("bytes")}
    (HERE / "likelihood.json").write_text(json.dumps(result, ensure_ascii=True, indent=0) + "\n")
    print(result["perplexity"], result["bits_per_byte"])


main()
