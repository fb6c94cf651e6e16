"""A tiny random sentence encoder in ONNX, laid out as on the hub, and the vectors it gives in Python.

A BERT of two layers with random weights over a WordPiece vocabulary of the sample corpus: it understands
nothing, but runs the whole path (tokenizer, ONNX graph, pooling, dense head, unit length).

    python tests/golden/encoder/make.py      # needs torch, transformers, onnx, onnxruntime; writes beside itself
"""
import csv
import gzip
import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import tokenizers
import torch
import transformers
from safetensors.numpy import save_file

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
SEED = 7
TEXTS = [
    "আমার চাকরি চলে গেছে এবং আমি হতাশ।", "আপনার কথা শুনে সত্যিই খারাপ লাগছে।", "আপনার কথা শুনে সত্যিই ভালো লাগছে।",
    "মন", "।", "", "Job interview কাল, ভয় লাগছে 😢", "র‍্যাব এসেছে", "বাড়ি বড় সময়", "১২৩ টাকা",
    "মা " * 80, "পরীক্ষার আগের রাতে ঘুম আসে না, বুক ধড়ফড় করে, বারবার মনে হয় কিছুই পারব না।",
]


def train_tokenizer():
    with gzip.open(ROOT / "data/sample_corpus.csv.gz", "rt", encoding="utf-8-sig", newline="") as file:
        lines = [cell for row in list(csv.reader(file))[:800] for cell in row[2:]]
    tokenizer = tokenizers.BertWordPieceTokenizer(lowercase=False, strip_accents=False)
    tokenizer.train_from_iterator(lines, vocab_size=400, limit_alphabet=120)
    return transformers.BertTokenizerFast(tokenizer_object=tokenizer._tokenizer, do_lower_case=False,
                                          strip_accents=False, model_max_length=64)


class Encoder(torch.nn.Module):
    """BERT as optimum exports it for feature extraction: the last hidden state."""

    def __init__(self, bert):
        super().__init__()
        self.bert = bert

    def forward(self, input_ids, attention_mask, token_type_ids):
        return self.bert(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids).last_hidden_state


def main():
    torch.manual_seed(SEED)
    tokenizer = train_tokenizer()
    config = transformers.BertConfig(vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
                                     intermediate_size=48, max_position_embeddings=64, initializer_range=.4,
                                     attn_implementation="eager")
    bert = transformers.BertModel(config, add_pooling_layer=False).eval()
    folder = HERE / "tiny-encoder"
    (folder / "onnx").mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(folder)
    config.save_pretrained(folder)
    names = ["input_ids", "attention_mask", "token_type_ids"]
    sample = tokenizer(TEXTS[:2], padding=True, return_tensors="pt")
    shape = {0: torch.export.Dim("batch"), 1: torch.export.Dim("sequence")}
    torch.onnx.export(Encoder(bert), tuple(sample[name] for name in names), str(folder / "onnx/model.onnx"), input_names=names,
                      output_names=["last_hidden_state"], dynamic_shapes=(shape, shape, shape), dynamo=True, external_data=False)

    graph = onnx.load(folder / "onnx/model.onnx")
    for node in graph.graph.node:  # where in whose files each node came from is nobody's business
        del node.metadata_props[:]
        node.doc_string = ""
    del graph.graph.metadata_props[:]
    for value in [*graph.graph.input, *graph.graph.output, *graph.graph.value_info, *graph.graph.initializer]:
        del value.metadata_props[:]
        value.doc_string = ""
    onnx.save(graph, folder / "onnx/model.onnx")

    # A head as LaBSE has it: a dense layer with tanh.
    rng = np.random.default_rng(SEED)
    dense = {"linear.weight": rng.normal(size=(24, 32)).astype("float32") * .3, "linear.bias": rng.normal(size=24).astype("float32")}
    (folder / "2_Dense").mkdir(exist_ok=True)
    save_file(dense, folder / "2_Dense/model.safetensors")
    (folder / "2_Dense/config.json").write_text(json.dumps({
        "in_features": 32, "out_features": 24, "bias": True, "activation_function": "torch.nn.modules.activation.Tanh"}) + "\n")

    session = onnxruntime.InferenceSession(folder / "onnx/model.onnx")
    unit = lambda x: x / np.linalg.norm(x, axis=-1, keepdims=True)
    result = {"versions": {"torch": torch.__version__, "transformers": transformers.__version__,
                           "onnxruntime": onnxruntime.__version__}, "texts": TEXTS, "vectors": []}
    for text in TEXTS:
        batch = tokenizer([text], truncation=True, max_length=64, return_tensors="np")
        states, = session.run(None, {name: batch[name].astype("int64") for name in names})
        with torch.no_grad():
            ours = bert(**{name: torch.tensor(batch[name]) for name in names}).last_hidden_state.numpy()
        assert np.abs(ours - states).max() < 1e-4, np.abs(ours - states).max()
        mean, cls = states[0].mean(0), states[0, 0]
        head = np.tanh(dense["linear.weight"] @ cls + dense["linear.bias"])
        result["vectors"].append({"tokens": int(batch["input_ids"].shape[1]), "mean": unit(mean).tolist(),
                                  "cls": unit(cls).tolist(), "cls_dense": unit(head).tolist()})
    (HERE / "vectors.json").write_text(json.dumps(result, ensure_ascii=True) + "\n")


main()
