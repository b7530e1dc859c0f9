from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import tokenizers
from gymnasium.error import InvalidAction, ResetNeeded
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.chat_templates import ENDS, TEMPLATES, write_chat_folder
from textgym.envs.token_text import TokenTextEnv
from textgym.tasks import Summarization
from textgym.text.tokenizer import Tokenizer

STOPS = ("\n", " the", "e🎉")


@pytest.fixture(scope="module")
def tokenizer(tokenizer_folder: Path) -> Tokenizer:
    return Tokenizer.load(tokenizer_folder)


@pytest.fixture(scope="module")
def env(env_ids: tuple[str, str], tokenizer_folder: Path) -> gym.Env[Any, Any]:
    return gym.make(env_ids[0], model=str(tokenizer_folder), max_new_tokens=30)


@pytest.fixture(scope="module")
def pairs(env_ids: tuple[str, str], tokenizer_folder: Path) -> list[tuple[gym.Env[Any, Any], gym.Env[Any, Any]]]:
    """Token and episode environments, without and with stop strings."""
    return [
        (gym.make(env_ids[0], model=str(tokenizer_folder), stop=stop), gym.make(env_ids[1], stop=stop))
        for stop in ((), STOPS)
    ]


def write(env: gym.Env[Any, Any], ids: list[int], key: str = "train/0") -> tuple[float, dict[str, Any]]:
    env.reset(options={"task_key": key})
    for id_ in ids:
        _, reward, terminated, truncated, info = env.step(np.int64(id_))
        assert not truncated
        if terminated:
            return reward, info
    raise AssertionError("the text did not end")


def test_the_whole_transition_by_hand(env: gym.Env[Any, Any], tokenizer: Tokenizer) -> None:
    prompt = tokenizer.encode("Short.") + tokenizer.encode("\n\nSummary:")
    response = [*tokenizer.encode_response("Short"), 1]
    observation, info = env.reset(options={"task_key": "train/3"})
    assert info == {"task_key": "train/3", "prompt_truncated": False}
    for step, id_ in enumerate(response):
        so_far = prompt + response[:step]
        assert observation["input_ids"].tolist() == so_far + [0] * (70 - len(so_far))
        assert observation["attention_mask"].tolist() == [1] * len(so_far) + [0] * (70 - len(so_far))
        assert observation["prompt_length"].tolist() == [len(prompt)]
        observation, reward, terminated, truncated, info = env.step(np.int64(id_))
        assert (terminated, truncated) == (id_ == 1, False)
    assert info == {
        "text": "Short",
        "finish_reason": "eos",
        "is_success": True,
        "rewards": {"gold": pytest.approx(-0.005), "total": pytest.approx(-0.005)},
        "task_key": "train/3",
        "gold": pytest.approx(-0.005),
        "prompt_truncated": False,
    }
    assert reward == pytest.approx(-0.005)


def test_long_prompt_is_cut_and_says_so(env: gym.Env[Any, Any], tokenizer: Tokenizer) -> None:
    observation, info = env.reset(options={"task_key": "train/6"})
    assert info["prompt_truncated"]
    length = int(observation["prompt_length"][0])
    assert length <= 40
    assert tokenizer.decode(observation["input_ids"][:length]).endswith("word\n\nSummary:")
    env.step(np.int64(5))
    *_, info = env.step(np.int64(1))
    assert info["prompt_truncated"]


