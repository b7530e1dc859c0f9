"""What the field knows about its algorithms shows here too: shapes, each with an interval that is clear of zero."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3.common.callbacks import BaseCallback

from textgym.agents import GRPO, PPO, REINFORCE, RLOO, BestOfN, make_vec_env
from textgym.metrics import mean_interval, paired_difference_interval
from textgym.metrics.best_of_n import best_of_n_kl, best_of_n_kl_bound, best_of_n_law
from textgym.models import load_language_model
from textgym.models.log_probs import response_log_probs
from textgym.types import Interval

SEEDS = range(12)


def spelling(n_envs: int, seed: int, difficulty: str = "easy") -> Any:
    return make_vec_env("TextSpell-v0", n_envs, seed, difficulty=difficulty, density="dense")


def above(first: Sequence[float], second: Sequence[float]) -> Interval:
    """The mean of ``first - second``, which belong together, whose interval has to be above zero."""
    interval = paired_difference_interval(first, second, share=False)
    assert interval.low > 0, interval
    return interval


# ---------------------------------------------------------------- baselines
class Gradients(BaseCallback):
    """Keeps the gradient in the language model after every update."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[torch.Tensor] = []

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        parameters = list(self.model.policy.model.parameters())
        if parameters[0].grad is not None:
            self.found.append(torch.cat([each.grad.flatten() for each in parameters if each.grad is not None]))

    _on_training_end = _on_rollout_start


def squared_errors(baseline: str, batches: int, texts: int = 64) -> list[float]:
    """Squared distances of the gradients of fresh batches from their mean, at the weights of the start model."""
    env = spelling(texts, seed=0, difficulty="medium")
    agent: Any = REINFORCE.create(
        env, seed=0, baseline=baseline, learning_rate=lambda _: 1e-2, kl_coef=0.0, max_grad_norm=1e9
    )
    if baseline == "learned":  # what the language model writes stays as it is while the values are fitted to it
        agent.policy.model.requires_grad_(False)
        agent.learn(60 * agent.steps_per_iteration)
        agent.policy.model.requires_grad_(True)
    agent.lr_schedule = lambda _: 0.0
    gradients = Gradients()
    agent.learn(batches * agent.steps_per_iteration, gradients, reset_num_timesteps=False)
    found = torch.stack(gradients.found).double()
    assert len(found) == batches
    return list(((found - found.mean(0)) ** 2).sum(1).tolist())


@pytest.mark.slow
def test_baselines_lower_the_variance_of_the_gradient() -> None:
    errors = {baseline: squared_errors(baseline, batches=150) for baseline in ("none", "mean", "learned")}
    above(errors["none"], errors["mean"])
    above(errors["mean"], errors["learned"])


# ---------------------------------------------------------------------- KL
def ends(seed: int, iterations: int, **options: Any) -> dict[str, float]:
    """Means of the last three records of a run of PPO."""
    settings = {"learning_rate": lambda _: 5e-3, "batch_size": 64, "kl_coef": 0.0, **options}
    agent: Any = PPO.create(spelling(64, seed), seed=seed, **settings)
    agent.learn(iterations * agent.steps_per_iteration)
    return {name: float(np.mean([record[name] for record in agent.history[-3:]])) for name in ("reward", "kl")}


@pytest.mark.slow
def test_a_larger_kl_coefficient_lies_lower_on_kl_and_on_reward() -> None:
    small, large = ([ends(seed, 16, kl_coef=coef) for seed in SEEDS] for coef in (0.2, 1.0))
    for name in ("kl", "reward"):
        above([run[name] for run in small], [run[name] for run in large])


# ------------------------------------------------------------------- epochs
@pytest.mark.slow
def test_clipping_survives_many_epochs_on_one_batch() -> None:
    """Without it, the same steps are those of REINFORCE that go on with the texts of a policy that has long changed."""
    options = {"n_epochs": 20, "learning_rate": lambda _: 1e-3}
    clipped = [ends(seed, 8, clip_range=0.2, **options)["reward"] for seed in SEEDS]
    unclipped = [ends(seed, 8, clip_range=1e9, **options)["reward"] for seed in SEEDS]
    above(clipped, unclipped)
    assert mean_interval(clipped).low > 0.6  # it was 0.33 at first


