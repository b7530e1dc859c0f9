"""The examples of docs/feedback.md do what is said beside them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from textgym.cli.feedback import export_command
from textgym.feedback import FeedbackStore, import_questions
from textgym.feedback.types import Comparison

PAGE = Path(__file__).resolve().parents[2] / "docs" / "feedback.md"
pytestmark = pytest.mark.skipif(not PAGE.is_file(), reason="needs the checkout")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def test_the_notebook_example(place: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def client(base_url: str) -> Any:
        visitor = place.visitor()
        visitor.base_url = base_url
        return visitor

    monkeypatch.setattr(httpx, "Client", client)
    exec(blocks("python")[0], {})
    assert capsys.readouterr().out == "1 ['b']\n"
    (record,) = place.store.records()
    assert (record.chosen, record.annotator, record.generators) == ("7", "ann", ("v1", "v2"))


def test_the_line_of_a_question(tmp_path: Path) -> None:
    (tmp_path / "texts.jsonl").write_text(blocks("json")[0])
    with FeedbackStore(tmp_path / "p.db") as store:
        assert import_questions(store, tmp_path / "texts.jsonl") == 1


def test_exports_load_as_data_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    record = Comparison("k", "p", "x", "y", "b", annotator="ann")
    with FeedbackStore("p.db") as store:
        store.add_votes([("v", [record])])
    for form in ("preferences", "labels"):
        export_command("p.db", f"{form}.jsonl", form)
    values: dict[str, Any] = {}
    exec(blocks("python")[1], values)
    assert list(values["pairs"]) == [{"prompt": "p", "chosen": "y", "rejected": "x"}]
    assert list(values["labels"]) == [
        {"prompt": "p", "completion": "y", "label": True},
        {"prompt": "p", "completion": "x", "label": False},
    ]


def test_the_images_are_there_and_small() -> None:
    names = re.findall(r"\]\(([^)]*\.png)\)", PAGE.read_text(encoding="utf-8"))
    sizes = {name: (PAGE.parent / name).stat().st_size for name in names}
    assert len(sizes) >= 8
    assert max(sizes.values()) <= 120_000


def test_every_key_of_the_page_is_in_the_table() -> None:
    table = PAGE.read_text(encoding="utf-8")
    templates = PAGE.parents[1] / "textgym" / "feedback" / "server" / "templates"
    keys = {key for path in templates.glob("*.html") for key in re.findall(r"<kbd>([^<{]+)</kbd>", path.read_text())}
    assert keys
    assert sorted(key for key in keys if f"`{key}`" not in table) == []


def test_every_option_that_is_named_exists() -> None:
    folder = PAGE.parents[1] / "textgym" / "cli"
    source = "".join(path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.py")))
    named, known = (set(re.findall(r"--[a-z-]{3,}", text)) for text in (PAGE.read_text(encoding="utf-8"), source))
    assert sorted(named - known) == []
