"""The task of putting a table of facts into sentences."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np

from textgym.data.source import BuiltIn
from textgym.metrics.rouge import rougeL
from textgym.metrics.texts import TEXT_METRICS, ReferenceMetric
from textgym.metrics.words import words_of
from textgym.tasks.base import TextTask
from textgym.tasks.options import LEVELS
from textgym.tasks.report.generator import NAME, UNKNOWN, tables
from textgym.tasks.report.scoring import score
from textgym.types import Data, Episode, Example, FloatArray, Metric

# "label: value" in lines or between commas, and "label[value]", which the E2E data set was published with.
_ROW = re.compile(r"(?:^|[,\n])\s*[^:\[\],\n]+?(?::\s*(?P<plain>[^,\n]+)|\[(?P<bracketed>[^\]]*)\])")
_UNSTATED = frozenset({"yes", "no", "", UNKNOWN})


def values_of(table: str) -> list[str]:
    """Return the values of a table that a text can state word for word: not "yes", "no" and "unknown".

    >>> values_of("name: Green Man, family friendly: yes, food: Greek"), values_of("name[Clowns], near[Cafe Sol]")
    (['Green Man', 'Greek'], ['Clowns', 'Cafe Sol'])
    """
    found = ((row["plain"] or row["bracketed"] or "").strip() for row in _ROW.finditer(table))
    return [value for value in found if value.lower() not in _UNSTATED]


def stated_share(text: str, table: str) -> float:
    """Return the share of the values of a table that stand in a text, word for word; NaN where it has none.

    >>> stated_share("The Green Man serves fish.", "name: Green Man, food: Greek")
    0.5
    """
    values, words = values_of(table), f" {' '.join(words_of(text))} "
    stated = [f" {' '.join(words_of(value))} " in words for value in values]
    return sum(stated) / len(stated) if stated else math.nan


def values_reward(prompts: Sequence[str], responses: Sequence[str], examples: Sequence[Example]) -> FloatArray:
    """Score ``n`` texts by the share of the table's values that they state word for word; 0 where there are none."""
    pairs = zip(responses, examples, strict=True)
    return np.nan_to_num([stated_share(response, example.text) for response, example in pairs])


def values_stated(episodes: Sequence[Episode]) -> FloatArray:
    """Measure the share of the table's values that stand in each text word for word; NaN for no table."""
    return np.array([stated_share(episode.text, episode.example.text) for episode in episodes], dtype=np.float64)


def rows_stated(episodes: Sequence[Episode]) -> FloatArray:
    """Measure the share of the known rows that each text states, in whatever words."""
    scores = [score(episode.text, episode.example.extra["facts"]) for episode in episodes]
    return np.array([each.stated / each.rows for each in scores], dtype=np.float64)


def truthful(episodes: Sequence[Episode]) -> FloatArray:
    """Measure whether each text states nothing that its table does not say."""
    return np.array(
        [score(each.text, each.example.extra["facts"]).invented == 0 for each in episodes], dtype=np.float64
    )


