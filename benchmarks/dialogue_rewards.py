r"""Reward models from a file of whole dialogues, against rules that look at length alone.

    textgym bench dialogue-rewards

A file of the form in which preferences about dialogues are published is written: packed JSON lines with ``chosen`` and
``rejected``, both ``"\n\nHuman: ...\n\nAssistant: ..."``, which differ in the last turn of the assistant. It is read as
it is, and reward models are fitted to nine tenths of its dialogues.

The dialogues are about built-in reports. Up to nine times a person shows a report and gets a summary; then the person
shows three reports and asks what happened. The answer has two to twelve sentences, each of which is *sound* with a
probability drawn for the answer, else a sentence of a report that nobody showed, a repetition, or one whose words are
in random order. Sound sentences are about the three reports, said once, in order. The hidden quality is the share of
sound sentences, so it does not depend on length. The better answer is chosen by Bradley and Terry with noise, and with
a weak liking for longer answers.
"""

from __future__ import annotations

import gzip
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.harness import Measurement, Options, Report
from textgym import console
from textgym.feedback import read_records, split_records
from textgym.feedback.annotators.simulated import preference_probability
from textgym.feedback.records.dialogues import ASSISTANT_TURN
from textgym.feedback.types import Record
from textgym.metrics import proportion_interval
from textgym.metrics.words import count_words
from textgym.reward_models import EmbeddingRewardModel, FitReport, LearnedReward, PreferenceRewardModel
from textgym.tasks.summarization.reports import Reports
from textgym.types import Example, Shown

_HUMAN_TURN = "\n\nHuman:"
_NOISE = 0.1
_LENGTH_LIKING = 0.02  # quality that twice as many words are worth
_SHOWN = 3
_SENTENCES = range(2, 13)
_MOST_EARLIER_TURNS = 10
_HELD_OUT = 0.1
_SEED = 0


@dataclass(frozen=True, slots=True)
class Study:
    """Sizes of the study.

    Attributes:
        pairs: Dialogues; each has a chosen and a rejected end.
        max_length: Most ids that the language model reads.
        epochs, learning_rate: Passes over the training pairs, and step size, of the language model's fit.
    """

    pairs: int = 3000
    max_length: int = 512
    epochs: int = 1
    learning_rate: float = 3e-4


class Answer(NamedTuple):
    """A text and the share of its sentences that are sound."""

    text: str
    quality: float


class Pair(NamedTuple):
    """A question to a person and the answer: the prompt, the chosen and the rejected end of the dialogue."""

    prompt: str
    chosen: Answer
    rejected: Answer


def run(options: Options) -> Report:
    """Write, read and fit once, whatever the number of repetitions."""
    study = Study(pairs=60, max_length=64) if options.smoke else Study()
    with tempfile.TemporaryDirectory() as folder:
        file, clock = Path(folder) / "dialogues.jsonl.gz", Stopwatch(study.pairs)
        pairs = clock("write the file", partial(write_dialogues, file, study.pairs, np.random.default_rng(_SEED)))
        records = clock("read it", partial(read_records, file))
    reports = {}
    for name, new_model, how in backbones(study, options.device):
        reports[name] = clock(f"fit: {name}", partial(fitted, new_model, records, how))
    return Report(
        "dialogue-rewards",
        f"Reward models from {study.pairs:,} whole dialogues",
        clock.measurements,
        "pairs",
        figures_of(pairs, records, reports),
    )


class Stopwatch:
    """Does things, and keeps their seconds."""

    def __init__(self, work: int) -> None:
        self.measurements: list[Measurement] = []
        self._work = work

    def __call__(self, name: str, action: Callable[[], Any]) -> Any:
        """Return what the action returns."""
        start = time.perf_counter()
        result = action()
        seconds = time.perf_counter() - start
        console.remark(f"{name}: {console.duration(seconds)}")
        self.measurements.append(Measurement(name, [seconds], [self._work], {}, None, None))
        return result


Backbone = tuple[str, Callable[[], LearnedReward], dict[str, Any]]


def backbones(study: Study, device: str) -> list[Backbone]:
    """Name, unfitted model and arguments of ``fit``."""
    settings = {"epochs": study.epochs, "learning_rate": study.learning_rate}
    return [
        ("frozen embeddings", lambda: EmbeddingRewardModel("tiny").to(device), {}),
        ("language model", lambda: PreferenceRewardModel("tiny", max_length=study.max_length).to(device), settings),
    ]


def fitted(new_model: Callable[[], LearnedReward], records: Sequence[Record], how: dict[str, Any]) -> FitReport:
    """Return what comes of fitting a new model."""
    return new_model().fit(records, validation_fraction=_HELD_OUT, seed=_SEED, **how)


