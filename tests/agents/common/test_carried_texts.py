from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

from textgym.agents.common.carried_texts import CarriedText, Turn, continuing, read_carried, staleness
from textgym.agents.common.policy_record import token_observation_space
from textgym.agents.common.rollout_buffer import EpisodeRolloutBuffer
from textgym.errors import CheckpointError

TEXT = CarriedText(
    1,
    (Turn(0, np.array([5, 6], np.int32), 2), Turn(2, np.array([5, 6, 7, 8, 9], np.int32), 5)),
    np.array([7, 8, 4]),
    np.array([0.1, 0.0, 1 / 3], np.float32),
    np.array([0.5, -0.25, 1e-30], np.float32),
    np.array([-1.5, -0.1, -7.0], np.float32),
    np.array([2, 1, 0], np.int32),
)
WIDTH = 12


def test_a_text_comes_back_to_the_last_bit() -> None:
    (again,) = read_carried([json.loads(json.dumps(TEXT.to_record()))], n_envs=2, actions=10, width=5)
    assert again.env == 1
    for now, then in zip(again.turns, TEXT.turns, strict=True):
        assert (now.start, now.prefix.tolist(), now.prompt_length) == (then.start, then.prefix.tolist(), then[2])
        assert now.prefix.dtype == then.prefix.dtype
    for now, then in zip(again[2:], TEXT[2:], strict=True):
        np.testing.assert_array_equal(now, then, strict=True)


