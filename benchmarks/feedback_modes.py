"""Accuracy by mode of the feedback page: collected in a browser, exported, fitted, measured on held-out prompts.

    textgym bench feedback-modes

The same reports are asked about in every mode. A script at the page reads the texts in Chromium, asks a simulated
person, who compares by true quality with noise, what they would do with them, and does that by keyboard and mouse.
The answers are exported, read back and compared with what the person had decided. Then a linear head on frozen
embeddings of the shipped model is fitted to them: without answers it scores all texts alike, so that all it knows
comes from them. It is measured on prompts that it has not seen answers about: on the answers given there, and on pairs
of texts of which the better one is known.
"""

from __future__ import annotations

import tempfile
import time
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

import numpy as np

from benchmarks.feedback_page import Answer, Shown, answer_all, open_browser, open_page
from benchmarks.harness import Measurement, Options, Report
from textgym import console
from textgym.feedback import (
    FeedbackStore,
    Habits,
    SimulatedPerson,
    export_records,
    read_records,
    shown_order,
    split_records,
)
from textgym.feedback.types import (
    Annotator,
    Comparison,
    Demonstration,
    ImplicitFeedback,
    Mode,
    Question,
    Ranking,
    Rating,
    Record,
)
from textgym.metrics import clustered_proportion_interval
from textgym.metrics.words import count_words, first_words
from textgym.reward_models import EmbeddingRewardModel, LearnedReward, TextEmbedder
from textgym.tasks import Summarization, prompt_text
from textgym.types import Example, FloatArray, Interval, Message, Task, episodes_of

if TYPE_CHECKING:
    from playwright.sync_api import Browser

RESPONSES: Mapping[Mode, int] = {"compare": 2, "rank": 4, "rate": 3, "edit": 2, "natural": 4}
_NOISE = 0.1
_SEED = 0
_DWELL_SECONDS = 0.2  # the page looks ten times a second, and rounds


@dataclass(frozen=True, slots=True)
class Study:
    """Sizes of the study.

    Attributes:
        questions: Number of questions in each mode, each about another report.
        held_out: Share of the reports that is measured on.
    """

    questions: int = 240
    held_out: float = 0.3


class Item(NamedTuple):
    """A report with texts about it that differ in quality.

    Attributes:
        key, prompt: Identifier of the report, and its text as a prompt.
        texts: The ``k`` texts, by the name of their generator.
        quality: True quality of each text, shape ``(k,)``.
    """

    key: str
    prompt: str
    texts: dict[str, str]
    quality: FloatArray

    def question(self, mode: Mode) -> Question:
        """Ask about the first texts."""
        count = RESPONSES[mode]
        return Question(
            self.key, self.prompt, tuple(self.texts.values())[:count], mode, generators=tuple(self.texts)[:count]
        )


def run(options: Options) -> Report:
    """Collect with every mode once, whatever the number of repetitions.

    Raises:
        MissingExtraError: There is no browser.
    """
    study = Study(questions=8) if options.smoke else Study()
    measurements, outcomes = [], {}
    with open_browser() as browser, tempfile.TemporaryDirectory() as folder:
        task = Summarization("reports")
        items = make_items(task, study.questions, np.random.default_rng(_SEED))
        for mode in get_args(Mode):
            file = Path(folder) / f"{mode}.jsonl"
            collected = collect(browser, items, mode, make_person(task, items), file)
            outcomes[mode] = outcome(read_records(file), collected, items, study.held_out)
            answers = len(collected.answers)
            measurements.append(Measurement(mode, [collected.seconds], [answers], {}, None, None))
            console.remark(f"{mode}: {answers:,} answers in {console.duration(collected.seconds)}")
    return Report(
        "feedback-modes",
        f"What {study.questions:,} questions of each mode teach",
        measurements,
        "answers",
        outcomes=outcomes,
        notes=["In natural use reading takes no waiting: the clock of the page is put forward."],
    )


def make_items(task: Task, count: int, rng: np.random.Generator) -> list[Item]:
    """Draw reports, each with six different texts in random order."""
    items: dict[str, Item] = {}
    while len(items) < count:
        example = task.dataset[int(rng.integers(len(task.dataset)))]
        named = list(texts_about(example, rng).items())
        texts = dict(named[place] for place in rng.permutation(len(named)))
        if len(set(texts.values())) == len(texts):
            quality = task.gold(episodes_of([example] * len(texts), list(texts.values())))
            assert quality is not None
            items[example.key] = Item(example.key, prompt_text(task, example), texts, quality)
    return list(items.values())


