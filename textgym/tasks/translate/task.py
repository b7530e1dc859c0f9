"""The task of translating a sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np

from textgym.data.source import BuiltIn
from textgym.metrics.rouge import reaches_rougeL, rougeL
from textgym.metrics.texts import TEXT_METRICS, ReferenceMetric
from textgym.tasks.base import TextTask
from textgym.tasks.options import LEVELS
from textgym.tasks.translate.generator import DIRECTIONS, NAME, sentences
from textgym.tasks.translate.grammar import Sentence
from textgym.tasks.translate.scoring import score
from textgym.types import Data, Episode, FloatArray, Metric

_SUCCESS_ROUGE_L = 0.5
# Measures of files with references; chrF and BLEU belong here, and into the page below.
_OF_REFERENCES: Mapping[str, Metric] = {"rougeL": ReferenceMetric(rougeL)}


def adequacy(episodes: Sequence[Episode]) -> FloatArray:
    """Measure how near each text is to a correct translation of a built-in sentence; shape ``(n,)``, in [0, 1]."""
    known = [(each.text, each.example.extra) for each in episodes]
    return np.array([score(text, Sentence.from_json(row["facts"]), row["target"]) for text, row in known])


class Translate(TextTask):
    r"""Translate a sentence from English into German, or from German into English.

    ## Description
    Given a sentence, write it in the other language: with the right words, in the right forms, in an order that the
    language allows.

    ## Data
    Built in: ``"sentences"``, made by a grammar of both languages with 47 nouns, 13 verbs and 14 adjectives, which
    stand for each other one to one. German nouns have three genders; determiners and adjectives agree with them in
    gender, number and case; the verb agrees with the subject, stands second, and its infinitive or participle last; so
    "Yesterday the man sold a carpet" is "Gestern hat der Mann einen Teppich verkauft". Every example has up to two
    correct translations (``references``) and one learner's draft (``demonstrations``), which supervised training
    imitates: each of these is right in 30 % of drafts: word order, the cases of nouns (into German), the form of the
    verb, each adjective and the time, which are left out otherwise. 100,000 training, 2,000 validation and 2,000 test
    examples that share no sentence. ``example.extra`` has the language of the translation (``target``) and what the
    sentence says (``facts``).

    | difficulty | adjectives | tenses | time | determiners | further phrase |
    |---|---|---|---|---|---|
    | ``"easy"`` | 30 % of nouns | present | none | the, a | none |
    | ``"medium"`` | 50 % of nouns | present, past, can, must, will | 70 % of sentences | the, a | none |
    | ``"hard"`` | 50 % of nouns | present, past, can, must, will | 60 % | also this, my, two, three | 60 % |

    A further phrase has a preposition, which takes the accusative (for) or the dative (with, behind, beside, in front
    of).

    Your own: any file, folder or Hub data set with a column of sentences and one of translations, in any languages.

    ## Prompt
    ``"{prompt}\n\nTranslation:"``; models with a chat template are asked ``"Translate this text, into German if it is
    English and into English if it is German.\n\n{prompt}"``. ``prompt_template=`` is another one, for all models: give
    one that names your languages. Budgets: 64 tokens for the prompt, 48 for the translation.

    ## Rewards
    ``"rouge"``, ROUGE-L F1 against the best reference. Without references there is none: give ``reward=``.

    ``reward="gold"`` on the built-in sentences is the adequacy. The text is parsed into constituents (a noun with its
    determiner, adjective and preposition; a verb; a time), which are aligned, in order, with those of *every* correct
    translation; the best one counts. A right constituent is worth 1; one with the right noun or verb but a fault, half
    the share of its words that are right, where another form of the right word counts half. The sum is divided by the
    number of constituents that there should be or, if these are more, that there are; without a full stop the score is
    a tenth lower. So "Der Mann kauft der Korb" for "The man buys the basket" gets (1 + 1 + 0.5 * 1.5 / 2) / 3. Correct
    is what the grammar makes: the German past is the perfect or the preterite, the English present the simple one.

    ## Scores
    200 test sentences, 95 % intervals: ``textgym evaluate TextTranslate-v0 --reward gold --prompts 200 --seed 0``.

    | writer | gold | ROUGE-L | words |
    |---|---|---|---|
    | ``tiny-translate`` | 0.531 (0.505 to 0.556) | 0.612 | 6 |
    | ``tiny-translate``, ``--temperature 0`` | 0.529 (0.506 to 0.552) | 0.648 | 5 |
    | after PPO | 0.584 (0.559 to 0.610) | 0.666 | 6 |
    | after PPO, ``--temperature 0`` | 0.586 (0.564 to 0.609) | 0.697 | 6 |
    | first reference | 1.000 | 1.000 | |

    PPO is ``textgym train TextTranslate-v0 --reward gold --steps 16000 --lr 3e-4``, 0.7 minutes of one core, one seed.

    ## Success
    Built in: the translation is one of the correct ones, to the letter, with its full stop. Own data: ROUGE-L F1 of at
    least 0.5 against a reference (never, without references).

    ## Metrics
    ``rougeL``: F1 against the best reference; none without references. ``words``, ``distinct_2`` and ``repetition_4``
    as in every task.

    ## Arguments
    * ``data="sentences"``: the built-in sentences, a file, a folder, a Hub id, or a list of examples or rows.
    * ``prompt_column=None``, ``reference_column=None``: columns of your own data; guessed by default.
    * ``split="train"``: ``"train"``, ``"validation"`` or ``"test"``.
    * ``prompt_template=None``: text around every sentence instead of the one above.
    * ``difficulty="medium"``: ``"easy"``, ``"medium"`` or ``"hard"``, see above; built-in data only.
    * ``direction="from_english"``: ``"from_english"``, ``"to_english"``, or ``"both"`` in turn; built-in data only.

    ## Version History
    * v0: first version.
    """

    name = "translate"
    options: ClassVar[Mapping[str, Sequence[str]]] = {"difficulty": LEVELS, "direction": DIRECTIONS}
    difficulty: str
    direction: str
    model = "tiny-translate"
    built_in: ClassVar[BuiltIn] = {NAME: sentences}
    default_data: ClassVar[Data] = NAME
    prompt_template = "{prompt}\n\nTranslation:"
    chat_prompt_template = (
        "Translate this text, into German if it is English and into English if it is German.\n\n{prompt}"
    )
    gold_meaning = "share of constituents translated rightly, against every correct translation"
    max_prompt_tokens = 64
    max_new_tokens = 48

    def adapt_to_data(self) -> None:
        """Choose metrics and reward by whether there are references."""
        self.metrics = {**(_OF_REFERENCES if self.has_references else {}), **TEXT_METRICS}
        self.main_metric = "rougeL" if self.has_references else None
        self.reward = "rouge" if self.has_references else "none"
        self.reward_reason = (
            "The default reward of TextTranslate is ROUGE-L against the references."
            if self.has_references
            else "Without references, TextTranslate has no default reward: every text gets 0."
        )

    def gold(self, episodes: Sequence[Episode]) -> FloatArray | None:
        """Return the adequacy in [0, 1], shape ``(n,)``, on the built-in sentences; ``None`` on other data."""
        return adequacy(episodes) if self.data == NAME else None

    def is_success(self, episode: Episode) -> bool:
        """Return whether the translation is correct; on other data, whether ROUGE-L is at least 0.5."""
        if self.data == NAME:
            return bool(adequacy([episode])[0] == 1.0)
        return bool(episode.example.references) and reaches_rougeL(episode.text, episode.example, _SUCCESS_ROUGE_L)