# ---------------------------------------------------------------- best of n
def of_all_texts(model: Any, prompt: str, length: int) -> tuple[list[str], np.ndarray]:
    """All texts of up to ``length`` tokens behind a prompt, and the probability of each."""
    tokenizer, ends = model.tokenizer, set(model.tokenizer.eos_ids)
    letters = [token for token in range(model.vocab_size) if token not in ends]
    ids = [list(each) for each in itertools.product(letters, repeat=length)]
    for size in range(length):
        ids += [[*each, end] for each in itertools.product(letters, repeat=size) for end in ends]
    p = np.exp(response_log_probs(model, [tokenizer.encode(prompt)] * len(ids), ids))
    assert p.sum() == pytest.approx(1, abs=1e-4)
    return [tokenizer.decode([token for token in each if token not in ends]) for each in ids], p / p.sum()


def in_place(prompts: Sequence[str], texts: Sequence[str], examples: Sequence[Any]) -> list[float]:
    """Share of the letters of "ab=" in their place: of few sizes, so that many texts are equally good."""
    return [sum(map(str.__eq__, text, "ab")) / 2 for text in texts]


def all_different(prompts: Sequence[str], texts: Sequence[str], examples: Sequence[Any]) -> list[float]:
    """A number for every text, no two of which are equal."""
    return [zlib.crc32(text.encode()) / 2**32 for text in texts]


@pytest.mark.slow
@pytest.mark.parametrize("reward", [in_place, all_different])
def test_best_of_n_follows_its_exact_form(reward: Callable[..., list[float]]) -> None:
    """Its mean reward is that of the law, to four standard errors of as many texts."""
    model = load_language_model("letters", device="cpu")
    texts, p = of_all_texts(model, "ab=", 2)
    rewards, count = np.array(reward([], texts, [])), 1_000
    exact = []
    for n in (1, 2, 4, 8):
        law = best_of_n_law(p, rewards, n)
        exact.append(float(law @ rewards))
        error = float(np.sqrt(law @ (rewards - exact[-1]) ** 2 / count))
        written = BestOfN(model, reward, n=n, max_new_tokens=2).act(
            ["ab="] * count, generator=torch.Generator().manual_seed(0)
        )
        assert np.mean(reward([], written, [])) == pytest.approx(exact[-1], abs=4 * error)
        assert error < 0.01
    assert np.diff(exact).min() > 0.05


def test_the_quoted_kl_of_best_of_n_is_that_of_rewards_without_ties() -> None:
    model = load_language_model("letters", device="cpu")
    texts, p = of_all_texts(model, "ab=", 2)
    for n in (2, 4, 8):
        tied, different = (best_of_n_kl(p, reward([], texts, []), n) for reward in (in_place, all_different))
        assert tied < 0.9 * different < best_of_n_kl_bound(n)
        many = best_of_n_kl(np.full(10_000, 1e-4), np.arange(10_000.0), n)  # as good as continuous
        assert many == pytest.approx(best_of_n_kl_bound(n), abs=1e-6)


# --------------------------------------------------------------------- RLOO
@pytest.mark.parametrize("size", [2, 4, 8])
def test_advantages_of_rloo_are_those_of_dr_grpo_times_a_constant(size: int) -> None:
    """k / (k - 1), on the same texts: both agents begin alike."""
    advantages = []
    for kind, options in ((RLOO, {}), (GRPO, {"loss_type": "dr_grpo", "scale_advantages": "none"})):
        agent: Any = kind.create(spelling(16, seed=0), seed=0, group_size=size, kl_coef=0.0, **options)
        agent.learn(agent.steps_per_iteration)
        advantages.append(agent.rollout_buffer.advantages)
    assert np.abs(advantages[0]).max() > 0.1
    np.testing.assert_allclose(advantages[0], size / (size - 1) * advantages[1], rtol=1e-6)
