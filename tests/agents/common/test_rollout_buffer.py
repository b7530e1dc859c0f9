from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.buffers import DictRolloutBuffer

from textgym.agents.common.losses import generalized_advantages
from textgym.agents.common.policy_record import token_observation_space
from textgym.agents.common.rollout_buffer import EpisodeRolloutBuffer


class Filler:
    """Plays random tokens and hands every step to several buffers; goes on where it was at the next rollout."""

    def __init__(self, venv: Any, gamma: float = 0.9, gae_lambda: float = 0.7) -> None:
        self.venv, self.rng = venv, np.random.default_rng(0)
        self.arguments = {"gamma": gamma, "gae_lambda": gae_lambda, "n_envs": venv.num_envs}
        self.obs, self.starts = venv.reset(), np.ones(venv.num_envs, dtype=bool)

    def buffer(self, kind: type[DictRolloutBuffer], steps: int) -> Any:
        return kind(steps, self.venv.observation_space, self.venv.action_space, device="cpu", **self.arguments)  # type: ignore[arg-type]

    def fill(self, *buffers: Any) -> None:
        n = self.venv.num_envs
        for buffer in buffers:
            buffer.reset()
        for _ in range(buffers[0].buffer_size):
            actions = np.where(self.rng.random(n) < 0.15, 1, self.rng.integers(2, 377, n))
            values, log_probs = torch.from_numpy(self.rng.normal(size=(2, n)).astype(np.float32))
            obs, _, dones, _ = self.venv.step(actions)
            rewards = np.where(dones, self.rng.normal(size=n), 0.0).astype(np.float32)
            for buffer in buffers:
                buffer.add(self.obs, actions.reshape(n, 1), rewards, self.starts, values[:, None], log_probs)
            self.obs, self.starts = obs, dones
        last = torch.from_numpy(self.rng.normal(size=(n, 1)).astype(np.float32))
        for buffer in buffers:
            buffer.compute_returns_and_advantage(last, dones)
        self.last_values, self.dones = last.numpy()[:, 0], dones


@pytest.fixture
def filler(make_env: Any) -> Filler:
    return Filler(make_env(3))


def transitions(buffer: Any, batch_size: int | None) -> list[tuple[Any, ...]]:
    """Every transition of a pass over the buffer: ids, action, value, log-prob, advantage, return."""
    seen = []
    for sample in buffer.get(batch_size):
        numbers = zip(
            sample.actions.flatten().tolist(),
            sample.old_values.tolist(),
            sample.old_log_prob.tolist(),
            sample.advantages.tolist(),
            sample.returns.tolist(),
            strict=True,
        )
        obs = sample.observations
        if isinstance(obs, dict):
            lengths = obs["attention_mask"].sum(1).long().tolist()
            texts = [tuple(row[:n]) for row, n in zip(obs["input_ids"].long().tolist(), lengths, strict=True)]
        else:
            ids, rows, ends = obs.input_ids.tolist(), obs.rows.tolist(), obs.positions.tolist()
            texts = [tuple(ids[row][: end + 1]) for row, end in zip(rows, ends, strict=True)]
        seen += [(text, *row) for text, row in zip(texts, numbers, strict=True)]
    return seen


def test_same_transitions_as_stable_baselines(filler: Filler) -> None:
    ours, theirs = filler.buffer(EpisodeRolloutBuffer, 13), filler.buffer(DictRolloutBuffer, 13)
    for _ in range(3):  # later rollouts begin in the middle of texts
        filler.fill(ours, theirs)
        for batch_size in (8, None):
            assert sorted(transitions(ours, batch_size)) == sorted(transitions(theirs, 39))
        np.testing.assert_array_equal(ours.returns, theirs_of(theirs, "returns", 13))
        np.testing.assert_array_equal(ours.advantages, theirs_of(theirs, "advantages", 13))


def theirs_of(buffer: Any, name: str, steps: int) -> np.ndarray:
    """Stable-Baselines3 flattens its arrays (environment first) when they are read."""
    flat: np.ndarray = getattr(buffer, name).reshape(-1, steps).T
    return flat


def test_returns_equal_the_formula(filler: Filler) -> None:
    buffer = filler.buffer(EpisodeRolloutBuffer, 12)
    filler.fill(buffer)
    filler.fill(buffer)
    ends = np.vstack([buffer.episode_starts[1:], filler.dones[None]]).astype(np.float64)
    arrays = buffer.rewards.astype(np.float64), buffer.values.astype(np.float64), ends
    expected = generalized_advantages(*arrays, filler.last_values.astype(np.float64), 0.9, 0.7)
    np.testing.assert_allclose(buffer.advantages, expected, atol=1e-5)
    np.testing.assert_allclose(buffer.returns, expected + buffer.values, atol=1e-5)


def test_recomputed_returns(filler: Filler) -> None:
    ours, theirs = filler.buffer(EpisodeRolloutBuffer, 12), filler.buffer(DictRolloutBuffer, 12)
    filler.fill(ours, theirs)
    for buffer in (ours, theirs):
        buffer.rewards = buffer.rewards * 2 - 0.5
    ours.recompute_returns()
    theirs.compute_returns_and_advantage(torch.from_numpy(filler.last_values), filler.dones)
    np.testing.assert_array_equal(ours.returns, theirs.returns)


