"""Rollouts in which a GPU reads texts before the environments show them are the same rollouts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3.common.callbacks import BaseCallback
from torch import Tensor

from textgym.agents.common.token_writer import TokenWriter
from textgym.agents.ppo import PPO
from textgym.models.batch import TextBatch
from textgym.models.causal_lm import CausalLM
from textgym.models.decoding.key_value_store import KeyValueStore
from textgym.models.decoding.prefix_cache import Match, PrefixCache


def without_reading_ahead(
    cache: PrefixCache, texts: TextBatch, choose: Callable[[Tensor], Sequence[Tensor]], match: Match | None = None
) -> tuple[Tensor, ...]:
    return tuple(choose(cache.hidden(texts, match)))


class Evaluates(BaseCallback):
    """Lets the policy write in other environments while a rollout is under way."""

    def __init__(self, env: Any) -> None:
        super().__init__()
        self.env, self.shown = env, env.reset()
        self.written: list[list[int]] = []

    def _on_step(self) -> bool:
        if self.n_calls % 5 == 0:
            for _ in range(3):
                actions, _ = self.model.predict(self.shown, deterministic=True)
                self.written.append(actions.tolist())
                self.shown, _, _, _ = self.env.step(actions)
        return True


RUNS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "steps": ({}, {}),
    "texts": ({"critic": "shared"}, {"rollout_texts": 8, "n_steps": 8}),
    "separate critic": ({"critic": "separate"}, {}),
}


@pytest.mark.parametrize(("policy", "options"), RUNS.values(), ids=RUNS.keys())
def test_training_is_the_same_bit_for_bit(
    policy: dict[str, Any],
    options: dict[str, Any],
    make_agent: Any,
    make_env: Any,
    make_network: Any,
    recorded: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def run() -> tuple[PPO, list[list[int]]]:
        model = make_network(num_hidden_layers=1)
        agent, other = make_agent({"model": model, **policy}, **options), Evaluates(make_env(4, seed=9))
        agent.learn(2 * agent.steps_per_iteration, callback=other)
        return agent, other.written

    ahead, written = run()
    monkeypatch.setattr(PrefixCache, "act", without_reading_ahead)
    plain, expected = run()
    assert written == expected
    for name in ("actions", "log_probs", "values", "rewards", "returns"):
        np.testing.assert_array_equal(getattr(ahead.rollout_buffer, name), getattr(plain.rollout_buffer, name))
    weights = zip(ahead.policy.state_dict().values(), plain.policy.state_dict().values(), strict=True)
    assert all(torch.equal(left, right) for left, right in weights)


def test_texts_are_read_while_environments_step(
    make_agent: Any, make_network: Any, recorded: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = make_agent({"model": make_network(num_hidden_layers=1)})
    events: list[str] = []
    extend, step = KeyValueStore.extend, type(agent.env).step

    def noting_extend(store: KeyValueStore, tokens: Tensor) -> Tensor:
        events.append("read")
        return extend(store, tokens)

    def noting_step(env: Any, actions: Any) -> Any:
        events.append("step")
        return step(env, actions)

    monkeypatch.setattr(KeyValueStore, "extend", noting_extend)
    monkeypatch.setattr(type(agent.env), "step", noting_step)
    agent.learn(agent.steps_per_iteration)
    assert events == ["read", "step"] * agent.n_steps


def test_a_bare_model_writes_the_same_texts(
    make_env: Any, make_network: Any, recorded: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = CausalLM(make_network(rows=377, num_hidden_layers=1))

    def written() -> list[list[int]]:
        env, writer, generator = make_env(3), TokenWriter(model), torch.Generator().manual_seed(0)
        shown, tokens = env.reset(), []
        for step in range(20):
            actions = writer.act(shown, greedy=step % 3 == 0, generator=generator)
            tokens.append(actions.tolist())
            shown, _, _, _ = env.step(actions)
        return tokens

    ahead = written()
    monkeypatch.setattr(PrefixCache, "act", without_reading_ahead)
    assert ahead == written()
