"""The examples of docs/data.md: every file is loaded as its command says, and read as the page says."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import typer.main

from textgym.data import InMemoryDataset, load_examples
from textgym.errors import DataError
from textgym.types import SPLITS

PAGE = Path(__file__).resolve().parents[1] / "docs" / "data.md"
pytestmark = pytest.mark.skipif(not PAGE.is_file(), reason="needs the checkout")
FILE = re.compile(r"^`([\w./-]+)`:\n\n```\w+\n(.*?)^```", re.DOTALL | re.MULTILINE)
COMMAND = re.compile(r"^```\n(textgym [^\n]*)\n```\n((?:\n?>[^\n]*\n)*)", re.MULTILINE)
COLUMNS = {"--prompt-column": "prompt_column", "--reference-column": "reference_column"}


class Shown(NamedTuple):
    """A command of the page, and the lines of output below it."""

    command: str
    output: tuple[str, ...]

    def option(self, name: str) -> str | None:
        words = shlex.split(self.command)
        return words[words.index(name) + 1] if name in words else None


def part(heading: str) -> str:
    """The part of the page under a heading of the second level."""
    if not PAGE.is_file():
        return ""
    return PAGE.read_text(encoding="utf-8").split(f"\n## {heading}\n")[1].split("\n## ")[0]


PROMPTS = part("Prompts")
FILES = dict(FILE.findall(PROMPTS))
SHOWN = [
    Shown(command, tuple(line.removeprefix("> ") for line in output.splitlines() if line))
    for command, output in COMMAND.findall(PROMPTS)
]


@pytest.fixture
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files of the page, in the current folder."""
    for name, content in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content, encoding="utf-8")
    monkeypatch.chdir(tmp_path)


def load_splits(shown: Shown) -> Iterator[InMemoryDataset]:
    """The splits of the data of a command, train last; three rows are not enough for all of them."""
    columns = {name: value for option, name in COLUMNS.items() if (value := shown.option(option)) is not None}
    for split in reversed(SPLITS):
        try:
            dataset = load_examples(str(shown.option("--data")), split, **columns)
        except DataError as error:
            if "all fall into other splits" not in str(error):
                raise
        else:
            assert isinstance(dataset, InMemoryDataset)
            yield dataset


def test_the_page_shows_the_shapes_of_public_data_sets() -> None:
    assert len(SHOWN) > 20
    assert len(FILES) > 20
    assert {"dialogsum/test.csv", "news.tsv", "ideas.txt", "squad-dev.json"} <= FILES.keys()
    used = [str(shown.option("--data")) for shown in SHOWN]
    assert all(any(name == data or name.startswith(f"{data}/") for data in used) for name in FILES)
    titles = " ".join(re.findall(r"^### (.*)", PROMPTS, re.MULTILINE))
    for name in ("CNN/DailyMail", "XSum", "SAMSum", "DialogSum", "Alpaca", "Dolly", "ShareGPT", "GSM8K", "SQuAD"):
        assert name in titles
    for name in ("WMT", "IMDB"):
        assert name in titles


@pytest.mark.usefixtures("_folder")
@pytest.mark.parametrize("shown", SHOWN, ids=lambda shown: str(shown.option("--data")))
def test_an_example_is_read_as_the_page_says(shown: Shown) -> None:
    if shown.output and shown.output[0].startswith("Error: "):
        with pytest.raises(DataError) as caught:
            list(load_splits(shown))
        assert str(caught.value).startswith(shown.output[0].removeprefix("Error: "))
        return
    splits = list(load_splits(shown))
    remarks = dict.fromkeys(f"{dataset.name}: {remark}" for dataset in splits for remark in dataset.report.remarks)
    assert set(shown.output) <= set(remarks)
    assert bool(shown.output) == bool(remarks)
    assert all(dataset.report.skipped == {} for dataset in splits)
    assert sum(map(len, splits)) >= 2
    answered = {bool(example.references) for dataset in splits for example in dataset}
    assert answered == {"no references" not in " ".join(shown.output)}


@pytest.mark.parametrize("shown", SHOWN, ids=lambda shown: shown.command)
def test_commands_have_the_options_of_the_page(shown: Shown) -> None:
    from textgym.cli.app import app
    from textgym.registration import registered_ids

    command = typer.main.get_command(app)
    words = shlex.split(shown.command)
    with command.make_context(words[0], words[1:]) as context:
        name, found, rest = command.resolve_command(context, [*context._protected_args, *context.args])  # type: ignore
        with found.make_context(name, rest, parent=context) as parsed:
            assert parsed.params["data"] == shown.option("--data")
            assert parsed.params["env_id"] in registered_ids()
