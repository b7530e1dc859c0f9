"""Names ``module:attribute`` that lead nowhere: the error lists what there is and suggests the most similar."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from textgym.agents import resolve_agent
from textgym.envs.choice import UnknownEnvError, check_env_id
from textgym.rewards import resolve_reward
from textgym.security import consent

SOURCE = """
import math
from collections import Counter
from textgym.types import Example

LIMIT = 3

def good(prompts, responses, examples): return [1.0] * len(prompts)
def polite(prompts, responses, examples): return [1.0] * len(prompts)
def _count(text): return len(text)
class Short:
    def __init__(self, limit): self.limit = limit
    def __call__(self, prompts, responses, examples): return [1.0] * len(prompts)
"""


@pytest.fixture(autouse=True)
def _own_rewards(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(consent, "_user_folders", [str(tmp_path)])
    Path("mistyped_rewards.py").write_text(SOURCE)
    Path("mistyped_rewards_too.py").write_text("")


def mistake(name: str) -> str:
    with pytest.raises((ValueError, TypeError)) as caught:
        resolve_reward(name)
    return str(caught.value)


def test_a_mistyped_function_lists_those_that_the_file_defines() -> None:
    expected = "expected 'module:attribute' with a name that mistyped_rewards.py defines, got"
    assert mistake("mistyped_rewards:god") == (
        f"{expected} 'mistyped_rewards:god'. Did you mean 'good'? It defines: Short, good, polite."
    )
    assert mistake("mistyped_rewards:zzz") == f"{expected} 'mistyped_rewards:zzz'. It defines: Short, good, polite."
    assert "Did you mean 'rougeL'? It defines: BertScore, Meteor," in mistake("textgym.metrics:rougL")
    assert "Did you mean 'PPO'? It defines: A2C, AGENTS," in mistake("textgym.agents:Ppo")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("mistyped_reward:good", "there is no module 'mistyped_reward'. Did you mean 'mistyped_rewards'?"),
        ("mistyped_rewards.py:good", "there is no module 'mistyped_rewards.py'. Did you mean 'mistyped_rewards'?"),
        ("textgym.metrics.rogue:rougeL", "there is no module 'textgym.metrics.rogue'. Did you mean 'rouge'?"),
        ("zzz:good", "mistyped_rewards, mistyped_rewards_too."),
        ("./mistyped_rewards.py:good", "is named 'mistyped_rewards:good', in the folder of the file."),
    ],
)
def test_a_mistyped_module_lists_those_of_the_folder(name: str, hint: str) -> None:
    assert mistake(name).endswith(hint)


def test_environments_and_agents_are_named_in_the_same_way() -> None:
    with pytest.raises(UnknownEnvError, match=r"Did you mean 'mistyped_rewards'\?"):
        check_env_id("mistyped_reward:Id-v0")
    with pytest.raises(ValueError, match=re.escape("is named 'mistyped_rewards:Short', in the folder of the file.")):
        resolve_agent("./mistyped_rewards.py:Short")


def test_a_module_that_an_existing_module_lacks_is_its_own_error(tmp_path: Path) -> None:
    Path("mistyped_imports.py").write_text("import mistyped_import_of_others\n")
    Path("mist.py").write_text("import mis\n")
    for name, lacking in (("mistyped_imports:good", "mistyped_import_of_others"), ("mist:good", "mis")):
        with pytest.raises(ModuleNotFoundError, match=lacking):
            resolve_reward(name)


def test_a_class_of_rewards_with_required_arguments_is_explained() -> None:
    assert "expected limit=... for the reward 'mistyped_rewards:Short', got" in mistake("mistyped_rewards:Short")
