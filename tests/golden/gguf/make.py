"""What llama.cpp's own converters make of data/tiny-llama and an adapter on it.

    python tests/golden/gguf/make.py LLAMA_CPP

Run in the project's root with a llama.cpp source tree, torch, transformers, sentencepiece and gguf.
golden.json holds every key with its types and value (long ones as SHA-256) and every tensor's type,
shape and SHA-256. The pre-tokeniser's name is not compared: the converter knows the tokenizer of no
unpublished model, so it is told the name that lib/weights/gguf/tokenizer.ts writes.
"""

import hashlib
import importlib.metadata
import json
import pathlib
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parents[2]
BASE = ROOT / "data" / "tiny-llama"
ADAPTER = ROOT / "tests" / "golden" / "adapters" / "list"

DRIVER = """
import runpy, sys
sys.path[:0] = [sys.argv[1], sys.argv[1] + "/gguf-py"]
from conversion import base
base.TextModel.get_vocab_base_pre = lambda self, tokenizer: "granite-embed-multi-97m"
script = sys.argv[1] + "/" + sys.argv[2]
sys.argv = sys.argv[2:]
runpy.run_path(script, run_name="__main__")
"""


def digest(data):
    return hashlib.sha256(data).hexdigest()


def describe(path):
    import gguf

    reader = gguf.GGUFReader(path)
    fields = {}
    for key, field in reader.fields.items():
        if key.startswith("GGUF."):
            continue
        value = field.contents()
        if isinstance(value, (str, list)) and len(value) > 64:
            text = value if isinstance(value, str) else json.dumps(
                value, ensure_ascii=False, separators=(",", ":"))
            value = {"length": len(value), "sha256": digest(text.encode())}
        fields[key] = {"types": [t.name for t in field.types], "value": value}
    tensors = {
        t.name: {
            "type": t.tensor_type.name,
            "shape": [int(n) for n in t.shape],
            "sha256": digest(t.data.tobytes()),
        }
        for t in reader.tensors
    }
    factors = next((t.data.tolist() for t in reader.tensors if t.name == "rope_freqs.weight"), None)
    return {"fields": fields, "tensors": tensors, "rope_factors": factors}


def main():
    llama_cpp = str(pathlib.Path(sys.argv[1]).resolve())
    golden = {"gguf": importlib.metadata.version("gguf"), "files": {}}
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("f32", "f16", "bf16", "q8_0"):
            out = f"{folder}/model-{kind}.gguf"
            subprocess.run([sys.executable, "-c", DRIVER, llama_cpp, "convert_hf_to_gguf.py",
                            "--outtype", kind, "--outfile", out, str(BASE)], check=True)
            golden["files"][kind] = describe(out)
        out = f"{folder}/adapter.gguf"
        subprocess.run([sys.executable, "-c", DRIVER, llama_cpp, "convert_lora_to_gguf.py",
                        "--base", str(BASE), "--outtype", "f32", "--outfile", out, str(ADAPTER)],
                       check=True)
        golden["files"]["adapter"] = describe(out)
    (HERE / "golden.json").write_text(json.dumps(golden, ensure_ascii=False, indent=1) + "\n")


main()
