"""``textgym bench tasks``: the reference wins, random tokens lose, in every built-in task."""

from __future__ import annotations

import json

import pytest
import torch

from benchmarks import Options, Report, run_benchmark, tasks
from benchmarks.tasks import GREEDY, RANDOM, REFERENCE, START, built_in_ids, scores_of

FAST = "TextSpell-v0"


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.mark.slow
@pytest.mark.parametrize("env_id", built_in_ids())
def test_the_reference_is_best_and_random_tokens_are_worst(env_id: str) -> None:
    scores = scores_of(env_id, items=8)
    means = {name: each["gold" if scores.quality == "gold" else "reward"].mean for name, each in scores.means().items()}
    assert list(means) == [RANDOM, START, GREEDY, REFERENCE]
    assert means[REFERENCE] > max(means[START], means[GREEDY], means[RANDOM])
    if scores.quality == "gold":  # all but TextGen, whose start model knows nothing of its task
        assert means[REFERENCE] == 1.0
        assert means[RANDOM] < 0.1
        assert means[RANDOM] <= min(means[START], means[GREEDY])
    assert {len(each.episodes) for each in scores.evaluations.values()} == {8}


def test_the_report_has_tables_and_differences(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tasks, "built_in_ids", lambda: [FAST, "TextGen-v0"])
    report = run_benchmark("tasks", Options(repetitions=1, smoke=True))
    assert isinstance(report, Report)
    read = json.loads(json.dumps(report.as_json(), allow_nan=False))
    assert [row["name"] for row in read["rows"]] == [FAST, "TextGen-v0"]
    table = read["scores"][f"{FAST}, reward letters"]
    assert list(table) == [RANDOM, START, GREEDY, REFERENCE]
    assert list(table[REFERENCE]) == ["gold", "reward", "letters"]
    assert table[REFERENCE]["gold"]["mean"] == 1.0
    assert read["figures"][f"{FAST}, reference minus random tokens, gold"].startswith("1.000 [")
    assert next(iter(read["scores"]["TextGen-v0, reward length?target=20"][REFERENCE])) == "reward"
    assert "TextGen-v0, reference minus random tokens, reward" in read["figures"]
    report.show()
    shown = capsys.readouterr().out
    assert "TextSpell-v0, reward letters" in shown
    assert REFERENCE in shown


def test_start_and_reference_are_asked_the_same_examples_of_the_test_split() -> None:
    found = scores_of(FAST, items=3).evaluations
    keys = {name: [episode.example.key for episode in each.episodes] for name, each in found.items()}
    assert keys[REFERENCE] == keys[RANDOM] == keys[START] == keys[GREEDY]
    assert all("/test/" in key for key in keys[REFERENCE])
    assert found[REFERENCE].texts == [episode.example.references[0] for episode in found[REFERENCE].episodes]
