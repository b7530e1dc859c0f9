"""What the parts of `textgym.feedback` load: records need no database, and nothing but the page needs a server."""

from __future__ import annotations

import subprocess
import sys

import pytest

import textgym.feedback

SERVER = {"fastapi", "starlette", "uvicorn", "jinja2"}


def loaded(code: str) -> set[str]:
    """Return the modules in memory after a fresh Python has run ``code``."""
    command = [sys.executable, "-P", "-c", f"{code}\nimport sys\nprint(*sys.modules)"]
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())


@pytest.mark.parametrize(
    "code",
    [
        "import textgym.feedback",
        "from textgym.feedback import read_records, write_records, export_records, split_records, By",
        "import textgym.feedback.types, textgym.feedback.records.files",
    ],
)
def test_records_load_no_database(code: str) -> None:
    found = loaded(code)
    assert found & (SERVER | {"sqlite3", "torch"}) == set()
    assert [name for name in found if name.startswith(("textgym.feedback.store", "textgym.feedback.server"))] == []


def test_the_store_loads_no_server() -> None:
    found = loaded("from textgym.feedback import FeedbackStore, People, Panel")
    assert "sqlite3" in found
    assert found & SERVER == set()


def test_every_public_name_has_a_part() -> None:
    assert sorted(textgym.feedback.__all__) == sorted(textgym.feedback._HOMES)
    assert all(getattr(textgym.feedback, name) is not None for name in textgym.feedback.__all__)
    assert set(textgym.feedback.__all__) <= set(dir(textgym.feedback))


def test_an_unknown_name_is_an_error() -> None:
    with pytest.raises(AttributeError, match=r"textgym\.feedback.*no attribute 'Store'"):
        _ = textgym.feedback.Store
