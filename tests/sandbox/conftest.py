"""Sandboxes of both levels; level 2 is skipped, with the reason, where it cannot start."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.sandbox.hostile_programs import LIMITS
from textgym.errors import SandboxUnavailableError
from textgym.sandbox import LEVELS, Level, Sandbox


@pytest.fixture(scope="session", params=LEVELS)
def sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    """A sandbox with two workers, which tests share."""
    yield from _started(request.param)


@pytest.fixture(scope="session")
def monty() -> Iterator[Sandbox]:
    """The first level, which is a part of every installation."""
    yield from _started("monty")


@pytest.fixture(scope="session")
def bubblewrap() -> Iterator[Sandbox]:
    """The second level."""
    yield from _started("bubblewrap")


def _started(level: Level) -> Iterator[Sandbox]:
    with Sandbox(level, LIMITS, workers=2) as sandbox:
        try:
            sandbox.start()
        except SandboxUnavailableError as error:
            if level == "monty":
                raise
            pytest.skip(str(error))
        yield sandbox
