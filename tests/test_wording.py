"""The words of docstrings and pages: statements, one spelling, one style of cross reference."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("textgym", "agents", "reward_models", "benchmarks", "tools", "examples")
PAGES = [ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")] + sorted(
    (ROOT / "docs").glob("*.md")
)
pytestmark = pytest.mark.skipif(not (ROOT / "docs").is_dir(), reason="needs the checkout")

DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
CLAUSE = re.compile(r"(How|Where|Whether|Why|Who|Whose|Whom|Which|What|Whatever|Whoever|Of|It|By|As|From)\b")
SECTION = re.compile(r" *(?P<name>[A-Z][a-z]+):")
ENTRY = re.compile(r" +(?P<names>\*{0,2}\w+(, \*{0,2}\w+)*): (?P<meaning>.*)")
RIDDLE = re.compile(r"(Of|It|Its own|What|Whatever|Who|Whoever|Whose|Whom|Which|That of|Theirs?|By)\b")
NO_TERMS = re.compile(
    r"\b(optimiser\w*|anew|pictures?|passed over|aloud|praised or blamed|nobody knows|cannot be avoided|exams?"
    r"|(that|none|which) is whole|others' texts|(written|decoded) side by side|environments side by side|unseen prompts"
    r"|(price|nat) of (a|the) (nat|KL)|charged? (for|to)|put the file back|KL to the start model|simulated people"
    r"|surest|no guesses|weight of the KL|run no code of others|code of others runs|policy (that )?one writes first"
    r"|in miniature|neighbours in time|the policy's trunk|what became of it)\b",
    re.I,
)
# Texts that users meet, in the field's terms: where they stand, and the words.
SAID = {
    "textgym/cli/options.py": ["Parallel environments."],
    "textgym/cli/machine.py": ["Benchmark against a bare-model baseline"],
    "textgym/cli/errors.py": ["Stopped. {advice}"],
    "textgym/training/train.py": ["Checkpoint saved at {agent.num_timesteps:,} {unit}."],
    "textgym/training/preparation.py": ["no complete checkpoint; start a new run"],
    "textgym/training/reward_report.py": ["Inter-annotator agreement unavailable: no question has two answers"],
    "agents/common/on_policy.py": [
        "kl_coef: KL penalty coefficient.",
        "kl_target: Target KL (nats per response); enables the adaptive coefficient",
        "reference_model: Reference model for the KL penalty",
    ],
}
ROLE = re.compile(r":(class|func|meth|attr|data|mod|exc|obj|math):`[^`]+`|``[^`]+``")
SINGLE = re.compile(r"`[^`\n]+`")
CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)
SPELLINGS = re.compile(r'"--[a-z-]+"')  # options of earlier versions keep their names
DATA = "textgym/tasks/summarization/reports/"  # words of generated documents


def sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders or FOLDERS for path in (ROOT / folder).rglob("*.py"))


def docstrings(text: str) -> Iterator[tuple[int, str]]:
    """Line and text of the docstrings of a module, its classes and functions."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, DOCUMENTED):
            found = ast.get_docstring(node)
            if found is not None:
                yield node.body[0].lineno, found


def clauses(text: str) -> list[int]:
    """Lines of docstrings that are relative clauses or questions: their first sentence names or states nothing."""
    return [line for line, found in docstrings(text) if CLAUSE.match(found) or found.split("\n\n")[0].endswith("?")]


def riddles(text: str) -> list[str]:
    """Entries of ``Args`` and ``Attributes`` that say "Of the agent.", "What it is." or "It." in place of a thing."""
    found = []
    for _, doc in docstrings(text):
        section = ""
        for line in doc.splitlines():
            if heading := SECTION.fullmatch(line):
                section = heading["name"]
                continue
            entry = ENTRY.fullmatch(line) if section in ("Args", "Attributes") else None
            if entry and RIDDLE.match(entry["meaning"]):
                found.append(f"{entry['names']}: {entry['meaning']}")
    return found


def mixed_references(text: str) -> list[int]:
    """Lines of docstrings that write names in two ways: with roles or double backticks, and with single ones.

    Docstrings of environments and tasks are Markdown pages, with single backticks throughout.
    """
    return [line for line, found in docstrings(text) if ROLE.search(found) and SINGLE.search(ROLE.sub("", found))]


def no_terms(text: str) -> list[int]:
    """Lines with words that the field has other terms for."""
    return [number for number, line in enumerate(text.splitlines(), 1) if NO_TERMS.search(SPELLINGS.sub("", line))]


def found_in(check: Callable[[str], Sequence[int | str]], paths: list[Path]) -> list[str]:
    names = [(path, path.relative_to(ROOT).as_posix()) for path in paths]
    return [
        f"{name}:{line}"
        for path, name in names
        if not name.startswith(DATA)
        for line in check(path.read_text(encoding="utf-8"))
    ]


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_docstring_is_a_statement(folder: str) -> None:
    assert found_in(clauses, sources(folder)) == []


@pytest.mark.parametrize("folder", FOLDERS)
def test_an_entry_says_what_it_is(folder: str) -> None:
    assert found_in(riddles, sources(folder)) == []


def test_a_docstring_writes_names_in_one_way() -> None:
    assert found_in(mixed_references, sources()) == []


def test_sources_use_the_terms_of_the_field() -> None:
    assert found_in(no_terms, sources()) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_use_the_terms_of_the_field(page: Path) -> None:
    assert no_terms(CODE.sub("", page.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize("file", SAID)
def test_texts_that_users_meet_are_those_of_the_field(file: str) -> None:
    source = (ROOT / file).read_text(encoding="utf-8")
    assert [text for text in SAID[file] if text not in source] == []


def test_the_checks_see_what_they_look_for() -> None:
    for phrase in ("Texts written side by side", "Price of a nat of KL", "Charge for the KL", "Nobody knows how often"):
        assert no_terms(f"One line.\n{phrase}.") == [2]
    text = '"""Sums."""\ndef f():\n    """Whether it is so."""\n\ndef g():\n    """Return `x` of :class:`X`."""\n'
    assert clauses(text) == [3]
    assert clauses('"""Is it so?"""') == [1]
    assert clauses('"""What is asked."""') == clauses('"""Of the run."""') == [1]
    assert clauses('"""Return whether it is so. What is asked stays."""') == []
    described = "    Args:\n        {}\n            Of more.\n\n    Returns:\n        It: x.\n    "
    for entry in ("a: Of the agent's class.", "a, *b: It.", "c: Whoever learns.", "d: What is learnt."):
        assert riddles(f'"""Sums.\n\n{described.format(entry)}"""') == [entry]
    for entry in ("a: Class of the agent.", "b: Item of x.", "c: Whether it learns.", "d: Number of steps: it is 1."):
        assert riddles(f'"""Sums.\n\n{described.format(entry)}"""') == []
    assert mixed_references(text) == [6]
    assert mixed_references('"""`x` and `y`."""') == mixed_references('"""``x`` of :class:`X`."""') == []
    assert no_terms("An optimizer.\nAn optimiser.\nOne pass over all texts.\n") == [2]