def test_minibatches_partition_the_rollout_and_keep_texts_together(filler: Filler) -> None:
    buffer = filler.buffer(EpisodeRolloutBuffer, 25)
    filler.fill(buffer)
    whole = buffer.segments()
    for batch_size in (5, 10, 24, 75, 1000):
        groups = list(buffer.minibatches(batch_size))
        members = [segment for group in groups for segment in group]
        key = [(segment.env, segment.start, segment.stop) for segment in members]
        assert sorted(key) == [(segment.env, segment.start, segment.stop) for segment in whole]
        sizes = [sum(segment.stop - segment.start for segment in group) for group in groups]
        assert sum(sizes) == 75
        assert max(sizes) <= batch_size + 8 or batch_size == 1000
        assert len(groups) <= max(1, round(75 / batch_size))
    assert len(list(buffer.minibatches(None))) == 1


def test_segments_are_the_texts(filler: Filler) -> None:
    buffer = filler.buffer(EpisodeRolloutBuffer, 20)
    for first in (True, False):
        filler.fill(buffer)
        starts = {(env, int(step)) for env in range(3) for step in np.flatnonzero(buffer.episode_starts[:, env])}
        starts |= {(env, 0) for env in range(3)}
        assert {(segment.env, segment.start) for segment in buffer.segments()} == starts
        for env in range(3):
            mine = [segment for segment in buffer.segments() if segment.env == env]
            assert [segment.stop for segment in mine] == [*[segment.start for segment in mine[1:]], 20]
        assert first or not buffer.episode_starts[0].all()  # a text was left over


def test_minibatches_are_shuffled_by_the_seeded_generator(filler: Filler) -> None:
    buffer = filler.buffer(EpisodeRolloutBuffer, 30)
    filler.fill(buffer)

    def order(seed: int) -> list[tuple[int, int]]:
        np.random.seed(seed)
        return [(segment.env, segment.start) for group in buffer.minibatches(20) for segment in group]

    assert order(0) == order(0)
    assert order(0) != order(1)


def test_every_token_is_stored_once(filler: Filler) -> None:
    """The prompts and one number per token, not every prefix of every text."""
    ours, theirs = filler.buffer(EpisodeRolloutBuffer, 64), filler.buffer(DictRolloutBuffer, 64)
    filler.fill(ours, theirs)
    stored = sum(segment.prefix.nbytes for segment in ours.segments())
    arrays = sum(array.nbytes for array in vars(ours).values() if isinstance(array, np.ndarray))
    copied = sum(array.nbytes for array in theirs.observations.values())
    tokens = 64 * 3
    assert stored <= sum(4 * 40 for _ in ours.segments())
    # An id, six numbers, an age and a mark for each token, and the texts of one step with two lengths and a place.
    assert arrays <= tokens * (8 + 6 * 4 + 4 + 1) + 3 * 8 * (48 + 1 + 1 + 1)
    assert copied > 6 * (stored + arrays)
    assert not hasattr(ours, "observations")


def test_a_large_rollout_takes_megabytes() -> None:
    """1,024 environments, 256 tokens each, after prompts of 1,024; the default buffer takes 2.7 GB."""
    envs, steps, prompt = 1024, 256, 1024
    space = token_observation_space(prompt + steps, 4096, prompt)
    buffer = EpisodeRolloutBuffer(steps, space, spaces.Discrete(4096), device="cpu", n_envs=envs)
    ids = np.random.default_rng(0).integers(0, 4096, (envs, prompt + steps))
    mask, number = np.zeros((envs, prompt + steps), dtype=np.int8), torch.zeros(envs)
    mask[:, :prompt] = 1
    for step in range(steps):
        action, begins = ids[:, prompt + step], np.full(envs, step == 0)
        buffer.add({"input_ids": ids, "attention_mask": mask}, action, np.zeros(envs), begins, number, number)
        mask[:, prompt + step] = 1
    assert len(buffer.segments()) == envs
    arrays = sum(array.nbytes for array in vars(buffer).values() if isinstance(array, np.ndarray))
    assert arrays + sum(segment.prefix.nbytes for segment in buffer.segments()) < 32 * 2**20


def test_prefixes_are_copies(filler: Filler) -> None:
    buffer = filler.buffer(EpisodeRolloutBuffer, 4)
    filler.fill(buffer)
    before = [segment.prefix.copy() for segment in buffer.segments()]
    filler.obs["input_ids"][:] = 0
    for old, segment in zip(before, buffer.segments(), strict=True):
        assert old.tolist() == segment.prefix.tolist()


def test_a_jump_without_an_episode_start_begins_a_segment(filler: Filler) -> None:
    """An environment that changes the text by itself is no reason to score another text than was seen."""
    buffer = filler.buffer(EpisodeRolloutBuffer, 3)
    ids = np.zeros((3, 48), dtype=np.int64)
    texts = [[5, 6], [5, 6, 7], [9, 9, 9, 8]]
    for step, text in enumerate(texts):
        ids[:, : len(text)] = text
        mask = (np.arange(48) < len(text)).astype(np.int8) * np.ones((3, 1), dtype=np.int8)
        obs = {"input_ids": ids.copy(), "attention_mask": mask}
        actions = np.full((3, 1), 7 if step == 0 else 8)
        buffer.add(obs, actions, np.zeros(3), np.full(3, step == 0), torch.zeros(3, 1), torch.zeros(3))
    segments = [segment for segment in buffer.segments() if segment.env == 0]
    assert [(segment.start, segment.stop, segment.prefix.tolist()) for segment in segments] == [
        (0, 2, [5, 6]),
        (2, 3, [9, 9, 9, 8]),
    ]


def test_reading_a_buffer_that_is_not_full(filler: Filler) -> None:
    with pytest.raises(RuntimeError, match="expected a full buffer"):
        next(filler.buffer(EpisodeRolloutBuffer, 4).get(2))
