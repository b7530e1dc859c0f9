"""The budget of every run of a comparison, and what a run has spent: tokens, seconds of training, or labels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

from textgym.errors import did_you_mean
from textgym.naming import argument
from textgym.text.plurals import counted

Kind = Literal["tokens", "seconds", "labels"]
KINDS: tuple[Kind, ...] = get_args(Kind)


class Spent(NamedTuple):
    """The tokens, seconds and labels that a training has spent.

    Attributes:
        tokens: Tokens that the agent wrote in training; of an offline agent, those of the responses that its optimizer
            steps read, once for every pass. ``None`` where the agent does not tell.
        seconds: Time of training; evaluation, checkpoints, samples and plots are no part of it.
        labels: Texts that the reward scored; of an offline agent, the demonstrations, preferences or ratings that it
            learns from, each once. ``None`` where the agent does not tell.
    """

    tokens: float | None = 0.0
    seconds: float = 0.0
    labels: float | None = 0.0

    def of(self, kind: Kind) -> float | None:
        """Return what was spent of one kind."""
        match kind:
            case "tokens":
                return self.tokens
            case "seconds":
                return self.seconds
            case "labels":
                return self.labels


NOTHING = Spent()
"""Nothing is spent before the first step."""


@dataclass(frozen=True, slots=True)
class Budget:
    """An amount that every run may spend.

    Attributes:
        kind: ``"tokens"``, ``"seconds"`` or ``"labels"``, as in :class:`Spent`.
        amount: How many.
    """

    kind: Kind
    amount: float

    @classmethod
    def parse(cls, text: str) -> Budget:
        """Read what ``str`` of a budget writes.

        >>> Budget.parse("tokens=200_000")
        Budget(kind='tokens', amount=200000.0)

        Raises:
            ValueError: It is something else.
        """
        kind, _, number = text.partition("=")
        if kind not in KINDS:
            raise ValueError(
                f"expected tokens=N, seconds=N or labels=N as {argument('budget')}, got {text!r}."
                f"{did_you_mean(kind, KINDS)}"
            )
        try:
            amount = float(number.replace(",", ""))
        except ValueError:
            amount = math.nan
        if not (amount > 0 and math.isfinite(amount)):
            raise ValueError(f"expected a number above 0 in {argument('budget')}, got {text!r}; write {kind}=N")
        return cls(kind, amount)

    def __str__(self) -> str:
        """Return it as :meth:`parse` reads it."""
        return f"{self.kind}={self.amount:.15g}"

    @property
    def words(self) -> str:
        """The amount in words.

        >>> Budget("seconds", 1).words, Budget("tokens", 12_000).words, Budget("seconds", 2.5).words
        ('1 second', '12,000 tokens', '2.5 seconds')
        """
        is_whole = self.amount == int(self.amount)
        return counted(int(self.amount), self.kind) if is_whole else f"{self.amount:g} {self.kind}"

    def share(self, spent: Spent) -> float:
        """Return which share of the budget is spent; 0 where it is not known."""
        return (spent.of(self.kind) or 0.0) / self.amount
