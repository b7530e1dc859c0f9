"""The files of docs/extend.md are complete: each runs as it stands, beside the others."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

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


def run(folder: Path, *arguments: str) -> str:
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_the_page_shows_one_file_of_each_kind(folder: Path) -> None:
    assert {path.name for path in folder.glob("*.py")} == set(SHOWN)
    assert all(len(path.read_text(encoding="utf-8").splitlines()) < 60 for path in folder.glob("*.py"))


@pytest.mark.parametrize("name", SHOWN)
def test_a_file_runs(folder: Path, name: str) -> None:
    assert re.fullmatch(SHOWN[name], run(folder, name))


def test_the_reward_is_found_by_its_name(folder: Path) -> None:
    code = "import gymnasium, textgym; env = gymnasium.make('TextSummEpisode-v0', reward='brevity:brevity'); "
    code += "env.reset(seed=0); print(env.step('one two three four')[1])"
    assert float(run(folder, "-c", code)) == pytest.approx(0.9)


def test_the_environments_of_the_task_keep_their_promises(folder: Path) -> None:
    code = "from textgym.testing import check_text_env as check; check('shout:Shout-v0')"
    assert run(folder, "-c", code) == ""
