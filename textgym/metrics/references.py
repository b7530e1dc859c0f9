"""The references that measures compare with, and the packages they are computed by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import numpy as np

from textgym.data.columns import name_references
from textgym.errors import DataError, MissingExtraError
from textgym.types import Example, FloatArray


def references_of(example: Example, measure: str) -> Sequence[str]:
    """Return the references of an example; ``measure`` is what needs them, for the message.

    Raises:
        DataError: It has none.
    """
    if not example.references:
        raise DataError(
            f"expected at least one reference for the example {example.key!r}, got none: {measure} compares with "
            f"references; {name_references([example])}, or choose a reward that needs none"
        )
    return example.references


def score_each(
    measure: Callable[[str, Sequence[str]], float], name: str, responses: Sequence[str], examples: Sequence[Example]
) -> FloatArray:
    """Return ``measure(response, references)`` of each of ``n`` responses, shape ``(n,)``.

    Raises:
        DataError: An example has no references.
    """
    pairs = zip(responses, examples, strict=True)
    numbers = (measure(response, references_of(example, name)) for response, example in pairs)
    return np.fromiter(numbers, np.float64, len(responses))


def import_extra(module: str, what: str, package: str, extra: str) -> Any:
    """Import a package that an extra of textgym brings.

    Raises:
        MissingExtraError: It is not there.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != module.partition(".")[0]:
            raise
        raise MissingExtraError.of(what, package, extra) from error