def test_prompts_that_come_again_are_not_encoded_again(
    env_ids: tuple[str, str], tokenizer_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[Any] = []
    real = Tokenizer.encode_prompts

    def counting(self: Tokenizer, prompts: Any, budget: int) -> Any:
        encoded.extend(prompts)
        return real(self, prompts, budget)

    monkeypatch.setattr(Tokenizer, "encode_prompts", counting)
    env = gym.make(env_ids[0], model=str(tokenizer_folder))
    begun = len(encoded)
    first = [env.reset(options={"task_key": f"train/{i % 3}"})[0]["input_ids"] for i in range(9)]
    assert len(encoded) - begun <= 3
    monkeypatch.setattr("textgym.envs.token_core._MOST_KEPT", 80)  # two prompts of 40
    small = gym.make(env_ids[0], model=str(tokenizer_folder), max_prompt_tokens=40)
    again = [small.reset(options={"task_key": f"train/{i % 3}"})[0]["input_ids"] for i in range(9)]
    assert len(small.unwrapped._core._prompts) <= 2
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one[:40][one[:40] > 0], other[:40][other[:40] > 0])


def test_prompts_follow_a_task_that_changes(tokenizer_folder: Path) -> None:
    class Counting(Summarization):
        asked = 0

        def prompt(self, example: Any, /) -> str:
            self.asked += 1
            return f"{self.asked} {example.prompt}"

    env = TokenTextEnv(Counting, model=str(tokenizer_folder))
    seen = set()
    for _ in range(4):
        observation, _ = env.reset(options={"task_key": "reports/train/1"})
        seen.add(env.tokenizer.decode(observation["input_ids"][:4]).split()[0])
    assert len(seen) == 4


def test_eos_first_is_an_empty_text(env: gym.Env[Any, Any]) -> None:
    reward, info = write(env, [1])
    assert (reward, info["text"], info["finish_reason"], info["is_success"]) == (0.0, "", "eos", False)


def test_budget_terminates(env: gym.Env[Any, Any], tokenizer: Tokenizer) -> None:
    _, info = write(env, [tokenizer.encode("a")[0]] * 30)
    assert (info["text"], info["finish_reason"]) == ("a" * 30, "length")


def test_pad_as_action_counts_and_adds_no_text(env: gym.Env[Any, Any], tokenizer: Tokenizer) -> None:
    a = tokenizer.encode("a")[0]
    assert write(env, [0, a, 0, 1])[1]["text"] == "a"
    assert write(env, [0] * 30)[1]["finish_reason"] == "length"


def test_every_eos_of_a_foreign_tokenizer_ends(env_ids: tuple[str, str], foreign_folder: Path) -> None:
    env = gym.make(env_ids[0], model=str(foreign_folder))
    for eos in (0, 1):
        assert write(env, [70, eos])[1]["finish_reason"] == "eos"


@pytest.mark.parametrize("name", ["default_system", "dated", "no_system", "two_ends", "separated"])
@settings(max_examples=30)
@given(ids=st.lists(st.integers(0, 400), min_size=8, max_size=8))
def test_grains_agree_where_a_chat_model_has_several_eos_ids(
    chats: dict[str, tuple[Any, Any]], name: str, ids: list[int]
) -> None:
    token, episode = chats[name]
    ends = token.get_wrapper_attr("tokenizer").eos_ids
    assert len(ends) == 3
    for written in (ids, *([*ids[:3], end] for end in ends)):
        reward, info = write(token, written)
        first = next((place for place, id_ in enumerate(written) if id_ in ends), None)
        assert info["finish_reason"] == ("length" if first is None else "eos")
        episode.reset(options={"task_key": info["task_key"]})
        _, whole, *_, whole_info = episode.step(info["text"])
        assert (whole, whole_info["text"], whole_info["rewards"]) == (reward, info["text"], info["rewards"])


