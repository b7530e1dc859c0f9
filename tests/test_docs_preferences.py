"""The Python on the pages about learning from feedback runs, with small numbers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from textgym.agents import make_vec_env
from textgym.feedback import write_records
from textgym.feedback.types import Comparison

DOCS = Path(__file__).resolve().parents[1] / "docs"
NAMES = ("dpo", "ipo", "kto", "orpo", "simpo", "expert_iteration", "best_of_n")
SMALLER = {
    "learn(200)": "learn(1)",
    "learn(100_000)": "learn(1)",
    "n=8, prompts=32": "n=2, prompts=2",
    "learn(30)": "learn(3)",
}
pytestmark = pytest.mark.skipif(not DOCS.is_dir(), reason="needs the checkout")


def blocks(name: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (DOCS / f"{name}.md").read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("name", NAMES)
def test_the_python_of_a_page_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    task = make_vec_env("TextSumm-v1", model="tiny-hurried").get_attr("task")[0]
    examples = [task.dataset[place] for place in range(6)]
    records = [
        Comparison(each.key, task.prompt(each).text, response_a=each.references[0], response_b="No.", choice="a")
        for each in examples
    ]
    write_records("votes.db", records)  # any file of feedback will do
    found = blocks(name)
    assert found
    for block in found:
        for number, small in SMALLER.items():
            block = block.replace(number, small)
        exec(compile(block, f"{name}.md", "exec"), {"__name__": "page"})


@pytest.mark.parametrize("name", NAMES)
def test_a_page_has_all_its_parts(name: str) -> None:
    text = (DOCS / f"{name}.md").read_text(encoding="utf-8")
    titles = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert [title for title in titles if title in ("The idea", "Usage", "What is logged", "When to use it")] == [
        "The idea",
        "Usage",
        "What is logged",
        "When to use it",
    ]
    assert re.search(r"arXiv:\d{4}\.\d{5}", text)
    assert text.count("```") % 2 == 0
