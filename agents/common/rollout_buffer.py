"""A rollout buffer that stores every token once and keeps the transitions of an episode in one minibatch."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from stable_baselines3.common.buffers import DictRolloutBuffer
from stable_baselines3.common.type_aliases import RolloutBufferSamples
from torch import Tensor

from textgym.agents.common.carried_texts import CarriedText, Turn, continuing
from textgym.agents.common.distributed import Alone, Communicator
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

    A rollout can set unfinished texts aside (:meth:`set_aside`), for the next one to go on with (:meth:`bring_back`):
    their tokens then stand before the first step of that one, T_0 of them in the environment that has most.

    Args:
        arguments: Those of Stable-Baselines3's buffer.
        ranks: Processes whose buffers together hold a rollout; all of them yield as many minibatches.
        options: Further arguments of Stable-Baselines3's buffer.

    Attributes:
        counted: (T, B) whether a transition belongs to the rollout; all do unless :meth:`end_rollout` says otherwise.
        ages: (T, B) updates of the policy since a token was sampled; 0 for those of this rollout.
        carried: The texts that were set aside.
        normalizes_advantages: Whether :meth:`get` normalizes them over the minibatch of all ranks.
    """

    def __init__(self, *arguments: Any, ranks: Communicator | None = None, **options: Any) -> None:
        self.ranks, self.normalizes_advantages = ranks or Alone(), False
        self.carried: list[CarriedText] = []
        super().__init__(*arguments, **options)

    def reset(self) -> None:
        """Empty the buffer."""
        shape = (self.buffer_size, self.n_envs)
        self.actions = np.zeros((*shape, 1), dtype=np.int64)
        self.episode_starts, self.rewards, self.values, self.log_probs, self.advantages, self.returns = (
            np.zeros(shape, dtype=np.float32) for _ in range(6)
        )
        self.counted, self.ages = np.ones(shape, dtype=bool), np.zeros(shape, dtype=np.int32)
        self._begun = np.zeros(self.n_envs, dtype=np.int64)  # (B,) the first step that an environment has tokens of
        self._brought = 0  # T_0
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
        self.carried = [text.shifted(shift) for text in self.carried]
        self._last = (last_values + shift, dones)

    def recompute_returns(self) -> None:
        """Compute GAE and returns again, after :attr:`rewards` or :attr:`values` were changed."""
        super().compute_returns_and_advantage(*self._last)

    def end_rollout(self, counted: BoolArray) -> None:
        """End a rollout after the steps that were added, however many.

        Args:
            counted: (T - T_0, B) which transitions belong to it, but for texts that were brought back, of which all do.
                Those of a text must all do, or none.
        """
        self._resize(self.pos)
        brought = np.arange(self._brought)[:, None] >= self._begun
        self.counted, self.full = np.concatenate([brought, counted]), True

    def set_aside(self, dones: BoolArray) -> None:
        """Let texts that the end of a rollout finds unfinished, where ``dones`` (B,) is false, count in a later one.

        Call it after :meth:`end_rollout`, as long as rewards are those of the environment.
        """
        self.carried = [self._take_out(env) for env in np.flatnonzero(~dones).tolist()]

    def _take_out(self, env: int) -> CarriedText:
        """Take the last text of an environment out of the rollout."""
        begun = np.flatnonzero(self.episode_starts[:, env])
        start = int(max(self._begun[env], *begun[-1:]))
        turns = [turn for turn in self._starts if turn[0] == env and turn[1] >= start]
        self.counted[start:, env] = False
        return CarriedText(
            env,
            tuple(Turn(step - start, prefix, prompt_length) for _, step, prefix, prompt_length in turns),
            *(array[start:, env].copy() for array in (self.actions[..., 0], *self._numbers)),
        )

    def bring_back(self, episode_starts: BoolArray) -> None:
        """Begin a rollout with the texts that were set aside.

        Args:
            episode_starts: (B,) environments that begin with other texts instead: what was set aside of them is lost.
        """
        texts, self.carried = continuing(self.carried, episode_starts), []
        if not texts:
            return
        self._brought = max(len(text.actions) for text in texts)
        self._resize(max(self._brought, self.buffer_size))
        self.pos = self._brought
        self._begun[:], self._prompts[:] = self.pos, -1  # an observation that no other goes on from
        shape = self.observation_space["input_ids"].shape
        assert shape is not None
        self._ids = np.zeros((self.n_envs, *shape), dtype=np.int64)
        for text in texts:
            self._put_in(text)

    def _put_in(self, text: CarriedText) -> None:
        """Put a text before the first step of the rollout, as if it had been written there."""
        env, start = text.env, self._brought - len(text.actions)
        self._begun[env] = start
        self.episode_starts[start, env] = 1
        arrays = (self.actions[..., 0], *self._numbers)
        for array, numbers in zip(arrays, (text.actions, *text[3:]), strict=True):
            array[start : self._brought, env] = numbers
        self.ages[start : self._brought, env] += 1
        self._starts += [(env, start + turn.start, turn.prefix, turn.prompt_length) for turn in text.turns]
        last = text.turns[-1]
        ids = np.concatenate([last.prefix, text.actions[last.start : -1]])  # the last observation
        self._ids[env, : len(ids)] = ids
        self._lengths[env], self._prompts[env] = len(ids), last.prompt_length

    @property
    def _numbers(self) -> tuple[np.ndarray, ...]:
        """The arrays (T, B) whose numbers a text takes with it besides its actions, in the order that it has them."""
        return self.rewards, self.values, self.log_probs, self.ages

    def _resize(self, steps: int) -> None:
        """Make room for so many steps, or cut to them."""
        for name in ("actions", "episode_starts", "rewards", "values", "log_probs", "advantages", "returns", "ages"):
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
        """Shuffled segments in groups of about ``batch_size`` transitions in all ranks (all of them by default).

        No group is empty, so that every rank has a part in each.
        """
        segments = self.segments()
        order = np.random.permutation(len(segments))
        sizes = np.array([segments[i].stop - segments[i].start for i in order])
        total = int(sizes.sum())
        counts = self.ranks.concatenate(torch.tensor([[total, len(segments)]])).rows
        groups = max(1, round(int(counts[:, 0].sum()) / batch_size)) if batch_size else 1
        groups = min(groups, int(counts[:, 1].min()))
        starts = np.searchsorted((np.cumsum(sizes) - 1) * groups // total, np.arange(groups))
        steps = np.arange(groups)
        starts = np.minimum(np.maximum.accumulate(starts - steps) + steps, len(segments) - groups + steps)
        for members in np.split(order, starts[1:]):
            yield [segments[i] for i in members]

    def get(self, batch_size: int | None = None) -> Generator[RolloutBufferSamples, None, None]:  # type: ignore[override]
        """Yield minibatches of whole segments."""
        if not self.full:
            raise RuntimeError("expected a full buffer, got one that is being filled; collect a whole rollout first")
        for members in self.minibatches(batch_size):
            samples = self.samples(members)
            if self.normalizes_advantages:
                everywhere, own = self.ranks.concatenate(samples.advantages)
                normalized = (everywhere - everywhere.mean()) / (everywhere.std() + 1e-8)  # as in Stable-Baselines3
                samples = samples._replace(advantages=normalized[own])
            yield cast("RolloutBufferSamples", samples)  # they have the same fields

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
