"""The README.md of a model folder, in the form that the Hugging Face Hub reads."""

from __future__ import annotations

import json
import keyword
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from textgym.hub import SHIPPED, is_encoder_decoder
from textgym.models.prompt_format import FILE, PromptFormat, read_format
from textgym.security.escaping import code_block, markdown_cell
from textgym.security.foreign import read_object
from textgym.text.templates import parse_template
from textgym.text.tokenizer import Tokenizer
from textgym.types import Message, flatten
from textgym.versions import versions

CARD = "README.md"
_MARK = "918273645546372819"  # a text that no prompt has by chance
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")


def write_card(
    folder: Path,
    *,
    method: str,
    start_model: str,
    facts: Iterable[tuple[str, str]] = (),
    sections: Mapping[str, str] | None = None,
) -> None:
    """Write ``README.md`` beside the weights: how the model was made, how to load and ask it, versions.

    Args:
        folder: The model folder. How the model is asked is read from its ``textgym.json``, if there is one.
        method: Method that changed the start model, as a phrase.
        start_model: Its name; a Hub id becomes the ``base_model`` that the Hub links to, and of a folder only the last
            part is told.
        facts: Further rows of the first table.
        sections: Further sections by title, in Markdown.
    """
    rows = [("Start model", published_name(start_model)), ("Method", method), *facts]
    asked = read_format(folder)
    use = {"Use": _use(folder)} if asked is None else {"Use": _generate(folder, asked), "Prompts": _prompts(asked)}
    parts = {**use, **(sections or {}), "Versions": table(("package", "version"), versions().items())}
    front = _front_matter(start_model, is_encoder_decoder(folder))
    text = f"{front}\n# A language model trained with textgym\n\n{table(('', ''), rows)}"
    text += "".join(f"\n## {title}\n\n{part}" for title, part in parts.items())
    (folder / CARD).write_text(text, encoding="utf-8")


def published_name(name: str, folder: Path | None = None) -> str:
    """Return a name without the places of this machine: of an absolute path, what stands behind ``folder``.

    What is not in ``folder`` keeps the last part of its path only.

    >>> published_name("/home/me/runs/one/reward", Path("/home/me/runs/one"))
    'reward'
    >>> published_name("/data/tickets.csv"), published_name("owner/name")
    ('tickets.csv', 'owner/name')
    """
    path = Path(name)
    if not (path.is_absolute() or name.startswith("~")):
        return name
    if folder is not None and path.is_relative_to(folder) and path != folder:
        return str(path.relative_to(folder))
    return path.name


