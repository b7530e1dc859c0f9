"""The Python on the page for users of TRL runs, with small numbers: all of it where TRL is installed."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import gymnasium as gym
import pytest

import textgym  # noqa: F401  # registers the environments

PAGE = Path(__file__).resolve().parents[1] / "docs" / "from-trl.md"
SMALLER = {
    "max_steps=100": "max_steps=1, report_to='none', save_strategy='no', use_cpu=True, bf16=False",
    "max_completion_length=48": "max_completion_length=4",
    "per_device_train_batch_size=16": "per_device_train_batch_size=4",
    "prompts=2000": "prompts=4",
}
pytestmark = pytest.mark.skipif(not PAGE.is_file(), reason="needs the checkout")


def block(first_line: str) -> str:
    found = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    (code,) = [each for each in found if each.startswith(f"# {first_line}\n")]
    return str(code)


def test_a_trainer_of_trl_learns_from_an_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("trl", reason="needs: pip install 'textgym[trl]'")
    monkeypatch.chdir(tmp_path)
    code = block("in TRL")
    for number, small in SMALLER.items():
        assert number in code
        code = code.replace(number, small)
    page: dict[str, object] = {"__name__": "page"}
    exec(compile(code, "from-trl.md", "exec"), page)
    trainer: object = page["trainer"]
    assert trainer.state.global_step == 1  # type: ignore[attr-defined]


def test_a_reward_function_of_trl_is_a_reward(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_rewards.py").write_text(block("my_rewards.py"), encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "my_rewards", raising=False)
    env = gym.make("TextSummEpisode-v1", reward="my_rewards:first_word")
    env.reset(seed=0)
    example = env.unwrapped.episode.example  # type: ignore[attr-defined]
    assert env.step(example.references[0])[1] == 1.0
    env.reset(seed=0)
    assert env.step("no")[1] == 0.0
    sys.modules.pop("my_rewards")
