"""The task of answering a question about a passage in a few words, or of saying that it has no answer there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import ClassVar

from textgym.data.source import BuiltIn, load_examples
from textgym.metrics.answers import UNANSWERABLE, abstention_precision, abstention_recall, exact_match, f1
from textgym.metrics.texts import ReferenceMetric, word_count
from textgym.tasks.answering.passages import NAME, passages
from textgym.tasks.base import TextTask
from textgym.tasks.options import LEVELS
from textgym.types import Data, Dataset, Episode, FloatArray, Metric, NameOrPath, RewardFn, Split


class Answering(TextTask):
    r"""Answer a question about a passage, or say that the passage does not answer it.

    ## Description
    Given a passage and a question about it, write the answer in a few words, or ``unanswerable`` where the passage does
    not say. The difficulty is to look at the right place, to say no more than was asked, and to know what is not there.

    ## Data
    Built in: ``"passages"``, short texts about invented places (museums, bridges, mills, ...), each with facts of seven
    kinds: the year it opened, who designed it, its town, its material, the color of its door, its visitors a day, the
    day it is closed. Where several places are described, most questions are about a kind of fact that is said of
    another place too; of the questions without an answer, about half are about a fact that is said of another place.
    100,000 training, 2,000 validation and 2,000 test questions that share no passage.

    | difficulty | places | facts of each | without an answer | asked in other words |
    |---|---|---|---|---|
    | ``"easy"`` | 1 | 3 | 20 % | none |
    | ``"medium"`` | 2 | 2 | 30 % | none |
    | ``"hard"`` | 3 | 3 | 40 % | 50 % |

    References are the fact alone. Demonstrations, which supervised training imitates, are of a careless reader: 3 in 4
    answer what has no answer, 3 in 5 take the fact of another place where one is said, 13 in 20 use more words than
    needed ("it is closed on Friday").

    Your own: any file, folder or Hub data set with questions and answers, such as SQuAD's, in which a passage and a
    question are one prompt. Rows with an empty list of answers are questions without an answer.

    ## Prompt
    ``"{prompt}\nAnswer:"`` with the passage and the question; models with a chat template are told to answer in a few
    words, and when to abstain. ``prompt_template=`` is another one, for all models. Budgets: 384 tokens for the prompt,
    16 for the answer.

    ## Rewards
    ``"f1"``: F1 of the words against the best reference, as SQuAD compares them. ``"exact_match"`` is the stricter one.
    On the built-in passages, ``"gold"`` is the same as ``"f1"``: the references are the facts.

    ## Scores
    On 200 test questions (medium): ``textgym evaluate TextQA-v0 --reward gold --prompts 200``, for the shipped model
    at temperature 1 and, with ``--temperature 0``, at 0.

    | writer | gold | exact match | abstention recall |
    |---|---|---|---|
    | shipped model | 0.24 | 0.15 | 0.14 |
    | shipped model, ``--temperature 0`` | 0.23 | 0.06 | 0.10 |
    | always ``unanswerable`` | 0.30 | 0.30 | 1.00 |
    | reference | 1.00 | 1.00 | 1.00 |

    ## Success
    The text is one of the references after normalisation; where there is no answer, it is ``unanswerable``.

    ## Metrics
    ``exact_match`` and ``f1``: against the best reference; an abstention is right where there is no answer, and only
    there. ``abstention_precision``: of the abstentions, the share that is right. ``abstention_recall``: of the
    questions without an answer, the share that is abstained from. ``words``: length.

    ## Arguments
    * ``data="passages"``: the built-in passages, a file, a folder, a Hub id, or a list of examples or rows.
    * ``difficulty="medium"``: ``"easy"``, ``"medium"`` or ``"hard"``, as above.
    * ``prompt_column=None``, ``reference_column=None``: columns of your own data; guessed by default.
    * ``split="train"``: ``"train"``, ``"validation"`` or ``"test"``.
    * ``prompt_template=None``: text around every prompt instead of the one above.

    ## Version History
    * v0: first version.
    """

    name = "answering"
    options: ClassVar[Mapping[str, Sequence[str]]] = {"difficulty": LEVELS}
    difficulty: str
    model = "answers"
    built_in: ClassVar[BuiltIn] = {NAME: passages}
    default_data: ClassVar[Data] = NAME
    prompt_template = "{prompt}\nAnswer:"
    chat_prompt_template = (
        "Answer the question about the passage in a few words taken from it. If the passage does not say, write "
        f'"{UNANSWERABLE}".\n\n{{prompt}}'
    )
    max_prompt_tokens = 384
    max_new_tokens = 16
    reward: RewardFn | NameOrPath = "f1"
    gold_meaning = "F1 of the words against the best reference"
    reward_reason = "The default reward is F1 of the words against the best reference."
    metrics: Mapping[str, Metric] = {
        "exact_match": ReferenceMetric(exact_match),
        "f1": ReferenceMetric(f1),
        "abstention_precision": abstention_precision,
        "abstention_recall": abstention_recall,
        "words": word_count,
    }
    main_metric = "f1"

    def examples(self, split: Split) -> Dataset:
        """Load one split of the data; a question without an answer is to be abstained from."""
        built_in = {name: partial(load, **self.choices) for name, load in self.built_in.items()}
        columns = (self.prompt_column, self.reference_column)
        return load_examples(self.data, split, *columns, built_in=built_in, unanswered=UNANSWERABLE)

    def is_success(self, episode: Episode) -> bool:
        """Return whether the text is one of the answers, or abstains where there is none."""
        return bool(exact_match([""], [episode.text], [episode.example])[0])

    def gold(self, episodes: Sequence[Episode]) -> FloatArray | None:
        """Return the F1 against the facts of the passage, in [0, 1], shape ``(n,)``; ``None`` on other data."""
        if self.data != NAME:
            return None
        return f1([""] * len(episodes), [each.text for each in episodes], [each.example for each in episodes])
