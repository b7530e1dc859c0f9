"""The examples run, with smaller numbers, and the README shows what is in them."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SMALLER = {
    "stock_ppo.py": {"n_envs=64": "n_envs=4", "43_000": "192", "300": "8", "n_steps=48": "n_steps=24", "768": "48"},
    "own_agent.py": {"1000": "20"},
    "rlhf_loop.py": {"range(3)": "range(2)", "400": "8", "n_envs=64": "n_envs=4", "8 * 64 * 48": "4 * 48"},
}
SHOWN = {"stock_ppo.py": "after Interval(", "own_agent.py": "mean ROUGE-L by sentence", "rlhf_loop.py": "round 1 gold"}
IN_README = ("stock_ppo.py", "own_agent.py")


def code_of(name: str) -> str:
    text = (ROOT / "examples" / name).read_text(encoding="utf-8")
    return text.split('"""', 2)[2].strip()


@pytest.mark.parametrize("name", SMALLER)
def test_an_example_runs(name: str, tmp_path: Path) -> None:
    source = code_of(name)
    for number, small in SMALLER[name].items():
        assert number in source
        source = source.replace(number, small)
    (tmp_path / name).write_text(source, encoding="utf-8")
    done = subprocess.run([sys.executable, name], cwd=tmp_path, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-2000:]
    assert SHOWN[name] in done.stdout


@pytest.mark.parametrize("name", IN_README)
def test_the_readme_shows_the_example_in_at_most_15_lines(name: str) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert code_of(name) in [block.strip() for block in blocks]
    assert sum(bool(line.strip()) for line in code_of(name).splitlines()) <= 15
