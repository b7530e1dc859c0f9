"""Attention checks made of real texts: one with a wrong fact, or the answer to another prompt.

They read like the texts of other questions: whoever skims for odd ones finds none, and whoever reads knows the answer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from textgym.feedback.records.answers import Expected
from textgym.feedback.types import Mode, Question
from textgym.metrics.words import count_words
from textgym.types import shown_text

REFERENCE = "reference"
"""The writer of references."""
CHECKED_MODES: tuple[Mode, ...] = ("compare", "rate")
"""What attention checks can ask."""
_NUMBER = re.compile(r"\d+")
_NAME = re.compile(r"(?<=[\w,;] )[^\W\d_]\w+")  # behind a word: a capital there is not that of a sentence


class _Source(NamedTuple):
    """A question, and the text that is a good answer to it."""

    question: Question
    good: str


class _Maker:
    """Makes bad texts out of good ones.

    Args:
        sources: All there are.
        rng: Source of the draws.
    """

    def __init__(self, sources: Sequence[_Source], rng: np.random.Generator) -> None:
        self._sources = sources
        self._rng = rng
        self._names = sorted({name for source in sources for name in _names(source.good)})

    def wrong_fact(self, source: _Source) -> str | None:
        """Return the text with one fact of its prompt changed, a number or else a name; ``None`` if it has neither."""
        prompt = shown_text(source.question.prompt)
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

    def other_answer(self, source: _Source) -> str | None:
        """Return the answer to another prompt that is closest in length; ``None`` if there is none."""
        others = [
            other.good
            for other in self._sources
            if other.question.prompt != source.question.prompt
            and other.good not in (*source.question.responses, source.good)
        ]
        words = count_words(source.good)
        return min(others, key=lambda text: abs(count_words(text) - words), default=None)


def make_checks(
    questions: Sequence[Question], count: int, seed: int = 0, *, others: Sequence[Question] = ()
) -> tuple[list[Question], list[Expected]]:
    """Return attention checks and their answers.

    To compare, they have a good text, a reference if there is one, beside that text with a fact changed which its
    prompt states, and beside the answer to another prompt, in turn. To rate, they have the answer to another prompt:
    how bad one wrong fact is, people may see differently.

    Args:
        questions: Questions with the prompts that the checks are about.
        count: Number of checks.
        seed: Seed of the changes.
        others: Questions whose texts may be swapped in besides.

    Raises:
        ValueError: There are too few questions to compare or rate.
    """
    usable = [question for question in questions if question.mode in CHECKED_MODES]
    sources = [_Source(question, _good(question)) for question in usable]
    maker = _Maker([*sources, *(_Source(each, _good(each)) for each in others)], np.random.default_rng(seed + 1))
    checks: list[Question] = []
    for source in sources:
        check = _check(source, maker, swap_first=len(checks) % 2 == 1) if len(checks) < count else None
        checks += [check] if check is not None else []
    if len(checks) < count:
        raise ValueError(
            f"expected at most one check per question, got {count} for {len(questions)}, of which {len(checks)} have a "
            "fact to change or the answer to another prompt to swap in; lower --checks, or raise --prompts"
        )
    return checks, ["a" if check.mode == "compare" else [1, 2] for check in checks]


def _good(question: Question) -> str:
    return dict(zip(question.generators, question.responses, strict=True)).get(REFERENCE, question.responses[0])


def _check(source: _Source, maker: _Maker, *, swap_first: bool) -> Question | None:
    """Return a question with a known answer about the same prompt; ``None`` if no bad text can be made for it."""
    question = source.question
    makers: list[Callable[[_Source], str | None]] = [maker.wrong_fact, maker.other_answer]
    if question.mode == "rate":
        makers = [maker.other_answer]
    elif swap_first:
        makers.reverse()
    bad = next((text for text in (make(source) for make in makers) if text is not None), None)
    if bad is None:
        return None
    texts = (source.good, bad) if question.mode == "compare" else (bad,)
    return Question(question.task_key, question.prompt, texts, question.mode, criteria=question.criteria)


def _names(text: str) -> list[str]:
    """Return the words with a capital that are not the first of a sentence."""
    return [word for word in _NAME.findall(text) if word.istitle()]