CHANGES: dict[str, Any] = {
    "another part": {"more": 1},
    "no environment": {"env": 2},
    "a text": {"env": "x"},
    "fewer numbers": {"values": [0.5]},
    "numbers that are none": {"rewards": [0.0, 0.0, float("nan")]},
    "infinity": {"log_probs": [0.0, 0.0, float("inf")]},
    "more than 32 bits": {"values": [0.0, 0.0, 1e300]},
    "texts for numbers": {"log_probs": ["x", "y", "z"]},
    "ids that are none": {"actions": [7, 10, 4]},
    "ids below 0": {"actions": [7, -1, 4]},
    "fractions of ids": {"actions": [7, 1.5, 4]},
    "huge ages": {"ages": [2**40, 1, 0]},
    "no turn": {"turns": []},
    "a turn that starts late": {"turns": [[1, [5, 6], 2]]},
    "a turn behind the end": {"turns": [[0, [5, 6], 2], [3, [5], 1]]},
    "turns in another order": {"turns": [[0, [5, 6], 2], [2, [5], 1], [1, [5], 1]]},
    "half a turn": {"turns": [[0, [5, 6]]]},
    "an empty prompt": {"turns": [[0, [], 0]]},
    "more given than there is": {"turns": [[0, [5, 6], 3]]},
    "a prompt that is too long": {"turns": [[0, [5] * 11, 2]]},
    "ids of a prompt that are none": {"turns": [[0, [5, 377], 2]]},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_texts_of_others_are_checked(change: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError):
        read_carried([{**TEXT.to_record(), **change}], n_envs=2, actions=10, width=WIDTH)


def test_one_text_of_an_environment() -> None:
    with pytest.raises(CheckpointError, match="expected one unfinished text, at most, of each of 2 environments"):
        read_carried([TEXT.to_record()] * 2, n_envs=2, actions=10, width=WIDTH)


def test_staleness() -> None:
    assert staleness(np.array([0, 0, 1, 3], np.int32)) == {"stale": 0.5, "stale_age": 2.0}
    assert staleness(np.array([0, 0], np.int32)) == {"stale": 0.0, "stale_age": 0.0}


def test_texts_of_environments_that_begin_another_do_not_continue() -> None:
    assert continuing([TEXT], np.array([True, False])) == [TEXT]
    assert continuing([TEXT], np.array([False, True])) == []


class Script:
    """Environments whose texts have given lengths, with given values and log-probabilities; prompts of 2 tokens."""

    def __init__(self, lengths: Sequence[Sequence[int]]) -> None:
        self.ends = [np.cumsum(each).tolist() for each in lengths]
        self.steps = 0
        self.texts = [self.prompt(env, 0) for env in range(len(lengths))]
        self.starts = np.ones(len(lengths), dtype=bool)

    @staticmethod
    def prompt(env: int, number: int) -> list[int]:
        return [100 + env, 200 + number]

    def observation(self) -> dict[str, np.ndarray]:
        ids = np.zeros((len(self.texts), WIDTH), dtype=np.int64)
        for row, text in zip(ids, self.texts, strict=True):
            row[: len(text)] = text
        mask = np.arange(WIDTH) < np.array([[len(text)] for text in self.texts])
        return {"input_ids": ids, "attention_mask": mask, "prompt_length": np.full((len(ids), 1), 2)}

    def play(self, buffer: EpisodeRolloutBuffer, steps: int) -> np.ndarray:
        """Make steps: token t of environment b has value t + b / 10 and log-prob -t, and reward t if it ends a text."""
        for _ in range(steps):
            count, self.steps = len(self.texts), self.steps + 1
            actions = self.steps + 20 * np.arange(count)
            dones = np.array([self.steps in ends for ends in self.ends])
            values = self.steps + torch.arange(count) / 10
            log_probs = torch.full((count,), -float(self.steps))
            arguments = actions[:, None], np.where(dones, self.steps, 0.0), self.starts
            buffer.add(self.observation(), *arguments, values[:, None], log_probs)
            for env in range(count):
                ended = sum(end <= self.steps for end in self.ends[env])
                self.texts[env] = self.prompt(env, ended) if dones[env] else [*self.texts[env], int(actions[env])]
            self.starts = dones
        return dones


def new_buffer(steps: int, envs: int) -> EpisodeRolloutBuffer:
    space = token_observation_space(WIDTH, 377, 4), spaces.Discrete(377)
    return EpisodeRolloutBuffer(steps, *space, device="cpu", gae_lambda=0.7, gamma=0.9, n_envs=envs)


def transitions(buffer: EpisodeRolloutBuffer, env: int, texts: int) -> list[tuple[Any, ...]]:
    """Text, action, value, log-prob, advantage and return of the tokens of the first texts of an environment."""
    found = []
    for segment in [each for each in buffer.segments() if each.env == env][:texts]:
        sample = buffer.samples([segment])
        ends = sample.observations.positions.tolist()
        ids = [tuple(sample.observations.input_ids[0, : end + 1].tolist()) for end in ends]
        columns = sample.actions, sample.old_values, sample.old_log_prob, sample.advantages, sample.returns
        found += list(zip(ids, *(column.tolist() for column in columns), strict=True))
    return found


LENGTHS = [[3, 4, 2, 3, 9], [9, 2, 9], [2, 2, 2, 2, 2, 2, 9]]


def carried_rollouts(sizes: Sequence[int]) -> list[EpisodeRolloutBuffer]:
    script, found = Script(LENGTHS), []
    carried: list[CarriedText] = []
    for steps in sizes:
        buffer = new_buffer(4, len(LENGTHS))
        buffer.carried = carried
        buffer.bring_back(script.starts)
        dones = script.play(buffer, steps)
        buffer.end_rollout(np.ones((steps, len(LENGTHS)), dtype=bool))
        buffer.set_aside(dones)
        buffer.compute_returns_and_advantage(torch.full((len(LENGTHS), 1), 1e6), dones)  # which must not matter
        carried = buffer.carried
        found.append(buffer)
    return found


@pytest.mark.parametrize("sizes", [(4, 4, 4), (12,), (5, 1, 6), (1,) * 12])
def test_advantages_are_those_of_one_long_rollout(sizes: tuple[int, ...]) -> None:
    buffers = carried_rollouts(sizes)
    long = new_buffer(12, len(LENGTHS))
    dones = Script(LENGTHS).play(long, 12)
    long.compute_returns_and_advantage(torch.zeros(len(LENGTHS), 1), dones)
    for env, finished in enumerate((4, 2, 6)):  # texts that end within 12 steps
        parts = [part for buffer in buffers for part in transitions(buffer, env, 99)]
        assert parts == transitions(long, env, finished)
        assert len(parts) == sum(LENGTHS[env][:finished])


def test_advantages_by_hand() -> None:
    """The text of 2 tokens at steps 10 and 11, which the end of a rollout of 10 steps cuts."""
    first, second = carried_rollouts((10, 2))
    assert [segment.stop - segment.start for segment in first.segments() if segment.env == 1] == [9]
    ((one, two),) = [transitions(second, 1, 99)]
    # r = 11, V = 10.1 and 11.1: A_2 = 11 - 11.1, A_1 = 0.9 * 11.1 - 10.1 + 0.9 * 0.7 * A_2
    assert one[1:] == pytest.approx((30, 10.1, -10, -0.11 - 0.063, 9.927), rel=1e-4)
    assert two[1:] == pytest.approx((31, 11.1, -11, -0.1, 11), rel=1e-4)
    assert one[0] == (101, 201)
    assert two[0] == (101, 201, 30)
    # Of environment 0, the first token of a text of 3 was sampled before; in environment 2 a text ended with step 10.
    assert second.ages[second.counted].tolist().count(1) == 2
    assert second.text_ids()[second.counted].max() < 3 * len(LENGTHS)


def test_ages_add_up() -> None:
    buffers = carried_rollouts((1,) * 12)
    assert [buffer.ages[buffer.counted].tolist() for buffer in buffers[:2]] == [[], [1, 0]]
    long_text = buffers[8]  # the ninth step ends a text of 9 tokens, and one of 2
    assert long_text.ages[:, 1].tolist() == [8, 7, 6, 5, 4, 3, 2, 1, 0]


def test_values_that_are_shifted_are_shifted_for_good() -> None:
    (buffer,) = carried_rollouts((10,))
    before = [text.values.copy() for text in buffer.carried]
    buffer.shift_values(0.5)
    for text, values in zip(buffer.carried, before, strict=True):
        np.testing.assert_array_equal(text.values, values + np.float32(0.5))


def test_texts_of_environments_that_begin_anew_are_lost() -> None:
    (buffer,) = carried_rollouts((10,))
    assert [text.env for text in buffer.carried] == [0, 1]
    buffer.reset()
    buffer.bring_back(np.array([True, True, True]))
    assert buffer.pos == 0
    assert buffer.carried == []
