"""Spaces of text and of tokens."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from multiprocessing.context import BaseContext
from typing import Any, NoReturn

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium.error import CustomSpaceError
from gymnasium.spaces.utils import flatdim, flatten_space
from gymnasium.vector.utils import create_shared_memory

_SAMPLE_CHARS = "abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUVWXYZ.,!?0123456789"
_SAMPLE_LENGTH = 64


class Text(gym.spaces.Text):
    """Any Unicode text of at most ``max_length`` characters, the empty text included.

    Gymnasium's own ``Text`` accepts the characters of a charset only (``"Hello world"`` is not in ``Text(100)``) and
    walks the string to find out. Here membership is type and length; the charset is for :meth:`sample` alone.

    Args:
        max_length: Largest number of characters.
        min_length: Smallest number of characters.
        seed: Seed of :meth:`sample`.
    """

    def __init__(
        self, max_length: int = 2**20, *, min_length: int = 0, seed: int | np.random.Generator | None = None
    ) -> None:
        super().__init__(max_length, min_length=min_length, charset=_SAMPLE_CHARS, seed=seed)

    def contains(self, x: object) -> bool:
        """Return whether ``x`` is a ``str`` of a legal length; O(1)."""
        return isinstance(x, str) and self.min_length <= len(x) <= self.max_length

    def sample(
        self,
        mask: tuple[int | None, npt.NDArray[np.int8] | None] | None = None,
        probability: tuple[int | None, npt.NDArray[np.float64] | None] | None = None,
    ) -> str:
        """Return a random text of at most 64 characters (unless ``mask`` or ``probability`` give a length)."""
        if mask is not None or probability is not None:
            return super().sample(mask=mask, probability=probability)
        longest = max(self.min_length, min(self.max_length, _SAMPLE_LENGTH))
        length = int(self.np_random.integers(self.min_length, longest + 1))
        return super().sample(mask=(length, None))

    @property
    def is_np_flattenable(self) -> bool:
        """No: a text of any characters has no array form."""
        return False

    def __repr__(self) -> str:
        return f"Text({self.min_length}, {self.max_length})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Text) and self.min_length == other.min_length and self.max_length == other.max_length


class TokenSpace(gym.spaces.Discrete[np.int64]):
    """The tokens of one tokenizer, as a ``Discrete`` space that knows which tokenizer.

    Two plain ``Discrete(4096)`` compare equal even when their ids mean different tokens; two of these do only when the
    tokenizers' fingerprints agree. The name is a label and is not compared: a copied model has another name and the
    same tokens.

    Args:
        n: Number of ids.
        tokenizer: Name of the tokenizer, as ``Tokenizer.load`` takes it.
        fingerprint: Its fingerprint.
        seed: Seed of ``sample``.
    """

    def __init__(self, n: int, tokenizer: str, fingerprint: str, seed: int | np.random.Generator | None = None) -> None:
        super().__init__(n, seed=seed)
        self.tokenizer = tokenizer
        self.fingerprint = fingerprint

    def __repr__(self) -> str:
        return f"TokenSpace({self.n}, tokenizer={self.tokenizer!r}, fingerprint={self.fingerprint!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TokenSpace) and bool(self.n == other.n) and self.fingerprint == other.fingerprint


class TokenIds(gym.spaces.Box):
    """Token ids as a ``Box`` of integers, which warns once if somebody flattens it to a vector of numbers.

    Flattening is what Stable-Baselines3's own policies and Gymnasium's ``FlattenObservation`` do. Ids are names: token
    7 is not more than token 3, so a network that gets them as numbers runs, and learns next to nothing.

    Args:
        n: Number of tokens.
        width: Number of ids.
        turns: Most of them behind the first prompt; ``None`` where that is not known.
    """

    def __init__(self, n: int, width: int, turns: int | None = None) -> None:
        super().__init__(0, n - 1, (width,), np.int64)
        self.turns = turns
        self._said = False

    def warn_of_flattening(self) -> None:
        """Say, the first time, that ids are about to be read as numbers, and what to use instead."""
        if self._said:
            return
        self._said = True
        warnings.warn(
            "expected token ids to be looked up, got a policy or wrapper that reads input_ids as numbers (a flat "
            "vector), from which nothing can be learned about text; use textgym.agents.CausalLMPolicy with PPO or A2C, "
            "or put an embedding over input_ids in a features extractor of your own (a policy that reads ids by itself "
            "gets features_extractor_class=textgym.agents.common.features.NoFeatures)",
            stacklevel=2,
        )


@flatdim.register(TokenIds)
def _flat_size(space: TokenIds) -> int:
    """Return the size of the ``Box``, with a warning."""
    space.warn_of_flattening()
    return space.shape[0]


@flatten_space.register(TokenIds)
def _flat_space(space: TokenIds) -> gym.spaces.Box:
    """Return the flat space of the ``Box``, with a warning."""
    space.warn_of_flattening()
    return gym.spaces.Box(space.low, space.high, dtype=np.int64)


@create_shared_memory.register(Text)
def _refuse_shared_memory(space: Text, n: int = 1, ctx: BaseContext | Callable[..., Any] | None = None) -> NoReturn:
    """Gymnasium's shared memory would hand back garbage for characters outside the charset, silently."""
    raise CustomSpaceError(
        "expected a space with a fixed number of bytes, got textgym's Text; "
        "use AsyncVectorEnv(..., shared_memory=False)"
    )
