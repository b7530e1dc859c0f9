"""Docstrings become pairs of prose, from parsed sources, with a cache that survives damage."""

from __future__ import annotations

from pathlib import Path

import pytest

from textgym.data import docstrings
from textgym.data.docstrings import cache_folder, extract_passages, load_docstrings, package_folders
from textgym.data.prose import Passage, read_docstring, strip_markup
from textgym.types import SPLITS

BODY = (
    "The queue keeps its items in the order of their arrival, and a reader that finds it empty waits until "
    "somebody adds an item. Several readers may wait at the same time."
)
SUMMARY = "Remove and return the oldest item."


def docstring(*paragraphs: str) -> str:
    return "\n\n".join(paragraphs)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    folder = tmp_path / "package"
    (folder / "tests").mkdir(parents=True)
    source = f'raise SystemExit("imported")\nclass A:\n    def f(self):\n        """{docstring(SUMMARY, BODY)}"""\n'
    (folder / "a.py").write_text(source, encoding="utf-8")
    (folder / "b.py").write_text(source.replace("oldest", "newest").replace("queue", "stack"), encoding="utf-8")
    (folder / "copy.py").write_text(source, encoding="utf-8")
    (folder / "broken.py").write_bytes(b"def f(:\n\x00\xff")
    (folder / "tests" / "c.py").write_text(source.replace("oldest", "third").replace("queue", "list"), encoding="utf-8")
    return folder


