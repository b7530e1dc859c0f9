"""Rewards: found by name, checked at the seam, combined as a tree with named parts."""

from __future__ import annotations

import math
import numbers
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from textgym.errors import RewardError, did_you_mean
from textgym.files.paths import user_path
from textgym.security.consent import load_attribute, load_named
from textgym.types import Example, FloatArray, NameOrPath, RewardFn, Task

NAMED_REWARDS: Mapping[str, str] = {
    "rouge": "textgym.metrics.rouge:rougeL",
    "rouge1": "textgym.metrics.rouge:rouge1",
    "rouge2": "textgym.metrics.rouge:rouge2",
    "rougeL": "textgym.metrics.rouge:rougeL",
}
"""Names of rewards that need neither a task nor a model; ``"gold"`` and ``"learned"`` are names too."""
_LEARNED = "textgym.reward_models:load_reward"
_SHOWN_CHARS = 80
_HUGE = 1e5
_TERM = 'write WeightedSum({"rouge": (1.0, "rouge"), "short": (-0.01, length)}): name -> (weight, reward)'


class Scores(NamedTuple):
    """Rewards of ``n`` texts.

    Attributes:
        total: What the agent is paid, shape ``(n,)``, finite.
        parts: The named rewards it is made of, each of shape ``(n,)``, before any weight.
    """

    total: FloatArray
    parts: dict[str, FloatArray]


@runtime_checkable
class RewardWithParts(Protocol):
    """A reward that reports parts by name: one made of others, or a reward model with its raw score."""

    def bind(self, task: Task | None) -> RewardWithParts:
        """Return a copy whose children given by name are resolved for ``task``."""
        ...

    def score(self, prompts: Sequence[str], responses: Sequence[str], examples: Sequence[Example]) -> Scores:
        """Score ``n`` texts."""
        ...

    def __call__(self, prompts: Sequence[str], responses: Sequence[str], examples: Sequence[Example], /) -> FloatArray:
        """Return the totals alone, shape ``(n,)``."""
        ...


class LazyReward:
    """A reward that is loaded when it first scores, so that making an environment stays fast and imports no torch."""

    def __init__(self, name: str, source: str) -> None:
        """Remember ``name`` (for messages) and ``source`` (what ``load_reward`` is called with)."""
        if not isinstance(source, str) or not source:
            raise TypeError(f"expected the name or folder of a reward model, got {_shown(source)}; give it as a str")
        self.name = name
        self.source = source
        self._loaded: RewardFn | None = None

    def bind(self, task: Task | None) -> LazyReward:
        """Return itself: a reward model needs no task."""
        return self

    def load(self) -> RewardFn:
        """Load the reward model, which may draw from torch's global generator; later calls return the same one."""
        if self._loaded is None:
            self._loaded = load_attribute(_LEARNED)(self.source)
        return self._loaded

    def score(self, prompts: Sequence[str], responses: Sequence[str], examples: Sequence[Example]) -> Scores:
        """Score ``n`` texts."""
        return score(self.load(), prompts, responses, examples, name=self.name)

    def __call__(self, prompts: Sequence[str], responses: Sequence[str], examples: Sequence[Example], /) -> FloatArray:
        """Score ``n`` texts; shape ``(n,)``."""
        return self.score(prompts, responses, examples).total


def load_reward_models(reward: object) -> None:
    """Load now what a reward, or a part of it, would load when it first scores.

    Whoever restores random generators calls this before, because loading may draw from them.
    """
    if isinstance(reward, LazyReward):
        reward.load()
    for part in getattr(reward, "parts", ()):
        load_reward_models(part)


