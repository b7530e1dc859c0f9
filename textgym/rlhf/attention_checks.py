"""Attention checks made of real texts: one with a wrong fact, or the answer to another prompt.

They read like the texts of other questions: whoever skims for odd ones finds none, and whoever reads knows the answer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np

from textgym import console
from textgym.feedback.records.answers import Expected
from textgym.feedback.store.entries import Planned
from textgym.feedback.store.project import CHECK_EVERY
from textgym.feedback.store.tables import digest
from textgym.feedback.types import Mode, Question
from textgym.metrics.words import count_words
from textgym.naming import argument
from textgym.tasks.base import shown_of
from textgym.types import Shown, Task, shown_text

REFERENCE = "reference"
"""The writer of references."""
CHECKED_MODES: tuple[Mode, ...] = ("compare", "rate")
"""What attention checks can ask."""
_OTHERS = 4  # further answers per check, of which one of like length is swapped in
TELLING = 3
"""Checks that tell something about a person: who guesses passes three comparisons once in eight times."""
_NUMBER = re.compile(r"\d+")
_NAME = re.compile(r"(?<=[\w,;] )[^\W\d_]\w+")  # behind a word: a capital there is not that of a sentence


class Source(NamedTuple):
    """A prompt, and a text that is known to be a good answer to it: a reference, never a text of a model."""

    task_key: str
    prompt: Shown
    good: str


class _Maker:
    """Makes bad texts out of good ones.

    Args:
        sources: Subjects of the checks.
        others: Further sources; their texts are swapped in first.
        rng: Source of the draws.
    """

    def __init__(self, sources: Sequence[Source], others: Sequence[Source], rng: np.random.Generator) -> None:
        self._sources = [*others, *sources]
        self._shown = {source.good for source in sources}  # a text that comes twice would give a check away
        self._rng = rng
        self._names = sorted({name for source in self._sources for name in _names(source.good)})

    def wrong_fact(self, source: Source) -> str | None:
        """Return the text with one fact of its prompt changed, a number or else a name; ``None`` if it has neither."""
        prompt = shown_text(source.prompt)
        for find, others in ((_NUMBER.findall, self._other_numbers), (_names, self._other_names)):
            known = [fact for fact in dict.fromkeys(find(source.good)) if fact in find(prompt)]
            for fact in known:
                wrong = [each for each in others(fact) if each not in prompt and each not in source.good]
                if wrong:
                    return re.sub(rf"\b{re.escape(fact)}\b", wrong[int(self._rng.integers(len(wrong)))], source.good)
        return None

    def _other_numbers(self, number: str) -> Iterator[str]:
        """Yield numbers that are written alike and begin otherwise: far enough away to be wrong, not to be odd."""
        digits = "123456789" if len(number) > 1 or number != "0" else "23456789"
        rest = "".join(str(self._rng.integers(10)) for _ in number[1:])
        yield from (digit + rest for digit in digits if digit != number[0])

    def _other_names(self, name: str) -> Iterator[str]:
        yield from (other for other in self._names if other != name)

    def other_answer(self, source: Source) -> str | None:
        """Return the answer to another prompt that is closest in length; ``None`` if there is none.

        One that no check has shown goes before one that did.
        """
        others = [other.good for other in self._sources if other.prompt != source.prompt and other.good != source.good]
        words = count_words(source.good)
        found = min(others, key=lambda text: (text in self._shown, abs(count_words(text) - words)), default=None)
        self._shown |= {found} if found is not None else set()
        return found


def draw_checks(
    task: Task,
    prompts: int,
    count: int,
    mode: Mode,
    *,
    seed: int = 0,
    criteria: Sequence[str] = (),
    plan: Sequence[Planned] = (),
) -> tuple[list[Question], list[Expected]]:
    """Return attention checks beside questions about the first ``prompts`` examples of a task, and their answers.

    They are about later examples, and swap in the answers to still later ones, as far as there are any: a prompt or a
    text that comes twice would give a check away. If there are too few, a warning says how many repeat one. No prompt
    of a check that a project has is checked again; but the same checks, drawn again, are the same.

    Args:
        task: Task whose data they are made of.
        prompts: Number of examples that the questions are about.
        count: Number of checks.
        mode: ``"compare"`` or ``"rate"``.
        seed: Seed of the changes.
        criteria: Further criteria that ratings grade.
        plan: Questions and checks that the project has.

    Raises:
        ValueError: The data has no references, or too few for so many checks.
    """
    if plan:
        checks, answers = _draw(task, prompts, count, mode, seed, criteria, [])[:2]
        known = {digest(row.question, row.expected) for row in plan}
        if known.issuperset(map(digest, checks, answers)):
            return checks, answers
    checks, answers, repeats, spare = _draw(task, prompts, count, mode, seed, criteria, plan)
    if repeats:
        console.warn(
            f"{repeats} of {count} attention checks repeat a prompt or a reference of another question, which may give "
            f"them away: beyond the {prompts} prompts asked for, {task.dataset.name!r} ({task.dataset.split}) has "
            f"{spare} with references; lower {argument('prompts')} or {argument('checks')}"
        )
    return checks, answers


def warn_of_few_checks(questions: int, checks: int) -> None:
    """Warn if whoever answers all questions of a project meets too few checks to be known by.

    Args:
        questions: Questions of the project, checks left out.
        checks: Its attention checks.
    """
    met = min(checks, questions // (CHECK_EVERY - 1))
    if met >= TELLING:
        return
    needed = (CHECK_EVERY - 1) * TELLING
    remedies = [f"{argument('checks')} to {TELLING} or more" if checks < TELLING else ""]
    remedies += [f"{argument('prompts')} to {needed} or more" if questions < needed else ""]
    console.warn(
        f"whoever answers all {questions:,} questions of the project meets {met} attention check(s), as one question "
        f"in {CHECK_EVERY} is one: too few to tell who reads from who guesses; "
        f"raise {' and '.join(filter(None, remedies))}"
    )


def _draw(
    task: Task, prompts: int, count: int, mode: Mode, seed: int, criteria: Sequence[str], plan: Sequence[Planned]
) -> tuple[list[Question], list[Expected], int, int]:
    """Return checks and answers, how many repeat another question, and how many prompts there were for them."""
    examples = task.dataset
    normal = {shown_of(task, examples[row]) for row in range(min(prompts, len(examples)))}
    known = {text for row in range(min(prompts, len(examples))) for text in examples[row].references[:1]}
    normal |= {row.question.prompt for row in plan}
    known |= {text for row in plan for text in row.question.responses}
    checked = {row.question.prompt for row in plan if row.expected is not None}
    spare = list(islice(_unseen(task, prompts, normal, known), count * (1 + _OTHERS)))
    own = list(_sources(task, range(min(prompts, len(examples))))) if len(spare) <= count else []
    own = [source for source in own if source.prompt not in checked]
    if not (spare or own):
        raise ValueError(
            f"expected references for attention checks, whose right answer is a text known to be good, got none in "
            f"{task.dataset.name!r} ({task.dataset.split}); give data with references "
            f"({argument('reference_column', ...)}), or leave out {argument('checks')}"
        )
    checks, answers = make_checks(
        [*spare[:count], *own], count, seed, mode=mode, others=spare[count:], criteria=criteria
    )
    repeats = sum(check.prompt in normal or not known.isdisjoint(check.responses) for check in checks)
    return checks, answers, repeats, len(spare)


def _unseen(task: Task, first: int, prompts: Collection[Shown], texts: Collection[str]) -> Iterator[Source]:
    """Yield sources from an example on, each prompt and text once, and none that a question has."""
    seen: set[Shown | str] = {*prompts, *texts}
    for source in _sources(task, range(first, len(task.dataset))):
        if seen.isdisjoint((source.prompt, source.good)):
            seen |= {source.prompt, source.good}
            yield source


def _sources(task: Task, rows: Iterable[int]) -> Iterator[Source]:
    for example in (task.dataset[row] for row in rows):
        if example.references and example.references[0].strip():
            yield Source(example.key, shown_of(task, example), example.references[0])


def make_checks(
    sources: Sequence[Source],
    count: int,
    seed: int = 0,
    *,
    mode: Mode = "compare",
    others: Sequence[Source] = (),
    criteria: Sequence[str] = (),
) -> tuple[list[Question], list[Expected]]:
    """Return attention checks and their answers.

    To compare, they have a good text beside that text with a fact changed which its prompt states, and beside the
    answer to another prompt, in turn. To rate, they have the answer to another prompt: how bad one wrong fact is,
    people may see differently.

    Args:
        sources: Subjects of the checks, in this order.
        count: Number of checks.
        seed: Seed of the changes.
        mode: ``"compare"`` or ``"rate"``.
        others: Further sources, whose texts are swapped in first.
        criteria: Further criteria that ratings grade.

    Raises:
        ValueError: There are too few sources.
    """
    maker = _Maker(sources[:count], [*others, *sources[count:]], np.random.default_rng(seed + 1))
    checks: list[Question] = []
    for source in sources:
        check = _check(source, maker, mode, criteria, swap_first=len(checks) % 2 == 1) if len(checks) < count else None
        checks += [check] if check is not None else []
    if len(checks) < count:
        raise ValueError(
            f"expected at most one check per prompt with a reference, got {count} for {len(sources)}, of which "
            f"{len(checks)} have a fact to change or the answer to another prompt to swap in; lower "
            f"{argument('checks')}, or give more data with references"
        )
    return checks, ["a" if mode == "compare" else [1, 2] for _ in checks]


def _check(source: Source, maker: _Maker, mode: Mode, criteria: Sequence[str], *, swap_first: bool) -> Question | None:
    """Return a question with a known answer about the same prompt; ``None`` if no bad text can be made for it."""
    makers: list[Callable[[Source], str | None]] = [maker.wrong_fact, maker.other_answer]
    if mode == "rate":
        makers = [maker.other_answer]
    elif swap_first:
        makers.reverse()
    bad = next((text for text in (make(source) for make in makers) if text is not None), None)
    if bad is None:
        return None
    texts = (source.good, bad) if mode == "compare" else (bad,)
    return Question(source.task_key, source.prompt, texts, mode, criteria=tuple(criteria) if mode == "rate" else ())


def _names(text: str) -> list[str]:
    """Return the words with a capital that are not the first of a sentence."""
    return [word for word in _NAME.findall(text) if word.istitle()]
