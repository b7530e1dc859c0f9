"""The task of recommending from a catalogue to somebody whose ratings are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np

from textgym.data.dataset import map_examples
from textgym.data.ratings import load_ratings
from textgym.data.source import BuiltIn, report_reading
from textgym.metrics.ranking import ndcg, regret
from textgym.metrics.rouge import reaches_rougeL, rougeL
from textgym.metrics.texts import TEXT_METRICS, ReferenceMetric
from textgym.tasks.base import TextTask
from textgym.tasks.options import LEVELS
from textgym.tasks.recommendation.generator import MIXED, NAME, NOTES, film_notes, films
from textgym.tasks.recommendation.histories import histories
from textgym.tasks.recommendation.population import visits_of
from textgym.tasks.recommendation.scoring import Answer, read
from textgym.types import Data, Dataset, Episode, Example, FloatArray, Metric, NameOrPath, RewardFn, Split

_SUCCESS_ROUGE_L = 0.5


def _measured(values: Sequence[float]) -> FloatArray:
    return np.array(values, dtype=np.float64)


def _answer(episode: Episode) -> Answer:
    return read(episode.text, episode.example.extra)


def clicked(episodes: Sequence[Episode]) -> FloatArray:
    """Measure the share of the simulated visitors who click on something that each text recommends."""
    return _measured([float(visits_of(each.example, each.text).clicked.mean()) for each in episodes])


def ranked(episodes: Sequence[Episode]) -> FloatArray:
    """Measure the nDCG of what each text recommends; the gain of an item is how much it is above the worst one."""
    return _measured([_ndcg(each) for each in episodes])


def _ndcg(episode: Episode) -> float:
    preferences, ranking = episode.example.extra["preferences"], _answer(episode).ranking
    least = min(preferences.values())
    gains = [preferences.get(title, least) - least for title in ranking]
    among = [preference - least for preference in preferences.values()]
    return ndcg(gains, k=episode.example.extra["count"], among=among, exponential=False)


def lost(episodes: Sequence[Episode]) -> FloatArray:
    """Measure the regret of each recommendation: what it is worth less than the best one, from 0 to 1, the worst."""
    return regret([_answer(each).value for each in episodes], [1.0] * len(episodes))


def explained(episodes: Sequence[Episode]) -> FloatArray:
    """Measure the mean worth of the reasons of each text: 1 where all are true and matter, 0 where none is true."""
    return _measured([_answer(each).explanation for each in episodes])


_MEASURES: Mapping[str, Metric] = {"ndcg": ranked, "regret": lost, "click_through": clicked, "explanation": explained}


class Recommendation(TextTask):
    r"""Recommend from a catalogue, and say why, to somebody whose ratings are known.

    ## Description
    Given what a user rated and a catalogue, name what the user will like best (two films, the best first, at the level
    hard), with a reason: an attribute of it that the user likes.

    ## Data
    Built in: ``"films"``, invented users and films. A film has a mood, an origin and, at hard, a form. A user adds
    stars for some of these values, takes stars off for others, and does not care for the rest: that is the hidden
    preference, a sum. Every value that matters was rated once, in a film whose other values do not matter and are not
    in the catalogue, so the history tells the preference exactly: a value adds the stars of its film less 3. Every
    example has two good recommendations (``references``) and a draft (``demonstrations``), which supervised training
    imitates: its writer recommends what stands first in the catalogue (65 %), for what is said of it first (60 %), and
    adds that it is popular, famous or acclaimed (60 %). 40,000 training, 2,000 validation and 2,000 test examples, of
    which no two splits share one. ``"film-notes"`` are the same users, 10,000 for training; its drafts are the
    stars of every attribute in the catalogue, from which models learn to read a history.

    | difficulty | weights of the values that matter | films rated | catalogue | attributes | to recommend |
    |---|---|---|---|---|---|
    | ``"easy"`` | 2, -2 | 3 | 3 | 2 | 1 |
    | ``"medium"`` | 2, 1, -2 | 4 | 4 | 2 | 1 |
    | ``"hard"`` | 2, 1, -1, -2 | 6 | 6 | 3 | 2 |
    | ``"mixed"`` | the three in turn | 3 to 6 | 3 to 6 | 2 or 3 | 1 or 2 |

    Your own: a table of ratings, with columns such as ``user``, ``film``, ``rating`` and, if there are any, ``title``,
    ``genres`` (``"Crime|Drama"``) and ``time``; other usual names are known (``userId``, ``movieId``, ``stars``). Of a
    user, six ratings in the order of time are a history and the next four the catalogue, whose stars are held out; then
    come the next ten, at most 10 times. Users are split 80/10/10 by a hash. The references recommend what got most
    stars. MovieLens loads as it is::

        textgym train TextRec-v0 --data ratings.csv --steps 2000 --n-envs 8

    The baseline of such data, ``textgym.metrics.rating_means.RatingMeans`` on the rows of
    ``textgym.data.ratings.load_ratings``: on 100,004 ratings of MovieLens with a tenth of the ratings of each user held
    out, the mean has an RMSE of 1.06, and the mean with what users and films add one of 0.89.

    Also any file, folder or Hub data set with prompts that have history and catalogue in them, and references.

    ## Prompt
    ``"{prompt}{catalogue}\n\nAnswer:"``: the history (``5 Harbour: funny, French``), of which the last lines are cut
    first, then ``Recommend 1 of`` and the catalogue (``- Lantern: sad, Polish``). Models with a chat template are told
    what these are. ``prompt_template=`` is another one, for all models. Budgets: 128 tokens for the prompt, 24 for the
    answer; 384 and 48 for your own data.

    ## Rewards
    ``"clicks"``, implicit feedback: 20 visitors with the user's taste, each in a mood of their own, look at what is
    recommended (at the second place half as often), click or do not, and stay or leave
    (:class:`~textgym.rewards.clicks.Clicks`). The reward is the mean of ``0.5 * clicked + 0.5 * min(1, seconds /
    120)``. It is noisy, and flattery draws clicks which time on the page does not repay: ``reward="clicks?dwell=0"``
    teaches to flatter. The same text gets the same visits. Without ratings: ``"rouge"``.

    ``reward="gold"`` on the built-in films is the true quality: ``value * explanation * fluency``. The value is the
    preference for what is recommended, from 0 for the worst in the catalogue to 1 for the best (of two, the second
    counts 1 / log2(3) of the first); 0 where more are named than were asked for, or one that is not in the catalogue.
    The explanation is the mean over the attributes that are mentioned: 1 for a true one that the user likes, 0.5 for
    another true one, 0 for what is not true, denied, said before or said of any film; 0 without any. Fluency is 1 for a
    text whose neighbouring words are neighbours in the wordings of the corpus, 0 where at most 70 % are, or without a
    verb. On a table of ratings, gold is the value alone, of the stars.

    ## Scores
    On the first 200 test examples; ``textgym evaluate TextRec-v0 --prompts 200`` prints such a row.

    | writer | gold | nDCG | regret | click-through | explanation |
    |---|---|---|---|---|---|
    | ``tiny-rec`` | 0.041 | 0.21 | 0.79 | 0.28 | 0.09 |
    | ``tiny-rec``, ``--temperature 0`` | 0.102 | 0.45 | 0.55 | 0.60 | 0.21 |
    | first reference | 1.000 | 1.00 | 0.00 | 0.91 | 1.00 |

    The start model copies from the catalogue and cannot read a history yet: which film, which reason, and to leave out
    the flattery are to be learned.

    ## Success
    The best item is recommended first, and no more than asked for, all of the catalogue. Without ratings: ROUGE-L F1 of
    at least 0.5.

    ## Metrics
    ``ndcg``: nDCG of what is recommended, as many places as were asked for. ``regret``: what it is worth less than the
    best, 0 to 1. ``click_through``: share of the visitors who click. ``explanation``: mean worth of the reasons; on a
    table of ratings, an attribute counts as liked if its ratings in the history are above the others. ``rougeL`` where
    there are references but no ratings. ``words``, ``distinct_2`` and ``repetition_4`` as in every task.

    ## Arguments
    * ``data="films"``: the built-in films, a file, a folder, a Hub id, or a list of examples or rows.
    * ``prompt_column=None``, ``reference_column=None``: columns of your own prompts; guessed by default. With a
      ``prompt_column``, a table of ratings is not read as one.
    * ``split="train"``: ``"train"``, ``"validation"`` or ``"test"``.
    * ``prompt_template=None``: text around every history instead of the one above.
    * ``difficulty="medium"``: ``"easy"``, ``"medium"``, ``"hard"`` or ``"mixed"``, see above; built-in data only.

    ## Version History
    * v0: first version.
    """

    name = "recommendation"
    options: ClassVar[Mapping[str, Sequence[str]]] = {"difficulty": (*LEVELS, MIXED)}
    difficulty: str
    model = "tiny-rec"
    built_in: ClassVar[BuiltIn] = {NAME: films, NOTES: film_notes}
    default_data: ClassVar[Data] = NAME
    prompt_template = "{prompt}{catalogue}\n\nAnswer:"
    chat_prompt_template = (
        "Somebody gave these stars, of 5:\n\n{prompt}{catalogue}\n\nAnswer with one sentence that recommends as many "
        "of the list as are asked for, the best first, by their titles, and says which of its attributes the person "
        "likes."
    )
    gold_meaning = "preference for what is recommended, times the worth of the reasons and fluency"
    max_prompt_tokens = 128
    max_new_tokens = 24

    def adapt_to_data(self) -> None:
        """Choose metrics, reward and budgets by what is known: preferences, references, neither."""
        self.knows_preferences = "preferences" in self.dataset[0].extra
        measures: Mapping[str, Metric] = {"rougeL": ReferenceMetric(rougeL)} if self.has_references else {}
        self.metrics = {**(_MEASURES if self.knows_preferences else measures), **TEXT_METRICS}
        self.main_metric = next(iter(self.metrics)) if self.knows_preferences or self.has_references else None
        self.reward, self.reward_reason = _default_reward(self.knows_preferences, self.has_references)
        if not self._is_built_in:
            self.max_prompt_tokens, self.max_new_tokens = 384, 48

    @property
    def _is_built_in(self) -> bool:
        return self.data in (NAME, NOTES)

    def examples(self, split: Split) -> Dataset:
        """Load one split; users of a table of ratings become examples."""
        if self._is_built_in:
            return super().examples(split)
        table = load_ratings(self.data) if self.prompt_column is None else None
        if table is not None:
            made = histories(table, split)
            report_reading(made, str(self.data) if isinstance(self.data, str) else "")
            return made
        return map_examples(super().examples(split), _without_catalogue)

    def gold(self, episodes: Sequence[Episode]) -> FloatArray | None:
        """Return the true quality in [0, 1], shape ``(n,)``; ``None`` on data without preferences."""
        if not self.knows_preferences:
            return None
        answers = map(_answer, episodes)
        return _measured([answer.gold if self._is_built_in else answer.value for answer in answers])

    def is_success(self, episode: Episode) -> bool:
        """Return whether the best item is recommended first; on data without preferences, ROUGE-L F1 of 0.5."""
        if not self.knows_preferences:
            return bool(episode.example.references) and reaches_rougeL(episode.text, episode.example, _SUCCESS_ROUGE_L)
        answer, preferences = _answer(episode), episode.example.extra["preferences"]
        return answer.value > 0 and preferences[answer.chosen[0]] == max(preferences.values())


def _without_catalogue(example: Example) -> Example:
    """Return an example whose prompt has the catalogue in it."""
    return example if "catalogue" in example.extra else replace(example, extra={**example.extra, "catalogue": ""})


def _default_reward(knows_preferences: bool, has_references: bool) -> tuple[RewardFn | NameOrPath, str]:
    if knows_preferences:
        return "clicks", "The default reward of TextRec is the clicks and the time of a simulated population."
    if has_references:
        return "rouge", "Without a table of ratings, the default reward of TextRec is ROUGE-L against the references."
    return "none", "Without ratings and references nothing tells what is good: give TextRec a reward."