class GoldReward:
    """The true quality of a response, where the data of a task knows it."""

    name = "gold"

    def __init__(self, task: Task) -> None:
        """Remember the task that judges."""
        if not callable(getattr(task, "gold", None)):
            raise TypeError(f"expected a task with a method gold, got {_shown(task)}; give it an environment's task")
        self._task = task

    def __call__(self, prompts: Sequence[str], responses: Sequence[str], examples: Sequence[Example], /) -> FloatArray:
        """Score ``n`` texts; shape ``(n,)``."""
        scores = gold_scores(self._task, responses, examples)
        if scores is None:
            raise RewardError(
                f"expected data that knows the true quality of a response, got {self._task.dataset.name!r}, which does "
                "not; choose another reward, such as 'rouge'"
            )
        return scores


class WeightedSum:
    """The sum of named rewards, each times a weight.

    Example:
        >>> def length(prompts, responses, examples):
        ...     return [float(len(text)) for text in responses]
        >>> reward = WeightedSum({"rouge": (1.0, "rouge"), "length": (-0.01, length)})

    Args:
        terms: Name of the part -> (weight, reward); a reward is all that :func:`resolve_reward` takes, and may be a
            composite.

    Raises:
        TypeError: It is no dict of that form.
        ValueError: There is no term, one is called ``"total"``, or a weight is not finite.
    """

    name = "weighted_sum"

    def __init__(self, terms: Mapping[str, tuple[float, RewardFn | NameOrPath]]) -> None:
        if not isinstance(terms, Mapping):
            raise TypeError(f"expected a dict of terms, got {_shown(terms)}; {_TERM}")
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

    def score(self, prompts: Sequence[str], responses: Sequence[str], examples: Sequence[Example]) -> Scores:
        """Score ``n`` texts; parts of a composite part are called ``"name/part"``."""
        total, parts = np.zeros(len(responses)), dict[str, FloatArray]()
        for name, (weight, reward) in self._terms.items():
            scores = score(resolve_reward(reward), prompts, responses, examples, name=name)
            total = total + weight * scores.total
            parts[name] = scores.total
            if len(scores.parts) > 1:
                parts |= {f"{name}/{inner}": values for inner, values in scores.parts.items()}
        return Scores(total, parts)

    def __call__(self, prompts: Sequence[str], responses: Sequence[str], examples: Sequence[Example], /) -> FloatArray:
        """Return the totals alone, shape ``(n,)``."""
        return self.score(prompts, responses, examples).total


