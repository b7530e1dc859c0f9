"""Checks of what rewards are made from."""

from __future__ import annotations

import math
import numbers
from typing import Any, TypeGuard

import numpy as np

from textgym.files.paths import name_of
from textgym.rewards.protocol import SHOWN_CHARACTERS


def check_reward(reward: Any) -> Any:
    """Return what is a reward or may name one."""
    if isinstance(reward, type):
        raise TypeError(f"expected a reward, got the class {reward.__name__}; make one: {reward.__name__}(...)")
    if name_of(reward) is not None or callable(reward):
        return reward
    raise TypeError(
        f"expected a reward name, a folder or a callable, got {shown(reward)}; give a name such as 'rouge', or a "
        "function reward(prompts, responses, examples) -> n numbers"
    )


def is_number(value: object) -> TypeGuard[float]:
    """Say whether a value is a real number; a bool is none."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool | np.bool_)


def check_number(name: str, value: object, *, finite: bool = True) -> float:
    """Return a number, checked; ``name`` is what messages call it."""
    if not is_number(value):
        raise TypeError(f"expected a number as {name}, got {shown(value)}; give it one, such as 1.0")
    if math.isnan(value) or (finite and math.isinf(value)):
        raise ValueError(f"expected a finite number as {name}, got {value}; give it one, such as 1.0")
    return float(value)


def shown(value: object) -> str:
    """Return a wrong argument as an error message shows it."""
    return f"{value!r:.{SHOWN_CHARACTERS}} ({type(value).__name__})"
