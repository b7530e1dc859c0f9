"""The replay buffer: transitions are those of Stable-Baselines3's own, at a token each."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.buffers import DictReplayBuffer

from textgym.agents.common.policy_record import token_observation_space
from textgym.agents.common.replay import EpisodeReplayBuffer

WIDTH, TOKENS = 9, 30
SPACES = token_observation_space(WIDTH, TOKENS, 4), spaces.Discrete(TOKENS)


def observe(texts: list[list[int]], prompts: list[int]) -> dict[str, np.ndarray]:
    ids = np.zeros((len(texts), WIDTH), dtype=np.int64)
    for row, text in zip(ids, texts, strict=True):
        row[: len(text)] = text
    mask = np.array([[int(at < len(text)) for at in range(WIDTH)] for text in texts], dtype=np.int8)
    return {"input_ids": ids, "attention_mask": mask, "prompt_length": np.array(prompts)[:, None]}


class Writers:
    """Two environments with prompts and texts of random lengths, some of which time limits cut, some of two turns."""

    def __init__(self, seed: int = 0, turns: bool = False, cuts: bool = False) -> None:
        self.rng, self.turns, self.cuts = np.random.default_rng(seed), turns, cuts
        self.texts = [self.prompt() for _ in range(2)]
        self.prompts = [len(text) for text in self.texts]
        self.left = [2, 3]

    def prompt(self) -> list[int]:
        return self.rng.integers(1, TOKENS, self.rng.integers(1, 4)).tolist()

    def observe(self) -> dict[str, np.ndarray]:
        return observe(self.texts, self.prompts)

    def step(self) -> tuple[Any, ...]:
        """Arguments of ``add``: obs, next_obs (the last one of a text that ended), action, reward, done, infos."""
        before = self.observe()
        actions, rewards = self.rng.integers(1, TOKENS, 2), self.rng.random(2).astype(np.float32)
        dones, infos, after, prompts = np.zeros(2, dtype=bool), [{}, {}], [], list(self.prompts)
        for row in range(2):
            self.texts[row] = [*self.texts[row], int(actions[row])]
            self.left[row] -= 1
            if self.turns and self.left[row] == 2:
                self.texts[row] = [*self.texts[row], 7, 7]
                prompts[row] = self.prompts[row] = len(self.texts[row])
            after.append(self.texts[row])
            if self.left[row] == 0:
                dones[row] = True
                infos[row] = {"TimeLimit.truncated": bool(self.cuts and self.rng.random() < 0.5)}
                self.texts[row] = self.prompt()
                self.prompts[row], self.left[row] = len(self.texts[row]), int(self.rng.integers(1, 4))
        return before, observe(after, prompts), actions, rewards, dones, infos


def filled(steps: int, size: int = 1000, **kind: Any) -> tuple[EpisodeReplayBuffer, list[tuple[Any, ...]]]:
    buffer, writers, rows = EpisodeReplayBuffer(size, *SPACES, n_envs=2), Writers(**kind), []
    for _ in range(steps):
        step = writers.step()
        buffer.add(*step)
        rows += [
            tuple(each[env] if not isinstance(each, dict) else {k: v[env] for k, v in each.items()} for each in step)
            for env in range(2)
        ]
    return buffer, rows


def texts_of(batch: Any) -> list[tuple[list[int], int]]:
    pairs = zip(batch.rows.tolist(), batch.positions.tolist(), strict=True)
    return [(batch.input_ids[row, : at + 1].tolist(), int(batch.prompt_lengths[row])) for row, at in pairs]


def shown(observation: dict[str, np.ndarray]) -> tuple[list[int], int]:
    length = int(observation["attention_mask"].sum())
    return observation["input_ids"][:length].tolist(), int(observation["prompt_length"][0])


@pytest.mark.parametrize("kind", [{}, {"turns": True}, {"cuts": True}], ids=["plain", "turns", "cuts"])
def test_transitions_are_what_was_added(kind: dict[str, Any]) -> None:
    buffer, rows = filled(40, **kind)
    assert buffer.size() == len(rows) == 80
    found = buffer.samples(np.arange(80))
    assert texts_of(found.observations) == [shown(row[0]) for row in rows]
    assert texts_of(found.next_observations) == [shown(row[1]) for row in rows]
    assert found.actions[:, 0].tolist() == [row[2] for row in rows]
    assert found.rewards[:, 0].tolist() == pytest.approx([row[3] for row in rows])
    cut = [bool(row[5].get("TimeLimit.truncated")) for row in rows]
    assert found.dones[:, 0].tolist() == [float(row[4] and not was_cut) for row, was_cut in zip(rows, cut, strict=True)]
    assert any(cut) == bool(kind.get("cuts"))
    assert found.discounts is None


def test_draws_are_those_of_the_buffer_it_replaces() -> None:
    """Same generator, same transitions, where both hold the same."""
    theirs = DictReplayBuffer(1000, *SPACES, device="cpu", n_envs=2)
    ours, writers = EpisodeReplayBuffer(1000, *SPACES, n_envs=2), Writers()
    for _ in range(50):
        step = writers.step()
        theirs.add(*step), ours.add(*step)
    np.random.seed(3)
    steps, envs = np.random.randint(0, 50, 20), np.random.randint(0, 2, 20)
    wanted = theirs._get_samples(steps, None)  # draws environments itself
    np.random.seed(3)
    np.random.randint(0, 50, 20), np.random.randint(0, 2, 20)
    found = ours.samples(steps * 2 + envs)
    drawn = theirs.actions[steps, envs, 0]
    assert found.actions[:, 0].tolist() == drawn.tolist()
    assert (found.rewards.shape, found.dones.shape, found.actions.shape) == (
        wanted.rewards.shape,
        wanted.dones.shape,
        wanted.actions.shape,
    )
    assert (found.actions.dtype, found.dones.dtype) == (wanted.actions.dtype, wanted.dones.dtype)
    np.random.seed(0)
    counts = np.bincount(np.concatenate([ours.sample(50).actions[:, 0].numpy() for _ in range(40)]), minlength=TOKENS)
    share = np.bincount(theirs.actions[:50].flatten(), minlength=TOKENS) / 100
    np.testing.assert_allclose(counts / 2000, share, atol=0.03)


def test_equal_beginnings_are_read_once() -> None:
    buffer = EpisodeReplayBuffer(100, *SPACES, n_envs=1)
    for letters in ([4, 5, 6], [4, 5, 8], [4, 5, 6]):
        for at, letter in enumerate(letters):
            before, after = observe([[9, *letters[:at]]], [1]), observe([[9, *letters[: at + 1]]], [1])
            buffer.add(before, after, np.array([letter]), np.array([0.0]), np.array([at == 2]), [{}])
    found = buffer.samples(np.arange(9))
    assert found.observations.input_ids is found.next_observations.input_ids
    assert sorted(found.observations.input_ids.tolist()) == [[9, 4, 5, 6], [9, 4, 5, 8]]


def test_every_token_is_stored_once() -> None:
    buffer, _ = filled(40)
    state = buffer.tensors()
    prompts = int(state["texts"][:, 1].sum())
    assert len(state["ids"]) == prompts + 80


def test_the_oldest_transitions_go_first() -> None:
    buffer, rows = filled(60, size=50, turns=True)
    assert buffer.size() == 50
    found = buffer.samples(np.arange(70, 120))
    assert texts_of(found.observations) == [shown(row[0]) for row in rows[70:]]
    assert texts_of(found.next_observations) == [shown(row[1]) for row in rows[70:]]
    live = {int(number) for number in buffer._columns["segment"][np.arange(70, 120) % 1024]}
    assert live <= buffer._segments.keys()
    assert len(buffer._segments) <= len(live) + 4
    np.random.seed(0)
    assert {tuple(text) for text, _ in texts_of(buffer.sample(500).observations)} <= {
        tuple(shown(row[0])[0]) for row in rows[70:]
    }


def equal(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


@pytest.mark.parametrize("kind", [{}, {"turns": True}], ids=["plain", "turns"])
@pytest.mark.parametrize("size", [1000, 25])
def test_a_buffer_goes_on_from_its_state(kind: dict[str, Any], size: int) -> None:
    run, writers = EpisodeReplayBuffer(size, *SPACES, n_envs=2), Writers(**kind)
    for _ in range(31):
        run.add(*writers.step())
    run.remember()
    before = run.tensors()
    more = [writers.step() for _ in range(9)]
    for step in more:
        run.add(*step)
    assert equal(before, run.tensors())  # still the moment that was remembered
    again = EpisodeReplayBuffer(size, *SPACES, n_envs=2)
    again.set_tensors(before)
    assert equal(before, again.tensors())
    for step in more:
        again.add(*step)
    assert again.size() == run.size()
    for buffer in (run, again):
        buffer.remember()
    assert equal(run.tensors(), again.tensors())
    samples = []
    for buffer in (run, again):
        np.random.seed(5)
        samples.append(buffer.sample(64))
    assert torch.equal(samples[0].actions, samples[1].actions)
    assert texts_of(samples[0].next_observations) == texts_of(samples[1].next_observations)


def test_a_reset_from_outside_begins_a_new_text() -> None:
    buffer = EpisodeReplayBuffer(100, *SPACES, n_envs=1)
    first, second = observe([[9, 1]], [2]), observe([[9, 2]], [2])
    buffer.add(first, observe([[9, 1, 5]], [2]), np.array([5]), np.array([0.0]), np.array([False]), [{}])
    buffer.add(second, observe([[9, 2, 6]], [2]), np.array([6]), np.array([1.0]), np.array([True]), [{}])
    found = buffer.samples(np.arange(2))
    assert texts_of(found.observations) == [([9, 1], 2), ([9, 2], 2)]
    assert found.dones[:, 0].tolist() == [0.0, 1.0]


@pytest.mark.parametrize(
    "change",
    [
        {"segment": torch.full((80,), 10**6)},
        {"offset": torch.full((80,), 50)},
        {"following": torch.full((80,), -2)},
        {"open": torch.zeros(3, dtype=torch.int64)},
        {"texts": torch.zeros(4, 4, dtype=torch.int64)},
        {"reward": torch.zeros(3)},
        {"ids": torch.full((500,), TOKENS, dtype=torch.int32)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_tensors_of_somebody_else_are_refused(change: dict[str, torch.Tensor]) -> None:
    buffer, _ = filled(40)
    with pytest.raises((ValueError, IndexError)):
        EpisodeReplayBuffer(100, *SPACES, n_envs=2).set_tensors({**buffer.tensors(), **change})