@pytest.fixture(scope="module")
def chats(env_ids: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Any, Any]]:
    """Both grains for chat models whose generation_config names several EOS ids, the terminator not among them."""
    made = {}
    for name in ("default_system", "dated", "no_system", "two_ends", "separated"):
        folder = write_chat_folder(tmp_path_factory.mktemp(name), *TEMPLATES[name])
        backend = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        ids = [backend.token_to_id(token) for token in (ENDS[TEMPLATES[name][1]], "<|im_start|>")]
        (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": ids}))
        token = gym.make(env_ids[0], model=str(folder), max_prompt_tokens=200, max_new_tokens=8)
        made[name] = token, gym.make(env_ids[1])
    return made


@pytest.mark.parametrize("kind", ["byte", "spm", "prepend", "metaspace"])
@settings(max_examples=60)
@given(text=st.text(" Ta.\n", max_size=8))
def test_stop_strings_that_begin_with_a_space_mean_the_same_in_both_grains(
    stopped: dict[str, tuple[Any, Any]], kind: str, text: str
) -> None:
    """What joins a response to its prompt is no part of it: " T" does not end "The" before it has begun."""
    token, episode = stopped[kind]
    ids = token.get_wrapper_attr("tokenizer").encode_response(text)[:39]
    end = token.get_wrapper_attr("tokenizer").require_eos()
    reward, info = write(token, [*ids, end])
    expected = text.lstrip(" ").split(" T")[0].split(" \n")[0] if text.strip() else ""
    if kind != "metaspace":  # whose first space is not doubled where a text begins with one
        assert info["text"] == expected.strip()
    episode.reset(options={"task_key": info["task_key"]})
    _, whole, *_, whole_info = episode.step(text)
    assert (whole_info["text"], whole_info["finish_reason"]) == (info["text"], info["finish_reason"])
    assert whole == reward


@pytest.fixture(scope="module")
def stopped(env_ids: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Any, Any]]:
    """Both grains with stop strings that begin with a space, for tokenizers of several kinds."""
    made, stop = {}, (" T", " \n")
    for kind in ("byte", "spm", "prepend", "metaspace"):
        folder = write_chat_folder(tmp_path_factory.mktemp(kind), None, kind)
        token = gym.make(env_ids[0], model=str(folder), max_prompt_tokens=200, max_new_tokens=40, stop=stop)
        made[kind] = token, gym.make(env_ids[1], stop=stop)
    return made


def test_a_tokenizer_without_an_end_is_said_once(
    env_ids: tuple[str, str], tmp_path: Path, tokenizer: Tokenizer
) -> None:
    (tmp_path / "tokenizer.json").write_bytes((tokenizer.folder / "tokenizer.json").read_bytes())
    with pytest.warns(
        UserWarning, match=r"no end-of-text token, so that every text runs to its budget of 8 tokens"
    ) as said:
        env = gym.make(env_ids[0], model=str(tmp_path))
    assert len(said) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert write(env, [70] * 8)[1]["finish_reason"] == "length"
        gym.make(env_ids[0], model=str(tmp_path), stop=("\n",))


def test_stop_string_across_tokens_ends_and_is_cut(pairs: list[Any], tokenizer: Tokenizer) -> None:
    env = pairs[1][0]
    ids = [tokenizer.encode(piece)[0] for piece in ("a", "b")] + tokenizer.encode(" th") + tokenizer.encode("e") + [1]
    _, info = write(env, ids)
    assert (info["text"], info["finish_reason"]) == ("ab", "stop")


@settings(max_examples=150)
@given(ids=st.lists(st.integers(0, 376), min_size=8, max_size=8), which=st.integers(0, 1), key=st.integers(0, 6))
def test_both_grains_pay_exactly_the_same(pairs: list[Any], ids: list[int], which: int, key: int) -> None:
    token, episode = pairs[which]
    reward, info = write(token, ids, f"train/{key}")
    _, shown = episode.reset(options={"task_key": info["task_key"]})
    assert shown == {"task_key": f"train/{key}"}
    _, whole, *_, whole_info = episode.step(info["text"])
    assert whole == reward
    assert {key: whole_info[key] for key in ("text", "is_success", "rewards")} == {
        key: info[key] for key in ("text", "is_success", "rewards")
    }