class Gate:
    """A reward that is paid only for texts that pass a test; the others get a constant.

    Args:
        reward: A callable or a name; it still scores every text.
        passes: ``passes(response, example) -> bool``.
        otherwise: What a text that does not pass is paid.

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
                f"expected a test passes(response, example) -> bool, got {_shown(passes)}; give Gate a function, such "
                "as lambda response, example: len(response) < 200"
            )
        self._reward, self._passes = _check_reward(reward), passes
        self._otherwise = _check_number("otherwise", otherwise)

    @property
    def parts(self) -> tuple[object, ...]:
        """The reward it is made of."""
        return (self._reward,)

    def bind(self, task: Task | None) -> Gate:
        """Return a copy whose reward, if given by name, is resolved for ``task``."""
        return Gate(resolve_reward(self._reward, task), self._passes, self._otherwise)

    def score(self, prompts: Sequence[str], responses: Sequence[str], examples: Sequence[Example]) -> Scores:
        """Score ``n`` texts; the part ``"gate"`` is 1 where the text passed."""
        scores = score(resolve_reward(self._reward), prompts, responses, examples)
        passed = np.array([bool(self._passes(text, item)) for text, item in zip(responses, examples, strict=True)])
        total = np.where(passed, scores.total, self._otherwise)
        return Scores(total, scores.parts | {"gate": passed.astype(np.float64)})

    def __call__(self, prompts: Sequence[str], responses: Sequence[str], examples: Sequence[Example], /) -> FloatArray:
        """Return the totals alone, shape ``(n,)``."""
        return self.score(prompts, responses, examples).total


class Clip:
    """A reward clipped to ``[low, high]``; its parts are reported unclipped."""

    name = "clip"

    def __init__(self, reward: RewardFn | NameOrPath, low: float, high: float) -> None:
        """Clip ``reward``, a callable or a name; a bound may be infinite."""
        self._low, self._high = (_check_number(*bound, finite=False) for bound in (("low", low), ("high", high)))
        if not self._low <= self._high:
            raise ValueError(f"expected low <= high, got low={low}, high={high}; swap them")
        self._reward = _check_reward(reward)

    @property
    def parts(self) -> tuple[object, ...]:
        """The reward it is made of."""
        return (self._reward,)

    def bind(self, task: Task | None) -> Clip:
        """Return a copy whose reward, if given by name, is resolved for ``task``."""
        return Clip(resolve_reward(self._reward, task), self._low, self._high)

    def score(self, prompts: Sequence[str], responses: Sequence[str], examples: Sequence[Example]) -> Scores:
        """Score ``n`` texts."""
        scores = score(resolve_reward(self._reward), prompts, responses, examples)
        return Scores(np.clip(scores.total, self._low, self._high), scores.parts)

    def __call__(self, prompts: Sequence[str], responses: Sequence[str], examples: Sequence[Example], /) -> FloatArray:
        """Return the totals alone, shape ``(n,)``."""
        return self.score(prompts, responses, examples).total


def resolve_reward(reward: RewardFn | NameOrPath, task: Task | None = None) -> RewardFn:
    """Return the reward that ``reward`` names, or ``reward`` itself if it is one; composites are bound to ``task``.

    Args:
        reward: A callable; ``"learned"`` (the shipped reward model); ``"rouge"``, ``"rouge1"``, ``"rouge2"``,
            ``"rougeL"``; ``"gold"`` (the data's own judgement); ``"module:attribute"`` (a reward, or a class of rewards
            that takes no argument); or a folder with a fitted reward model. Models are loaded when they first score.
        task: Where ``"gold"`` comes from.

    Raises:
        ValueError: No reward is called so, or it is ``"gold"`` and there is no task.
        TypeError: ``reward`` is neither a name nor callable.
    """
    if isinstance(reward, str | os.PathLike):
        reward = _by_name(os.fspath(reward), task)
    found: RewardFn = _check_reward(reward)
    return found.bind(task) if isinstance(found, RewardWithParts) else found


def score(
    reward: RewardFn,
    prompts: Sequence[str],
    responses: Sequence[str],
    examples: Sequence[Example],
    *,
    name: str | None = None,
) -> Scores:
    """Score ``n`` texts and check what comes back; no number reaches an environment any other way.

    Args:
        reward: A resolved reward.
        prompts: ``n`` formatted, uncut prompt texts.
        responses: ``n`` texts as a user would see them.
        examples: The ``n`` items they answer.
        name: What to call the reward in parts and errors; its own name by default.

    Raises:
        RewardError: Not ``n`` numbers, or one of them is not finite.
    """
    label = name or reward_name(reward)
    given = list(prompts), list(responses), list(examples)  # its own: what it does to them is nobody else's concern
    if isinstance(reward, RewardWithParts):
        scores = reward.score(*given)
        if not isinstance(scores, Scores):
            raise RewardError(
                f"expected Scores(total, parts) from score() of the reward {label!r}, got {type(scores).__name__}; "
                "return that, or leave out bind() and score(), which make a reward one with parts"
            )
    else:
        values = _as_array(reward(*given), label, responses)
        scores = Scores(values, {label: values})
    _check(label, scores.total, responses)
    for part, values in scores.parts.items():
        _check_count(f"{label}/{part}", values, responses)
    return scores


def gold_scores(task: Task, responses: Sequence[str], examples: Sequence[Example]) -> FloatArray | None:
    """Return the true quality of ``n`` texts, checked like a reward; ``None`` where the data do not know it.

    Raises:
        RewardError: Not ``n`` numbers, or one of them is not finite.
    """
    found = task.gold(responses, examples)
    if found is None:
        return None
    values = _as_array(found, f"gold of {task.name}", responses)
    _check(f"gold of {task.name}", values, responses)
    return values


def check_size(reward: RewardFn, totals: FloatArray) -> None:
    """Say that what agents are paid is so large that they learn little from it.

    Raises:
        RewardError: It does not fit the 32 bits that algorithms keep rewards in.
    """
    largest = float(np.abs(totals).max(initial=0.0))
    if largest < _HUGE:
        return
    name = reward_name(reward)
    remedy = f'scale it, as by WeightedSum({{"{name}": (1e-3, reward)}}), or Clip it'
    if largest > float(np.finfo(np.float32).max):
        raise RewardError(f"expected numbers that fit 32 bits from the reward {name!r}, got {largest:.0e}; {remedy}")
    warnings.warn(
        f"expected rewards of about 1, got some of {_HUGE:g} and more from {name!r}: value losses grow with the "
        f"square, and policies stop moving; {remedy}, unless the agent does (scale_rewards or clip_reward of PPO)",
        stacklevel=3,
    )


def reward_name(reward: RewardFn) -> str:
    """Return what a reward is called in ``info["rewards"]``: its ``name``, its ``__name__`` or that of its class."""
    name = getattr(reward, "name", None) or getattr(reward, "__name__", None) or type(reward).__name__
    return "custom" if name in ("<lambda>", "total") else str(name)


def _by_name(name: str, task: Task | None) -> RewardFn:
    """Return what a name stands for, not yet bound to the task if it is a composite."""
    if name == "learned":
        return LazyReward("learned", "tiny-reward")
    if name == "gold":
        return _gold(task)
    if name in NAMED_REWARDS or (":" in name and not _looks_like_path(name)):
        found = load_attribute(NAMED_REWARDS[name]) if name in NAMED_REWARDS else load_named(name, "reward")
        reward = found() if isinstance(found, type) else found
        if not callable(reward):
            raise TypeError(f"expected a callable reward at {name!r}, got {type(reward).__name__}")
        return reward  # type: ignore[no-any-return]
    if user_path(name).is_dir():
        return LazyReward("learned", name)
    if _looks_like_path(name):
        raise ValueError(
            f"expected a folder with a reward model, got {name!r}, which does not exist or is no folder; check the path"
        )
    known = [*NAMED_REWARDS, "learned", "gold"]
    raise ValueError(
        f"expected a reward name, 'module:attribute', a folder with a reward model or a callable, got {name!r}."
        f"{did_you_mean(name, known)}"
    )


def _looks_like_path(name: str) -> bool:
    return os.sep in name or name.startswith("~") or Path(name).exists()


def _gold(task: Task | None) -> GoldReward:
    if task is None:
        raise ValueError(
            "expected a task for the reward 'gold', which is the judgement of its data, got none; give 'gold' to an "
            "environment as reward=, or a task to resolve_reward('gold', task)"
        )
    return GoldReward(task)


def _as_array(values: Any, label: str, responses: Sequence[str]) -> FloatArray:
    """Return whatever a reward returned as float64; what numpy would quietly make a number of is refused."""
    if values is None:
        raise RewardError(
            f"expected {len(responses)} numbers from the reward {label!r}, got None (an array of shape ()); does it "
            "lack a return?"
        )
    try:
        array = np.asarray(_without_torch(values))
        floats = array.astype(np.float64) if array.dtype.kind in "biufO" else None
    except (TypeError, ValueError, OverflowError) as error:
        raise _no_numbers(label, type(values).__name__, str(error)) from error
    if array.dtype.kind == "O":
        _refuse_missing(array, label, responses)
    if floats is not None:
        return floats
    kind = {"c": "complex numbers", "U": "strings", "S": "bytes"}.get(array.dtype.kind, str(array.dtype))
    raise _no_numbers(label, kind, "return one real number per response")


def _no_numbers(label: str, got: str, reason: str) -> RewardError:
    return RewardError(f"expected numbers from the reward {label!r}, got {got}: {reason}")


def _refuse_missing(values: npt.NDArray[Any], label: str, responses: Sequence[str]) -> None:
    """Raise ``RewardError`` for the first ``None``, which numpy reads as NaN."""
    missing = next((place for place, value in enumerate(values.flat) if value is None), None)
    if missing is not None:
        raise RewardError(
            f"expected finite numbers from the reward {label!r}, got None for response {missing + 1} of "
            f"{len(responses)}: {_shorten(responses[missing:])}; return a number for every response, 0.0 for instance"
        )


def _without_torch(values: Any) -> Any:
    """Return tensors, alone or in a list, as numpy arrays: numpy knows no bf16 and reads no tensor with a gradient."""
    if hasattr(values, "detach"):
        tensor = values.detach().cpu()
        return (tensor if tensor.is_complex() else tensor.double()).numpy()
    return [_without_torch(value) for value in values] if isinstance(values, list | tuple) else values


def _check(label: str, values: FloatArray, responses: Sequence[str]) -> None:
    """Raise ``RewardError`` unless there is one finite number per response."""
    _check_count(label, values, responses)
    bad = np.flatnonzero(~np.isfinite(values))
    if bad.size:
        row = int(bad[0])
        raise RewardError(
            f"expected finite numbers from the reward {label!r}, got {values[row]} for response {row + 1} of "
            f"{len(responses)}: {_shorten(responses[row:])}"
        )


def _check_count(label: str, values: Any, responses: Sequence[str]) -> None:
    if np.shape(values) != (len(responses),):
        raise RewardError(
            f"expected {len(responses)} numbers from the reward {label!r}, got an array of shape {np.shape(values)}; "
            f"return one number per response (the first one was {_shorten(responses)})"
        )


def _shorten(responses: Sequence[str]) -> str:
    """Return the first response as an error message shows it."""
    text = responses[0] if responses else ""
    return repr(text if len(text) <= _SHOWN_CHARS else text[: _SHOWN_CHARS - 1] + "…")


def _check_term(name: object, term: object) -> tuple[float, RewardFn | NameOrPath]:
    """Return a term of a sum; ``info["rewards"]["total"]`` is the sum itself."""
    if not isinstance(name, str) or not name:
        raise TypeError(f"expected a name for every reward, got {_shown(name)}; {_TERM}")
    if name == "total":
        raise ValueError("expected another name for a reward than 'total', which is the sum of all; rename it")
    if not isinstance(term, tuple | list) or len(term) != 2:
        raise TypeError(f"expected (weight, reward) for {name!r}, got {_shown(term)}; {_TERM}")
    weight, reward = term
    if not _is_number(weight) and _is_number(reward):
        raise TypeError(f"expected (weight, reward) for {name!r}, got the reward first; swap them")
    return _check_number(f"the weight of {name!r}", weight), _check_reward(reward)


def _is_number(value: object) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool | np.bool_)


def _check_number(name: str, value: Any, *, finite: bool = True) -> float:
    if not _is_number(value):
        raise TypeError(f"expected a number as {name}, got {_shown(value)}; give it one, such as 1.0")
    if math.isnan(value) or (finite and math.isinf(value)):
        raise ValueError(f"expected a finite number as {name}, got {value}; give it one, such as 1.0")
    return float(value)


def _check_reward(reward: Any) -> Any:
    """Return what is a reward or may name one."""
    if isinstance(reward, type):
        raise TypeError(f"expected a reward, got the class {reward.__name__}; make one: {reward.__name__}(...)")
    if isinstance(reward, str | os.PathLike) or callable(reward):
        return reward
    raise TypeError(
        f"expected a reward name, a folder or a callable, got {_shown(reward)}; give a name such as 'rouge', or a "
        "function reward(prompts, responses, examples) -> n numbers"
    )


def _shown(value: object) -> str:
    """Return a wrong argument as an error message shows it."""
    return f"{value!r:.{_SHOWN_CHARS}} ({type(value).__name__})"
