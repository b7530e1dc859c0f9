"""The protocol of rewards, and the one call that computes and checks rewards."""

from __future__ import annotations

import os
import traceback
import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from textgym.errors import RewardError, TextGymError, notes_of
from textgym.files.paths import name_of
from textgym.types import Example, FloatArray, NameOrPath, RewardFn, Shown, Task, shown_text
from textgym.values import attribute_of

SHOWN_CHARACTERS = 80
"""Of a text in an error message."""
_COLUMNS_SHOWN = 20
_HUGE = 1e5


class Scores(NamedTuple):
    """Rewards of ``n`` texts.

    Attributes:
        total: The reward of the agent, shape ``(n,)``, finite.
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


@runtime_checkable
class ConversationReward(Protocol):
    """A reward that reads conversations as they are, message by message, instead of as one text."""

    def score_conversations(
        self, prompts: Sequence[Shown], responses: Sequence[str], examples: Sequence[Example]
    ) -> Scores:
        """Score ``n`` responses to texts or conversations."""
        ...


class ScoredConversations(ABC):
    """A reward made of its :meth:`score_conversations`: as texts are conversations too, the rest follows from it."""

    @abstractmethod
    def score_conversations(
        self, prompts: Sequence[Shown], responses: Sequence[str], examples: Sequence[Example]
    ) -> Scores:
        """Score ``n`` responses to texts or conversations."""

    def score(self, prompts: Sequence[Shown], responses: Sequence[str], examples: Sequence[Example]) -> Scores:
        """Score ``n`` responses, with parts by name."""
        return self.score_conversations(prompts, responses, examples)

    def __call__(
        self, prompts: Sequence[Shown], responses: Sequence[str], examples: Sequence[Example], /
    ) -> FloatArray:
        """Return the totals alone, shape ``(n,)``."""
        return self.score_conversations(prompts, responses, examples).total


def score(
    reward: RewardFn,
    prompts: Sequence[Shown],
    responses: Sequence[str],
    examples: Sequence[Example],
    *,
    name: str | None = None,
) -> Scores:
    """Score ``n`` texts and check what comes back; no number reaches an environment any other way.

    Args:
        reward: A resolved reward.
        prompts: Prompts as shown before the ``n`` responses, uncut: formatted texts, or conversations. A reward that
            is no :class:`ConversationReward` gets a conversation as one text (:func:`~textgym.types.flatten`).
        responses: ``n`` texts as a user would see them.
        examples: The ``n`` items they answer.
        name: Name of the reward in parts and errors; its own name by default.

    Raises:
        RewardError: Not ``n`` numbers, one of them is not finite, or the reward does not take three arguments.
        Exception: Whatever the reward raises, with a note that names the reward and the line.
    """
    label = name or reward_name(reward)
    try:
        scores = _scores(reward, label, prompts, (list(responses), list(examples)))
    except TextGymError:
        raise
    except Exception as error:
        _say_whose_it_is(error, label)
        _say_columns(error, examples)
        raise
    check_scores(label, scores.total, responses)
    for part, values in scores.parts.items():
        check_count(f"{label}/{part}", values, responses)
    return scores


def _say_whose_it_is(error: Exception, label: str) -> None:
    """Note which reward raised an error, and where.

    Raises:
        RewardError: It was never entered, as it takes other arguments.
    """
    frames = list(traceback.walk_tb(error.__traceback__))
    own = [each for each in frames if not str(each[0].f_globals.get("__name__")).startswith("textgym")]
    if own:
        frame, line = own[0]
        place = f"{os.path.basename(frame.f_code.co_filename)}, line {line}, in {frame.f_code.co_name}"
        note = f"The error is from the reward {label!r} ({place})."
        if note not in notes_of(error):
            error.add_note(note)
    elif isinstance(error, TypeError) and frames[-1][0].f_code is _scores.__code__:
        raise RewardError(
            "expected a reward that is called as reward(prompts, responses, examples), three lists of the same length, "
            f"and returns a number per response, got {label!r}: {error}; change its arguments"
        ) from error


def _say_columns(error: Exception, examples: Sequence[Example]) -> None:
    """Note which columns examples have, where a reward asked for something that is not there."""
    if isinstance(error, KeyError) and examples:
        columns = sorted({str(name) for example in examples for name in example.extra})
        note = f"example.extra has these columns: {', '.join(columns[:_COLUMNS_SHOWN])}; the prompt is example.text."
        if columns and note not in notes_of(error):
            error.add_note(note)


def _scores(reward: RewardFn, label: str, prompts: Sequence[Shown], about: tuple[list[str], list[Example]]) -> Scores:
    """Ask a reward; it is given lists of its own, so that what it does to them is nobody else's concern."""
    match reward:
        case ConversationReward():
            return _with_parts(reward.score_conversations(list(prompts), *about), label, "score_conversations")
        case RewardWithParts():
            return _with_parts(reward.score([shown_text(prompt) for prompt in prompts], *about), label, "score")
        case _:
            values = as_scores(reward([shown_text(prompt) for prompt in prompts], *about), label, about[0])
            return Scores(values, {label: values})