@settings(max_examples=100)
@given(text=st.text("ab the\n🎉e", max_size=12))
def test_stop_reason_agrees_with_the_text(env_ids: tuple[str, str], tokenizer_folder: Path, text: str) -> None:
    env = gym.make(env_ids[0], model=str(tokenizer_folder), stop=STOPS, max_new_tokens=100)
    ids = env.get_wrapper_attr("tokenizer").encode(text)
    _, info = write(env, [*ids, 1])
    first = min([text.find(stop) for stop in STOPS if stop in text], default=len(text))
    assert info["text"] == text[:first].strip()
    assert info["finish_reason"] == ("stop" if first < len(text) else "eos")


@pytest.mark.parametrize("action", [-1, 377, 1.5, True, [3], "a", np.array([[3]])])
def test_illegal_actions_are_named(env: gym.Env[Any, Any], action: Any) -> None:
    base = env.unwrapped
    base.reset(seed=0)
    with pytest.raises(InvalidAction, match="expected"):
        base.step(action)


def test_steps_outside_an_episode_need_a_reset(env: gym.Env[Any, Any]) -> None:
    write(env, [1])
    with pytest.raises(ResetNeeded, match="reset"):
        env.step(np.int64(3))
    fresh = gym.make(env.spec).unwrapped if env.spec else env
    with pytest.raises(ResetNeeded):
        fresh.step(np.int64(3))


def play(env: gym.Env[Any, Any], episodes: int) -> None:
    """Write ``a`` until an episode ends or is cut."""
    token = np.int64(env.get_wrapper_attr("tokenizer").encode("a")[0])
    for seed in range(episodes):
        env.reset(seed=seed)
        ended = False
        while not ended:
            _, _, terminated, truncated, _ = env.step(token)
            ended = terminated or truncated


class Patience(gym.Wrapper[Any, Any, Any, Any]):
    """Ends every episode after five steps, like a ``TimeLimit`` by somebody else."""

    steps = 0

    def reset(self, **kwargs: Any) -> Any:
        self.steps = 0
        return super().reset(**kwargs)

    def step(self, action: Any) -> Any:
        self.steps += 1
        observation, reward, terminated, _, info = super().step(action)
        return observation, reward, terminated, self.steps == 5, info


def test_a_time_limit_below_the_budget_is_refused(env_ids: tuple[str, str], tokenizer_folder: Path) -> None:
    plain = gym.make(env_ids[0], model=str(tokenizer_folder))
    inner = gym.make(env_ids[0], model=str(tokenizer_folder), max_episode_steps=7)
    for env in (gym.wrappers.TimeLimit(plain, 7), inner, gym.wrappers.RecordEpisodeStatistics(inner)):
        with pytest.raises(ValueError, match=r"a TimeLimit of 7 steps around texts of 8 tokens: .* use max_new_tokens"):
            env.reset()
    plain.reset()  # as it is without one


def test_a_time_limit_around_an_environment_that_was_not_made_by_id_is_refused(env: gym.Env[Any, Any]) -> None:
    bare = env.unwrapped
    bare.spec = None
    for wrapped in (bare, gym.wrappers.RecordEpisodeStatistics(bare)):
        limited = gym.wrappers.TimeLimit(wrapped, 5)
        with pytest.raises(ValueError, match="a TimeLimit of 5 steps around texts of 30 tokens"):
            limited.reset()
        assert limited.spec is None
        assert limited.unwrapped is bare
        gym.wrappers.TimeLimit(wrapped, 30).reset()


def test_texts_that_another_limit_cuts_are_said_once(env_ids: tuple[str, str], tokenizer_folder: Path) -> None:
    env = Patience(gym.make(env_ids[0], model=str(tokenizer_folder)))
    with pytest.warns(UserWarning, match=r"given up after 5 tokens each.* use max_new_tokens") as said:
        play(env, 8)
    assert len(said) == 1


def test_texts_that_end_and_resets_in_between_are_no_limit(env_ids: tuple[str, str], tokenizer_folder: Path) -> None:
    env = gym.make(env_ids[0], model=str(tokenizer_folder), max_episode_steps=8)  # as long as the budget
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        play(env, 8)
        for tokens in (2, 5, 5, 3, 1, 1, 1, 1, 5, 5, 4):
            env.reset()
            for _ in range(tokens):
                env.step(np.int64(70))


