"""A fit reads every record once, however many members it fits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from textgym.feedback.types import Comparison, ImplicitFeedback, Ranking, Rating, Record
from textgym.reward_models import EmbeddingRewardModel, PreferenceRewardModel, RewardEnsemble, TextEmbedder, evidence
from textgym.reward_models.evidence import Observation, observe, read_split
from textgym.reward_models.learned import LearnedReward


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Counter[int]:
    """How often each record has been read, by its ``id``."""
    counts: Counter[int] = Counter()

    def counting(read: Callable[..., Observation]) -> Callable[[Any], Observation]:
        def count(record: Record) -> Observation:
            counts[id(record)] += 1
            return read(record)

        return count

    def engagement(events: list[ImplicitFeedback], of: Callable[..., Any] = evidence.engagement) -> Any:
        counts.update(map(id, events))
        return of(events)

    monkeypatch.setattr(evidence, "_READERS", {kind: counting(read) for kind, read in evidence._READERS.items()})
    monkeypatch.setattr(evidence, "engagement", engagement)
    return counts


def mixed_records(n: int = 24) -> list[Record]:
    records: list[Record] = []
    for i in range(n):
        good, bad, prompt = f"good good {i}", "bad bad", f"document {i}"
        records += [
            Comparison("k", prompt, good, bad, "a", annotator="ann"),
            Ranking("k", prompt, (good, bad, "road"), (1, 3, 2), annotator="bob"),
            Rating("k", prompt, good, 5, annotator="ann"),
            Rating("k", prompt, bad, 1, annotator="ann"),
            ImplicitFeedback("k", prompt, good, i % 2, True, 9.0, annotator="eve"),
            ImplicitFeedback("k", prompt, bad, 1 - i % 2, False, 0.5, annotator="eve"),
        ]
    return records


def check(model: LearnedReward, reads: Counter[int], **settings: Any) -> None:
    records = mixed_records()
    report = model.fit(records, validation_fraction=0.25, **settings)
    assert report.held_out_pairs > 0
    assert reads == Counter(map(id, records))


def test_a_model_reads_each_record_once(neox: Path, reads: Counter[int]) -> None:
    check(PreferenceRewardModel(neox, max_length=64), reads, batch_size=64)


def test_an_ensemble_reads_each_record_once(neox: Path, reads: Counter[int]) -> None:
    check(
        RewardEnsemble([PreferenceRewardModel(neox, max_length=64), PreferenceRewardModel(neox, max_length=64)]),
        reads,
        batch_size=64,
    )


def test_a_head_on_embeddings_reads_each_record_once(words: TextEmbedder, reads: Counter[int]) -> None:
    check(EmbeddingRewardModel(words, replicas=2), reads)


def test_a_fit_takes_what_has_been_read(words: TextEmbedder, reads: Counter[int]) -> None:
    records = mixed_records()
    split = read_split(records, held_out=0.25, seed=3)
    given = EmbeddingRewardModel(words).fit(split, seed=3)
    assert reads == Counter(map(id, records))
    read_again = EmbeddingRewardModel(words).fit(records, validation_fraction=0.25, seed=3)
    assert (given.accuracy, given.train_loss, given.pairs) == (
        read_again.accuracy,
        read_again.train_loss,
        read_again.pairs,
    )
    assert len(split.train.observations) + len(split.held_out.observations) == len(observe(records).observations)
