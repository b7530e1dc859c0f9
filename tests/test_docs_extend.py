"""The files of docs/extend.md are complete: each runs as it stands, beside the others."""

from __future__ import annotations

import re
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path

import gymnasium as gym
import pytest

import textgym  # noqa: F401  # registers the environments
from textgym.testing import check_text_env

PAGE = Path(__file__).resolve().parents[1] / "docs" / "extend.md"
pytestmark = pytest.mark.skipif(not PAGE.is_file(), reason="needs the checkout")
SHOWN = {
    "shout.py": r"In capitals: (\w+) -> ([A-Z]+) 1\.0 True\n",
    "brevity.py": r"\{'rouge': 0\.\d+, 'brevity': 0\.875, 'total': 0\.\d+\}\n",
    "lead.py": "meets the contract of an agent\n",
    "encoder_decoder.py": r"\[\d, \d\] \[-\d+\.\d -\d+\.\d\]\n",
}


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all files of the page."""
    home = tmp_path_factory.mktemp("extend")
    for code in blocks("python"):
        name = code.splitlines()[0].removeprefix("# ")
        (home / name).write_text(code, encoding="utf-8")
    return home


@pytest.fixture
def beside(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder as the current one, where files import each other; what they import and register is gone afterwards.

    They run in this process: one of their own would spend nearly all of its time on importing torch.
    """
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.chdir(folder)
    known = set(gym.registry)
    yield folder
    for path in folder.glob("*.py"):
        sys.modules.pop(path.stem, None)
    for env_id in set(gym.registry) - known:
        del gym.registry[env_id]


def test_the_page_shows_one_file_of_each_kind(folder: Path) -> None:
    assert {path.name for path in folder.glob("*.py")} == set(SHOWN)
    assert all(len(path.read_text(encoding="utf-8").splitlines()) < 60 for path in folder.glob("*.py"))


@pytest.mark.parametrize("name", SHOWN)
def test_a_file_runs(name: str, beside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(beside / name), run_name="__main__")
    assert re.fullmatch(SHOWN[name], capsys.readouterr().out)


@pytest.mark.usefixtures("beside")
def test_the_reward_is_found_by_its_name() -> None:
    env = gym.make("TextSummEpisode-v0", reward="brevity:brevity")
    env.reset(seed=0)
    assert float(env.step("one two three four")[1]) == pytest.approx(0.9)


@pytest.mark.usefixtures("beside")
def test_the_environments_of_the_task_keep_their_promises() -> None:
    check_text_env("shout:Shout-v0")
