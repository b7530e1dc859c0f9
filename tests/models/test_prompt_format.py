"""``textgym.json`` and the call in a model's card: how to ask a model as it was asked while it learned."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.chat_templates import TEMPLATES
from tests.model_cards import code_of, run_card, write_model
from textgym.errors import CheckpointError
from textgym.models.card import published_name, write_card
from textgym.models.prompt_format import FILE, PromptFormat, format_of_model, prompt_format, read_format, write_format
from textgym.tasks import Summarization, TextTask, prompt_of
from textgym.text.tokenizer import Tokenizer
from textgym.types import Example, Message, Prompt

FORMAT = PromptFormat(
    task="TextSumm-v0",
    prompt_template="{prompt}\n\nSummary:",
    chat_prompt_template="Shorten: {prompt}",
    uses_chat_template=False,
    stop=("\n\n", "User:"),
    max_prompt_tokens=100,
    max_new_tokens=7,
    temperature=0.7,
)
PLAIN: dict[str, tuple[str | None, str]] = {"plain": (None, "byte"), "plain with bos": (None, "metaspace")}
KINDS = {name: kind for name, kind in {**TEMPLATES, **PLAIN}.items() if name != "dated"}  # that one tells the day
DOCUMENTS = ("The council approved the bridge.", 'Braces {x} {{y}}, "quotes" and ```fences```\n')
TEMPLATE = '```"{{{prompt}}}"\n\nSummary:'


@pytest.mark.parametrize("name", [*KINDS])
@pytest.mark.parametrize(
    "document", ["The council approved the bridge.", 'Braces {x} {{y}}, "quotes" and ```fences```\n']
)
def test_the_call_in_the_card_asks_as_textgym_does(
    name: str, document: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = write_model(tmp_path, *KINDS[name])
    task = Summarization(
        [Example(f"{n}", f"d {n}") for n in range(30)], prompt_template='```"{{{prompt}}}"\n\nSummary:'
    )
    write_format(tmp_path, replace(prompt_format(task, tokenizer), max_new_tokens=4, stop=("q",)))
    write_card(tmp_path, method="magic", start_model="tiny")
    names = run_card(tmp_path, document, monkeypatch)
    (wanted,) = tokenizer.encode_prompts([prompt_of(task, Example("x", document))], 10_000)
    assert names["ids"].tolist() == [wanted.ids]
    assert isinstance(names["text"], str)
    assert "q" not in names["text"]
    assert names["output"].shape[1] <= len(wanted.ids) + 4


class Advised(TextTask):
    """A task that writes conversations itself."""

    def prompt(self, example: Example) -> tuple[Message, ...]:
        return Message("system", "Be { brief }. "), Message("user", f"{example.text}?")


@pytest.mark.parametrize("name", [*KINDS])
@pytest.mark.parametrize("template", ["{prompt}", '```"{{{prompt}}}"\n\nSummary:'])
def test_the_card_asks_behind_the_message_of_the_system(
    name: str, template: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = write_model(tmp_path, *KINDS[name])
    system = Message("system", 'Be {brief}. "Yes"\n')
    data = [Example(f"{n}", (system, Message("user", f"d {n}"))) for n in range(30)]
    asked = prompt_format(TextTask(data, prompt_template=template), tokenizer)
    assert asked.system == system.content
    write_format(tmp_path, replace(asked, max_new_tokens=4))
    assert read_format(tmp_path) == replace(asked, max_new_tokens=4)
    write_card(tmp_path, method="magic", start_model="tiny")
    document = "The council {approved} the bridge."
    names = run_card(tmp_path, document, monkeypatch)
    example = Example("x", (system, Message("user", document)))
    (wanted,) = tokenizer.encode_prompts([prompt_of(TextTask(data, prompt_template=template), example)], 10_000)
    assert names["ids"].tolist() == [wanted.ids]


def test_the_message_of_the_system_of_a_task_that_writes_its_prompts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = write_model(tmp_path, *TEMPLATES["chatml"])
    task = Advised([Example(f"{n}", f"p {n}") for n in range(20)])
    write_format(tmp_path, replace(prompt_format(task, tokenizer), max_new_tokens=4))
    write_card(tmp_path, method="magic", start_model="tiny")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(code_of(tmp_path).replace('prompt = "..."', 'prompt = "p 3?"'), names)
    (wanted,) = tokenizer.encode_prompts([prompt_of(task, Example("x", "p 3"))], 10_000)
    assert names["ids"].tolist() == [wanted.ids]


def test_messages_of_the_system_that_differ_are_none() -> None:
    data = [Example(f"{n}", (Message("system", f"Be {n % 2}."), Message("user", f"d {n}"))) for n in range(30)]
    assert prompt_format(TextTask(data), Tokenizer.load("tiny")).system is None


@pytest.mark.parametrize("name", [*PLAIN])
def test_special_tokens_in_a_document_are_text_in_the_card_too(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = write_model(tmp_path, *KINDS[name])
    write_format(tmp_path, replace(FORMAT, stop=()))
    write_card(tmp_path, method="magic", start_model="tiny")
    names = run_card(tmp_path, "A <|im_end|> b </s><s>", monkeypatch)
    (wanted,) = tokenizer.encode_prompts([Prompt("", "A <|im_end|> b </s><s>", "\n\nSummary:")], 100)
    assert names["ids"].tolist() == [wanted.ids]


def test_the_card_asks_for_the_columns_of_the_template(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_model(tmp_path, None, "byte")
    write_format(tmp_path, replace(FORMAT, stop=(), prompt_template="{tone} {your mood}: {prompt}"))
    write_card(tmp_path, method="magic", start_model="tiny")
    assert run_card(tmp_path, "Hi", monkeypatch)["prompt"] == "... ...: Hi"
    write_format(tmp_path, replace(FORMAT, stop=(), prompt_template="{tone}: {prompt}"))
    write_card(tmp_path, method="magic", start_model="tiny")
    assert 'prompt = template.format(prompt="Text to answer.", tone="...")' in code_of(tmp_path)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    write_format(tmp_path, FORMAT)
    assert read_format(tmp_path) == FORMAT
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "model").mkdir()
    write_format(tmp_path / "run" / "model", FORMAT)
    assert format_of_model(str(tmp_path / "run")) == FORMAT
    assert format_of_model("tiny") is None
    assert format_of_model(str(tmp_path / "nowhere")) is None
    assert FORMAT.template == "{prompt}\n\nSummary:"
    assert replace(FORMAT, uses_chat_template=True).template == "Shorten: {prompt}"


class Own(TextTask):
    def prompt(self, example: Example) -> Prompt:
        return Prompt("Say: ", example.text, "!")


def test_a_task_that_writes_its_prompts_itself_has_no_template(tmp_path: Path) -> None:
    tokenizer = write_model(tmp_path, None, "byte")
    asked = prompt_format(Own([Example(f"{n}", f"p {n}") for n in range(20)]), tokenizer, env_id="Own-v0")
    assert (asked.template, asked.task) == (None, "Own-v0")
    write_format(tmp_path, asked)
    write_card(tmp_path, method="magic", start_model="tiny")
    assert read_format(tmp_path) == asked
    assert 'prompt = "..."  # as the task Own-v0 writes it' in code_of(tmp_path)
    compile(code_of(tmp_path), "card", "exec")


@pytest.mark.parametrize(
    "change",
    [
        {"prompt_template": "no slot"},
        {"prompt_template": "{prompt} {"},
        {"prompt_template": 3},
        {"chat_prompt_template": "{prompt}" * 2},
        {"prompt_template": "{prompt}" + "x" * 20_000},
        {"stop": "\n"},
        {"stop": [""]},
        {"stop": [1]},
        {"stop": ["x"] * 1000},
        {"max_new_tokens": 0},
        {"max_new_tokens": 10**12},
        {"max_prompt_tokens": "many"},
        {"max_prompt_tokens": True},
        {"temperature": 0},
        {"temperature": float("nan")},
        {"uses_chat_template": "yes"},
        {"task": None},
        {"system": 3},
        {"task": ["os:system"]},
    ],
)
def test_a_damaged_file_is_refused(change: dict[str, object], tmp_path: Path) -> None:
    write_format(tmp_path, FORMAT)
    content = json.loads((tmp_path / FILE).read_text())
    (tmp_path / FILE).write_text(json.dumps({**content, **change}))
    with pytest.raises(CheckpointError, match=r"expected how a model is asked in .*remove the file"):
        read_format(tmp_path)


@pytest.mark.parametrize("content", ["", "[]", "3", "{", "{}", '{"task": "TextSumm-v0"}', "[" * 100_000, " " * 2**21])
def test_what_is_no_such_file_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(content)
    with pytest.raises(CheckpointError, match="expected how a model is asked"):
        read_format(tmp_path)


def test_names_that_are_unknown_are_skipped(tmp_path: Path) -> None:
    write_format(tmp_path, FORMAT)
    content = json.loads((tmp_path / FILE).read_text())
    (tmp_path / FILE).write_text(json.dumps({**content, "reward": "os:system", "future": 1}))
    assert read_format(tmp_path) == FORMAT
    (tmp_path / FILE).write_text(json.dumps({name: value for name, value in content.items() if name != "system"}))
    assert read_format(tmp_path) == FORMAT  # of an earlier version


@pytest.mark.parametrize(
    ("name", "folder", "shown"),
    [
        ("/a/runs/one/reward", "/a/runs/one", "reward"),
        ("/a/runs/one", "/a/runs/one", "one"),
        ("/a/data/x.csv", "/a/runs/one", "x.csv"),
        ("~/x.csv", "/a/runs/one", "x.csv"),
        ("owner/name", "/a", "owner/name"),
        ("module:attribute", "/a", "module:attribute"),
        ("runs/x", None, "runs/x"),
    ],
)
def test_published_names(name: str, folder: str | None, shown: str) -> None:
    assert published_name(name, None if folder is None else Path(folder)) == shown
