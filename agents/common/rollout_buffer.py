"""A rollout buffer that stores every token once and keeps the transitions of an episode in one minibatch."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from functools import partial
from itertools import pairwise
from typing import NamedTuple, cast

import numpy as np
import torch
from stable_baselines3.common.buffers import DictRolloutBuffer
from stable_baselines3.common.type_aliases import RolloutBufferSamples
from torch import Tensor

from textgym.models.batch import EpisodeBatch
from textgym.types import BoolArray, IntArray


class Segment(NamedTuple):
    """Consecutive transitions of one text in one environment: its first observation, then one action a step."""

    env: int
    start: int  # first step in the buffer
    stop: int  # one past the last step
    prefix: IntArray  # (n,) ids of the first observation
    prompt_length: int  # how many of them were given, not acted; less than n where a text goes on from the last rollout
    text: int  # number of the text: in a conversation, all turns of an episode are segments of one text


class EpisodeSamples(NamedTuple):
    """Transitions as Stable-Baselines3's algorithms read them; but for the observations, all are (N,).

    ``places`` are those that they have in the flat (step, env) arrays of the buffer.
    """

    observations: EpisodeBatch
    actions: Tensor
    old_values: Tensor
    old_log_prob: Tensor
    advantages: Tensor
    returns: Tensor
    places: IntArray


class EpisodeRolloutBuffer(DictRolloutBuffer):
    """Drop-in ``rollout_buffer_class`` for Stable-Baselines3's on-policy algorithms on token-level text environments.

    The default buffer copies every prefix of every text, O(tokens x length), and shuffles single transitions, so each
    minibatch touches each episode. This one keeps prompt and actions, O(tokens), and shuffles episodes: a minibatch
    holds *about* ``batch_size`` transitions and costs one forward pass over its texts. Observations reach
    ``policy.evaluate_actions`` as an :class:`~textgym.models.batch.EpisodeBatch`.

    The buffer grows beyond its size where a rollout does not end after a number of steps; :meth:`end_rollout` then says
    which transitions count.

    Attributes:
        counted: (T, B) whether a transition belongs to the rollout; all do unless :meth:`end_rollout` says otherwise.
    """

    def reset(self) -> None:
        """Empty the buffer."""
        shape = (self.buffer_size, self.n_envs)
        self.actions = np.zeros((*shape, 1), dtype=np.int64)
        self.episode_starts, self.rewards, self.values, self.log_probs, self.advantages, self.returns = (
            np.zeros(shape, dtype=np.float32) for _ in range(6)
        )
        self.counted = np.ones(shape, dtype=bool)
        self._starts: list[tuple[int, int, IntArray, int]] = []  # (env, step, prefix, prompt_length) of every segment
        self._ids = np.zeros((self.n_envs, 0), dtype=np.int64)
        self._prompts = np.zeros(self.n_envs, dtype=np.int64)
        self._lengths = np.zeros(self.n_envs, dtype=np.int64)
        self.pos, self.full, self.generator_ready = 0, False, False

    def add(
        self,
        obs: Mapping[str, np.ndarray],  # type: ignore[override]
        action: np.ndarray,
        reward: np.ndarray,
        episode_start: np.ndarray,
        value: Tensor,
        log_prob: Tensor,
    ) -> None:
        """Store one step of all environments (arguments as in Stable-Baselines3)."""
        if self.pos == len(self.actions):
            self._resize(2 * self.pos)
        ids, lengths = obs["input_ids"], obs["attention_mask"].sum(1, dtype=np.int64)
        prompts: IntArray = (
            obs["prompt_length"].reshape(self.n_envs) if "prompt_length" in obs else np.ones_like(lengths)
        )
        begins = np.ones(self.n_envs, dtype=bool)
        if self.pos:
            last_tokens = ids[np.arange(self.n_envs), lengths - 1]
            grown = (lengths == self._lengths + 1) & (last_tokens == self.actions[self.pos - 1, :, 0])
            beyond = np.arange(ids.shape[1]) >= self._lengths[:, None]
            kept = ((ids == self._ids) | beyond).all(1)
            kept &= prompts == self._prompts
            begins = np.asarray(episode_start, dtype=bool) | ~(grown & kept)
        for env in np.flatnonzero(begins).tolist():
            self._starts.append((env, self.pos, ids[env, : lengths[env]].astype(np.int32), int(prompts[env])))
        self._ids, self._lengths, self._prompts = ids.copy(), lengths, prompts.copy()
        self.actions[self.pos, :, 0] = np.asarray(action).reshape(self.n_envs)
        self.rewards[self.pos] = reward
        self.episode_starts[self.pos] = episode_start
        self.values[self.pos] = value.detach().cpu().numpy().reshape(self.n_envs)
        self.log_probs[self.pos] = log_prob.detach().cpu().numpy().reshape(self.n_envs)
        self.pos += 1
        self.full = self.pos == self.buffer_size

    def compute_returns_and_advantage(self, last_values: Tensor, dones: np.ndarray) -> None:
        """Compute GAE and returns, and remember the arguments for :meth:`recompute_returns`."""
        self._last = (last_values, dones)
        super().compute_returns_and_advantage(last_values, dones)

    def shift_values(self, shift: float) -> None:
        """Add a constant to all values, the bootstrapped ones too; :meth:`recompute_returns` then makes use of it."""
        last_values, dones = self._last
        self.values += np.float32(shift)
        self._last = (last_values + shift, dones)

    def recompute_returns(self) -> None:
        """Compute GAE and returns again, after :attr:`rewards` or :attr:`values` were changed."""
        super().compute_returns_and_advantage(*self._last)

    def end_rollout(self, counted: BoolArray) -> None:
        """End a rollout after the steps that were added, however many.

        Args:
            counted: (T, B) which transitions belong to it. Those of a text must all do, or none.
        """
        self._resize(self.pos)
        self.counted, self.full = counted, True

    def _resize(self, steps: int) -> None:
        """Make room for so many steps, or cut to them."""
        for name in ("actions", "episode_starts", "rewards", "values", "log_probs", "advantages", "returns"):
            old = vars(self)[name]
            new = np.zeros((steps, *old.shape[1:]), old.dtype)
            new[: self.pos] = old[: self.pos]
            setattr(self, name, new)
        self.counted = np.ones((steps, self.n_envs), dtype=bool)
        self.buffer_size = steps

    def text_ids(self) -> IntArray:
        """Number of the text that each transition belongs to, (T, B): that of environment b are b, b + B, ...

        The first of an environment is the one that goes on from the last rollout, if there is one.
        """
        begun = np.cumsum(self.episode_starts > 0, axis=0, dtype=np.int64)
        return (begun - begun[:1]) * self.n_envs + np.arange(self.n_envs)

    def segments(self) -> list[Segment]:
        """All segments of the rollout, by environment and step."""
        texts = self.text_ids()
        starts = sorted(self._starts, key=lambda start: start[:2])
        places = [(env, step) for env, step, *_ in starts]
        stops = [after[1] if after[0] == now[0] else self.pos for now, after in pairwise([*places, (-1, 0)])]
        return [
            Segment(env, step, stop, prefix, prompt_length, int(texts[step, env]))
            for (env, step, prefix, prompt_length), stop in zip(starts, stops, strict=True)
            if self.counted[step, env]
        ]

    def episode_batch(self, segments: list[Segment]) -> tuple[EpisodeBatch, IntArray]:
        """Transitions of ``segments`` for the policy, and their indices (N,) into the flat (step, env) arrays."""
        inputs = [
            np.concatenate([segment.prefix, self.actions[segment.start : segment.stop - 1, segment.env, 0]])
            for segment in segments
        ]
        sizes = np.array([segment.stop - segment.start for segment in segments])
        padded = np.zeros((len(inputs), max(map(len, inputs))), dtype=np.int64)
        for target, ids in zip(padded, inputs, strict=True):
            target[: len(ids)] = ids
        offsets = np.concatenate([np.arange(size) for size in sizes])
        prefix_lengths = np.array([len(segment.prefix) for segment in segments])
        batch = EpisodeBatch(
            self._send(padded),
            self._send(np.array([segment.prompt_length for segment in segments])),
            self._send(np.repeat(np.arange(len(segments)), sizes)),
            self._send(np.repeat(prefix_lengths - 1, sizes) + offsets),
        )
        steps = np.repeat([segment.start for segment in segments], sizes) + offsets
        return batch, steps * self.n_envs + np.repeat([segment.env for segment in segments], sizes)

    def minibatches(self, batch_size: int | None = None) -> Iterator[list[Segment]]:
        """Shuffled segments in groups of about ``batch_size`` transitions (all of them by default)."""
        segments = self.segments()
        order = np.random.permutation(len(segments))
        sizes = np.array([segments[i].stop - segments[i].start for i in order])
        total = int(sizes.sum())
        groups = max(1, round(total / batch_size)) if batch_size else 1
        group_of = (np.cumsum(sizes) - 1) * groups // total
        for group in range(groups):
            if members := [segments[i] for i in order[group_of == group]]:
                yield members

    def get(self, batch_size: int | None = None) -> Generator[RolloutBufferSamples, None, None]:  # type: ignore[override]
        """Yield minibatches of whole segments."""
        if not self.full:
            raise RuntimeError("expected a full buffer, got one that is being filled; collect a whole rollout first")
        for members in self.minibatches(batch_size):
            yield cast("RolloutBufferSamples", self.samples(members))  # they have the same fields

    def samples(self, segments: list[Segment]) -> EpisodeSamples:
        """The transitions of ``segments`` as Stable-Baselines3's algorithms read them."""
        batch, places = self.episode_batch(segments)
        pick = partial(self.pick, places=places)
        return EpisodeSamples(
            observations=batch,
            actions=pick(self.actions),
            old_values=pick(self.values),
            old_log_prob=pick(self.log_probs),
            advantages=pick(self.advantages),
            returns=pick(self.returns),
            places=places,
        )

    def pick(self, array: np.ndarray, places: IntArray) -> Tensor:
        """Return the numbers (N,) of some transitions, given those of all of them, (T, B)."""
        return self._send(array.reshape(-1)[places])

    def _send(self, array: np.ndarray) -> Tensor:
        """Copy to the device, without waiting for it."""
        return torch.from_numpy(array).to(self.device, non_blocking=True)


def split_segments(segments: list[Segment], size: int) -> Iterator[list[Segment]]:
    """Split segments, in order, into runs of about ``size`` transitions; those of one text in a row stay together."""
    chunk: list[Segment] = []
    count = 0
    for segment in segments:
        steps = segment.stop - segment.start
        if chunk and count + steps > size and chunk[-1].text != segment.text:
            yield chunk
            chunk, count = [], 0
        chunk.append(segment)
        count += steps
    if chunk:
        yield chunk
