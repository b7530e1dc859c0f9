"""Rewards made of rewards: a tree with named parts."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Self

import numpy as np

from textgym.rewards.arguments import check_number, check_reward, is_number, shown
from textgym.rewards.names import resolve_reward
from textgym.rewards.protocol import ScoredConversations, Scores, score
from textgym.rewards.shaping import Shaping, sum_of_shapings
from textgym.types import Example, FloatArray, NameOrPath, RewardFn, Shown, Task
from textgym.values import as_text

_TERM = 'write WeightedSum({"rouge": (1.0, "rouge"), "short": (-0.01, length)}): name -> (weight, reward)'


class WeightedSum(ScoredConversations):
    """The sum of named rewards, each times a weight.

    Example:
        >>> def length(prompts, responses, examples):
        ...     return [float(len(text)) for text in responses]
        >>> reward = WeightedSum({"rouge": (1.0, "rouge"), "length": (-0.01, length)})

    Args:
        terms: Name of the part -> (weight, reward); a reward is all that
            :func:`~textgym.rewards.names.resolve_reward` takes, and may be a composite.

    Raises:
        TypeError: It is no dict of that form.
        ValueError: There is no term, one is called ``"total"``, or a weight is not finite.
    """

    name = "weighted_sum"

    def __init__(self, terms: Mapping[str, tuple[float, RewardFn | NameOrPath]]) -> None:
        if not isinstance(terms, Mapping):
            raise TypeError(f"expected a dict of terms, got {shown(terms)}; {_TERM}")
        if not terms:
            raise ValueError(f"expected at least one reward in a WeightedSum, got none; {_TERM}")
        self._terms = {name: _check_term(name, term) for name, term in terms.items()}

    @property
    def parts(self) -> tuple[object, ...]:
        """The rewards that are added."""
        return tuple(reward for _, reward in self._terms.values())

    def bind(self, task: Task | None) -> WeightedSum:
        """Return a copy whose rewards given by name are resolved for ``task``."""
        return WeightedSum({name: (weight, resolve_reward(fn, task)) for name, (weight, fn) in self._terms.items()})

    @cached_property
    def shaping(self) -> Shaping | None:
        """The shaping of the rewards that are added; ``None`` where none of them is shaped."""
        return sum_of_shapings([(weight, resolve_reward(reward)) for weight, reward in self._terms.values()])

    def score_conversations(
        self, prompts: Sequence[Shown], responses: Sequence[str], examples: Sequence[Example]
    ) -> Scores:
        """Score ``n`` texts; parts of a composite part are called ``"name/part"``."""
        parts = _score_named({name: reward for name, (_, reward) in self._terms.items()}, prompts, responses, examples)
        total = np.zeros(len(responses))
        for name, (weight, _) in self._terms.items():
            total = total + weight * parts[name]
        return Scores(total, parts)


class Gate(ScoredConversations):
    """A reward for the texts that pass a test; the others get a constant.

    Args:
        reward: A callable or a name; it still scores every text.
        passes: ``passes(response, example) -> bool``.
        otherwise: The reward of a text that does not pass.

    Raises:
        TypeError: ``reward`` is no reward, ``passes`` is not callable, or ``otherwise`` is no number.
        ValueError: ``otherwise`` is not finite.
    """

    name = "gate"

    def __init__(
        self, reward: RewardFn | NameOrPath, passes: Callable[[str, Example], bool], otherwise: float = 0.0
    ) -> None:
        if not callable(passes):
            raise TypeError(
                f"expected a test passes(response, example) -> bool, got {shown(passes)}; give Gate a function, such "
                "as lambda response, example: len(response) < 200"
            )
        self._reward, self._passes = check_reward(reward), passes
        self._otherwise = check_number("otherwise", otherwise)

    @property
    def parts(self) -> tuple[object, ...]:
        """The reward it is made of."""
        return (self._reward,)

    def bind(self, task: Task | None) -> Gate:
        """Return a copy whose reward, if given by name, is resolved for ``task``."""
        return Gate(resolve_reward(self._reward, task), self._passes, self._otherwise)

    def score_conversations(
        self, prompts: Sequence[Shown], responses: Sequence[str], examples: Sequence[Example]
    ) -> Scores:
        """Score ``n`` texts; the part ``"gate"`` is 1 where the text passed."""
        scores = score(resolve_reward(self._reward), prompts, responses, examples)
        passed = np.array([bool(self._passes(text, item)) for text, item in zip(responses, examples, strict=True)])
        total = np.where(passed, scores.total, self._otherwise)
        return Scores(total, scores.parts | {"gate": passed.astype(np.float64)})


class Clip(ScoredConversations):
    """A reward clipped to ``[low, high]``; its parts are reported unclipped."""

    name = "clip"

    def __init__(self, reward: RewardFn | NameOrPath, low: float, high: float) -> None:
        """Clip ``reward``, a callable or a name; a bound may be infinite."""
        self._low, self._high = (check_number(*bound, finite=False) for bound in (("low", low), ("high", high)))
        if not self._low <= self._high:
            raise ValueError(f"expected low <= high, got low={low}, high={high}; swap them")
        self._reward = check_reward(reward)

    @property
    def parts(self) -> tuple[object, ...]:
        """The reward it is made of."""
        return (self._reward,)

    def bind(self, task: Task | None) -> Clip:
        """Return a copy whose reward, if given by name, is resolved for ``task``."""
        return Clip(resolve_reward(self._reward, task), self._low, self._high)

    def score_conversations(
        self, prompts: Sequence[Shown], responses: Sequence[str], examples: Sequence[Example]
    ) -> Scores:
        """Score ``n`` texts."""
        scores = score(resolve_reward(self._reward), prompts, responses, examples)
        return Scores(np.clip(scores.total, self._low, self._high), scores.parts)


class _Reduced(ScoredConversations):
    """Named rewards that one number is made of.

    Args:
        rewards: Name of the part -> reward, at least one; each is all that
            :func:`~textgym.rewards.names.resolve_reward` takes.

    Raises:
        TypeError: It is no dict of that form.
        ValueError: There is no reward, or one is called ``"total"``.
    """

    def __init__(self, rewards: Mapping[str, RewardFn | NameOrPath]) -> None:
        self._rewards = _check_named(rewards, type(self).__name__)

    @staticmethod
    @abstractmethod
    def reduce(scores: FloatArray) -> FloatArray:
        """Return (n,) of the scores (rewards, n)."""

    @property
    def parts(self) -> tuple[object, ...]:
        """The rewards."""
        return tuple(self._rewards.values())

    def bind(self, task: Task | None) -> Self:
        """Return a copy whose rewards given by name are resolved for ``task``."""
        return type(self)({name: resolve_reward(reward, task) for name, reward in self._rewards.items()})

    def score_conversations(
        self, prompts: Sequence[Shown], responses: Sequence[str], examples: Sequence[Example]
    ) -> Scores:
        """Score ``n`` texts."""
        parts = _score_named(self._rewards, prompts, responses, examples)
        return Scores(self.reduce(np.stack([parts[name] for name in self._rewards])), parts)


class Product(_Reduced):
    """The product of named rewards: what one of them scores 0 is worth nothing.

    They should not be negative: two such make a good text.
    """

    name = "product"

    @staticmethod
    def reduce(scores: FloatArray) -> FloatArray:
        """Return (n,) of the scores (rewards, n)."""
        return np.asarray(scores.prod(axis=0))


class Minimum(_Reduced):
    """The least of named rewards, which should be of one scale: a text is as good as its weakest side."""

    name = "minimum"

    @staticmethod
    def reduce(scores: FloatArray) -> FloatArray:
        """Return (n,) of the scores (rewards, n)."""
        return np.asarray(scores.min(axis=0))


class Stages(ScoredConversations):
    """Rewards one after the other: a text is scored by the next one only if the last one passed it.

    The reward is the sum of the scores up to where the text failed, so cheap rules can come before a slow model.

    Args:
        stages: Name of the part -> (reward, threshold): a text goes on if its score is at least the threshold, which
            does not matter for the last one.

    Raises:
        TypeError: It is no dict of that form.
        ValueError: There is no stage.
    """

    name = "stages"

    def __init__(self, stages: Mapping[str, tuple[RewardFn | NameOrPath, float]]) -> None:
        pairs = {name: pair if isinstance(pair, tuple | list) else (pair, None) for name, pair in stages.items()}
        self._rewards = _check_named({name: pair[0] for name, pair in pairs.items()}, "Stages")
        self._thresholds = {
            name: check_number(f"the threshold of {name!r}", pair[1], finite=False) for name, pair in pairs.items()
        }

    @property
    def parts(self) -> tuple[object, ...]:
        """The rewards of the stages."""
        return tuple(self._rewards.values())

    def bind(self, task: Task | None) -> Stages:
        """Return a copy whose rewards given by name are resolved for ``task``."""
        return Stages(
            {name: (resolve_reward(reward, task), self._thresholds[name]) for name, reward in self._rewards.items()}
        )

    def score_conversations(
        self, prompts: Sequence[Shown], responses: Sequence[str], examples: Sequence[Example]
    ) -> Scores:
        """Score ``n`` texts; a part is 0 where its stage was not reached, and ``"stages"`` counts those reached."""
        total, reached, parts = np.zeros(len(responses)), np.zeros(len(responses)), dict[str, FloatArray]()
        rows = list(range(len(responses)))
        for name, reward in self._rewards.items():
            values = np.zeros(len(responses))
            if rows:
                chosen = ([several[row] for row in rows] for several in (prompts, responses, examples))
                values[rows] = score(resolve_reward(reward), *chosen, name=name).total  # type: ignore[arg-type]
                reached[rows] += 1
            total, parts[name] = total + values, values
            rows = [row for row in rows if values[row] >= self._thresholds[name]]
        return Scores(total, parts | {"stages": reached})


def no_reward(prompts: Sequence[str], responses: Sequence[str], examples: Sequence[Example]) -> FloatArray:
    """Return 0 for every text, shape ``(n,)``: for tasks that reward turn by turn."""
    return np.zeros(len(responses))


def _check_term(name: object, term: object) -> tuple[float, RewardFn | NameOrPath]:
    """Return a term of a sum; ``info["rewards"]["total"]`` is the sum itself."""
    if not as_text(name):
        raise TypeError(f"expected a name for every reward, got {shown(name)}; {_TERM}")
    if name == "total":
        raise ValueError("expected another name for a reward than 'total', which is the sum of all; rename it")
    match term:
        case [weight, reward]:
            pass
        case _:
            raise TypeError(f"expected (weight, reward) for {name!r}, got {shown(term)}; {_TERM}")
    if not is_number(weight) and is_number(reward):
        raise TypeError(f"expected (weight, reward) for {name!r}, got the reward first; swap them")
    return check_number(f"the weight of {name!r}", weight), check_reward(reward)


def _check_named(rewards: object, kind: str) -> dict[str, RewardFn | NameOrPath]:
    """Return rewards by name, checked."""
    if not isinstance(rewards, Mapping) or not all(as_text(name) for name in rewards):
        raise TypeError(f'expected a dict of rewards by name, got {shown(rewards)}; write {kind}({{"rouge": "rouge"}})')
    if not rewards or "total" in rewards:
        raise ValueError(f"expected at least one reward in a {kind}, none of them called 'total', got {list(rewards)}")
    return {name: check_reward(reward) for name, reward in rewards.items()}


def _score_named(
    rewards: Mapping[str, RewardFn | NameOrPath],
    prompts: Sequence[Shown],
    responses: Sequence[str],
    examples: Sequence[Example],
) -> dict[str, FloatArray]:
    """Return the parts of several rewards; those of a composite part are called ``"name/part"``."""
    parts = dict[str, FloatArray]()
    for name, reward in rewards.items():
        scores = score(resolve_reward(reward), prompts, responses, examples, name=name)
        parts[name] = scores.total
        if len(scores.parts) > 1:
            parts |= {f"{name}/{inner}": values for inner, values in scores.parts.items()}
    return parts
