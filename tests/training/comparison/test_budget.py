"""Budgets as they are typed, and shares of them."""

from __future__ import annotations

import pytest

from textgym.training.comparison.budget import Budget, Spent


@pytest.mark.parametrize(
    ("text", "budget", "words"),
    [
        ("tokens=200000", Budget("tokens", 200_000), "200,000 tokens"),
        ("tokens=200,000", Budget("tokens", 200_000), "200,000 tokens"),
        ("seconds=2.5", Budget("seconds", 2.5), "2.5 seconds"),
        ("labels=1", Budget("labels", 1), "1 label"),
    ],
)
def test_a_budget_is_read_and_written(text: str, budget: Budget, words: str) -> None:
    assert Budget.parse(text) == budget
    assert Budget.parse(str(budget)) == budget
    assert budget.words == words


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("token=5", "expected tokens=N, seconds=N or labels=N as budget, got 'token=5'. Did you mean 'tokens'?"),
        ("5", "expected tokens=N, seconds=N or labels=N"),
        ("tokens=", "expected a number above 0 in budget, got 'tokens='; write tokens=N"),
        ("seconds=-1", "expected a number above 0"),
        ("labels=nan", "expected a number above 0"),
        ("labels=inf", "expected a number above 0"),
    ],
)
def test_what_is_no_budget_is_refused(text: str, error: str) -> None:
    with pytest.raises(ValueError, match=f"^{error.replace('?', '[?]')}"):
        Budget.parse(text)


def test_shares() -> None:
    spent = Spent(tokens=50, seconds=20, labels=None)
    assert [Budget(kind, 100).share(spent) for kind in ("tokens", "seconds", "labels")] == [0.5, 0.2, 0.0]
