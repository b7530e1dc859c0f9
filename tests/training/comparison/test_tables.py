"""Tables of a comparison, in Markdown."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.training.comparison.records_made_up import compared, evaluated, made_up, with_after
from textgym.training.comparison import Comparison
from textgym.training.comparison.tables import (
    Table,
    cost_table,
    improvement_table,
    markdown_of,
    markdown_rows,
    quality_table,
)


@pytest.fixture
def comparison() -> Comparison:
    learners = [
        made_up(label, seed, (0.2, end + seed / 100)) for label, end in (("b", 0.5), ("a", 0.8)) for seed in (0, 1, 2)
    ]
    return compared(*learners, evaluated("random", 0, 0.1))


def test_quality(comparison: Comparison) -> None:
    table = quality_table(comparison)
    assert table.header == ("agent", "reward", "gold", "KL, nats per text", "length, tokens", "diversity")
    assert [row[:2] for row in table.rows] == [
        ("a", "0.810 [0.800, 0.820]"),
        ("b", "0.510 [0.500, 0.520]"),
        ("random", "0.100"),  # one run has no interval
        ("start model", "0.200"),
    ]


def test_cost(comparison: Comparison) -> None:
    table = cost_table(comparison)
    assert table.header == (
        "agent",
        "runs",
        "tokens",
        "labels",
        "seconds",
        "tokens/s",
        "peak memory, MiB",
        "evaluation, s",
    )
    assert table.rows[0] == ("a", "3", "1,000", "250", "10.0", "100", "512", "2.0")
    assert table.rows[2] == ("random", "1", "-", "-", "-", "-", "512", "2.0")
    failed = replace(made_up("a", 9, (0.0, 1.0)), after={}, failure="diverged")
    assert cost_table(compared(*comparison.runs, failed)).rows[0][1] == "3 of 4"


def test_improvement(comparison: Comparison) -> None:
    table = improvement_table(comparison, bounds=False)
    assert table.header == ("", "a", "b", "random")
    assert table.rows[1] == ("b", "0.00", "-", "1.00")


def test_markdown_is_aligned_and_names_of_measures_are_harmless(comparison: Comparison) -> None:
    lines = markdown_rows(Table("x", ("agent", "a|b"), [("ppo", "1.000 [0.900, 1.100]"), ("a", "-")]))
    assert lines == [
        r"| agent | a\|b                 |",
        "|-------|----------------------|",
        "| ppo   | 1.000 [0.900, 1.100] |",
        "| a     | -                    |",
    ]
    text = markdown_of(compared(*(with_after(run, **{"<b>": 1.0}) for run in comparison.runs)))
    assert "**a**: Its reward rose by 0.610" in text
    assert "Probability that a run of the row has more reward" in text
    assert "<b>" not in text
