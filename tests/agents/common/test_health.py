"""A gradient that is no number never reaches the weights, and what goes wrong is said once, with what to do."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import stable_baselines3
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from textgym.agents.common.health import (
    Concerns,
    all_concerns,
    clip_gradients,
    concerns,
    refuse_bad_steps,
    require_finite,
)
from textgym.agents.ppo import PPO
from textgym.agents.sft import TokenPair, supervised_fine_tune
from textgym.models.loading import load_language_model
from textgym.naming import options_named


def weights(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


def same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(left[name], right[name]) for name in left)


def spoil_gradients(parameter: torch.Tensor, call: int, value: float = float("nan")) -> list[int]:
    """Let the ``call``-th gradient of a parameter be ``value``."""
    count = [0]

    def spoil(gradient: torch.Tensor) -> torch.Tensor:
        count[0] += 1
        return torch.full_like(gradient, value) if count[0] == call else gradient

    parameter.register_hook(spoil)
    return count


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_clipping_refuses_what_is_no_number(value: float) -> None:
    parameter = nn.Parameter(torch.zeros(2))
    parameter.grad = torch.tensor([3.0, 4.0])
    assert clip_gradients([parameter], 1.0) == 5.0
    assert torch.allclose(parameter.grad, torch.tensor([0.6, 0.8]))
    parameter.grad = torch.tensor([1.0, value])
    with pytest.raises(FloatingPointError, match=r"expected a finite gradient, got (nan|inf); lower learning_rate"):
        clip_gradients([parameter], 1.0)


def test_huge_rewards_are_named_instead_of_the_learning_rate() -> None:
    with pytest.raises(FloatingPointError, match=r"rewards are huge \(up to 3e\+12\).*use scale_rewards") as caught:
        require_finite("loss", float("inf"), 3e12)
    assert "learning_rate" not in str(caught.value)
    with pytest.raises(FloatingPointError, match="lower learning_rate"):
        require_finite("loss", float("nan"), 12.0)


def test_ppo_stops_before_the_weights_take_a_bad_gradient(make_agent: Any, tmp_path: Path) -> None:
    agent: PPO = make_agent()
    agent.learn(4 * 11)
    steps = len(list(agent.rollout_buffer.minibatches(agent.batch_size))) * agent.n_epochs
    count = spoil_gradients(agent.policy.value_head.weight, call=2 * steps)  # the very last one of two iterations
    seen: list[dict[str, torch.Tensor]] = []
    step = agent.policy.optimizer.step

    def watched(*args: Any, **kwargs: Any) -> Any:
        result = step(*args, **kwargs)
        seen.append(weights(agent.policy))
        return result

    agent.policy.optimizer.step = watched  # type: ignore[method-assign]
    with pytest.raises(FloatingPointError, match="expected a finite gradient"):
        agent.learn(4 * 11 * 9, reset_num_timesteps=False)
    assert count[0] == 2 * steps
    assert same(weights(agent.policy), seen[-1])
    assert all(bool(torch.isfinite(tensor).all()) for tensor in seen[-1].values())


class NormCounter(TorchDispatchMode):
    """Counts the elements of which norms are computed."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket.__name__ in ("_foreach_norm", "linalg_vector_norm", "norm"):
            self.elements += sum(tensor.numel() for tensor in tree_leaves(args) if isinstance(tensor, torch.Tensor))
        return func(*args, **(kwargs or {}))


def test_a_step_of_ppo_computes_the_norm_once(make_agent: Any) -> None:
    agent: PPO = make_agent(n_epochs=1)
    agent.learn(4 * 11)
    gradients = [parameter.grad for parameter in agent.policy.parameters() if parameter.grad is not None]
    steps = len(list(agent.rollout_buffer.minibatches(agent.batch_size)))
    with NormCounter() as counter:
        agent.train()
    once = sum(gradient.numel() for gradient in gradients)
    assert steps * once <= counter.elements <= steps * (once + len(gradients))  # and the norm of the norms