def test_limits_of_steps_in_arguments_are_refused(env_ids: tuple[str, str], tokenizer_folder: Path) -> None:
    for env_id in env_ids:
        with pytest.raises(TypeError, match=r"got max_episode_steps=5: .* use max_new_tokens"):
            gym.make_vec(env_id, 2, max_episode_steps=5)


def test_seeds_choose_prompts(env: gym.Env[Any, Any]) -> None:
    def keys(seed: int) -> list[str]:
        return [env.reset(seed=seed)[1]["task_key"], *(env.reset()[1]["task_key"] for _ in range(20))]

    assert keys(1) == keys(1)
    assert keys(1) != keys(2)
    assert len(set(keys(1))) == 7


def test_a_draw_is_one_number_and_a_named_reset_none(env: gym.Env[Any, Any]) -> None:
    generator = np.random.default_rng(9)
    expected = [f"train/{int(generator.bit_generator.random_raw() % 7)}" for _ in range(3)]
    first = env.reset(seed=9)[1]["task_key"]
    env.reset(options={"task_key": "train/0"})
    assert [first, env.reset()[1]["task_key"], env.reset()[1]["task_key"]] == expected


def test_unknown_key_and_option_are_named(env: gym.Env[Any, Any]) -> None:
    with pytest.raises(ValueError, match="Did you mean 'train/1'"):
        env.reset(options={"task_key": "trian/1"})
    with pytest.raises(ValueError, match="Did you mean 'task_key'"):
        env.reset(options={"task_kye": "train/1"})
    for options in ({"task_key": 1}, {"task_keys": [1]}, {"task_keys": 5}, {"task_keys": "train/1"}, 5):
        with pytest.raises(TypeError, match=r"expected .*, got "):
            env.reset(options=options)  # type: ignore[arg-type]


def test_render(env_ids: tuple[str, str], tokenizer_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    env = gym.make(env_ids[0], model=str(tokenizer_folder), render_mode="ansi")
    env.reset(options={"task_key": "train/3"})
    env.step(np.int64(env.get_wrapper_attr("tokenizer").encode("ab")[0]))
    assert env.render() == "Short.\n\nSummary:\n>>> a"
    human = gym.make(env_ids[1], render_mode="human")
    human.reset(options={"task_key": "train/3"})
    human.step("Brief.")
    printed = capsys.readouterr().out
    assert printed.startswith("Short.\n\nSummary:\n>>> Brief.\n= reward ")
    assert printed.endswith(", no success, ended by eos\n")


@pytest.mark.parametrize("grain", [0, 1])
def test_human_mode_prints_everything_once(
    env_ids: tuple[str, str], tokenizer_folder: Path, capsys: pytest.CaptureFixture[str], grain: int
) -> None:
    kwargs: dict[str, Any] = {"model": str(tokenizer_folder)} if grain == 0 else {}
    env: Any = gym.make(env_ids[grain], render_mode="human", **kwargs)
    eos = 1
    for apart in ("", "\n"):
        env.reset(options={"task_key": "train/3"})
        assert capsys.readouterr().out == f"{apart}Short.\n\nSummary:\n"
        env.render()  # nothing is new
        env.step(np.int64(eos) if grain == 0 else "")
        env.render()
        printed = capsys.readouterr().out
        assert (printed[:14], printed.count("\n")) == (">>> \n= reward ", 2)
    if grain == 0:
        env.reset(options={"task_key": "train/3"})
        capsys.readouterr()
        for token in env.get_wrapper_attr("tokenizer").encode("a"):
            env.step(np.int64(token))
        env.render()
        assert capsys.readouterr().out == ">>> a\n"
        env.step(np.int64(eos))
        assert capsys.readouterr().out.startswith("= reward ")