def _with_parts(scores: object, label: str, method: str) -> Scores:
    """Return what a reward that reports parts returned."""
    if isinstance(scores, Scores):
        return scores
    raise RewardError(
        f"expected Scores(total, parts) from {method}() of the reward {label!r}, got {type(scores).__name__}; return "
        f"that, or leave out {method}(), so that it is a plain function of prompts, responses and examples"
    )


def check_size(reward: RewardFn, totals: FloatArray) -> None:
    """Warn of rewards so large that agents learn little from them.

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


def reward_name(reward: RewardFn | NameOrPath) -> str:
    """Return what a reward is called in ``info["rewards"]``: its ``name``, its ``__name__`` or that of its class."""
    given = name_of(reward)
    if given is not None:
        return given
    name = attribute_of(reward, "name") or attribute_of(reward, "__name__") or type(reward).__name__
    return "custom" if name in ("<lambda>", "total") else str(name)


def as_scores(values: object, label: str, responses: Sequence[str]) -> FloatArray:
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


def _refuse_missing(values: npt.NDArray[np.object_], label: str, responses: Sequence[str]) -> None:
    """Raise ``RewardError`` for the first ``None``, which numpy reads as NaN."""
    missing = next((place for place, value in enumerate(values.flat) if value is None), None)
    if missing is not None:
        raise RewardError(
            f"expected finite numbers from the reward {label!r}, got None for response {missing + 1} of "
            f"{len(responses)}: {_shorten(responses[missing:])}; return a number for every response, 0.0 for instance"
        )


def _without_torch(values: object) -> object:
    """Return tensors, alone or in a list, as numpy arrays: numpy knows no bf16 and reads no tensor with a gradient."""
    match values:
        case object(detach=detach):
            tensor = detach().cpu()
            return (tensor if tensor.is_complex() else tensor.double()).numpy()
        case list() | tuple():
            return [_without_torch(value) for value in values]
    return values


def check_scores(label: str, values: FloatArray, responses: Sequence[str]) -> None:
    """Raise ``RewardError`` unless there is one finite number per response."""
    check_count(label, values, responses)
    bad = np.flatnonzero(~np.isfinite(values))
    if bad.size:
        row = int(bad[0])
        raise RewardError(
            f"expected finite numbers from the reward {label!r}, got {values[row]} for response {row + 1} of "
            f"{len(responses)}: {_shorten(responses[row:])}"
        )


def check_count(label: str, values: npt.ArrayLike, responses: Sequence[str]) -> None:
    """Raise ``RewardError`` unless there is one value per response."""
    shape = np.shape(values)
    if shape != (len(responses),):
        got = f"one number, for {len(responses)} responses" if shape == () else f"an array of shape {shape}"
        raise RewardError(
            f"expected {len(responses)} numbers from the reward {label!r}, got {got}; "
            f"return one number per response (the first one was {_shorten(responses)})"
        )


def _shorten(responses: Sequence[str]) -> str:
    """Return the first response as an error message shows it."""
    text = responses[0] if responses else ""
    return repr(text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + "…")