def texts_about(example: Example, rng: np.random.Generator) -> dict[str, str]:
    """Texts of different quality, good and bad ones of any length, by name."""
    summary, other, draft = example.references[0], example.references[1].split(), example.demonstrations[0]
    return {
        "summary": summary,
        "draft": draft,
        "half of a summary": " ".join(other[: len(other) // 2]),
        "first words of the report": first_words(example.text, count_words(summary)),
        "summary in disorder": " ".join(rng.permutation(other)),
        "draft in disorder": " ".join(rng.permutation(draft.split())),
    }


def make_person(task: Task, items: Sequence[Item]) -> SimulatedPerson:
    """Somebody who compares by the true quality, with noise, and who could write a good summary."""
    examples = {item.key: task.dataset.find(item.key) for item in items}

    def quality(responses: Sequence[str], keys: Sequence[str]) -> FloatArray:
        found = task.gold(episodes_of([examples[key] for key in keys], responses))
        assert found is not None
        return found

    references = {key: example.references[0] for key, example in examples.items()}
    return SimulatedPerson(quality, np.random.default_rng(_SEED), Habits(noise=_NOISE), references=references)


# ------------------------------------------------------------------------- collect
class Collected(NamedTuple):
    """Answers, and the seconds from the first page to the last."""

    answers: list[Answer]
    seconds: float


@dataclass(slots=True)
class _Clock:
    """The clock of the server, put forward as that of the page is: no text is read for longer than it was shown."""

    ahead: float = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


def collect(browser: Browser, items: Sequence[Item], mode: Mode, person: Annotator, file: Path) -> Collected:
    """Serve a project, let somebody answer all of it in a browser, and export it to a file."""
    from textgym.feedback.server.serve import Address, serving

    clock, keys = _Clock(), {_words(item.prompt): item.key for item in items}

    def decide(shown: Shown) -> tuple[Record, ...]:
        decided = decision(person, keys, mode, shown)
        clock.ahead += sum(record.dwell_seconds for record in decided if isinstance(record, ImplicitFeedback))
        return decided

    with FeedbackStore(file.with_suffix(".db")) as store:
        store.add(item.question(mode) for item in items)
        with (
            serving(store, Address(port=0), person.name, clock=clock) as link,
            open_page(browser, link, clock_stands=mode == "natural") as page,
        ):
            start = time.perf_counter()
            collected = Collected(answer_all(page, mode, decide), time.perf_counter() - start)
        export_records(store.records(), file, "records")  # as `textgym feedback export --form records`
    return collected


def decision(person: Annotator, keys: Mapping[str, str], mode: Mode, shown: Shown) -> tuple[Record, ...]:
    """Return the records that a simulated person answers to the texts on a page.

    Args:
        person: The simulated annotator.
        keys: Key of the report by the words of the prompt.
        mode: Kind of answer that the page asks for.
        shown: Prompt and texts on the page.

    Returns:
        Records whose texts are in the order shown.
    """
    (records,) = person.answer([Question(keys[_words(shown.prompt)], shown.prompt, shown.texts, mode)])
    return records


def _words(text: str) -> str:
    return " ".join(text.split())


# -------------------------------------------------------------------------- compare
def count_kept(records: Sequence[Record], answers: Sequence[Answer], items: Sequence[Item]) -> int:
    """Count the answers that were exported as they were decided."""
    asked = {_words(item.prompt): item for item in items}
    recorded: dict[str | tuple[Message, ...], list[Record]] = defaultdict(list)
    for record in records:
        recorded[record.prompt].append(record)
    asked_by = [(answer, asked[_words(answer.shown.prompt)]) for answer in answers]
    return sum(was_kept(answer, recorded[item.prompt], item) for answer, item in asked_by)


def was_kept(answer: Answer, recorded: Sequence[Record], item: Item) -> bool:
    """Return whether the records of a question say what was decided, about the texts in the order they were shown in.

    Args:
        answer: The texts that were shown, and the decision about them.
        recorded: The exported records of this prompt.
        item: The report that the question was about.
    """
    if len(recorded) != len(answer.decided):
        return False
    return (
        _in_shown_order(recorded) == answer.shown.texts
        and {_said(record) for record in recorded} == {_said(record) for record in answer.decided}
        and all(_right_generators(record, item) for record in recorded)
        and _is_as_long(recorded, answer.decided)
    )


def _in_shown_order(recorded: Sequence[Record]) -> tuple[str, ...]:
    """The texts of the records of one question, in the order that their seed says."""
    first = recorded[0]
    texts = first.responses if isinstance(first, Comparison | Ranking) else _texts(recorded)
    return tuple(texts[index] for index in shown_order(len(texts), first.order_seed))


def _texts(records: Sequence[Record]) -> tuple[str, ...]:
    return tuple(text for record in records for text in record.responses)


def _said(record: Record) -> Hashable:
    """Return the statement of a record about its texts, the same for every order in which it lists them."""
    match record:
        case Comparison():
            return record.chosen if record.choice in ("a", "b") else record.choice
        case Ranking():
            return frozenset(zip(record.responses, record.ranks, strict=True))
        case Rating():
            return record.response, record.rating
        case Demonstration():
            return record.response, record.edited_from
        case ImplicitFeedback():
            return record.response, record.position, record.clicked, record.copied


def _right_generators(record: Record, item: Item) -> bool:
    texts = (record.edited_from,) if isinstance(record, Demonstration) else record.responses
    return tuple(item.texts.get(name) for name in record.generators) == texts


def _is_as_long(recorded: Sequence[Record], decided: Sequence[Record]) -> bool:
    """Return whether all was read as long as was decided, and scrolled as far (short texts are seen whole)."""
    wanted = {each.response: each for each in decided if isinstance(each, ImplicitFeedback)}
    found = [(each, wanted[each.response]) for each in recorded if isinstance(each, ImplicitFeedback)]
    return all(
        abs(each.dwell_seconds - other.dwell_seconds) < _DWELL_SECONDS and each.scrolled >= other.scrolled
        for each, other in found
    )


# --------------------------------------------------------------------------- learn
def outcome(records: Sequence[Record], collected: Collected, items: Sequence[Item], held_out: float) -> dict[str, Any]:
    """Return shares of the answers that were exported, and accuracies of a model fitted to them on held-out prompts.

    "They are predicted": share of the answers about them that the model predicts. "Better text scores higher": share of
    the pairs of texts about them that the model orders as the true quality does, without anybody's noise.
    """
    model = EmbeddingRewardModel(TextEmbedder("tiny"))
    report = model.fit(records, validation_fraction=held_out, seed=_SEED)
    prompts = {record.prompt for record in split_records(records, held_out, _SEED)[1]}  # as `fit` splits them
    pairs = leads_of_pairs(model, [item for item in items if item.prompt in prompts])
    learned = pairs.share_right(pairs.score)
    return {
        "answers": len(collected.answers),
        "kept as decided": count_kept(records, collected.answers, items),
        "answers a minute": round(60 * len(collected.answers) / collected.seconds),
        "records": len(records),
        "held-out answers": report.held_out_pairs,
        "they are predicted": console.with_bounds(report.accuracy),
        "held-out pairs": int((pairs.quality != 0).sum()),
        "better text scores higher": console.with_bounds(learned),
        "longer text is better": console.with_bounds(pairs.share_right(pairs.words)),
        "both above chance": "yes" if min(report.accuracy.low, learned.low) > 0.5 else "no",
    }


class Pairs(NamedTuple):
    """Leads of the first text over the second in each of ``n`` pairs, shape ``(n,)``; and the prompts."""

    quality: FloatArray
    score: FloatArray
    words: FloatArray
    prompts: list[str]

    def share_right(self, leads: FloatArray) -> Interval:
        """Return how often the text of higher quality is ahead; pairs of the same quality do not count."""
        decided = np.flatnonzero(self.quality)
        right = (1 + np.sign(leads) * np.sign(self.quality)) / 2
        return clustered_proportion_interval(right[decided], [self.prompts[place] for place in decided])


def leads_of_pairs(model: LearnedReward, items: Sequence[Item]) -> Pairs:
    """Pair the first text about every report with the second, the third with the fourth, and so on."""
    texts = [(item.prompt, text) for item in items for text in item.texts.values()]
    prompts, responses = ([text[side] for text in texts] for side in (0, 1))
    values = (
        np.concatenate([item.quality for item in items]),
        model.raw(prompts, responses),
        np.array([count_words(response) for response in responses], dtype=np.float64),
    )
    quality, score, words = (each[::2] - each[1::2] for each in values)
    return Pairs(quality, score, words, prompts[::2])
