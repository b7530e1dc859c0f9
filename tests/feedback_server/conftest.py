"""Sites in memory of the test: their store, and a browser that keeps cookies and fills in forms."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="needs the extra textgym[feedback]")
pytest.importorskip("httpx", reason="needs httpx")

from fastapi.testclient import TestClient
from httpx import Response

from benchmarks.feedback_page import find_chromium, open_browser
from textgym.errors import MissingExtraError
from textgym.feedback import FeedbackStore
from textgym.feedback.server.app import create_app
from textgym.feedback.server.sessions import Session, seal
from textgym.feedback.server.site import Site
from textgym.feedback.types import Mode, Question

TOKEN = "the-owners-token"


class Visitor(TestClient):
    """Somebody at a browser without scripts."""

    def fields(self, page: Response, action: str = "/vote") -> dict[str, str]:
        """Return the hidden fields of a form of a page."""
        (form,) = re.findall(rf'<form[^>]*action="{action}"[^>]*>(.*?)</form>', page.text, re.DOTALL)[:1]
        found = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)">', form)
        return {name: unescape(value) for name, value in found}

    def answer(self, path: str = "/", **values: str) -> Response:
        """Fill in the form of a question."""
        return self.post("/vote", data={**self.fields(self.get(path)), **values})


class Place:
    """A site with a store of its own."""

    def __init__(self, store: FeedbackStore, token: str | None) -> None:
        self.store = store
        self.now = 9000.0  # later than what the clock of the store shows
        self.site = Site(store, "me", token, clock=lambda: self.now)
        self.app = create_app(self.site)

    def visitor(self, name: str | None = None) -> Visitor:
        """Return somebody new; under another name on an open site."""
        visitor = Visitor(self.app, base_url="http://localhost", raise_server_exceptions=True)
        if name is not None:
            account = self.site.accounts.all().get(name)
            session = Session.begin(name, self.site.is_open, self.now, account.mark if account else "")
            visitor.cookies.set(self.site.cookie, seal(session, self.site.secret))
        return visitor

    def beside(self, name: str, token: str | None = None) -> Place:
        """Return a site with an empty store beside this one's; an open one unless it has a token."""
        return Place(FeedbackStore(self.store.path.with_name(name)), token)

    @staticmethod
    def question(
        number: int = 0, mode: Mode = "compare", responses: int = 2, criteria: tuple[str, ...] = ()
    ) -> Question:
        """Return a question whose texts tell the response by a letter and the question by its number."""
        letters = "abcdefgh"[:responses]
        texts = tuple(f"response {letter} to {number}" for letter in letters)
        generators = tuple(f"model-{letter}" for letter in letters)
        return Question(f"k{number}", f"prompt {number}", texts, mode, generators, criteria=criteria)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FeedbackStore]:
    clock = iter(float(number) for number in range(1000, 10**6))
    with FeedbackStore(tmp_path / "project.db", clock=lambda: next(clock)) as store:
        yield store


@pytest.fixture
def place(store: FeedbackStore) -> Place:
    """An open site."""
    return Place(store, None)


@pytest.fixture
def closed(store: FeedbackStore) -> Place:
    """A site that asks for a token or an account."""
    return Place(store, TOKEN)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    try:
        find_chromium()
    except MissingExtraError as error:
        pytest.skip(str(error))
    with open_browser() as browser:
        yield browser
