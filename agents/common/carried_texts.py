"""Texts that the end of a rollout found unfinished, which the next one goes on with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from textgym.errors import CheckpointError
from textgym.models.stored_values import Check, StoredRecord, check_fields, integer, listed, measured
from textgym.types import BoolArray, IntArray

Singles = npt.NDArray[np.float32]


class Turn(NamedTuple):
    """A part of a text that was written at a stretch; a text has several where somebody answers, as in conversations.

    Attributes:
        start: Index of the first action in those of the text.
        prefix: (m,) ids of the observation before that action.
        prompt_length: Number of them that were given, not acted.
    """

    start: int
    prefix: IntArray
    prompt_length: int


class CarriedText(NamedTuple):
    """A text that is not finished, with all ``n`` tokens that were acted so far.

    Attributes:
        env: Environment that it is written in.
        turns: Its turns, in order; the first starts at 0.
        actions: (n,) ids.
        rewards: (n,) rewards of the environment, without penalty, not scaled.
        values: (n,) values when the tokens were sampled.
        log_probs: (n,) log-probabilities that the tokens were sampled with.
        ages: (n,) updates of the policy since a token was sampled, when the text was set aside.
    """

    env: int
    turns: tuple[Turn, ...]
    actions: IntArray
    rewards: Singles
    values: Singles
    log_probs: Singles
    ages: npt.NDArray[np.int32]

    def shifted(self, shift: float) -> Self:
        """Return the text with a constant added to its values."""
        return self._replace(values=self.values + np.float32(shift))

    def to_record(self) -> StoredRecord:
        """Return the text as JSON, from which :func:`read_carried` gets it to the last bit."""
        turns = [[turn.start, turn.prefix.tolist(), turn.prompt_length] for turn in self.turns]
        arrays = {name: array.tolist() for name, array in self._asdict().items() if name in _ARRAYS}
        return {"env": self.env, "turns": turns, **arrays}


def read_carried(records: Sequence[StoredRecord], n_envs: int, actions: int, width: int) -> list[CarriedText]:
    """Return texts of :meth:`CarriedText.to_record`, after a check, since they may be somebody else's.

    Args:
        records: The records.
        n_envs: Number of environments.
        actions: Number of ids.
        width: Most tokens of an observation.

    Raises:
        CheckpointError: They are no such texts, or texts of other environments.
    """
    texts = [_read(record) for record in records]
    envs = [text.env for text in texts]
    if len({*envs}) != len(envs) or not all(0 <= env < n_envs for env in envs):
        raise CheckpointError(
            f"expected one unfinished text, at most, of each of {n_envs} environments in a checkpoint, got some of "
            f"environments {envs}; use another checkpoint"
        )
    for text in texts:
        _require_ids(text, actions, width)
    return texts


def _read(record: StoredRecord) -> CarriedText:
    check_fields(record, _CHECKS, "parts of an unfinished text")
    turns = tuple(Turn(start, _array(prefix, np.int32), given) for start, prefix, given in record["turns"])
    arrays = {name: _array(record[name], dtype) for name, dtype in _ARRAYS.items()}
    text = CarriedText(record["env"], turns, **arrays)
    lengths = {len(array) for array in arrays.values()}
    starts = [turn.start for turn in turns]
    if len(lengths) != 1 or starts[:1] != [0] or starts != sorted({*starts}) or starts[-1] >= len(text.actions):
        raise CheckpointError(
            f"expected equally many numbers of each kind of an unfinished text in a checkpoint, and turns that start "
            f"within them, got {sorted(lengths)} and {starts}; use another checkpoint"
        )
    return text


def _array(numbers: Sequence[float], dtype: type[np.generic]) -> npt.NDArray[Any]:
    return np.array(numbers, dtype=dtype)


def _require_ids(text: CarriedText, actions: int, width: int) -> None:
    """Refuse ids that are none, and turns that no observation is long enough for."""
    ids = np.concatenate([text.actions, *(turn.prefix for turn in text.turns)])
    stops = [*(turn.start for turn in text.turns[1:]), len(text.actions)]
    longest = max(len(turn.prefix) + stop - turn.start - 1 for turn, stop in zip(text.turns, stops, strict=True))
    given = all(0 <= turn.prompt_length <= len(turn.prefix) > 0 for turn in text.turns)
    if not given or longest > width or ids.min() < 0 or ids.max() >= actions:
        raise CheckpointError(
            f"expected ids from 0 to {actions - 1} of an unfinished text in a checkpoint, in observations of 1 to "
            f"{width} tokens, got {ids.min()} to {ids.max()} in {longest}; use another checkpoint"
        )


def staleness(ages: npt.NDArray[np.int32]) -> dict[str, float]:
    """Return the share of stale tokens, which were sampled before the last update, and their age.

    Args:
        ages: (N,) updates since each token was sampled.

    Returns:
        ``"stale"``, the share, and ``"stale_age"``, the mean age of stale tokens, in updates; 0 where there are none.
    """
    stale = ages[ages > 0]
    return {"stale": len(stale) / max(1, len(ages)), "stale_age": float(stale.mean()) if len(stale) else 0.0}


def continuing(texts: Sequence[CarriedText], episode_starts: BoolArray) -> list[CarriedText]:
    """Return those of some texts that go on, where ``episode_starts`` (B,) of the next step say that none begins."""
    return [text for text in texts if not episode_starts[text.env]]


def _count(value: object) -> bool:
    """A whole number that 31 bits hold."""
    return integer(value) and 0 <= value < 2**31


def _single(value: object) -> bool:
    """A number that is finite in 32 bits."""
    return isinstance(value, int | float) and measured(value) and abs(value) < 2.0**127


def _turn(value: object) -> bool:
    match value:
        case [start, prefix, given]:
            return _count(start) and listed(_count)(prefix) and _count(given)
    return False


_ARRAYS: Mapping[str, type[np.generic]] = {
    "actions": np.int64,
    "rewards": np.float32,
    "values": np.float32,
    "log_probs": np.float32,
    "ages": np.int32,
}
_CHECKS: Mapping[str, Check] = {
    "env": _count,
    "turns": listed(_turn),
    **{name: listed(_single if dtype is np.float32 else _count) for name, dtype in _ARRAYS.items()},
}