def table(header: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> str:
    """A Markdown table; what its cells say is shown as it is."""
    lines = [header, tuple("---" for _ in header), *rows]
    return "".join(f"| {' | '.join(markdown_cell(str(cell)) for cell in line)} |\n" for line in lines)


def _front_matter(start_model: str, is_seq2seq: bool) -> str:
    is_hub_id = _HUB_ID.fullmatch(start_model) and start_model not in SHIPPED and not Path(start_model).is_dir()
    base = f'base_model: "{start_model}"\n' if is_hub_id else ""
    task = "text2text-generation" if is_seq2seq else "text-generation"
    return f"---\nlibrary_name: transformers\npipeline_tag: {task}\n{base}tags: [textgym]\n---\n"


def _auto_class(folder: Path) -> str:
    return "AutoModelForSeq2SeqLM" if is_encoder_decoder(folder) else "AutoModelForCausalLM"


def _use(folder: Path) -> str:
    auto_class = _auto_class(folder)
    names = [auto_class, *(["AutoTokenizer"] if (folder / "tokenizer.json").is_file() else [])]
    variables = {auto_class: "model", "AutoTokenizer": "tokenizer"}
    lines = [f'{variables[name]} = {name}.from_pretrained(".")\n' for name in names]
    return f"```python\nfrom transformers import {', '.join(names)}\n\n{''.join(lines)}```\n"


def _generate(folder: Path, asked: PromptFormat) -> str:
    """Return Python that writes a text with plain transformers, asked as textgym asks."""
    tokenizer, auto_class = Tokenizer.load(folder), _auto_class(folder)
    options: dict[str, object] = {
        "max_new_tokens": asked.max_new_tokens,
        "do_sample": True,
        "temperature": asked.temperature,
    }
    options |= {"top_k": 0, "top_p": 1.0, "eos_token_id": list(tokenizer.eos_ids), "pad_token_id": tokenizer.pad_id}
    if tokenizer.encodes_prompts:
        options |= _without_search(folder, asked.max_new_tokens)
    arguments = "".join(f"    {name}={value!r},\n" for name, value in options.items())
    if asked.stop:
        arguments += f"    stop_strings={_literal(list(asked.stop))},\n    tokenizer=tokenizer,\n"
    written = "output[0]" if tokenizer.encodes_prompts else "output[0, ids.shape[1] :]"
    lines = [
        f"import torch\nfrom transformers import {auto_class}, AutoTokenizer\n",
        f'tokenizer = AutoTokenizer.from_pretrained(".")\nmodel = {auto_class}.from_pretrained(".")\n',
        f"{_prompt_code(asked)}\n{_encoding_code(tokenizer, asked.system)}\nids = torch.tensor([ids])",
        f"output = model.generate(\n    ids,\n    attention_mask=torch.ones_like(ids),\n{arguments})",
        f"text = tokenizer.decode({written}, skip_special_tokens=True).strip()",
        *(f"text = text.split({_literal(stop)})[0].strip()" for stop in asked.stop),
        "print(text)",
    ]
    said = "In this folder (or with the model's id on the Hub in place of `.`), with the prompt format of its training"
    return f"{said}:\n\n{code_block(chr(10).join(lines), 'python')}"


def _without_search(folder: Path, max_new_tokens: int) -> dict[str, object]:
    """Return options that leave out what the generation configurations of encoder-decoders often name.

    transformers counts a first token that is forced among the new ones, and may force the last one.
    """
    try:
        generation = read_object(folder / "generation_config.json")
    except (OSError, ValueError):
        generation = {}
    forced = [generation.get(name) is not None for name in ("forced_bos_token_id", "forced_eos_token_id")]
    options: dict[str, object] = {"num_beams": 1, "min_length": 0, "no_repeat_ngram_size": 0}
    return options | {"max_new_tokens": max_new_tokens + sum(forced)}


def _prompt_code(asked: PromptFormat) -> str:
    """Return Python that fills the template."""
    if asked.template is None:
        return f'prompt = "..."  # as the task {asked.task} writes it'.replace("\n", " ")
    document = _literal("Text to answer.")
    if asked.system is not None and not asked.uses_chat_template:
        start = flatten([Message("system", asked.system), Message("user", "")])
        document = f"{_literal(start)} + {document}.strip()"
    values = {"prompt": document, **{name: _literal("...") for name in parse_template(asked.template).columns}}
    named = ", ".join(f"{name}={value}" for name, value in values.items())
    if not all(name.isidentifier() and not keyword.iskeyword(name) for name in values):
        named = f"**{{{', '.join(f'{_literal(name)}: {value}' for name, value in values.items())}}}"
    return f"template = {_literal(asked.template)}\nprompt = template.format({named})"


def _encoding_code(tokenizer: Tokenizer, system: str | None) -> str:
    """Return Python that encodes a prompt as textgym does, behind a system message if there is one."""
    if tokenizer.has_chat_template:
        opening = [] if system is None else [Message("system", system)]
        messages = map(_message_code, tokenizer.accepted_messages([*opening, Message("user", _MARK)]))
        return (
            f"messages = [{', '.join(messages)}]\n"
            "text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)\n"
            "ids = tokenizer(text, add_special_tokens=False).input_ids"
        )
    plain = "tokenizer(prompt, add_special_tokens=False, split_special_tokens=True).input_ids"
    around = [*map(str, tokenizer.bos_ids), f"*{plain}", *map(str, tokenizer.prompt_end)]
    return f"ids = [{', '.join(around)}]" if len(around) > 1 else f"ids = {plain}"


def _message_code(message: Message) -> str:
    """Return Python for a message in which the prompt stands where the mark is."""
    before, mark, after = message.content.partition(_MARK)
    pieces = [_literal(before)] if before or not mark else []
    pieces += ["prompt"] if mark else []
    pieces += [_literal(after)] if after else []
    return f'{{"role": {_literal(message.role)}, "content": {" + ".join(pieces)}}}'


def _prompts(asked: PromptFormat) -> str:
    """Return the table of how the model was asked."""
    facts = {
        "task": asked.task,
        "prompt template": "the task's own" if asked.template is None else asked.template,
        "the model's chat template": "around the prompt" if asked.uses_chat_template else "none",
        "system message": "none, or not always the same" if asked.system is None else asked.system,
        "stop strings": ", ".join(map(repr, asked.stop)) or "none",
        "longest prompt, tokens": f"{asked.max_prompt_tokens:,}; the end of a longer prompt was cut",
        "longest text, tokens": f"{asked.max_new_tokens:,}",
        "temperature": f"{asked.temperature:g}",
    }
    return f"{table(('', ''), facts.items())}\nThe commands of textgym read this from `{FILE}`.\n"


def _literal(value: object) -> str:
    """Return Python for texts, and lists and dicts of them, in the way of JSON."""
    return json.dumps(value, ensure_ascii=True)
