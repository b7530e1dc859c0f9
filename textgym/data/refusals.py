"""Kinds of files whose texts are no prompts with references: feedback about answers, logs, ratings.

Good and bad answers would all become references. Which kind a file is, its columns tell.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

from textgym.data.shapes import PROMPT_COLUMNS, Table, is_chat_of_turns
from textgym.values import as_list, as_object, is_number

_VERDICTS = ("winner", "prefer", "better", "safer", "choice", "label", "score", "rank", "vote", "rating", "order")
_ANSWER_STEMS = ("response", "answer", "completion", "output", "summary", "reference", "conversation", "human_ref")
_COMPARED = re.compile(rf"({'|'.join(_ANSWER_STEMS)})_?([a-z\d])")
_ANSWERS = ("completion", "response", "answer", "output", "action", "actions")
_WRITTEN = ("completion", "response", "generation", "candidate")
"""Names of answers that somebody wrote to be judged; a summary or answer with a score may be a good one."""
_RANKINGS = {"rank", "ranks", "ranking", "rankings", "order"}
RATERS = ("user", "userid", "user_id", "rater", "reviewer", "reviewerid", "annotator")


class Foreign(NamedTuple):
    """A kind of file whose texts are no prompts with references.

    Attributes:
        name: Noun for it in messages.
        is_like: Whether a table is one.
        advice: Sentences about its use, the last without its end.
        answers: Columns that are no references, whoever says so: good and bad ones would count alike.
    """

    name: str
    is_like: Callable[[Table], bool]
    advice: str
    answers: Sequence[str] = ()


def foreign_kind(table: Table) -> Foreign | None:
    """Return what a table is instead of prompts with references, if it is."""
    lowered = {name.lower(): values for name, values in table.items()}
    return next((kind for kind in _FOREIGN if kind.is_like(lowered)), None)


def _has(*groups: Sequence[str]) -> Callable[[Table], bool]:
    """Return whether a table has a column of each of these groups of names."""
    return lambda table: all(any(name in table for name in group) for group in groups)


def _is_comparison(table: Table) -> bool:
    """Say whether two answers, and no more as in multiple choice, stand beside a verdict."""
    stems = Counter(match[1] for name in table if (match := _COMPARED.fullmatch(name)))
    two = 2 in stems.values() or "summaries" in table
    return (two and any(map(_is_verdict, table))) or {"response_j", "response_k"} <= table.keys()


def _is_verdict(name: object) -> bool:
    """Say whether a column or field says how good something is: ``winner_model_a``, ``overall_preference``."""
    return any(word.startswith(_VERDICTS) for word in re.split(r"[_\W]", str(name).lower()))


def _has_rated_lists(table: Table) -> bool:
    """Say whether answers in a list have verdicts: as fields of their own, or in a list beside them."""
    verdicts = {name for name in table if _is_verdict(name)}
    if not _RANKINGS.isdisjoint(table) and any(map(_are_lists, table.values())):
        return True
    return any(
        any(map(_is_rated, values)) or any(_are_rated(values, table[verdict]) for verdict in verdicts)
        for name, values in table.items()
        if name not in verdicts
    )


def _are_lists(values: Sequence[object]) -> bool:
    """Say whether all cells are lists of several texts."""
    return bool(values) and all(
        isinstance(texts, list) and len(texts) > 1 and all(isinstance(text, str) for text in texts) for texts in values
    )


def _is_rated(value: object) -> bool:
    """Say whether a cell is a list of objects with a text and a verdict."""
    match value:
        case [dict(first), _, *_] if not is_chat_of_turns(value):
            texts = [name for name, cell in first.items() if isinstance(cell, str)]
            return bool(texts) and any(_is_verdict(name) for name in first)
    return False


def _are_rated(answers: Sequence[object], verdicts: Sequence[object]) -> bool:
    """Say whether there is a number for every text, in all rows."""
    if len(answers) != len(verdicts) or not _are_lists(answers):
        return False
    pairs = zip(map(as_list, answers), map(as_list, verdicts), strict=True)
    return all(len(texts) == len(numbers) and all(map(is_number, numbers)) for texts, numbers in pairs)


def _is_labelled(table: Table) -> bool:
    """Say whether single answers are marked as good or bad."""
    labels = {str(value).lower() for value in table.get("label", ()) if value is not None}
    return any(name in table for name in _ANSWERS) and bool(labels) and labels <= {"true", "false", "0", "1"}


def _is_tree(table: Table) -> bool:
    return any("replies" in as_object(value) for value in table.get("prompt", ()))


def is_ratings(table: Table) -> bool:
    """Return whether a table, by its names of columns in lower case, has users and ratings, and no prompts."""
    rated = _has(["rating", "ratings", "stars"], RATERS)(table)
    return rated and not any(name in table for name in PROMPT_COLUMNS)


_LEARN_REWARD = (
    "textgym reward fit ENV_ID --feedback FILE learns a reward from such a file. To use its prompts only, name their "
    "column"
)
_FOREIGN = (
    Foreign("pairs of chosen and rejected answers", _has(["chosen"], ["rejected"]), _LEARN_REWARD),
    Foreign("pairs of answers", _has(["preferred_output"], ["non_preferred_output"]), _LEARN_REWARD),
    Foreign("comparisons of answers", _is_comparison, _LEARN_REWARD),
    Foreign("answers marked as good or bad", _is_labelled, _LEARN_REWARD, _ANSWERS),
    Foreign("trees of ranked answers", _is_tree, _LEARN_REWARD),
    Foreign("messages of trees", _has(["message_id"], ["parent_id"], ["text"]), _LEARN_REWARD),
    Foreign("lists of rated answers", _has_rated_lists, _LEARN_REWARD),
    Foreign("rated answers", _has(["response"], ["helpfulness"], ["correctness"]), _LEARN_REWARD),
    Foreign("rated answers", _has(_WRITTEN, ["rating", "ratings", "rank", "ranking", "score"]), _LEARN_REWARD),
    Foreign(
        "a log of actions and rewards",
        _has(_ANSWERS, ["reward", "rewards"]),
        "Its actions are no references, since bad ones are logged too: textgym train ENV_ID --agent awr --log FILE "
        "learns from such a file, and ilql does. For references, write the good actions to a file without rewards. To "
        "use its states as prompts only, name their column",
        _ANSWERS,
    ),
    Foreign(
        "a table of ratings",
        is_ratings,
        "It has no column of prompts, though TextRec-v0 makes some of it; to use one all the same, name it",
    ),
)
