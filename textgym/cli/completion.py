"""Names for the shell to complete: ids, agents, models, rewards, run folders. Nothing heavy is imported."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from textgym.files.paths import user_path

RUNS = "runs"
"""The folder that new runs are made in, whose runs are offered before anything is typed."""


def env_ids(incomplete: str) -> list[str]:
    """Return ids of environments."""
    import textgym  # noqa: F401  # which registers them
    from textgym.registration import registered_ids

    return _beginning(registered_ids(), incomplete)


def agents(incomplete: str) -> list[str]:
    """Return names of agents; of a list with commas between, the last one is completed."""
    from textgym.agents.registry import AGENTS

    before, comma, last = incomplete.rpartition(",")
    return [f"{before}{comma}{name}" for name in _beginning(AGENTS, last)]


def agents_or_runs(incomplete: str) -> list[str]:
    """Return names of agents, and run folders."""
    return [*agents(incomplete), *runs(incomplete)]


def models(incomplete: str) -> list[str]:
    """Return shipped models, and folders."""
    from textgym.hub import SHIPPED

    return [*_beginning(SHIPPED, incomplete), *runs(incomplete)]


def rewards(incomplete: str) -> list[str]:
    """Return rewards by name, and folders."""
    from textgym.rewards import NAMED_REWARDS

    return [*_beginning(NAMED_REWARDS, incomplete), *runs(incomplete)]


def env_ids_or_runs(incomplete: str) -> list[str]:
    """Return ids of environments, and run folders, also behind a label."""
    label, equals, path = incomplete.rpartition("=")
    return [*env_ids(incomplete), *(f"{label}{equals}{each}" for each in runs(path))]


def runs(incomplete: str) -> list[str]:
    """Return folders whose paths begin so; before anything is typed, the runs in the folder of new ones."""
    typed = incomplete or (f"{RUNS}/" if Path(RUNS).is_dir() else "")
    parent, _, name = typed.rpartition("/")
    try:
        place = user_path(parent or ("/" if typed.startswith("/") else "."))
        found = sorted(path.name for path in place.iterdir() if path.is_dir() and not path.name.startswith("."))
    except (OSError, ValueError):  # there is no such folder or home, or nobody may look into it
        return []
    before = typed[: len(typed) - len(name)]
    return [f"{before}{each}" for each in _beginning(found, name)]


def splits(incomplete: str) -> list[str]:
    """Return the splits of data."""
    return _beginning(("train", "validation", "test"), incomplete)


def _beginning(names: Iterable[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]