def figures_of(pairs: Sequence[Pair], records: Sequence[Record], reports: dict[str, FitReport]) -> dict[str, Any]:
    """Accuracies on the same held-out dialogues, and what the file is like."""
    _, held_out = split_records(records, _HELD_OUT, _SEED)
    by_prompt: dict[Shown, Pair] = {pair.prompt: pair for pair in pairs}
    known = [by_prompt[record.prompt] for record in held_out]
    leads = [float(np.sign(pair.chosen.quality - pair.rejected.quality)) for pair in known]
    rules = next(iter(reports.values())).held_out
    assert rules is not None
    accuracies = {
        **{name: report.accuracy for name, report in reports.items()},
        "always the longer answer": rules.always_longer,
        "always the shorter answer": rules.always_shorter,
        "hidden quality": proportion_interval(sum((1 + lead) / 2 for lead in leads), len(leads)),
    }
    words = np.array([[count_words(each.text) for each in pair[1:]] for pair in pairs])
    whole = words + np.array([[count_words(pair.prompt)] for pair in pairs])
    return {
        **{f"accuracy, {name}": console.with_bounds(each) for name, each in accuracies.items()},
        "held-out dialogues": len(held_out),
        "words of a dialogue, median and most": [int(np.median(whole)), int(whole.max())],
        "correlation of being longer and being better": round(_correlation(pairs, words), 3),
    }


def _correlation(pairs: Sequence[Pair], words: Any) -> float:
    quality = [pair.chosen.quality - pair.rejected.quality for pair in pairs]
    return float(np.corrcoef(quality, words[:, 0] - words[:, 1])[0, 1])


# ------------------------------------------------------------------------ the file
def write_dialogues(file: Path, count: int, rng: np.random.Generator) -> list[Pair]:
    """Write ``count`` pairs of dialogues; no two begin alike."""
    pairs = [make_pair(rng) for _ in range(count)]
    with gzip.open(file, "wt", encoding="utf-8") as lines:
        for pair in pairs:
            ends = {"chosen": pair.chosen.text, "rejected": pair.rejected.text}
            lines.write(json.dumps({name: f"{pair.prompt} {text}" for name, text in ends.items()}) + "\n")
    return pairs


def make_pair(rng: np.random.Generator) -> Pair:
    """Two different answers in one dialogue, the better one chosen more often."""
    reports = Reports("train")
    shown = [reports[int(index)] for index in rng.integers(len(reports), size=_SHOWN)]
    prompt = f"{_earlier_turns(reports, rng)}{_question(shown)}{ASSISTANT_TURN}"
    while True:
        first, second = (make_answer(shown, reports, rng) for _ in range(2))
        if first.text != second.text:
            break
    lead = first.quality - second.quality + _LENGTH_LIKING * np.log2(_words(first) / _words(second))
    prefers_first = rng.random() < preference_probability(np.array(lead), _NOISE)
    return Pair(prompt, *((first, second) if prefers_first else (second, first)))


def make_answer(shown: Sequence[Example], reports: Reports, rng: np.random.Generator) -> Answer:
    """Sentences about the reports that were shown, some of them faulty."""
    sentences = [sentence for report in shown for sentence in _sentences(report.text)]
    count = min(int(rng.choice(_SENTENCES)), len(sentences))
    is_sound = rng.random(count) < rng.random()
    said: list[str] = []
    for sound, place in zip(is_sound, rng.permutation(len(sentences))[:count], strict=True):
        said.append(sentences[place] if sound else _faulty(sentences[place], said, reports, rng))
    return Answer(" ".join(said), float(is_sound.mean()))


def _faulty(sentence: str, said: Sequence[str], reports: Reports, rng: np.random.Generator) -> str:
    """A sentence in random order, one that was said, or one about something else."""
    fault = rng.choice(["disorder", "repetition", "elsewhere"])
    if fault == "disorder":
        return " ".join(rng.permutation(sentence.split()))
    if fault == "repetition" and said:
        return str(rng.choice(said))
    return str(rng.choice(_sentences(reports[int(rng.integers(len(reports)))].text)))


def _earlier_turns(reports: Reports, rng: np.random.Generator) -> str:
    count = int(_MOST_EARLIER_TURNS * rng.random() ** 3)  # dialogues are short, but for some
    others = [reports[int(index)] for index in rng.integers(len(reports), size=count)]
    turns = [f"{_question([other])}{ASSISTANT_TURN} {other.references[0]}" for other in others]
    return "".join(turns)


def _question(shown: Sequence[Example]) -> str:
    return f"{_HUMAN_TURN} {' '.join(each.text for each in shown)} What happened?"


def _sentences(text: str) -> list[str]:
    return [f"{each.rstrip('.')}." for each in text.split(". ")]


def _words(answer: Answer) -> int:
    return count_words(answer.text)