class Report(TextTask):
    r"""Put a table of facts into one or two sentences.

    ## Description
    Given a table, write a report that states every row of it, once, and nothing that it does not say.

    ## Data
    Built in: ``"tables"``, invented places to eat, walks and homes: a name, a type, and some of six other rows, such as
    price, rating and area. Every example has two complete reports (``references``) and one hurried draft
    (``demonstrations``), which supervised training imitates: it states each row beyond name and type in 40 % of drafts
    only, puts a flattering value in place of the true one in 65 % (price, rating, level, dogs, condition, garden), and
    invents something at the end in 65 %. 100,000 training, 2,000 validation and 2,000 test examples that share no
    table. ``example.extra["facts"]`` has the known rows.

    | difficulty | rows, name and type included | rows whose value is "unknown", not to be stated |
    |---|---|---|
    | ``"easy"`` | 3 to 4 | 0 |
    | ``"medium"`` | 5 to 6 | 0 |
    | ``"hard"`` | 4 to 8 | up to 2 |

    Your own: any file, folder or Hub data set with a column of tables, as ``"name: Green Man, food: Greek"`` (in lines
    or between commas) or ``"name[Green Man], food[Greek]"``, and, if you have them, one of reports.

    ## Prompt
    ``"{prompt}\n\nReport:"``; models with a chat template are asked ``"State all facts of this table in one or two
    sentences, and nothing else.\n\n{prompt}"``. ``prompt_template=`` is another one, for all models. Budgets: 96 tokens
    for the prompt, 64 for the report.

    ## Rewards
    ``"rouge"``, ROUGE-L F1 against the best reference, where there are references; else the share of the table's values
    that the text states word for word ("yes", "no" and "unknown" aside).

    ``reward="gold"`` on the built-in tables is the true quality, computed from the wordings: the number of rows stated,
    minus one for everything that is invented, denied or repeated, divided by the number of rows, times fluency. A row
    counts as stated in any of its wordings: "cheap", "with low prices". Fluency is 1 for a text whose neighbouring
    words are neighbours in the wordings of the corpus, so lists, copies of the table and empty texts get 0. It knows
    those wordings only, not all good English.

    ## Scores
    On 200 test tables with 95 % intervals: ``textgym evaluate TextReport-v0 --reward gold --prompts 200 --seed 0``.

    | writer | gold | rows stated | truthful | ROUGE-L | words |
    |---|---|---|---|---|---|
    | random tokens (``--agent random``) | 0.000 | 0.005 | 0.535 | 0.035 | 23 |
    | ``tiny-report`` | 0.310 (0.284 to 0.336) | 0.506 | 0.260 | 0.563 | 13 |
    | ``tiny-report``, ``--temperature 0`` | 0.190 (0.184 to 0.198) | 0.372 | 0.000 | 0.487 | 11 |
    | after PPO | 0.479 (0.449 to 0.508) | 0.571 | 0.680 | 0.623 | 11 |
    | after PPO, ``--temperature 0`` | 0.547 (0.532 to 0.561) | 0.548 | 0.995 | 0.636 | 9 |
    | first reference | 1.000 | 1.000 | 1.000 | 1.000 | 19 |

    PPO is ``textgym train TextReport-v0 --reward gold --steps 60000``, 2.3 minutes of one core, one seed.

    ## Success
    Built in: every row is stated, once, and nothing else, in sentences (fluency above 0). Own data: all values are
    stated, word for word.

    ## Metrics
    Built in: ``rows_stated``, share of rows stated; ``truthful``, share of texts that state nothing else. Own data:
    ``values_stated``, share of values stated word for word. With references, ``rougeL``. ``words``, ``distinct_2`` and
    ``repetition_4`` as in every task.

    ## Arguments
    * ``data="tables"``: the built-in tables, a file, a folder, a Hub id, or a list of examples or rows.
    * ``prompt_column=None``, ``reference_column=None``: columns of your own data; guessed by default.
    * ``split="train"``: ``"train"``, ``"validation"`` or ``"test"``.
    * ``prompt_template=None``: text around every table instead of the one above.
    * ``difficulty="medium"``: ``"easy"``, ``"medium"`` or ``"hard"``, see above; built-in data only.

    ## Version History
    * v0: first version.
    """

    name = "report"
    options: ClassVar[Mapping[str, Sequence[str]]] = {"difficulty": LEVELS}
    difficulty: str
    model = "tiny-report"
    built_in: ClassVar[BuiltIn] = {NAME: tables}
    default_data: ClassVar[Data] = NAME
    prompt_template = "{prompt}\n\nReport:"
    chat_prompt_template = "State all facts of this table in one or two sentences, and nothing else.\n\n{prompt}"
    gold_meaning = "share of rows stated, less what is invented, denied or repeated, times fluency"
    max_prompt_tokens = 96
    max_new_tokens = 64

    def adapt_to_data(self) -> None:
        """Choose metrics and reward by whether the tables are built in and whether there are references."""
        rouge: Mapping[str, Metric] = {"rougeL": ReferenceMetric(rougeL)} if self.has_references else {}
        own: Mapping[str, Metric] = {"rows_stated": rows_stated, "truthful": truthful}
        self.metrics = {**(own if self.data == NAME else {"values_stated": values_stated}), **rouge, **TEXT_METRICS}
        self.main_metric = "rows_stated" if self.data == NAME else "values_stated"
        self.reward = "rouge" if self.has_references else values_reward
        self.reward_reason = (
            "The default reward of TextReport is ROUGE-L against the references."
            if self.has_references
            else "Without references, the default reward of TextReport is the share of values stated word for word."
        )

    def gold(self, episodes: Sequence[Episode]) -> FloatArray | None:
        """Return the true quality in [0, 1], shape ``(n,)``, on the built-in tables; ``None`` on other data."""
        if self.data != NAME:
            return None
        return np.array([score(each.text, each.example.extra["facts"]).gold for each in episodes], dtype=np.float64)

    def is_success(self, episode: Episode) -> bool:
        """Return whether all rows are stated and nothing else; on other data, all values, word for word."""
        if self.data == NAME:
            return score(episode.text, episode.example.extra["facts"]).complete
        return stated_share(episode.text, episode.example.text) == 1.0
