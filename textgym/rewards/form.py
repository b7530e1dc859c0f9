"""Rewards for texts of a given form: a regular expression, or JSON with given keys."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import regex

from textgym.errors import RewardError
from textgym.types import Example, FloatArray

_SECONDS = 1.0  # of a text; an expression that backtracks without end is given up


class Matches:
    """A reward of 1 for texts that a regular expression describes as a whole, else 0.

    Args:
        pattern: The expression, in the syntax of Python.
        anywhere: Whether a part of the text that it describes is enough.

    Raises:
        ValueError: It is no regular expression.
    """

    name = "regex"

    def __init__(self, pattern: str, anywhere: bool = False) -> None:
        try:
            self._pattern = regex.compile(pattern)
        except regex.error as error:
            raise ValueError(f"expected a regular expression as pattern, got {pattern!r}: {error}") from error
        self._anywhere = anywhere

    def __call__(self, prompts: Sequence[str], responses: Sequence[str], examples: Sequence[Example], /) -> FloatArray:
        """Score texts; one number each.

        Raises:
            RewardError: An expression takes longer than a second for one text.
        """
        return np.array([float(self._is_met(response)) for response in responses])

    def _is_met(self, text: str) -> bool:
        find = self._pattern.search if self._anywhere else self._pattern.fullmatch
        try:
            return find(text, timeout=_SECONDS) is not None
        except TimeoutError as error:
            raise RewardError(
                f"expected a regular expression that is matched within {_SECONDS:g} s, got {self._pattern.pattern!r}, "
                f"which takes longer for {text!r:.80}; avoid nested repetitions"
            ) from error


def is_json(
    prompts: Sequence[str], responses: Sequence[str], examples: Sequence[Example], *, keys: str = ""
) -> FloatArray:
    """Score texts by whether they are JSON.

    Args:
        prompts, examples: Not looked at.
        responses: Texts.
        keys: Names with commas between, all of which an object has to have; none: any JSON will do.

    Returns:
        One number per text: 0 for anything else than JSON, 1 for JSON; with ``keys``, half of that for an object, and
        the other half by the share of the keys that it has.

    Example:
        >>> is_json([""] * 3, ['{"name": "Ada"}', "[]", "Ada"], [], keys="name,age").tolist()
        [0.75, 0.0, 0.0]
    """
    wanted = [key.strip() for key in keys.split(",") if key.strip()]
    return np.array([_json_score(response, wanted) for response in responses])


def _json_score(text: str, wanted: Sequence[str]) -> float:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return 0.0
    if not wanted:
        return 1.0
    match value:
        case dict():
            return 0.5 + 0.5 * sum(key in value for key in wanted) / len(wanted)
    return 0.0
