"""A replay buffer that stores every token once, and lets an update read every text once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.buffers import BaseBuffer, ReplayBuffer
from stable_baselines3.common.type_aliases import ReplayBufferSamples
from stable_baselines3.common.vec_env import VecNormalize
from torch import Tensor

from textgym.models.batch import EpisodeBatch, TextBatch, pad_rows, share_prefixes
from textgym.types import IntArray

_COLUMNS = {"segment": np.int64, "offset": np.int64, "following": np.int64, "reward": np.float32, "ended": np.bool_}


class _Segment:
    """Consecutive observations of one environment, each a token longer than the one before.

    Args:
        env: Number of the environment.
        prefix: (n,) ids of the first observation.
        prompt_length: How many of them were given, not acted.
    """

    __slots__ = ("actions", "env", "left", "prefix", "prompt_length")

    def __init__(self, env: int, prefix: IntArray, prompt_length: int, actions: Sequence[int] = ()) -> None:
        self.env, self.prefix, self.prompt_length = env, prefix, prompt_length
        self.actions = list(actions)
        self.left = 0  # transitions that are still in the buffer

    def ids(self, actions: int) -> IntArray:
        """The ids of the observation after so many actions."""
        return np.concatenate([self.prefix, np.array(self.actions[:actions], dtype=np.int64)])


class _Place(NamedTuple):
    """An observation: its segment, and how many actions of it stand in it."""

    segment: int
    actions: int


class EpisodeReplayBuffer(ReplayBuffer):
    """Drop-in ``replay_buffer_class`` for Stable-Baselines3's DQN on token-level text environments.

    The default buffer copies every prefix of every text twice, as an observation and as the next one: O(tokens x
    length). This one keeps prompts and actions, O(tokens). Transitions are drawn uniformly, as there; those whose texts
    are equal, or begin alike, share a row of the batch: observations and next observations are
    :class:`~textgym.models.batch.EpisodeBatch` objects of the same texts.

    Args:
        buffer_size: Transitions, which are tokens, that are kept; the oldest go first.
        observation_space, action_space, device, n_envs: As in Stable-Baselines3.
        optimize_memory_usage, handle_timeout_termination: Accepted because Stable-Baselines3 passes them; texts that a
            time limit cut go on in their value.
    """

    def __init__(
        self,
        buffer_size: int,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        device: torch.device | str = "auto",
        n_envs: int = 1,
        optimize_memory_usage: bool = False,
        handle_timeout_termination: bool = True,
    ) -> None:
        # The parent's constructor would allocate all observations.
        BaseBuffer.__init__(self, buffer_size, observation_space, action_space, device, n_envs=n_envs)
        self.optimize_memory_usage = False
        self.reset()

    def reset(self) -> None:
        """Empty the buffer."""
        self.pos, self.full = 0, False
        self._segments: dict[int, _Segment] = {}
        self._open: list[int | None] = [None] * self.n_envs  # segments that the next step may go on with
        self._latest: list[IntArray | None] = [None] * self.n_envs  # what they show
        self._left_empty: list[int] = []  # segments in which nothing was done, and will not
        self._made = 0  # segments so far
        self._first = self._last = 0  # transitions are numbered from 0 on; these are kept: first <= number < last
        self._columns = {name: np.zeros(1024, dtype=kind) for name, kind in _COLUMNS.items()}
        self._then: _Moment | None = None

    def size(self) -> int:
        """Return how many transitions there are."""
        return self._last - self._first

    def add(
        self,
        obs: Mapping[str, np.ndarray],  # type: ignore[override]
        next_obs: Mapping[str, np.ndarray],  # type: ignore[override]
        action: np.ndarray,
        reward: np.ndarray,
        done: np.ndarray,
        infos: Sequence[Mapping[str, Any]],
    ) -> None:
        """Store one step of all environments (arguments as in Stable-Baselines3)."""
        before, after = _texts(obs), _texts(next_obs)
        for env, token in enumerate(np.asarray(action).reshape(self.n_envs).tolist()):
            number = self._segment_of(env, *before[env])
            segment = self._segments[number]
            segment.actions.append(token)
            segment.left += 1
            was_cut = bool(done[env]) and bool(infos[env].get("TimeLimit.truncated", False))
            following = -1
            if not done[env] and not _continues(before[env], token, after[env]):
                following = self._begin(env, *after[env])  # the other side has answered
            row = number, len(segment.actions) - 1, following, reward[env], bool(done[env]) and not was_cut
            self._append(row)
            self._latest[env] = after[env][0]
            if done[env]:
                self._open[env] = self._latest[env] = None
        if self._then is None:
            self._forget(self._last - self.buffer_size)

    def sample(self, batch_size: int, env: VecNormalize | None = None) -> ReplayBufferSamples:
        """Draw transitions uniformly, with replacement, from numpy's global generator as Stable-Baselines3 does.

        Args:
            batch_size: Number of transitions ``N``.
            env: Normalizes rewards, if it is there.
        """
        numbers = np.random.randint(self._first, self._last, size=batch_size)
        return self.samples(numbers, env)

    def samples(self, numbers: IntArray, env: VecNormalize | None = None) -> ReplayBufferSamples:
        """Return transitions by their numbers: episode batches, and (N, 1) actions, rewards and ends."""
        columns = {name: column[numbers % len(column)] for name, column in self._columns.items()}
        now = [_Place(*place) for place in zip(columns["segment"].tolist(), columns["offset"].tolist(), strict=True)]
        after = [
            _Place(place.segment, place.actions + 1) if following < 0 else _Place(following, 0)
            for place, following in zip(now, columns["following"].tolist(), strict=True)
        ]
        actions = [self._segments[segment].actions[offset] for segment, offset in now]
        first, then = self._batches([*now, *after])
        data = {
            "observations": first,
            "actions": self.to_torch(np.array(actions)[:, None]),
            "next_observations": then,
            "dones": self.to_torch(columns["ended"].astype(np.float32)[:, None]),
            "rewards": self.to_torch(self._normalize_reward(columns["reward"][:, None], env)),
        }
        return ReplayBufferSamples(**cast("dict[str, Tensor]", data))  # as the network takes observations

    def _batches(self, places: Sequence[_Place]) -> tuple[EpisodeBatch, EpisodeBatch]:
        """Return batches of the first and the second half of places, over one table of texts, each of which is once."""
        segments = [self._segments[number] for number, _ in places]
        texts = [segment.ids(actions) for segment, (_, actions) in zip(segments, places, strict=True)]
        ids, lengths = pad_rows(texts, 0)
        prompts = torch.tensor([segment.prompt_length for segment in segments])
        shared = share_prefixes(TextBatch(ids, lengths, prompts))
        table, prompt_lengths, rows, positions = (each.to(self.device) for each in shared)
        half = len(places) // 2
        return (
            EpisodeBatch(table, prompt_lengths, rows[:half], positions[:half]),
            EpisodeBatch(table, prompt_lengths, rows[half:], positions[half:]),
        )

    # ---------------------------------------------------------------- segments
    def _segment_of(self, env: int, ids: IntArray, prompt_length: int) -> int:
        """Return the segment whose last observation these ids are; a new one if they are none's."""
        number, latest = self._open[env], self._latest[env]
        if number is not None and latest is not None and np.array_equal(latest, ids):
            return number
        return self._begin(env, ids, prompt_length)

    def _begin(self, env: int, ids: IntArray, prompt_length: int) -> int:
        before, number = self._open[env], self._made
        if before is not None and self._segments[before].left == 0:
            self._left_empty.append(before)
        self._segments[number] = _Segment(env, ids.astype(np.int64), prompt_length)
        self._open[env], self._made = number, number + 1
        return number

    def _append(self, row: tuple[int, int, int, float, bool]) -> None:
        size = len(self._columns["segment"])
        if self._last - self._first == size:
            order = np.arange(self._first, self._last)
            for name, column in self._columns.items():
                larger = np.zeros(2 * size, dtype=column.dtype)
                larger[order % (2 * size)] = column[order % size]
                self._columns[name] = larger
        for (name, column), value in zip(self._columns.items(), row, strict=True):
            self._columns[name][self._last % len(column)] = value
        self._last += 1

    def _forget(self, first: int) -> None:
        """Forget the transitions before a number, and the texts that none is left of."""
        while self._first < first:
            number = int(self._columns["segment"][self._first % len(self._columns["segment"])])
            segment = self._segments[number]
            segment.left -= 1
            if segment.left == 0 and self._open[segment.env] != number:
                del self._segments[number]
            self._first += 1

    # ------------------------------------------------------------------- state
    def remember(self) -> None:
        """Take note of the buffer as it is now, which :meth:`tensors` then gives; what is too old is forgotten now."""
        self._forget(self._last - self.buffer_size)
        while self._left_empty:
            del self._segments[self._left_empty.pop()]
        open_ = [None if number is None else (number, len(self._segments[number].actions)) for number in self._open]
        self._then = _Moment(self._first, self._last, self._made, open_)

    def tensors(self) -> dict[str, Tensor]:
        """Return copies of all transitions and texts, as they were when :meth:`remember` was called last."""
        if self._then is None:
            self.remember()
        assert self._then is not None
        first, last, made, open_ = self._then
        order = np.arange(first, last) % len(self._columns["segment"])
        columns = {name: column[order] for name, column in self._columns.items()}
        under_way = dict(each for each in open_ if each is not None)
        kept = sorted({*columns["segment"].tolist(), *under_way} & set(range(made)))
        place_of = {number: place for place, number in enumerate(kept)}
        texts = [(each, under_way.get(number)) for number in kept for each in [self._segments[number]]]
        for name in ("segment", "following"):
            numbers = columns[name].tolist()
            columns[name] = np.array([place_of.get(number, -1) for number in numbers], dtype=np.int64)
        sizes = [
            (each.env, len(each.prefix), len(each.actions) if count is None else count, each.prompt_length)
            for each, count in texts
        ]
        ids = [each.ids(size[2]) for (each, _), size in zip(texts, sizes, strict=True)]
        columns["ids"] = np.concatenate([*ids, np.zeros(0, dtype=np.int64)]).astype(np.int32)
        columns["texts"] = np.array(sizes, dtype=np.int64).reshape(-1, 4)
        columns["open"] = np.array([-1 if each is None else place_of[each[0]] for each in open_], dtype=np.int64)
        return {name: torch.from_numpy(np.ascontiguousarray(column)) for name, column in columns.items()}

    def set_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over what :meth:`tensors` gave.

        Raises:
            ValueError: It is no buffer of as many environments.
        """
        arrays = {name: tensor.cpu().numpy() for name, tensor in tensors.items()}
        _check(arrays, self.n_envs, int(self.action_space.n))  # type: ignore[attr-defined]  # a Discrete space
        self.reset()
        pieces = np.split(arrays["ids"].astype(np.int64), arrays["texts"][:, 1:3].sum(1).cumsum())
        for number, (env, prefix, _, prompt_length) in enumerate(arrays["texts"].tolist()):
            text = pieces[number]
            self._segments[number] = _Segment(env, text[:prefix], prompt_length, text[prefix:].tolist())
        self._made = len(self._segments)
        for row in zip(*(arrays[name].tolist() for name in _COLUMNS), strict=True):
            self._segments[row[0]].left += 1
            self._append(row)
        for env, number in enumerate(arrays["open"].tolist()):
            if number >= 0:
                segment = self._segments[number]
                self._open[env], self._latest[env] = number, segment.ids(len(segment.actions))
        self.remember()


class _Moment(NamedTuple):
    """The extent of a buffer at an earlier moment.

    Attributes:
        first, last: Numbers of the transitions: first <= number < last.
        made: Number of segments made so far.
        open: Segment of each environment that was under way, with the number of its actions.
    """

    first: int
    last: int
    made: int
    open: list[tuple[int, int] | None]


def _check(arrays: Mapping[str, np.ndarray], n_envs: int, actions: int) -> None:
    """Check that arrays are those of a buffer.

    Raises:
        ValueError: They are others.
    """
    texts, open_ = arrays["texts"], arrays["open"]
    segments, offsets, following = (arrays[name] for name in ("segment", "offset", "following"))
    count, size = len(texts), len(segments)
    fits = (
        texts.ndim == 2
        and texts.shape[1] == 4
        and open_.shape == (n_envs,)
        and all(arrays[name].shape == (size,) for name in _COLUMNS)
        and bool(((texts >= [0, 1, 0, 0]) & (texts[:, :1] < n_envs)).all())
        and int(texts[:, 1:3].sum()) == len(arrays["ids"])
        and _within(arrays["ids"], 0, actions)
        and _within(segments, 0, count)
        and _within(following, -1, count)
        and _within(open_, -1, count)
        and bool(((offsets >= 0) & (offsets < texts[segments, 2])).all())
    )
    if not fits:
        raise ValueError(f"expected a replay buffer of {n_envs} environments, got another")


def _within(numbers: np.ndarray, least: int, end: int) -> bool:
    return bool(((numbers >= least) & (numbers < end)).all())


def _texts(obs: Mapping[str, np.ndarray]) -> list[tuple[IntArray, int]]:
    """Return the ids and prompt lengths of observations."""
    lengths = obs["attention_mask"].sum(1, dtype=np.int64).tolist()
    prompts = obs["prompt_length"].reshape(-1).tolist() if "prompt_length" in obs else [1] * len(lengths)
    return [(ids[:length], int(prompt)) for ids, length, prompt in zip(obs["input_ids"], lengths, prompts, strict=True)]


def _continues(before: tuple[IntArray, int], token: int, after: tuple[IntArray, int]) -> bool:
    """Return whether an observation is another one with a token behind it, in the same turn."""
    return len(after[0]) == len(before[0]) + 1 and after[0][-1] == token and after[1] == before[1]
