"""Chat templates in the manner of published models, and tokenizers that have their special tokens."""

from __future__ import annotations

import json
from pathlib import Path

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

from textgym.types import Message

TEXTS = [
    "The council approved the new bridge on Monday.",
    "A storm closed three schools in the north; system user assistant model",
    "Der Rat beschloss am Montag die neue Brücke.",
    "今天天气很好。 女の子は学校へ行きました。",
    "[INST] x [/INST] <<SYS>>\n\nToday: 26 Jul 2024",
] * 8

CHATML = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'"
    "}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
DEFAULT_SYSTEM = """{%- if tools %}
    {{- '<|im_start|>system\\n' + (tools | tojson) + '<|im_end|>\\n' }}
{%- elif messages[0].role == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
{%- else %}
    {{- '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) or (message.role == "assistant") %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""
THINKING = """{%- if messages[0].role == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
{%- endif %}
{%- set ns = namespace(searching=true, last=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.searching and message.role == "user" and message.content is string %}
        {%- set ns.searching = false %}
        {%- set ns.last = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.role == "user" or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {%- set content = message.content %}
        {%- set thought = '' %}
        {%- if message.reasoning_content is defined and message.reasoning_content is not none %}
            {%- set thought = message.reasoning_content %}
        {%- elif '</think>' in message.content %}
            {%- set content = message.content.split('</think>')[-1].lstrip('\\n') %}
            {%- set thought = message.content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {%- if loop.index0 > ns.last and (loop.last or thought) %}
            {{- '<|im_start|>' + message.role + '\\n<think>\\n' + thought.strip('\\n') + '\\n</think>\\n\\n' }}
            {{- content.lstrip('\\n') }}
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
DATED = """{{- bos_token }}
{%- if custom_tools is defined %}
    {%- set tools = custom_tools %}
{%- endif %}
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}
        {%- set date_string = strftime_now("%d %b %Y") %}
    {%- else %}
        {%- set date_string = "26 Jul 2024" %}
    {%- endif %}
{%- endif %}
{%- if not tools is defined %}
    {%- set tools = none %}
{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{%- if tools is not none %}
    {{- "Environment: ipython\\n" }}
{%- endif %}
{{- "Today Date: " + date_string + "\\n\\n" }}
{{- system_message }}
{{- "<|eot_id|>" }}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim }}
        {{- '<|eot_id|>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""
NO_SYSTEM = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}"
    "{% endif %}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}"
    "{% endif %}{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{'<start_of_turn>model\n'}}{% endif %}"
)
TWO_ENDS = (
    "{% for message in messages %}{% if message['role'] == 'system' %}{{'<|system|>\n' + message['content'] + '<|end|>"
    "\n'}}{% elif message['role'] == 'user' %}{{'<|user|>\n' + message['content'] + '<|end|>\n'}}"
    "{% elif message['role'] == 'assistant' %}{{'<|assistant|>\n' + message['content'] + '<|end|>\n'}}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"
)
SEPARATED = (
    "{% for message in messages %}{% if (message['role'] == 'system') %}{{'<|im_start|>system<|im_sep|>' +"
    " message['content'] + '<|im_end|>'}}{% elif (message['role'] == 'user') %}{{'<|im_start|>user<|im_sep|>' +"
    " message['content'] + '<|im_end|>'}}{% elif (message['role'] == 'assistant') %}{{'<|im_start|>assistant<|im_sep|>'"
    " + message['content'] + '<|im_end|>'}}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant<|im_sep|>' }}{% endif %}"
)
INSTRUCTIONS = (
    "{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token}}"
    "{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}"
)
SPACED = (
    "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = messages[0]"
    "['content'] %}{% else %}{% set loop_messages = messages %}{% set system_message = false %}{% endif %}"
    "{% for message in loop_messages %}{% if loop.index0 == 0 and system_message != false %}"
    "{% set content = '<<SYS>>\n' + system_message + '\n<</SYS>>\n\n' + message['content'] %}"
    "{% else %}{% set content = message['content'] %}{% endif %}"
    "{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ ' '  + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}"
)
NAMED = (
    "{% for message in messages %}\n{% if message['role'] == 'user' %}\n{{ '<|user|>\n' + message['content'] + "
    "eos_token }}\n{% elif message['role'] == 'system' %}\n{{ '<|system|>\n' + message['content'] + eos_token }}\n"
    "{% elif message['role'] == 'assistant' %}\n{{ '<|assistant|>\n'  + message['content'] + eos_token }}\n{% endif %}"
    "\n{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}"
)
MARKED = (
    "{%- for m in messages -%}{%- if m.role == 'assistant' -%}{{ '<|im_start|>assistant\n' }}{% generation %}"
    "{{ m.content + '<|im_end|>' }}{% endgeneration %}{{ '\n' }}{%- else -%}{{ '<|im_start|>' + m.role + '\n' + m."
    "content + '<|im_end|>\n' }}{%- endif -%}{%- endfor -%}{%- if add_generation_prompt -%}"
    "{{ '<|im_start|>assistant\n' }}{%- endif -%}"
)
LISTING = (
    "{%- if documents is defined %}{{- 'documents ' ~ (documents | tojson) }}{%- endif %}{%- if tools is not none %}"
    "{{- 'tools' }}{%- endif %}{{- messages | tojson(indent=2, ensure_ascii=True, sort_keys=True) }}"
    "{{- {'a': [1, 'é<b>']} | tojson(separators=(',', ':')) ~ loop_nothing }}"
    "{%- for m in messages if m.role != 'system' %}{{- loop.index ~ '/' ~ loop.length ~ m.role }}{%- if loop.index > 2"
    " %}{%- break %}{%- endif %}{%- else %}{{- 'none' }}{%- endfor %}{%- if add_generation_prompt %}{{- ' =>' }}"
    "{%- endif %}"
)

TEMPLATES = {
    "chatml": (CHATML, "byte"),
    "default_system": (DEFAULT_SYSTEM, "byte"),
    "thinking": (THINKING, "byte"),
    "dated": (DATED, "byte"),
    "no_system": (NO_SYSTEM, "spm"),
    "two_ends": (TWO_ENDS, "prepend"),
    "separated": (SEPARATED, "byte"),
    "instructions": (INSTRUCTIONS, "prepend"),
    "instructions_first": (INSTRUCTIONS, "metaspace"),
    "spaced": (SPACED, "prepend"),
    "named": (NAMED, "prepend"),
    "marked": (MARKED, "byte"),
    "listing": (LISTING, "byte"),
}
NO_SYSTEM_ROLE = {"no_system", "instructions", "instructions_first"}
ENDS = {"byte": "<|endoftext|>", "spm": "<eos>", "prepend": "</s>", "metaspace": "</s>", "unigram": "</s>"}
TERMINATORS = {  # of a turn, and whether the template writes it only at the end of a conversation
    **dict.fromkeys(("chatml", "default_system", "thinking", "separated", "marked"), "<|im_end|>"),
    "dated": "<|eot_id|>",
    "no_system": "<end_of_turn>",
    "two_ends": "<|end|>",
    **dict.fromkeys(("instructions", "instructions_first", "spaced", "named"), "</s>"),
}
CHATS = {
    "one": (Message("user", "Who approved the bridge?"),),
    "system": (Message("system", "Be brief."), Message("user", "  Hello there \n")),
    "turns": (
        Message("system", "You are kind — toujours."),
        Message("user", "Hello"),
        Message("assistant", "Hi! 今天"),
        Message("user", "And now?\n\nSummary:"),
    ),
    "thought": (
        Message("user", "2 + 2?"),
        Message("assistant", "<think>\nadd\n</think>\n\n4"),
        Message("user", "{{ 3 }} & <b> \"quoted\" 'it'"),
    ),
}
_SPECIAL = (
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|im_sep|>", "<|start_header_id|>", "<|end_header_id|>"),
    *("<|eot_id|>", "<start_of_turn>", "<end_of_turn>", "<|end|>", "<|user|>", "<|system|>", "<|assistant|>"),
)


def build_tokenizer(kind: str) -> tokenizers.Tokenizer:
    """Train a small tokenizer of a published kind.

    ``byte``: byte-level BPE, as of GPT-2 and Qwen. ``spm``: BPE with ``▁`` and no space put first, as of Gemma.
    ``prepend``: with a space before every piece of text, as of Llama 2. ``metaspace``: with one at the very beginning,
    as of newer Mistral. ``unigram``: SentencePiece's unigram model, as of T5.
    """
    if kind == "byte":
        return _byte_level()
    special = ["<unk>", "<s>", ENDS[kind], "<|im_start|>", "<|im_end|>", *_SPECIAL[7:]]
    if kind == "unigram":
        backend = tokenizers.Tokenizer(models.Unigram())
        backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
        backend.decoder = decoders.Metaspace(prepend_scheme="always")
        unigram = trainers.UnigramTrainer(
            vocab_size=220,
            special_tokens=special,
            unk_token="<unk>",
            show_progress=False,
            initial_alphabet=list("</|_>"),
        )
        backend.train_from_iterator(TEXTS, unigram)
        return backend
    backend = tokenizers.Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    if kind == "metaspace":
        backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    else:
        first = [normalizers.Prepend("▁")] if kind == "prepend" else []
        backend.normalizer = normalizers.Sequence([*first, normalizers.Replace(" ", "▁")])
    strip = [] if kind == "spm" else [decoders.Strip(" ", 1, 0)]
    backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *strip])
    pieces = [*special, *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=480, special_tokens=pieces, show_progress=False)
    words = [word for text in TEXTS for word in text.split()]  # no piece goes beyond a word, as in published models
    backend.train_from_iterator([f" {word}" for word in words] if kind == "spm" else words, trainer)
    description = json.loads(backend.to_str())
    description["added_tokens"] = [token for token in description["added_tokens"] if token["content"] in special]
    backend = tokenizers.Tokenizer.from_str(json.dumps(description))
    start = backend.token_to_id("<s>")
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", start)])
    return backend


def write_chat_folder(folder: Path, template: str | None, kind: str, **config: object) -> Path:
    """Write the tokenizer of a chat model, in Hugging Face layout."""
    folder.mkdir(parents=True, exist_ok=True)
    build_tokenizer(kind).save(str(folder / "tokenizer.json"))
    names = {"eos_token": ENDS[kind], "bos_token": "<|endoftext|>" if kind == "byte" else "<s>"}
    content = {"tokenizer_class": "PreTrainedTokenizerFast", **names, **config}
    (folder / "tokenizer_config.json").write_text(json.dumps(content), encoding="utf-8")
    if template is not None:
        (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    return folder


def _byte_level() -> tokenizers.Tokenizer:
    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=420, special_tokens=list(_SPECIAL), initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator(TEXTS, trainer)
    backend.add_tokens(["<think>", "</think>"])
    return backend
