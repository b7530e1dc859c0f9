"""Names that people choose on the page: in one alphabet, and none that looks like somebody else's."""

from __future__ import annotations

from typing import Any

import pytest

from textgym.feedback.server.names import check_name
from textgym.feedback.types import Comparison

PASSWORD = "a long password"
LIKE_ANNA = ["\u0410nn", "Ann\u0430", "\u0391nn\u0430", "\u0430nn\u0430", "ANNA", "Anna  Lee", "Anna Iee"]


@pytest.mark.parametrize("name", LIKE_ANNA)
def test_no_name_looks_like_somebody_elses(closed: Any, place: Any, name: str) -> None:
    """Cyrillic and Greek letters look like Latin ones, and so do I and l."""
    for known in ("Anna", "Anna Lee", "Anna lee"):
        place.store.add_votes([(f"v {known}", [Comparison("k", "p", "x", "y", "a", annotator=known)])])
    accounts = closed.site.accounts
    code = accounts.invite(closed.now)
    with pytest.raises(ValueError, match=r"This name (looks like|mixes)"):
        accounts.join(code, name, PASSWORD, closed.now)
    visitor = place.visitor()
    form = visitor.fields(visitor.get("/"), "/name")
    refused = visitor.post("/name", data={**form, "name": name})
    assert refused.status_code == 422
    assert "This name" in refused.text
    assert visitor.post("/name", data={**form, "name": "Anna"}).status_code == 200  # who comes back


def test_whole_names_of_another_alphabet_are_compared_too(place: Any) -> None:
    place.store.add_votes([("v", [Comparison("k", "p", "x", "y", "a", annotator="cap")])])
    with pytest.raises(ValueError, match="This name looks like 'cap', which somebody else has"):
        check_name("\u0441\u0430\u0440", place.store.annotators())


NAMES = ["Anna", "José Ñandú", "Åse Ødegård", "Nguyễn Thị Ánh", "Анна-Мария", "Ελένη 2", "田中さん", "タナカ ken", 
         "김민수", "李 Wei", "محمد", "अनिता", "O'Neil", "r2d2", "42"]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_names_in_one_alphabet_are_fine(closed: Any, name: str) -> None:
    accounts = closed.site.accounts
    assert accounts.join(accounts.invite(closed.now), name, PASSWORD, closed.now).name == name


@pytest.mark.parametrize("name", ["Аnn", "Анna", "田中 Анна", "Ann\u3164", "a\u2800b"])
def test_names_in_several_alphabets_or_with_letters_that_are_not_seen_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"mixes .* letters; choose one in a single alphabet|visible characters"):
        check_name(name)
