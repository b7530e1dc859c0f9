"""The promises of agents, kept by every agent of the table: a new one costs no test."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3.common.callbacks import BaseCallback

from textgym.agents import AGENTS, make_vec_env, resolve_agent
from textgym.agents.common.language_model_policy import LanguageModelPolicy
from textgym.agents.facts import facts_of
from textgym.agents.fixed import Greedy, Human, Random, Scripted
from textgym.agents.registry import can_learn
from textgym.errors import CheckpointError, ConsentError, MissingExtraError
from textgym.evaluation.core import text_model_of
from textgym.testing import check_agent
from textgym.types import Example, Message

TINY = {"max_prompt_tokens": 32, "max_new_tokens": 4}


def load(name: str) -> Any:
    """The class of an agent; a test is skipped where an optional package is not installed."""
    try:
        return resolve_agent(name)
    except MissingExtraError as error:
        pytest.skip(str(error))


def load_learner(name: str, *, samples: bool = False, policy: bool = False) -> Any:
    """The class of an agent that learns (and samples, with such a policy); a test is skipped for another one."""
    kind = load(name)
    if policy and facts_of(kind).policy is not LanguageModelPolicy:
        pytest.skip(f"{name} has no actor-critic policy")
    if not can_learn(kind) or (samples and not facts_of(kind).samples):
        pytest.skip(f"{name} learns nothing" if not can_learn(kind) else f"{name} learns from texts that it is given")
    return kind


@pytest.mark.parametrize("name", AGENTS)
def test_every_agent_conforms(
    name: str, model_folder: Path, env_ids: tuple[str, str], length_reward: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("builtins.input", lambda _: "A person's text.")
    kind = load(name)
    if kind.grain == "episode":
        check_agent(name, env_ids[1], model=str(model_folder), reward="length")
    else:
        check_agent(name, env_ids[0], model=str(model_folder), reward=length_reward, **TINY)


class SaveAtSecond(BaseCallback):
    """Saves when the second rollout begins."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder, self.begun = folder, 0

    def _on_rollout_start(self) -> None:
        self.begun += 1
        if self.begun == 2:
            self.model.save(self.folder)

    def _on_step(self) -> bool:
        return True


@pytest.mark.parametrize("name", AGENTS)
def test_a_run_goes_on_bit_for_bit_from_a_checkpoint_in_it(
    name: str, model_folder: Path, env_ids: tuple[str, str], length_reward: Any, tmp_path: Path
) -> None:
    kind = load_learner(name, samples=True)

    def make_env(seed: int) -> Any:
        return make_vec_env(env_ids[0], 4, seed, model=str(model_folder), reward=length_reward, **TINY)

    run = kind.create(make_env(0), str(model_folder), seed=3, device="cpu", learning_rate=1e-3)
    steps = 2 * run.steps_per_iteration
    run.learn(steps, callback=SaveAtSecond(tmp_path / "saved"))
    torch.manual_seed(123)
    np.random.seed(123)
    again = kind.load(tmp_path / "saved", env=make_env(77), device="cpu")
    assert 0 < again.num_timesteps < run.num_timesteps
    again.learn(steps - again.num_timesteps, reset_num_timesteps=False)
    left, right = run.get_state().tensors, again.get_state().tensors
    assert left.keys() == right.keys()
    assert all(torch.equal(tensor, right[name]) for name, tensor in left.items())
    drop = {"tokens_per_second": 0.0}
    assert [{**record, **drop} for record in run.history] == [{**record, **drop} for record in again.history]


def test_random_tokens_are_all_drawn() -> None:
    agent = Random(5)
    observed = {"input_ids": np.zeros((1000, 3), dtype=np.int64)}
    tokens = agent.act(observed, generator=torch.Generator().manual_seed(0))
    assert np.bincount(tokens).tolist() == pytest.approx([200] * 5, abs=50)


def test_greedy_takes_the_most_likely_token(make_env: Any, model_folder: Path) -> None:
    env = make_env(3)
    agent = Greedy.create(env, str(model_folder))
    observed = env.reset()
    for _ in range(4):
        tokens = agent.act(observed)
        for row in range(3):
            ids = observed["input_ids"][row][: observed["attention_mask"][row].sum()]
            with torch.no_grad():
                logits = agent.model.network(input_ids=torch.from_numpy(ids)[None]).logits[0, -1, :377]
            assert tokens[row] == int(logits.argmax())
        observed, *_ = env.step(tokens)


def test_scripts(env_ids: tuple[str, str], tmp_path: Path) -> None:
    env = gym.make(env_ids[1])
    prompts = [env.reset(seed=seed) for seed in range(3)]
    task = env.unwrapped.task  # type: ignore[attr-defined]
    examples = [task.dataset.find(info["task_key"]) for _, info in prompts]
    texts = [prompt for prompt, _ in prompts]
    reference = Scripted.create(env, script="reference")
    assert reference.act(texts) == [example.references[0] for example in examples]
    first = Scripted().act([" It rained 2.5 mm. Then it stopped.", "No end", "Really?!\nYes.", ""])
    assert first == ["It rained 2.5 mm.", "No end", "Really?!", ""]
    with pytest.raises(ValueError, match="expected a prompt of the task"):
        reference.act(["Another prompt."])
    with pytest.raises(ValueError, match="expected 2 texts of the script, got 1"):
        Scripted(lambda prompts: ["one"]).act(["a", "b"])
    with pytest.raises(ValueError, match="expected script first-sentence, reference or 'module:function', got 'x'"):
        Scripted("x")
    with pytest.raises(ValueError, match="expected a script with a name, got a function"):
        Scripted(shout).save(tmp_path / "nameless")


