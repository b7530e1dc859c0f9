"""What becomes of texts that the end of a rollout finds unfinished, in PPO."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import textgym
from tests.agents.test_ppo_state import assert_same_run
from tests.envs.guessing import Guessing, write_tokenizer
from tests.seq2seq_models import write_folder
from textgym.agents import PPO, make_vec_env, resolve_agent
from textgym.agents.common.causal_lm_policy import CausalLMPolicy
from textgym.agents.common.decisions import Decision
from textgym.agents.common.distributed import Communicator
from textgym.agents.common.lock_step import in_lock_step
from textgym.agents.common.observations import to_tensors
from textgym.errors import CheckpointError
from textgym.types import BoolArray, State

from .conftest import FEW_TOKENS, build_network, length_of_text

GUESSING, _ = textgym.register_task("TestUnfinishedGuessing", Guessing)
CARRY = ("carry", "carry_recompute")
EOS, LETTER = 1, 9


def script(agent: PPO, lengths: Sequence[Sequence[int]]) -> None:
    """Let the environments of an agent write texts of these lengths."""
    rows = [[EOS if at == n else LETTER for n in each for at in range(1, n + 1)] for each in lengths]
    steps = iter(zip(*rows, strict=False))

    def choose(_: BoolArray) -> Decision:
        tokens = torch.tensor(next(steps))
        with torch.no_grad():
            values, log_probs, _ = agent.policy.evaluate_actions(to_tensors(agent._texts), tokens)  # type: ignore[arg-type]
        return Decision(tokens, values, log_probs)

    agent._choose_actions = choose  # type: ignore[method-assign]


def still(_: float) -> float:
    """A learning rate that leaves the weights as they are."""
    return 0.0


@pytest.mark.parametrize("unfinished", CARRY)
def test_stale_tokens_by_hand(unfinished: str, make_agent: Any) -> None:
    agent = make_agent(n_envs=2, n_steps=3, unfinished_texts=unfinished, policy={"suppress_tokens": ()})
    script(agent, [[2] * 9, [8, 8]])
    agent.learn(2 * 3 * 3)
    # Tokens of texts that end: 2 in the first rollout; 4 in the second, 1 of which is older; 2 and 8 in the third, 3 of
    # which are one update old, and 3 two.
    assert [record["stale"] for record in agent.history] == pytest.approx([0, 1 / 4, 6 / 10])
    assert [record["stale_age"] for record in agent.history] == pytest.approx([0, 1, 9 / 6])
    assert [record["texts"] for record in agent.history] == [1, 2, 2]
    assert [record["length"] for record in agent.history] == [2, 2, 5]
    assert agent.num_timesteps == 2 * 3 * 3
    assert [len(text.actions) for text in agent.rollout_buffer.carried] == [1, 1]


def test_a_rollout_goes_on_until_a_text_ends(make_agent: Any) -> None:
    agent = make_agent(n_envs=2, n_steps=3, unfinished_texts="carry", policy={"suppress_tokens": ()})
    script(agent, [[5, 5], [7, 7]])
    agent.learn(1)
    assert agent.num_timesteps == 2 * 5
    assert int(agent.rollout_buffer.counted.sum()) == 5


@pytest.mark.parametrize("critic", ["detached", "separate"])
@pytest.mark.parametrize("unfinished", CARRY)
def test_log_probs_of_stale_tokens(unfinished: str, critic: str, make_agent: Any) -> None:
    """They are those that the tokens were sampled with, or those of the policy as it is before the update."""
    agent = make_agent({"critic": critic}, n_steps=6, learning_rate=1e-2, unfinished_texts=unfinished)
    sampled: list[Decision] = []
    choose, train, found = agent._choose_actions, agent.train, []

    def noting(skipped: BoolArray) -> Decision:
        sampled.append(choose(skipped))
        return sampled[-1]

    def looking() -> None:
        buffer = agent.rollout_buffer
        current = agent._score_rollout(agent.policy.log_probs)
        values = agent._score_rollout(lambda batch, _: agent.policy.critic_values(batch))
        for step, env in np.argwhere(buffer.counted & (buffer.ages > 0)).tolist():
            decision = sampled[len(sampled) - len(buffer.actions) + step]
            assert buffer.actions[step, env, 0] == decision.actions[env]
            trained_on = buffer.log_probs[step, env], buffer.values[step, env]
            at_hand = current[step, env], values[step, env]
            found.append((*trained_on, *at_hand, decision.log_probs[env], decision.values[env, 0]))
        train()

    agent._choose_actions, agent.train = noting, looking
    agent.learn(4 * 6 * 4)
    log_probs, values, current, current_values, old, old_values = np.array(found, dtype=np.float64).T
    assert len(found) > 10
    assert np.abs(current - old).max() > 1e-3
    if unfinished == "carry":
        np.testing.assert_array_equal(log_probs, old)
    else:
        np.testing.assert_allclose(log_probs, current, atol=1e-5)
    if unfinished == "carry_recompute" or critic == "separate":
        np.testing.assert_allclose(values, current_values, atol=1e-5)
    else:
        # The value head began at the mean score of the first texts; what was sampled before was shifted by it.
        assert len({*(values - old_values).round(6)}) == 2
        assert np.abs(values - current_values).max() > 1e-3


@pytest.mark.parametrize("kind", ["causal", "conversation", "seq2seq"])
def test_texts_are_put_together_again(
    kind: str, make_agent: Any, make_network: Any, env_ids: Any, tmp_path: Path
) -> None:
    """With weights that stay as they are, passes over whole texts give all tokens what they were sampled with."""
    options: dict[str, Any] = {"learning_rate": still, "n_steps": 11, "batch_size": 24, "unfinished_texts": "carry"}
    if kind == "causal":
        agent = make_agent(**options)
    elif kind == "conversation":
        envs = make_vec_env(GUESSING, n_envs=4, seed=0, model=str(write_tokenizer(tmp_path)))
        policy = {"model": make_network(rows=24)}
        agent = PPO(CausalLMPolicy, envs, seed=0, policy_kwargs=policy, **options)
    else:
        envs = make_vec_env(env_ids[0], 4, 0, model=str(write_folder(tmp_path, "t5")), max_new_tokens=8)
        agent = PPO.create(envs, seed=0, device="cpu", **options)
    stale = 0
    for _ in range(4):
        agent.learn(1, reset_num_timesteps=False)
        buffer = agent.rollout_buffer
        found = agent._score_rollout(agent.policy.log_probs)
        np.testing.assert_allclose(found[buffer.counted], buffer.log_probs[buffer.counted], atol=2e-5)
        stale += int((buffer.ages[buffer.counted] > 0).sum())
        assert agent.history[-1]["kl_k3"] == pytest.approx(0, abs=1e-5)
        assert agent.history[-1]["ratio_max"] == pytest.approx(1, abs=1e-4)
        assert agent.history[-1]["length"] * agent.history[-1]["texts"] == pytest.approx(buffer.counted.sum())
        for text in buffer.carried:
            ids = [text.turns[-1].prefix, text.actions[text.turns[-1].start :]]
            shown = agent._texts["input_ids"][text.env]
            known = np.concatenate(ids)
            np.testing.assert_array_equal(shown[: len(known)], known)
    assert stale > 5


@pytest.mark.parametrize("unfinished", ["drain", *CARRY])
def test_a_run_goes_on_bit_for_bit(unfinished: str, make_agent: Any, make_env: Any, tmp_path: Path) -> None:
    def run() -> tuple[PPO, State]:
        agent: PPO = make_agent(learning_rate=1e-2, n_steps=9, unfinished_texts=unfinished)
        agent.learn(1)
        agent.learn(1, reset_num_timesteps=False)
        agent.save(tmp_path / "checkpoint")
        state = agent.get_state()
        agent.learn(1, reset_num_timesteps=False)
        return agent, state

    (one, _), (other, state) = run(), run()
    assert_same_run(one, other)
    again = PPO.load(tmp_path / "checkpoint", env=make_env(4, seed=77, reward=length_of_text))
    assert bool(again.rollout_buffer.carried) == (unfinished != "drain")
    again.learn(1, reset_num_timesteps=False)
    assert_same_run(one, again)
    other.set_state(state)
    other.learn(1, reset_num_timesteps=False)
    assert_same_run(one, other)
    assert one.history[-1].get("stale", 1) > 0


def test_a_new_run_begins_with_new_texts(make_agent: Any) -> None:
    agent = make_agent(n_steps=9, unfinished_texts="carry")
    agent.learn(1)
    assert agent.rollout_buffer.carried
    agent.learn(1)
    assert agent.history[-1]["stale"] == 0


def test_a_run_that_cut_texts_goes_on_carrying_them(make_agent: Any, make_env: Any, tmp_path: Path) -> None:
    agent = make_agent(n_steps=9)
    agent.learn(1)
    agent.save(tmp_path / "checkpoint")
    env = make_env(4, reward=length_of_text)
    again = PPO.load(tmp_path / "checkpoint", env=env, unfinished_texts="carry")  # type: ignore[arg-type]
    again.learn(1, reset_num_timesteps=False)
    segments = again.rollout_buffer.segments()
    assert any(len(segment.prefix) > segment.prompt_length for segment in segments)  # began in the rollout before
    assert again.history[-1]["stale"] == 0


def test_forged_texts_are_refused(make_agent: Any) -> None:
    agent = make_agent(n_steps=9, unfinished_texts="carry")
    agent.learn(1)
    state = agent.get_state()
    state.record["carried"][0]["actions"][0] = 10**6
    with pytest.raises(CheckpointError, match="expected ids from 0 to 376 of an unfinished text"):
        agent.set_state(state)


def test_drained_rollouts_hold_whole_texts(make_agent: Any) -> None:
    agent = make_agent(n_steps=12, unfinished_texts="drain")
    agent.learn(4 * 12 * 3)
    for record in agent.history:
        assert 0 <= record["dropped"] < 0.5
    buffer = agent.rollout_buffer
    assert agent.history[-1]["length"] * agent.history[-1]["texts"] == pytest.approx(buffer.counted.sum())
    assert agent.history[-1]["dropped"] == pytest.approx(1 - buffer.counted.mean())
    assert agent.rollout_tokens == buffer.actions.size
    ends = {(env, step + 1) for step, env, _ in agent.finished}
    assert {(segment.env, segment.stop) for segment in buffer.segments()} == ends
    assert not agent._last_values(np.ones(4, dtype=bool)).any()


@pytest.mark.parametrize("unfinished", ["drain", "carry"])
def test_ranks_agree_and_go_on(unfinished: str, make_env: Any, tmp_path: Path) -> None:
    def env(rank: int) -> Any:
        return make_env(2, seed=5 + 2 * rank, reward=length_of_text)

    def weights(agent: Any) -> torch.Tensor:
        return torch.cat([parameter.detach().flatten() for parameter in agent.policy.parameters()])

    def begin(ranks: Communicator) -> tuple[torch.Tensor, list[dict[str, float]]]:
        options: dict[str, Any] = {"n_steps": 11, "batch_size": 16, "unfinished_texts": unfinished}
        agent = PPO.create(env(ranks.rank), build_network(), seed=5, suppress_tokens=FEW_TOKENS, **options)
        for _ in range(3):
            agent.learn(1, reset_num_timesteps=False)
        agent.save(tmp_path / "checkpoint")
        agent.learn(1, reset_num_timesteps=False)
        return weights(agent), agent.history

    def go_on(ranks: Communicator) -> torch.Tensor:
        agent = PPO.load(tmp_path / "checkpoint", env=env(ranks.rank), device="cpu")
        agent.learn(1, reset_num_timesteps=False)
        return weights(agent)

    (first, history), (second, other) = in_lock_step(2, begin)
    assert torch.equal(first, second)
    assert [record.get("stale") for record in history] == [record.get("stale") for record in other]
    assert any(record.get("stale", record.get("dropped")) for record in history)
    for resumed in in_lock_step(2, go_on):
        assert torch.equal(resumed, first)


def test_only_where_rollouts_end_after_steps(make_env: Any) -> None:
    options: dict[str, Any] = {"seed": 0, "device": "cpu", "suppress_tokens": FEW_TOKENS}
    with pytest.raises(ValueError, match="expected no unfinished_texts with rollout_texts=4"):
        PPO.create(make_env(4), build_network(), rollout_texts=4, unfinished_texts="carry", **options)
    with pytest.raises(ValueError, match="to be one of bootstrap, drain, carry, carry_recompute, got 'drop'"):
        PPO.create(make_env(4), build_network(), unfinished_texts="drop", **options)
    for name in ("reinforce", "grpo"):
        with pytest.raises(ValueError, match="expected no unfinished_texts with rollout_texts=4"):
            resolve_agent(name).create(make_env(4), build_network(), unfinished_texts="carry", **options)
