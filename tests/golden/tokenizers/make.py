"""Golden tokens and chat prompts of the model families that load here.

    python tests/golden/tokenizers/make.py     writes tests/golden/tokenizers/<family>/*

No tokenizer of a real model is at hand, so each family gets a small vocabulary trained on the sample
corpus, inside the family's own pipeline (normaliser, splitting expression, byte fallback, decoder,
special tokens and their flags) and with its own chat template. golden.json holds what transformers
makes of odd texts and of conversations: ids, text, and the versions that made them.
"""

import csv
import gzip
import json
import tempfile
from pathlib import Path

import jinja2
import sentencepiece
import tokenizers
import transformers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers
from tokenizers import pre_tokenizers, processors, trainers
from transformers import LlamaTokenizerFast, PreTrainedTokenizerFast

HERE = Path(__file__).parent
CORPUS = HERE.parents[2] / "data" / "sample_corpus.csv.gz"
VOCABULARY = 560
DATE = "26 Jul 2024"  # what a template with a clock is given, here and in lib/chat/template.ts

LLAMA3_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN_SPLIT = LLAMA3_SPLIT.replace(r"\p{N}{1,3}", r"\p{N}")

LLAMA32_TEMPLATE = """{{- bos_token }}
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}
        {%- set date_string = strftime_now("%d %b %Y") %}
    {%- else %}
        {%- set date_string = "26 Jul 2024" %}
    {%- endif %}
{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{{- "Cutting Knowledge Date: December 2023\\n" }}
{{- "Today Date: " + date_string + "\\n\\n" }}
{{- system_message }}
{{- "<|eot_id|>" }}
{%- for message in messages %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""
TINYLLAMA_TEMPLATE = """{% for message in messages %}
{% if message['role'] == 'user' %}
{{ '<|user|>\\n' + message['content'] + eos_token }}
{% elif message['role'] == 'system' %}
{{ '<|system|>\\n' + message['content'] + eos_token }}
{% elif message['role'] == 'assistant' %}
{{ '<|assistant|>\\n'  + message['content'] + eos_token }}
{% endif %}
{% if loop.last and add_generation_prompt %}
{{ '<|assistant|>' }}
{% endif %}
{% endfor %}"""
MISTRAL_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}"
    "{% endif %}{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token}}"
    "{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}"
    "{% endif %}{% endfor %}"
)
MISTRAL3_TEMPLATE = """{%- if messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
{%- set ns = namespace() %}
{%- set ns.index = 0 %}
{%- for message in loop_messages %}
    {%- if (message["role"] == "user") != (ns.index % 2 == 0) %}
        {{- raise_exception("After the optional system message, conversation roles must alternate user/assistant/user/assistant/...") }}
    {%- endif %}
    {%- set ns.index = ns.index + 1 %}
{%- endfor %}
{{- bos_token }}
{%- for message in loop_messages %}
    {%- if message["role"] == "user" %}
        {%- if loop.last and system_message is defined %}
            {{- "[INST] " + system_message + "\\n\\n" + message["content"] + "[/INST]" }}
        {%- else %}
            {{- "[INST] " + message["content"] + "[/INST]" }}
        {%- endif %}
    {%- elif message["role"] == "assistant" %}
        {{- " " + message["content"]|trim + eos_token}}
    {%- endif %}
{%- endfor %}
"""
SMOLLM2_TEMPLATE = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face"
    "<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + "
    "'<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|im_start|>assistant\n' }}{% endif %}"
)
QWEN25_TEMPLATE = """{%- if tools %}
    {{- raise_exception("tools") }}
{%- else %}
    {%- if messages[0]['role'] == 'system' %}
        {{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}
    {%- else %}
        {{- '<|im_start|>system\\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\\n' }}
    {%- endif %}
{%- endif %}
{%- for message in messages %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) or (message.role == "assistant" and not message.tool_calls) %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {{- '<|im_start|>' + message.role }}
        {%- if message.content %}
            {{- '\\n' + message.content }}
        {%- endif %}
        {{- '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""
QWEN3_TEMPLATE = """{%- if messages[0].role == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
{%- endif %}
{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step_tool and message.role == "user" and message.content is string and not(message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}
        {%- set ns.multi_step_tool = false %}
        {%- set ns.last_query_index = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.content is string %}
        {%- set content = message.content %}
    {%- else %}
        {%- set content = '' %}
    {%- endif %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {%- set reasoning_content = '' %}
        {%- if message.reasoning_content is string %}
            {%- set reasoning_content = message.reasoning_content %}
        {%- else %}
            {%- if '</think>' in content %}
                {%- set reasoning_content = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
                {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
            {%- endif %}
        {%- endif %}
        {%- if loop.index0 > ns.last_query_index %}
            {%- if loop.last or (not loop.last and reasoning_content) %}
                {{- '<|im_start|>' + message.role + '\\n<think>\\n' + reasoning_content.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}
            {%- else %}
                {{- '<|im_start|>' + message.role + '\\n' + content }}
            {%- endif %}
        {%- else %}
            {{- '<|im_start|>' + message.role + '\\n' + content }}
        {%- endif %}
        {{- '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}
"""


def byte_level(split, digits=False):
    """Byte-level BPE: GPT-2's own expression, or another in front."""
    tokenizer = Tokenizer(models.BPE(ignore_merges=split is LLAMA3_SPLIT))
    if split is not None:
        first = pre_tokenizers.Split(Regex(split), behavior="isolated")
        last = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    else:
        first = pre_tokenizers.Digits(individual_digits=digits)
        last = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([first, last])
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer, trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )


def byte_fallback(metaspace):
    """BPE of SentencePiece's kind with byte fallback, as Llama 2's converters write it; metaspace: as
    the later ones do, where only the very first piece gets a space in front."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    if metaspace:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme="first", split=False)
    else:
        tokenizer.normalizer = normalizers.Sequence(
            [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
        )
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
         decoders.Strip(" ", 1, 0)]
    )
    specials = ["<unk>", "<s>", "</s>"] + (["[INST]", "[/INST]"] if metaspace else [])
    pieces = specials + [f"<0x{i:02X}>" for i in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY + len(pieces), special_tokens=pieces, show_progress=False,
        limit_alphabet=90,
    )
    return tokenizer, trainer, specials


def with_bos(tokenizer, bos):
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A", pair=f"{bos} $A {bos} $B",
        special_tokens=[(bos, tokenizer.token_to_id(bos))],
    )


def corpus():
    with gzip.open(CORPUS, "rt", encoding="utf-8-sig", newline="") as file:
        rows = list(csv.reader(file))[1:400]
    return [" ".join(row[1:]) for row in rows] + [
        "I feel that I'm not good enough 123 times.\n\nWhat should I do?  ", "user assistant system",
    ] * 40


def save(family, tokenizer, config, special):
    folder = HERE / family
    folder.mkdir(exist_ok=True)
    tokenizer.add_special_tokens([AddedToken(t, normalized=False, special=True) for t in special])
    if config["bos_token"] is not None and config.pop("adds_bos", True):
        with_bos(tokenizer, config["bos_token"])
    config.pop("adds_bos", None)
    path = folder / "tokenizer.json"
    tokenizer.save(str(path), pretty=False)
    if family in ("tinyllama", "mistral", "mistral3"):  # the byte pieces are no special tokens there
        data = json.loads(path.read_text())
        data["added_tokens"] = [t for t in data["added_tokens"] if t["content"] in special]
        path.write_text(json.dumps(data, ensure_ascii=False))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False,
              **config}
    (folder / "tokenizer_config.json").write_text(
        json.dumps(config, ensure_ascii=False, indent=1) + "\n"
    )
    golden(folder)


def sentencepiece_own(lines):
    """A model of SentencePiece itself, as Hugging Face converts it; beside it what llama.cpp would
    read from SentencePiece's file: pieces, scores and types."""
    folder = HERE / "sentencepiece"
    folder.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        Path(scratch, "lines.txt").write_text("\n".join(lines))
        sentencepiece.SentencePieceTrainer.train(
            input=f"{scratch}/lines.txt", model_prefix=f"{scratch}/tokenizer", vocab_size=900,
            model_type="bpe", byte_fallback=True, normalization_rule_name="identity",
            remove_extra_whitespaces=False, split_digits=True, allow_whitespace_only_pieces=True,
            character_coverage=0.9995, num_threads=1, minloglevel=2,
        )
        pieces = sentencepiece.SentencePieceProcessor(f"{scratch}/tokenizer.model")
        LlamaTokenizerFast.from_pretrained(scratch).save_pretrained(folder)
    kinds = [("unknown", pieces.is_unknown), ("control", pieces.is_control),
             ("byte", pieces.is_byte)]
    table = [
        [pieces.id_to_piece(i), pieces.get_score(i),
         next((name for name, holds in kinds if holds(i)), "normal")]
        for i in range(pieces.get_piece_size())
    ]
    (folder / "pieces.json").write_text(json.dumps({
        "versions": {"sentencepiece": sentencepiece.__version__}, "pieces": table,
    }, ensure_ascii=False) + "\n")
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(
        {**config, "chat_template": TINYLLAMA_TEMPLATE}, ensure_ascii=False, indent=1) + "\n")
    for extra in folder.glob("*"):
        if extra.name not in ("pieces.json", "tokenizer.json", "tokenizer_config.json"):
            extra.unlink()
    data = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").write_text(json.dumps(data, ensure_ascii=False))
    golden(folder)


SYSTEM = "আপনি একজন সহানুভূতিশীল বাংলা কাউন্সেলর।"
TEXTS = [
    "a", " ", "  দুই  ফাঁক ", "\n", "\n\n  \n", "আমার চাকরি চলে গেছে এবং আমি হতাশ।", "ক্ষ র‍্যাব হঠাৎ ক‌ষ",
    "ড় ঢ় য় কো", "১২৩৪৫৬ 1234567", "I'm fine, don't WORRY!", "mixed বাংলা and English।", "😀👨‍👩‍👧 ❤️",
    "tab\tখ\r\nগ", "é é ﬁ Å", "混合 漢字", "\u00a0শূন্য\u200b", "...!!!??", "a" * 40, "ক" * 30,
    "<b>&amp;</b>", "user:\n assistant: ", "’উদ্ধৃতি’ “দুই”", "\ufffd", "ৎ ং ঃ ঁ", " শেষে ফাঁক ",
]
CHATS = [
    [("user", "আমার মন খারাপ।")],
    [("system", SYSTEM), ("user", "আমার চাকরি চলে গেছে এবং আমি হতাশ।")],
    [("system", SYSTEM), ("user", "  ফাঁক  "), ("assistant", " শুনছি। ")],
    [("system", SYSTEM), ("user", "এক"), ("assistant", "দুই"), ("user", "তিন")],
    [("user", "one\n\ntwo"), ("assistant", "three"), ("user", "four"), ("assistant", "five")],
]


def golden(folder):
    loaded = PreTrainedTokenizerFast.from_pretrained(folder)
    special = set(loaded.all_special_tokens)
    end = loaded.eos_token
    inside = [f"ক{end}খ {end}\nগ{end}", f"{end} one{end}two"]
    texts = [
        {"text": t, "ids": loaded.encode(t, add_special_tokens=False)} for t in TEXTS + inside
    ]
    for each in texts:
        each["decoded"] = loaded.decode(each["ids"])
    chats = []
    for turns in CHATS:
        messages = [{"role": role, "content": content} for role, content in turns]
        prompt = turns[-1][0] == "user"
        options = dict(add_generation_prompt=prompt, date_string=DATE, enable_thinking=False)
        rendered = messages
        try:
            loaded.apply_chat_template(messages, tokenize=False, **options)
        except jinja2.TemplateError:  # no system turn: its text goes before the first question
            system, user = turns[0][1], turns[1][1]
            rendered = [{"role": "user", "content": f"{system}\n\n{user}"}, *messages[2:]]
        text = loaded.apply_chat_template(rendered, tokenize=False, **options)
        ids = loaded.apply_chat_template(rendered, tokenize=True, return_dict=False, **options)
        chats.append({"messages": messages, "prompt": prompt, "text": text, "ids": ids})
    (folder / "golden.json").write_text(json.dumps({
        "versions": {"transformers": transformers.__version__, "tokenizers": tokenizers.__version__},
        "specialTokens": sorted(special),
        "texts": texts, "chats": chats,
    }, ensure_ascii=False) + "\n")


def main():
    lines = corpus()
    for family, split, template, bos, eos, special in [
        ("llama32", LLAMA3_SPLIT, LLAMA32_TEMPLATE, "<|begin_of_text|>", "<|eot_id|>",
         ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>",
          "<|eot_id|>"]),
        ("smollm2", None, SMOLLM2_TEMPLATE, "<|im_start|>", "<|im_end|>",
         ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]),
        ("qwen25", QWEN_SPLIT, QWEN25_TEMPLATE, None, "<|im_end|>",
         ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]),
        ("qwen3", QWEN_SPLIT, QWEN3_TEMPLATE, None, "<|im_end|>",
         ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]),
    ]:
        tokenizer, trainer = byte_level(split, digits=family == "smollm2")
        if family.startswith("qwen"):
            tokenizer.normalizer = normalizers.NFC()
        tokenizer.train_from_iterator(lines, trainer)
        config = {"bos_token": bos, "eos_token": eos, "chat_template": template,
                  "adds_bos": family == "llama32"}
        if family == "qwen3":  # marks of its thoughts: tokens, but not special ones
            tokenizer.add_tokens([AddedToken(t, normalized=False) for t in ("<think>", "</think>")])
        save(family, tokenizer, config, special)
    for family, metaspace, template in [
        ("tinyllama", False, TINYLLAMA_TEMPLATE), ("mistral", False, MISTRAL_TEMPLATE),
        ("mistral3", True, MISTRAL3_TEMPLATE),
    ]:
        tokenizer, trainer, special = byte_fallback(metaspace)
        tokenizer.train_from_iterator(lines, trainer)
        config = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>",
                  "chat_template": template}
        save(family, tokenizer, config, special)
    sentencepiece_own(lines)


main()