def test_the_reference_of_a_prompt_of_messages() -> None:
    chat = (Message("system", "Be brief."), Message("user", "What rained?"))
    rows = [Example(str(number), chat, (f"Water {number}.",)) for number in range(1)]
    rows += [Example(f"text {number}", f"Who is {number}?", (f"He, {number}.",)) for number in range(30)]
    env = gym.make("TextSummEpisode-v0", data=rows)
    task = env.unwrapped.task  # type: ignore[attr-defined]
    script = Scripted.create(env, script="reference")
    for place in range(len(task.dataset)):
        shown, _ = env.reset(options={"task_key": task.dataset[place].key})
        assert script.act([shown]) == list(task.dataset[place].references)
    assert any(isinstance(task.dataset[place].prompt, tuple) for place in range(len(task.dataset)))


def test_references_are_for_one_turn(env_ids: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    env = gym.make(env_ids[1])
    monkeypatch.setattr(env.unwrapped.task, "max_turns", 3)  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="expected a task of one turn for the script 'reference', got one of up to 3"):
        Scripted.create(env, script="reference")


def shout(prompts: Sequence[str]) -> list[str]:
    return [prompt.upper() for prompt in prompts]


def test_a_script_named_in_a_file_needs_consent(tmp_path: Path) -> None:
    agent = Scripted(f"{__name__}:shout")
    assert agent.act(["a"]) == ["A"]
    agent.save(tmp_path / "agent")
    with pytest.raises(ConsentError, match="script"):
        Scripted.load(tmp_path / "agent")
    assert Scripted.load(tmp_path / "agent", script=f"{__name__}:shout").act(["b"]) == ["B"]


def test_a_person_is_asked_for_every_prompt() -> None:
    asked: list[str] = []

    def ask(prompt: str) -> str:
        asked.append(prompt)
        if len(asked) == 2:
            raise EOFError
        return "Text."

    assert Human(ask).act(["One?", "Two?", "Three?"]) == ["Text.", "", "Text."]
    assert [prompt.split("\n")[0] for prompt in asked] == ["One?", "Two?", "Three?"]


def test_agents_of_other_folders_are_refused(tmp_path: Path) -> None:
    Random(5).save(tmp_path / "agent")
    with pytest.raises(CheckpointError, match=r"expected a textgym\.Human in"):
        Human.load(tmp_path / "agent")
    with pytest.raises(CheckpointError, match="got none that can be read"):
        Random.load(tmp_path)
    for settings in ('{"actions": "5"}', '{"actions": true}', "{}", '["actions"]', "null"):
        (tmp_path / "agent" / "agent.json").write_text(f'{{"kind": "textgym.Random", "settings": {settings}}}')
        with pytest.raises(CheckpointError, match="expected settings actions in"):
            Random.load(tmp_path / "agent")


@pytest.mark.parametrize("name", AGENTS)
def test_create_makes_an_agent_from_options(name: str, model_folder: Path, env_ids: tuple[str, str]) -> None:
    kind = load_learner(name)
    env = make_vec_env(env_ids[0], 4, 0, model=str(model_folder), **TINY)
    option = {"trpo": "cg_damping", "q_learning": "initial_value", "sarsa": "initial_value"}.get(name, "max_grad_norm")
    agent = kind.create(env, str(model_folder), learning_rate=0.5, seed=7, **{option: 3.0})
    assert (agent.seed, vars(agent)[option]) == (7, 3.0)
    model = text_model_of(agent)
    assert model is None or model.tokenizer.fingerprint == env.action_space.fingerprint
    with pytest.raises(TypeError, match=r"unexpected keyword argument 'learning_rat'\. Did you mean 'learning_rate'"):
        kind.create(env, str(model_folder), learning_rat=0.5)


@pytest.mark.parametrize("name", AGENTS)
def test_constructors_say_what_is_wrong_and_take_an_id(name: str, env_ids: tuple[str, str]) -> None:
    kind = load_learner(name, samples=True, policy=True)
    with pytest.raises(TypeError, match=r"unexpected keyword argument 'gama'\. Did you mean 'gamma'"):
        kind("CausalLMPolicy", None, gama=1.0)
    with pytest.raises(TypeError, match=r"an option of the policy: give policy_kwargs=\{'lora_rank': \.\.\.\}, or use"):
        kind("CausalLMPolicy", None, lora_rank=8)
    with pytest.raises(ValueError, match=r"expected the policy 'CausalLMPolicy', or .*, got 'MlpPolicy'"):
        kind("MlpPolicy", None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        agent = kind("CausalLMPolicy", env_ids[0])
    assert agent.env.num_envs == 1