@pytest.fixture
def small_machine(package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine whose only package has forty docstrings; returns its cache folder."""
    for i in range(40):
        text = docstring(SUMMARY.replace("oldest", f"oldest kind {i}"), BODY.replace("queue", f"queue of kind {i}"))
        (package / f"many{i}.py").write_text(f'"""{text}"""\n', encoding="utf-8")
    monkeypatch.setenv("TEXTGYM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(docstrings, "package_folders", lambda: {"package": package})
    return tmp_path / "cache"


def test_body_and_summary() -> None:
    assert read_docstring(docstring(SUMMARY, BODY)) == Passage(BODY, SUMMARY)


def test_lines_are_joined_and_paragraphs_kept() -> None:
    broken = BODY.replace(" and ", "\nand ")
    assert read_docstring(docstring("Remove and return\nthe oldest item.", broken, BODY)) == Passage(
        f"{BODY}\n\n{BODY}", SUMMARY
    )


def test_later_sentences_of_the_first_paragraph_belong_to_the_body() -> None:
    assert read_docstring(f"{SUMMARY} {BODY}") == Passage(BODY, SUMMARY)


def test_missing_full_stop_is_added() -> None:
    found = read_docstring(docstring(SUMMARY.rstrip("."), BODY))
    assert found is not None
    assert found.summary == SUMMARY


@pytest.mark.parametrize(
    "section",
    [
        "Parameters\n----------\nx : int\n    A number.",
        "Args:\n    x: A number.",
        "Parameters:\n    x: A number.",
        ":param x: A number.",
        ">>> pop()\n1",
        "Example::\n\n    pop()",
        ".. note:: Beware of this.",
        "- one item of a list\n- another item",
        "    indented = code()",
        "Returns\n-------\nint",
    ],
)
def test_body_ends_where_prose_ends(section: str) -> None:
    assert read_docstring(docstring(SUMMARY, BODY, section, BODY)) == Passage(BODY, SUMMARY)


@pytest.mark.parametrize(
    "aside", [".. versionadded:: 1.2\n    More about it.", "See also the :ref:`User Guide <guide>`."]
)
def test_asides_are_left_out(aside: str) -> None:
    assert read_docstring(docstring(SUMMARY, aside, BODY)) == Passage(BODY, SUMMARY)


def test_whole_sentences_before_an_example_are_kept() -> None:
    found = read_docstring(docstring(SUMMARY, f"{BODY} It is called so\n    pop()"))
    assert found == Passage(BODY, SUMMARY)


@pytest.mark.parametrize(
    "text",
    [
        "",
        SUMMARY,
        docstring("Pop.", BODY),
        docstring("remove and return the oldest item.", BODY),
        docstring("Remove and return the oldest item:", BODY),
        docstring(SUMMARY, "Too short a body."),
        docstring(SUMMARY, " ".join([BODY] * 9)),
        docstring(SUMMARY, BODY.replace("queue", "Wärteschlange")),
        docstring(SUMMARY, r"The value is $\alpha_{i} + \beta^{2}$ and so on. " + BODY),
        docstring(SUMMARY, "x_1 = f(y_1), y_2 = g(x_1), z(x_1, y_2) = 3 * x_1 " * 5 + "."),
        docstring(SUMMARY, f"{BODY} Remove and return the oldest item."),
    ],
)
def test_everything_else_is_left_out(text: str) -> None:
    assert read_docstring(text) is None


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("A :class:`~pkg.sub.Thing` of :mod:`pkg.sub`", "A Thing of pkg.sub"),
        ("the :ref:`User Guide <guide>`", "the User Guide"),
        ("``x`` and `y` and *z* and **w**", "x and y and z and w"),
        ("see `the page <https://example.org>`_ or [this](https://example.org)", "see the page or this"),
        ("known [1]_ facts", "known facts"),
        ("2 * 3 * 4", "2 * 3 * 4"),
    ],
)
def test_markup_is_removed(text: str, plain: str) -> None:
    assert strip_markup(text) == plain


def test_sources_are_parsed_not_imported_and_tests_copies_and_broken_files_are_skipped(package: Path) -> None:
    passages = extract_passages({"package": package})
    assert {passage.summary for passage in passages} == {SUMMARY, SUMMARY.replace("oldest", "newest")}
    assert len(passages) == 2
    assert passages == extract_passages({"package": package})


def test_large_packages_give_way_to_small_ones() -> None:
    large, small = ([Passage(f"{name}{i}", "") for i in range(count)] for name, count in (("l", 9), ("s", 2)))
    assert [passage.body for passage in docstrings._balance([large, small], 6)] == ["l0", "s0", "l1", "s1", "l2", "l3"]


def test_splits_are_disjoint_and_keys_unique(small_machine: Path) -> None:
    found = [example for split in SPLITS for example in load_docstrings(split)]
    assert len({example.key for example in found}) == len({example.prompt for example in found}) == len(found) == 42
    assert all(example.key.startswith("docstrings/") and len(example.references) == 1 for example in found)


def test_second_load_reads_the_cache(small_machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = list(load_docstrings())
    monkeypatch.setattr(docstrings, "extract_passages", lambda folders: pytest.fail("extracted again"))
    assert list(load_docstrings()) == first


@pytest.mark.parametrize("damage", ["cut", "changed", "empty", "binary", "other"])
def test_damaged_cache_is_rebuilt(small_machine: Path, damage: str) -> None:
    first = list(load_docstrings())
    (path,) = small_machine.iterdir()
    whole = path.read_bytes()
    damaged = {
        "cut": whole[: whole.rindex(b"\n")],
        "changed": whole.replace(b"oldest", b"coldest", 1),
        "empty": b"",
        "binary": b"\xff\xfe\x00",
        "other": b'3\nabc\n{"a": 1}\n3\n[1]',
    }[damage]
    path.write_bytes(damaged)
    assert list(load_docstrings()) == first
    assert path.read_bytes() == whole
    assert list(small_machine.iterdir()) == [path]


def test_unwritable_cache_costs_only_time(small_machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_machine.write_text("a file where the folder should be", encoding="utf-8")
    assert len(load_docstrings()) > 20


def test_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TEXTGYM_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("TEXTGYM_CACHE")
    assert cache_folder().name == "textgym"


def test_this_machine_has_sources() -> None:
    folders = package_folders()
    assert {"python", "numpy", "gymnasium"} <= set(folders)
    passages = extract_passages({"gymnasium": folders["gymnasium"]})
    assert len(passages) > 20
    assert all(4 <= len(p.summary.split()) <= 25 and 20 <= len(p.body.split()) <= 200 for p in passages)