@pytest.mark.parametrize("algorithm", [stable_baselines3.PPO, stable_baselines3.A2C])
def test_so_do_the_algorithms_of_stable_baselines(algorithm: Any, make_agent: Any) -> None:
    ours = make_agent()
    options = {} if algorithm is stable_baselines3.A2C else {"batch_size": 11, "n_epochs": 1}
    policy = {name: value for name, value in ours.policy_kwargs.items() if name != "step_check"}
    agent = algorithm(type(ours.policy), ours.env, n_steps=11, policy_kwargs=policy, seed=0, **options)
    agent.learn(44)
    spoil_gradients(agent.policy.value_head.weight, call=1)
    before = weights(agent.policy)
    with pytest.raises(FloatingPointError, match="expected a finite gradient"):
        agent.learn(44)
    assert same(weights(agent.policy), before)


def test_so_does_supervised_fine_tuning(model_folder: Path) -> None:
    model = load_language_model(model_folder)
    pairs = [TokenPair([3, 4, 5], [6, 7, 1])] * 4
    parameter = next(parameter for parameter in model.parameters() if parameter.requires_grad)
    spoil_gradients(parameter, call=2)
    done: list[dict[str, torch.Tensor]] = []
    with pytest.raises(FloatingPointError, match="expected a finite gradient"):
        supervised_fine_tune(
            model, pairs, steps=4, batch_size=2, progress=lambda step, loss: done.append(weights(model))
        )
    assert len(done) == 1
    assert same(weights(model), done[0])


def test_a_hooked_optimizer_still_steps() -> None:
    parameter = nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([parameter, nn.Parameter(torch.ones(1))], lr=0.5)
    refuse_bad_steps(optimizer)
    parameter.grad = torch.ones(1)
    optimizer.step()
    assert parameter.item() == 0.5


@pytest.mark.parametrize(
    ("metrics", "signs"),
    [
        ({"kl": 130.0, "length": 48.0, "entropy": 1.0}, ["kl"]),
        ({"kl": 30.0, "length": 12.0, "entropy": 1.0}, ["kl"]),
        ({"kl": 30.0, "length": 48.0, "entropy": 1.0}, []),
        ({"kl": 6.0, "length": 3.0, "entropy": 1.0}, []),
        ({"kl": 0.0, "length": 48.0, "entropy": 0.0}, ["entropy"]),
        ({"kl": 0.0, "length": 48.0, "entropy": 0.05}, []),
        ({"kl": 0.0, "length": 48.0, "entropy": 1.0}, []),
        ({}, []),
    ],
)
def test_what_is_a_concern(metrics: dict[str, float], signs: list[str]) -> None:
    assert [sign for sign, _ in concerns([metrics])] == signs


def test_each_sign_is_said_once_with_its_remedy() -> None:
    watch = Concerns()
    record = {"kl": 130.4, "length": 48.0, "entropy": 0.0}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        watch.check([record])
        watch.check([record, {**record, "kl": 140.0}])
    texts = [str(item.message) for item in caught]
    assert len(texts) == 2
    assert "130 nats" in texts[0]
    assert "raise kl_coef" in texts[0]
    with options_named({"kl_coef": "--kl-coef"}):
        assert "raise --kl-coef" in dict(concerns([record]))["kl"]
    assert "entropy is almost 0" in texts[1]


FLAT = {"reward": 0.0, "reward_std": 0.0, "texts": 16.0}


