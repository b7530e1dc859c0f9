"""What all environments of both grains say about themselves, and about rendering."""

from __future__ import annotations

import warnings
from typing import Any

import gymnasium as gym
import pytest
from gymnasium.utils.env_checker import check_env

from textgym.agents import make_vec_env
from textgym.tasks import TextTask

IDS = ("TextSumm-v0", "TextSummEpisode-v0")


@pytest.mark.parametrize("env_id", IDS)
def test_rendering_without_a_mode_says_how_to_get_one(env_id: str) -> None:
    env = gym.make(env_id, reward="rouge")
    env.reset(seed=0)
    with pytest.warns(UserWarning, match=rf'gym.make\("{env_id}", render_mode="ansi"\) returns the text'):
        assert env.render() is None
    vector: Any = gym.make_vec(env_id, num_envs=2, reward="rouge")
    vector.reset(seed=0)
    with pytest.warns(UserWarning, match=rf'gym.make_vec\("{env_id}", render_mode="ansi"\) returns the text'):
        assert vector.render() is None


@pytest.mark.parametrize("env_id", IDS)
@pytest.mark.parametrize("mode", ["ansi", "human"])
def test_rendering_with_a_mode_warns_of_nothing(env_id: str, mode: str, capsys: pytest.CaptureFixture[str]) -> None:
    env = gym.make(env_id, reward="rouge", render_mode=mode)
    env.reset(seed=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        shown = env.render()
    assert (">>>" in str(shown)) == (mode == "ansi")


@pytest.mark.parametrize("env_id", IDS)
def test_the_checker_of_gymnasium_finds_nothing(env_id: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", ".*out of date", DeprecationWarning)  # newer versions of the ids
        check_env(gym.make(env_id, reward="rouge").unwrapped)


def test_an_environment_says_what_it_is() -> None:
    env = gym.make("TextSumm-v0", reward="rouge", max_new_tokens=7)
    about = repr(env.unwrapped)
    assert about.startswith("<TokenTextEnv<TextSumm-v0>: task ")
    for part in (" on reports (train: ", "reward rougeL", "tokens of tiny", "512 prompt + 7 new tokens"):
        assert part in about
    assert about in repr(env)  # Gymnasium's wrappers show what is within them
    assert str(env.unwrapped) == about
    episode = repr(gym.make("TextSummEpisode-v0", reward="rouge").unwrapped)
    assert episode.startswith("<EpisodeTextEnv<TextSummEpisode-v0>: task ")
    assert episode.endswith("reward rougeL>")


@pytest.mark.parametrize("env_id", IDS)
def test_so_do_many_copies(env_id: str) -> None:
    about = repr(gym.make_vec(env_id, num_envs=3, reward="rouge"))
    assert f"VectorEnv<{env_id}>: 3 copies, task " in about
    assert "reward rougeL" in about
    assert "\n" not in about


def test_so_does_what_stable_baselines3_is_given() -> None:
    env = make_vec_env("TextSumm-v0", n_envs=3, reward="rouge")
    assert repr(env).startswith("<MonitoredTexts<GymVecEnv<TokenTextVectorEnv<TextSumm-v0>: 3 copies, task ")


def test_a_task_says_what_it_is() -> None:
    class Shout(TextTask):
        name = "shout"
        max_turns = 2

    rows = [{"prompt": f"word {number}", "reference": "W"} for number in range(20)]
    about = repr(Shout(rows))
    assert about.startswith("<Shout: task shout on ")
    assert about.endswith("reward success, 512 prompt + 48 new tokens, up to 2 turns>")
    Shout.reward = staticmethod(lambda prompts, responses, examples: [0.0] * len(responses))
    assert "reward <lambda>" in repr(Shout(rows))
