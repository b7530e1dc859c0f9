"""Sampling and training compute one model: the net under every run, own PPO and stock algorithms."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import stable_baselines3
import torch
from stable_baselines3.common.distributions import kl_divergence

from textgym.agents.common.causal_lm_policy import CausalLMPolicy
from textgym.agents.common.first_ratio import KL, RATIO, FirstRatio, check_equal
from textgym.agents.common.observations import TextBatch
from textgym.agents.common.rollout_buffer import EpisodeRolloutBuffer
from textgym.agents.ppo import PPO
from textgym.errors import ModelError
from textgym.models.batch import EpisodeBatch
from textgym.models.causal_lm import CausalLM

FEW_TOKENS = tuple(range(20, 377))


class ByDistribution(stable_baselines3.PPO):
    """Updates through ``get_distribution``, as trust-region policy optimization (sb3-contrib) does."""

    def train(self) -> None:
        self.policy.set_training_mode(True)
        for data in self.rollout_buffer.get(batch_size=None):
            actions = data.actions.long().flatten()
            with torch.no_grad():
                old = copy.copy(self.policy.get_distribution(data.observations))
            new = self.policy.get_distribution(data.observations)
            ratio = (new.log_prob(actions) - data.old_log_prob).exp()
            loss = kl_divergence(old, new).mean() - (data.advantages * ratio).mean()
            self.policy.optimizer.zero_grad()
            loss.backward()
            self.policy.optimizer.step()
            self._n_updates += 1


LEARNERS: dict[str, tuple[Any, dict[str, Any]]] = {
    "own": (PPO, {"batch_size": 16, "n_epochs": 1}),
    "own, recomputed": (PPO, {"batch_size": 16, "n_epochs": 1, "recompute_log_probs": True}),
    "stock": (stable_baselines3.PPO, {"batch_size": 11, "n_epochs": 1}),
    "stock, by episode": (
        stable_baselines3.PPO,
        {"batch_size": 11, "n_epochs": 1, "rollout_buffer_class": EpisodeRolloutBuffer},
    ),
    "A2C": (stable_baselines3.A2C, {}),
    "by distribution": (ByDistribution, {"batch_size": 44}),
}


@pytest.fixture
def learner(make_env: Any, make_network: Any, length_reward: Any) -> Callable[..., Any]:
    """``learner(name, kind="gpt2", **policy)``: an algorithm with a policy over a small model."""

    def make(name: str, kind: str = "gpt2", **policy: Any) -> Any:
        algorithm, options = LEARNERS[name]
        kwargs = {"model": make_network(kind), "suppress_tokens": FEW_TOKENS, **policy}
        env = make_env(4, reward=length_reward)
        return algorithm(CausalLMPolicy, env, n_steps=11, seed=1, device="cpu", policy_kwargs=kwargs, **options)

    return make


def shift_positions(agent: Any) -> None:
    """Let every token that continues a text stand one place too far: a bug of cached decoding."""

    def shifted(_: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        if kwargs["input_ids"].shape[1] == 1:
            kwargs = {**kwargs, "position_ids": kwargs["position_ids"] + 1}
        return args, kwargs

    agent.policy.model.trunk.register_forward_pre_hook(shifted, with_kwargs=True)


@pytest.mark.parametrize("name", LEARNERS)
def test_a_cached_path_that_is_wrong_is_an_error(name: str, learner: Callable[..., Any]) -> None:
    agent = learner(name)
    before = [parameter.clone() for parameter in agent.policy.parameters()]
    shift_positions(agent)
    with pytest.raises(ModelError, match=r"with GPT2LMHeadModel \(given as a module\) in fp32: .* Please report it"):
        agent.learn(44)
    after = agent.policy.model.parameters()
    assert all(torch.equal(left, right) for left, right in zip(before, after, strict=False))
    tolerant = learner(name, tolerate_mismatch=True)
    shift_positions(tolerant)
    with pytest.warns(UserWarning, match="rounding explains 0.0001"):
        tolerant.learn(44)
    assert tolerant._n_updates > 0


def test_a_cached_path_that_is_wrong_in_half_precision(learner: Callable[..., Any]) -> None:
    agent = learner("stock", precision="bf16")
    shift_positions(agent)
    with pytest.raises(ModelError, match="in bf16"):
        agent.learn(44)


@pytest.mark.parametrize("kind", ["gpt2", "gpt_neox", "llama"])
@pytest.mark.parametrize("name", LEARNERS)
def test_models_that_are_right_are_silent(name: str, kind: str, learner: Callable[..., Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        agent = learner(name, kind)
        agent.learn(88)
    assert agent.policy._first_ratio._is_done


OPTIONS = {
    "temperature": {"temperature": 0.5},
    "all tokens": {"suppress_tokens": ()},
    "bf16": {"precision": "bf16"},
    "lora": {"lora_rank": 2},
    "lora in bf16": {"lora_rank": 2, "precision": "bf16"},
    "separate": {"critic": "separate"},
    "checkpointing": {"gradient_checkpointing": True},
}


@pytest.mark.parametrize("policy", OPTIONS.values(), ids=OPTIONS.keys())
@pytest.mark.parametrize("name", ["own", "stock"])
def test_options_that_are_right_are_silent(name: str, policy: dict[str, Any], learner: Callable[..., Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        agent = learner(name, **policy)
        agent.learn(88)
    assert agent.policy._first_ratio._is_done


def test_a_run_that_goes_on_is_looked_at_and_may_be_far_from_its_reference(
    learner: Callable[..., Any], tmp_path: Any
) -> None:
    agent = learner("own")
    agent.learning_rate = 1e-2
    agent._setup_lr_schedule()
    agent.learn(88)
    agent.save(tmp_path / "saved")
    again = PPO.load(tmp_path / "saved", env=agent.env)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        again.learn(44, reset_num_timesteps=False)
    assert abs(again.history[-1]["kl_k3"]) > 1e-3
    assert again.policy._first_ratio._is_done
    broken = PPO.load(tmp_path / "saved", env=agent.env)
    shift_positions(broken)
    with pytest.raises(ModelError, match=r"\|ratio - 1\| = "):
        broken.learn(44, reset_num_timesteps=False)


@pytest.mark.parametrize("policy", [{}, {"lora_rank": 2}], ids=str)
def test_a_reference_that_the_policy_does_not_start_as_is_an_error(
    policy: dict[str, Any], learner: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = learner("own", **policy)
    compute = agent.reference.log_probs
    monkeypatch.setattr(agent.reference, "log_probs", lambda batch, actions: compute(batch, actions) - 0.1)
    with pytest.raises(ModelError, match="expected the policy to be its reference before the first update"):
        agent.learn(44)


@pytest.mark.parametrize("policy", [{}, {"lora_rank": 2}], ids=str)
def test_a_policy_that_was_changed_by_hand_has_its_kl(policy: dict[str, Any], learner: Callable[..., Any]) -> None:
    agent = learner("own", **policy)
    for parameter in agent.policy.model.parameters():
        if parameter.requires_grad:
            parameter.data += 0.05
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        agent.learn(44)
    assert abs(agent.history[0]["kl_k3"]) > 1e-3


def test_bounds_by_hand(make_network: Any) -> None:
    full, half = CausalLM(make_network()), CausalLM(make_network(), precision="bf16")

    def verdict(model: CausalLM, *ratios: float) -> str:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                check_equal(torch.tensor(ratios, dtype=torch.float64).log(), model, KL)
            except ModelError:
                return "error"
        return "warning" if caught else "silent"

    assert [verdict(full, 1.0, 1 - off) for off in (0.9e-4, 1.1e-4, 0.9e-2, 1.1e-2)] == [
        "silent", "warning", "warning", "error",
    ]  # fmt: skip
    # in half precision the mean counts
    assert [verdict(half, 1.0, 1 + off) for off in (3.9e-2, 4.1e-2, 0.19, 0.21)] == [
        "silent", "warning", "warning", "error",
    ]  # fmt: skip


def test_texts_are_found_by_ids_and_action(make_network: Any) -> None:
    model = CausalLM(make_network())
    first = FirstRatio(model)
    ids, lengths = torch.tensor([[5, 6, 7], [5, 6, 9]]), torch.tensor([3, 2])  # the last 9 is padding
    first.remember(TextBatch.of_ids(ids, lengths), torch.tensor([1, 2]), torch.tensor([-1.0, -2.0]))
    other = EpisodeBatch(torch.tensor([[5, 6, 7]]), torch.tensor([1]), torch.tensor([0, 0]), torch.tensor([1, 2]))
    # text 5 6 7 with another action, 5 6 with another one: nothing to compare, so it goes on with what comes next
    first.compare(other, torch.tensor([1, 2]), torch.tensor([-9.0, -9.0]))
    first.remember(TextBatch.of_ids(ids, lengths), torch.tensor([1, 2]), torch.tensor([-1.0, -2.0]))
    with pytest.raises(ModelError, match=RATIO):
        first.compare(other, torch.tensor([2, 2]), torch.tensor([-2.1, -9.0]))
    again = FirstRatio(model)
    again.remember(TextBatch.of_ids(ids, lengths), torch.tensor([1, 2]), torch.tensor([-1.0, -2.0]))
    again.compare(other, torch.tensor([2, 1]), torch.tensor([-2.0, -1.0]))  # equal
    again.remember(TextBatch.of_ids(ids, lengths), torch.tensor([1, 2]), torch.tensor([-1.0, -2.0]))
    again.compare(other, torch.tensor([2, 1]), torch.tensor([-9.0, -9.0]))  # an update later: other weights


def test_distributions_are_looked_up_by_text(make_network: Any) -> None:
    model = CausalLM(make_network())
    texts = TextBatch.of_ids(torch.tensor([[5, 6, 7], [5, 6, 9]]), torch.tensor([3, 2]))  # the last 9 is padding
    batch = TextBatch.of_ids(torch.tensor([[8, 8, 8], [5, 6, 0], [5, 6, 7]]), torch.tensor([3, 2, 3]))
    # softmax of (0, ln 2, ln 4, 0) is (1, 2, 4, 1) / 8
    logits = torch.tensor([0.0, 2.0, 4.0, 1.0]).clamp(min=1.0).log().repeat(3, 1)
    for before, is_right in (([2 / 8, 4 / 8], True), ([2 / 8, 3 / 8], False)):
        first = FirstRatio(model)
        first.remember(texts, torch.tensor([1, 2]), torch.tensor(before).log())
        if is_right:
            first.compare_all(batch.last_tokens(), logits)
            assert first._is_done
        else:
            with pytest.raises(ModelError, match=RATIO):
                first.compare_all(batch.last_tokens(), logits)


def test_weights_that_changed_since_the_rollout_are_no_mistake(make_network: Any) -> None:
    model = CausalLM(make_network())
    first = FirstRatio(model)
    texts, actions = TextBatch.of_ids(torch.tensor([[5, 6]]), torch.tensor([2])), torch.tensor([1])
    batch = EpisodeBatch(texts.input_ids, torch.tensor([1]), torch.tensor([0]), torch.tensor([1]))
    first.remember(texts, actions, torch.tensor([-1.0]))
    with torch.no_grad():
        next(model.parameters()).add_(1.0)
    first.compare(batch, actions, torch.tensor([-9.0]))
    first.remember(texts, actions, torch.tensor([-1.0]))
    with pytest.raises(ModelError):
        first.compare(batch, actions, torch.tensor([-9.0]))