@pytest.mark.parametrize(
    ("history", "signs"),
    [
        ([FLAT], []),  # 16 equal texts may be chance
        ([FLAT, FLAT], ["reward"]),
        ([{**FLAT, "texts": 32.0}], ["reward"]),
        ([{**FLAT, "reward_std": 0.1}, FLAT, FLAT], []),  # it was different once: what is equal now may be good
        ([FLAT, {**FLAT, "reward": 0.5}], []),
        ([{**FLAT, "reward": 1e6}, {**FLAT, "reward": 1e6 + 0.1}], ["reward"]),  # rounded
        ([{"reward": 0.3}] * 2, []),  # an agent that does not say how many texts there were
        ([{"reward": 0.3}] * 3, ["reward"]),
        ([{"reward": None, "texts": 64.0}], []),
        ([{"texts": 64.0, "cut": 0.95}], ["cut"]),
        ([{"texts": 64.0, "cut": 0.85}], []),
        ([{"texts": 64.0, "cut": 1.0, "length": 1.0}], []),  # one choice of a list is one token
        ([{"texts": 64.0, "cut": 1.0, "length": 8.0}], ["cut"]),
        ([{"texts": 8.0, "cut": 1.0}], []),
        ([{"texts": 8.0, "cut": 1.0}] * 4, ["cut"]),
        ([{"texts": 64.0, "cut": 1.0}, {"texts": 64.0, "cut": 0.5}], []),  # texts learn to end
        ([{"kl": None, "entropy": None}], []),  # not finite, as log.jsonl has it
        ([{"kl": -2.0, "texts": 16.0}], ["negative kl"]),
        ([{"kl": -2.0, "texts": 15.0}], []),
        ([{"loss": 2.0}] * 40, []),
        ([], []),
    ],
)
def test_what_the_records_of_a_run_say(history: list[dict[str, float | None]], signs: list[str]) -> None:
    assert [sign for sign, _ in concerns(history)] == signs


@pytest.mark.parametrize(
    ("references", "reason"),
    [
        ([0.0, 0.6], "references get up to 0.6, so the model writes nothing yet .* train with `sft` first"),
        ([0.0, 0.0], "the reward does not distinguish the texts, and references get the same"),
        ([-1.0, 0.0], "no reference gets more than 0, so this reward has nothing left to teach"),
        (
            [],
            r"either the model writes nothing yet .*\(train with `sft` first\), or all texts are as good as",
        ),
    ],
)
def test_references_tell_why_all_rewards_are_equal(references: list[float], reason: str) -> None:
    (text,) = (text for _, text in concerns([FLAT, FLAT], lambda: references))
    assert re.search(f"all texts so far got the same reward, 0, from which nothing can be learnt: {reason}", text)


def test_references_are_scored_once() -> None:
    calls: list[int] = []
    watch = Concerns(lambda: calls.append(1) or [1.0])  # type: ignore[func-returns-value]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for end in range(1, 6):
            watch.check([FLAT] * end)
    assert len(caught) == len(calls) == 1


def test_a_log_is_summed_up_in_the_order_of_its_signs() -> None:
    log = [FLAT, FLAT, {**FLAT, "kl": 200.0, "entropy": 0.0}, {**FLAT, "kl": 300.0, "cut": 1.0, "texts": 64.0}]
    found = all_concerns(log)
    assert list(found) == ["reward", "kl", "entropy", "cut"]
    assert "200 nats" in found["kl"]  # what was said when it was seen first
    assert "max_new_tokens" in found["cut"]


def test_an_agent_warns_of_equal_rewards_once(make_agent: Any) -> None:
    agent = make_agent(env={"reward": "none"})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        agent.learn(4 * 11 * 12)
    said = [str(item.message) for item in caught if "same reward" in str(item.message)]
    assert len(said) == 1
    assert sum(record["texts"] for record in agent.history) >= 32


def test_a_run_on_huge_rewards_says_so(make_agent: Any) -> None:
    def millions(prompts: Any, responses: Any, examples: Any) -> Any:
        return np.array([1e6 * len(text) for text in responses])

    agent = make_agent(env={"reward": millions})
    with pytest.warns(UserWarning, match=r"expected rewards of order 1, got some .*e\+.*scale_rewards"):
        agent.learn(4 * 11)
    scaled = make_agent(env={"reward": millions}, scale_rewards=True)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="(?s).*expected rewards of order 1.*")
        scaled.learn(4 * 11)
