"""The algorithms of Stable-Baselines3 and sb3-contrib as agents: equal to the originals, and resumed exactly."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import stable_baselines3
import torch
from stable_baselines3.common.callbacks import BaseCallback

import textgym
from tests.envs.guessing import MaskedGuessing, write_tokenizer
from textgym.agents import EpisodeRolloutBuffer, make_vec_env, resolve_agent
from textgym.errors import MissingExtraError

MASKED, _ = textgym.register_task("TestMaskedStock", MaskedGuessing)
FEW_TOKENS = tuple(range(20, 377))
SMALL: dict[str, dict[str, Any]] = {
    "sb3_ppo": {"batch_size": 16, "n_epochs": 2},
    "a2c": {},
    "maskable_ppo": {"batch_size": 16, "n_epochs": 2},
    "trpo": {"batch_size": 16, "cg_max_steps": 3, "n_critic_updates": 2},
}


def load(name: str) -> Any:
    """The class of an agent; a test is skipped where an optional package is not installed."""
    try:
        return resolve_agent(name)
    except MissingExtraError as error:
        pytest.skip(str(error))


def original(name: str) -> Any:
    if name in ("sb3_ppo", "a2c"):
        return {"sb3_ppo": stable_baselines3.PPO, "a2c": stable_baselines3.A2C}[name]
    contrib = pytest.importorskip("sb3_contrib")
    return {"maskable_ppo": contrib.MaskablePPO, "trpo": contrib.TRPO}[name]


@pytest.fixture
def make(make_env: Any, make_network: Any, length_reward: Any) -> Callable[..., Any]:
    """``make(name, kind=None, seed=1, policy={...}, **arguments)``: texts of up to 8 tokens in 4 environments."""

    def make(name: str, kind: Any = None, *, policy: Any = None, seed: int = 1, env_seed: int = 0, **more: Any) -> Any:
        kwargs = {"model": make_network("llama"), "suppress_tokens": FEW_TOKENS, **(policy or {})}
        env = make_env(4, env_seed, reward=length_reward)
        settings = {"n_steps": 11, "learning_rate": 1e-2, **SMALL[name], **more}
        return (kind or load(name))("CausalLMPolicy", env, seed=seed, device="cpu", policy_kwargs=kwargs, **settings)

    return make


def weights(agent: Any) -> list[torch.Tensor]:
    return [tensor.clone() for tensor in agent.policy.state_dict().values()]


@pytest.mark.parametrize("name", ["sb3_ppo", "a2c"])
def test_what_is_learned_is_what_the_original_learns(name: str, make: Any) -> None:
    from textgym.agents import CausalLMPolicy

    ours = make(name)
    ours.learn(88)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "You have specified a mini-batch size")
        kind = type("Original", (original(name),), {"policy_aliases": {"CausalLMPolicy": CausalLMPolicy}})
        theirs = make(name, kind, gamma=1.0, rollout_buffer_class=EpisodeRolloutBuffer)
    theirs.learn(88)
    assert all(map(torch.equal, weights(ours), weights(theirs)))


def test_trpo_takes_the_step_of_the_original_where_no_weight_is_called_value(make: Any) -> None:
    from textgym.agents import CausalLMPolicy

    ours = make("trpo")
    ours.learn(44)
    kind = type("Original", (original("trpo"),), {"policy_aliases": {"CausalLMPolicy": CausalLMPolicy}})
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "You have specified a mini-batch size")
        more = {"gamma": 1.0, "rollout_buffer_class": EpisodeRolloutBuffer, "policy": {"attention": "eager"}}
        theirs = make("trpo", kind, **more)
    theirs.learn(44)
    for left, right in zip(weights(ours), weights(theirs), strict=True):
        torch.testing.assert_close(left, right, rtol=1e-3, atol=1e-4)


def test_trpo_stays_in_its_trust_region_and_moves_all_weights(make: Any, make_network: Any) -> None:
    agent = make("trpo", policy={"model": make_network("gpt_neox")}, target_kl=0.02)
    before = {name: tensor.clone() for name, tensor in agent.policy.model.named_parameters()}
    agent.learn(44)
    record = agent.history[0]
    assert record["is_line_search_success"] == 1
    assert 0.004 < record["kl_divergence_loss"] < 0.02
    same = [name for name, tensor in agent.policy.model.named_parameters() if torch.equal(tensor, before[name])]
    assert [name for name in same if "query_key_value.weight" in name] == []
    with pytest.raises(ValueError, match="expected sub_sampling_factor of 1"):
        make("trpo", sub_sampling_factor=2)


def test_trpo_trains_adapters(make: Any) -> None:
    pytest.importorskip("peft")
    agent = make("trpo", policy={"lora_rank": 2})
    agent.learn(44)
    assert agent.history[0]["is_line_search_success"] == 1


class SaveAt(BaseCallback):
    """Saves at the start of the rollout after ``steps`` steps."""

    def __init__(self, folder: Path, steps: int) -> None:
        super().__init__()
        self.folder, self.steps = folder, steps

    def _on_rollout_start(self) -> None:
        if self.num_timesteps == self.steps:
            self.model.save(self.folder)

    def _on_step(self) -> bool:
        return True


@pytest.mark.parametrize("name", SMALL)
def test_resume_goes_on_bit_for_bit(name: str, make: Any, tmp_path: Path) -> None:
    run = make(name)
    run.learn(4 * 11 * 3, callback=[SaveAt(tmp_path / "saved", 4 * 11)])
    torch.manual_seed(123)
    np.random.seed(123)
    again = load(name).load(tmp_path / "saved", env=make(name, env_seed=77).env)
    assert not again._last_episode_starts.all()  # in the middle of texts
    assert again.num_timesteps == 4 * 11
    again.learn(4 * 11 * 2, reset_num_timesteps=False)
    assert all(map(torch.equal, weights(run), weights(again)))
    for ours, theirs in zip(run.history, again.history, strict=True):
        assert {**ours, "tokens_per_second": 0} == {**theirs, "tokens_per_second": 0}


def test_the_state_before_an_update_that_failed(make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Remember(SaveAt):
        def _on_rollout_end(self) -> None:
            self.model.remember_weights()  # type: ignore[attr-defined]

    agent, steps = make("sb3_ppo"), [0]
    step = agent.policy.optimizer.step

    def fails() -> Any:
        steps[0] += 1
        if steps[0] == 3:
            raise ZeroDivisionError
        return step()

    monkeypatch.setattr(agent.policy.optimizer, "step", fails)
    with pytest.raises(ZeroDivisionError):
        agent.learn(44, callback=Remember(tmp_path / "before", 0))
    agent.save(tmp_path / "after")
    kind = load("sb3_ppo")
    left, right = (kind.load(tmp_path / name) for name in ("before", "after"))
    assert all(map(torch.equal, weights(left), weights(right)))


def test_the_history_has_the_numbers_of_the_texts_and_of_the_algorithm(make: Any) -> None:
    agent = make("sb3_ppo")
    agent.learn(88, callback=lambda *_: True)
    first, last = agent.history
    assert last["timesteps"] == 88.0
    assert {"reward", "length", "texts", "entropy", "policy_gradient_loss", "approx_kl", "clip_range"} <= last.keys()
    assert first["learning_rate"] == 1e-2
    ends = [info["rewards"]["total"] for _, _, info in agent.finished]
    assert last["reward"] == pytest.approx(np.mean(ends))
    assert last["texts"] == len(ends)
    assert agent.seconds.keys() == {"rollout", "update"}


def test_a_mistake_in_an_option_is_told(make: Any) -> None:
    with pytest.raises(TypeError, match=r"SB3PPO got an unexpected keyword argument 'n_epoch'\. Did you mean"):
        make("sb3_ppo", n_epoch=3)
    with pytest.raises(ValueError, match="expected batch_size of at least 2, got 1"):
        make("sb3_ppo", batch_size=1)
    with pytest.raises(ValueError, match="expected gamma of at most 1, got 2"):
        make("a2c", gamma=2)
    with pytest.raises(ValueError, match="expected n_steps, or an environment with max_new_tokens, got neither"):
        load("a2c")("CausalLMPolicy", None)
    with pytest.raises(ValueError, match="expected the policy 'CausalLMPolicy', or a class derived from it, got"):
        load("a2c")("MlpPolicy", None, n_steps=3)


def test_the_size_of_minibatches_is_no_reason_to_warn(make: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        make("sb3_ppo", batch_size=768)


def test_rms_prop_is_an_option_of_a2c(make: Any, tmp_path: Path) -> None:
    assert isinstance(make("a2c").policy.optimizer, torch.optim.RMSprop)
    agent = make("a2c", use_rms_prop=False)
    assert isinstance(agent.policy.optimizer, torch.optim.AdamW)
    agent.save(tmp_path / "saved")
    assert isinstance(load("a2c").load(tmp_path / "saved").policy.optimizer, torch.optim.AdamW)


def test_masked_ppo_takes_allowed_actions_only(make_network: Any, tmp_path: Path) -> None:
    folder = str(write_tokenizer(tmp_path / "words"))
    env = make_vec_env(MASKED, n_envs=4, seed=0, model=folder)
    policy = {"model": make_network(rows=24)}
    options = {"n_steps": 6, "batch_size": 12, "n_epochs": 2, "learning_rate": 1e-2}
    agent = load("maskable_ppo")("CausalLMPolicy", env, seed=0, policy_kwargs=policy, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # the first ratio is 1
        agent.learn(4 * 6 * 2)
    buffer = agent.rollout_buffer
    sample = next(buffer.get(None))
    rows = torch.arange(len(sample.actions))
    assert sample.action_masks[rows, sample.actions.long().flatten()].all()
    assert 0 < int(sample.action_masks.sum(1).float().mean()) < 8
    masks = np.stack(env.env_method("action_masks"))
    for deterministic in (True, False):
        tokens, _ = agent.predict(agent._last_obs, deterministic=deterministic, action_masks=masks)
        assert masks[np.arange(4), tokens].all()
    assert agent.predict(agent._last_obs)[0].shape == (4,)


@pytest.mark.parametrize("name", ["maskable_ppo", "trpo"])
def test_without_sb3_contrib_the_command_that_installs_it_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [each for each in sys.modules if each.startswith("sb3_contrib")]:
        monkeypatch.delitem(sys.modules, module)
    for module in ("common.contrib", "maskable_ppo", "trpo"):
        monkeypatch.delitem(sys.modules, f"textgym.agents.{module}", raising=False)
    monkeypatch.delattr("textgym.agents.common.contrib", raising=False)
    monkeypatch.setitem(sys.modules, "sb3_contrib", None)
    with pytest.raises(MissingExtraError, match=r"install it with: pip install 'textgym\[contrib\]'"):
        importlib.import_module(f"textgym.agents.{name}")
    from textgym.agents.registry import AGENTS, installed_agents

    assert set(AGENTS) - set(installed_agents()) == {"maskable_ppo", "trpo"}
