from __future__ import annotations

import json
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import textgym
from textgym.envs.choice import EnvChoice, UnknownEnvError
from textgym.testing import check_text_env

PROBE = """
import sys, time
start = time.process_time()
import gymnasium
import textgym
seconds = time.process_time() - start
after_import = "torch" in sys.modules or "transformers" in sys.modules
def reward(prompts, responses, examples): return [0.0] * len(responses)
env = gymnasium.make("TextSumm-v0", reward=reward, model=sys.argv[1])
env.reset(seed=0)
env.step(env.action_space.sample())
copies = gymnasium.make_vec("TextSumm-v0", num_envs=2, reward=reward, model=sys.argv[1])
gymnasium.make("TextSummEpisode-v0", reward="learned").reset(seed=0)
import json
print(json.dumps([seconds, after_import, "torch" in sys.modules or "transformers" in sys.modules]))
"""


def test_import_is_fast_and_without_torch(tokenizer_folder: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", PROBE, str(tokenizer_folder)]
    output = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    seconds, torch_after_import, torch_after_make = json.loads(output.splitlines()[-1])
    assert seconds < 5  # a busy machine; alone it is well under one
    assert not torch_after_import
    assert not torch_after_make


def test_both_grains_are_registered() -> None:
    assert {"TextSumm-v0", "TextSummEpisode-v0"} <= set(textgym.registered_ids())
    assert gym.spec("TextSumm-v0").vector_entry_point == "textgym.envs:TokenTextVectorEnv"


def test_registering_again_is_silent(env_ids: tuple[str, str]) -> None:
    before = gym.spec(env_ids[0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        textgym.register_task("TextSumm", "textgym.tasks.summarization:Summarization")
        assert textgym.register_task("TestList", before.kwargs["task"]) == env_ids
    assert gym.spec(env_ids[0]) is before


@pytest.mark.parametrize("vector", [False, True])
@pytest.mark.parametrize("grain", [0, 1])
def test_unknown_arguments_are_named(env_ids: tuple[str, str], grain: int, vector: bool) -> None:
    make = gym.make_vec if vector else gym.make
    with pytest.raises(TypeError, match=r"got 'rewrd'\. Did you mean 'reward'"):
        make(env_ids[grain], rewrd="gold")


def test_wrong_values_are_named(env_ids: tuple[str, str], tokenizer_folder: Path) -> None:
    folder = str(tokenizer_folder)
    with pytest.raises(ValueError, match="Did you mean 'validation'"):
        gym.make(env_ids[1], split="validaton")
    with pytest.raises(ValueError, match="max_new_tokens to be at least 1, got 0"):
        gym.make(env_ids[0], model=folder, max_new_tokens=0)
    with pytest.raises(ValueError, match="raise max_prompt_tokens"):
        gym.make(env_ids[0], model=folder, max_prompt_tokens=1)
    with pytest.raises(TypeError, match="sequence of stop strings"):
        gym.make(env_ids[1], stop="\n")
    with pytest.raises(TypeError, match=r"sequence of stop strings, got None; write stop=\(\)"):
        gym.make(env_ids[1], stop=None)
    with pytest.raises(TypeError, match="Did you mean 'ansi'"), pytest.warns(UserWarning, match="render_mode"):
        gym.make(env_ids[1], render_mode="anssi")


@pytest.mark.parametrize("vector", [False, True])
@pytest.mark.parametrize("grain", [0, 1])
def test_paths_and_numpy_integers_are_arguments(
    env_ids: tuple[str, str], tokenizer_folder: Path, tmp_path: Path, grain: int, vector: bool
) -> None:
    data = tmp_path / "own.jsonl"
    data.write_text("".join(json.dumps({"prompt": f"Text {n}.", "summary": "s"}) + "\n" for n in range(40)))
    kwargs: dict[str, Any] = {"data": data, "reward": tmp_path}
    if grain == 0:
        kwargs |= {"model": str(tokenizer_folder), "max_prompt_tokens": np.int64(50), "max_new_tokens": np.int32(8)}
    env_id = ("TextSumm-v0", "TextSummEpisode-v0")[grain]
    if vector:
        env: Any = gym.make_vec(env_id, num_envs=np.int64(2), **kwargs)  # type: ignore[arg-type]
        assert list(env.reset(seed=np.int64(3))[1]["task_key"]) == list(env.reset(seed=np.array([3, 4]))[1]["task_key"])
        assert type(env.num_envs) is int
    else:
        env = gym.make(env_id, **kwargs)
        assert env.reset(seed=np.int64(3))[1] == env.reset(seed=3)[1]
    assert env.unwrapped.reward.source == str(tmp_path)
    with pytest.raises(TypeError, match=r"expected an integer as the seed.*, got 1\.5"):
        env.reset(seed=1.5)


def test_spec_goes_through_json(tokenizer_folder: Path) -> None:
    spec = gym.spec("TextSumm-v0")
    spec = gym.envs.registration.EnvSpec.from_json(spec.to_json())
    start = time.process_time()
    env = gym.make(spec, model=str(tokenizer_folder), reward="gold")
    assert env.reset(seed=1)[1]["task_key"]
    assert time.process_time() - start < 20


OWN_TASK = """
import textgym
from textgym.tasks import TextTask

class Shout(TextTask):
    prompt_template = "In capitals: {prompt}"
    default_data = [{"prompt": f"text {n}", "reference": f"TEXT {n}"} for n in range(40)]

textgym.register_task("TestOwnShout", Shout)
"""


def test_a_task_of_a_module_is_found_by_module_and_id(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tokenizer_folder: Path
) -> None:
    name = f"own_tasks_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(OWN_TASK)
    monkeypatch.syspath_prepend(tmp_path)
    ids = [f"{name}:TestOwnShout-v0", f"{name}:TestOwnShoutEpisode-v0"]
    model = {"model": str(tokenizer_folder)}
    check_text_env(ids[0], **model)
    check_text_env(ids[1])
    assert gym.make_vec(ids[1], num_envs=2).reset(seed=0)[0][0].startswith("In capitals: text ")
    for task in (EnvChoice(ids[0]).make("test"), EnvChoice(ids[1]).make("test")):
        assert task.dataset.split == "test"
    with pytest.raises(UnknownEnvError, match=r"got 'TestOwnShot-v0'.* one of your own is 'module:Id-v0'"):
        EnvChoice("TestOwnShot-v0").make("train")
    for suffix in ("", "Episode"):
        gym.registry.pop(f"TestOwnShout{suffix}-v0")
