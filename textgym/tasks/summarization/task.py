"""The task of summarising a document in a sentence or two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import ClassVar

from textgym.data.source import BuiltIn
from textgym.metrics.rouge import reaches_rougeL, rouge1, rouge2, rougeL
from textgym.metrics.texts import TEXT_METRICS, ReferenceMetric
from textgym.tasks.base import TextTask
from textgym.tasks.options import LEVELS
from textgym.tasks.summarization import reports
from textgym.types import Data, Episode, FloatArray, Metric

_BUILT_IN = "reports"
_SUCCESS_ROUGE_L = 0.5
_ROUGE: Mapping[str, Metric] = {
    "rouge1": ReferenceMetric(rouge1),
    "rouge2": ReferenceMetric(rouge2),
    "rougeL": ReferenceMetric(rougeL),
}


class Summarization(TextTask):
    r"""Summarise a short document.

    ## Description
    Given a document, write a summary of one or two sentences that states what matters, nothing that is not so, and
    nothing else.

    ## Data
    Built in: ``"reports"``, short invented news reports of eleven kinds (council decisions, storms, companies, museums,
    closures, studies, races, court cases, prizes, appointments, rescues). Each has four key facts and some distractors:
    last year's amount, a neighbouring town, somebody's quote. Every example has two editors' summaries (``references``)
    and one draft of mixed quality (``demonstrations``), which supervised training imitates. 100,000 training, 2,000
    validation and 2,000 test examples that share no combination of facts. In version 0 the drafts are those of a
    rambling writer, who is wrong in many ways, and right in the most likely one; in version 1 those of a hurried one,
    who takes an old figure of the report for the figure, or leaves it out where there is no other (70 %), and adds a
    side issue (65 %), so that the most likely text is wrong.

    Your own: any file, folder or Hub data set with a column of documents and, if you have them, of summaries.

    ## Prompt
    ``"{prompt}\n\nSummary:"`` with the document in place of ``{prompt}``; from version 1 on, models with a chat
    template are asked ``"Summarize the following text in one or two sentences.\n\n{prompt}"`` instead.
    ``prompt_template=`` is another one, for all models. Budgets: 512 tokens for the prompt, 48 for the summary.

    ## Rewards
    | data | default reward |
    |---|---|
    | ``"reports"`` | ``"learned"``: the shipped reward model, fitted to comparisons of summaries |
    | your own, with references | ``"rouge"``: ROUGE-L F1 against the best reference |
    | your own, without references | ``"learned"``; it knows the built-in reports only, so give your own ``reward=`` |

    ``reward="gold"`` on the built-in corpus is the true quality: share of key facts stated, minus a quarter for
    everything invented, times fluency and brevity. It is meant for measuring what the learned reward missed,
    not for training.

    ## Scores
    On 200 test documents, sampled with three seeds (lowest and highest mean; half a 95 % interval is 0.04 of gold and
    ROUGE-L, 0.25 of the learned reward): ``textgym evaluate TextSumm-v0 --reward learned --prompts 200 --seed 0``.

    | writer | gold | ROUGE-L | learned reward | words |
    |---|---|---|---|---|
    | random tokens (``--agent random``) | 0.000 | 0.010 to 0.012 | -12.97 to -12.96 | 32 |
    | shipped model | 0.622 to 0.673 | 0.458 to 0.487 | -2.57 to -2.30 | 24 to 25 |
    | shipped model, ``--temperature 0`` | 0.921 | 0.636 | 0.17 | 17 |
    | the same after PPO (``textgym demo``, 320 documents) | 0.921 to 0.932 | 0.643 (one seed) | 0.18 (one seed) | |
    | first reference | 1.000 | 1.000 | -0.06 | 15 |

    ## Success
    Built in: all four key facts are stated and nothing is invented. Own data: ROUGE-L F1 of at least 0.5 against a
    reference (never, without references). No reward has a part in it.

    ## Metrics
    ``rouge1``, ``rouge2``, ``rougeL``: F1 against the best reference, by characters in scripts without spaces; none
    without references. ``words``: length. ``distinct_2``: share of different word pairs. ``repetition_4``: share of
    runs of four words that occurred before.

    ## Arguments
    * ``data="reports"``: the built-in corpus, a file, a folder, a Hub id, or a list of examples or rows.
    * ``prompt_column=None``, ``reference_column=None``: columns of your own data; guessed by default.
    * ``split="train"``: ``"train"``, ``"validation"`` or ``"test"``.
    * ``prompt_template=None``: text around every document instead of the one above.
    * ``difficulty="medium"`` (version 1): ``"easy"`` documents have 2 background sentences and 35 to 65 words,
      ``"medium"`` ones 2 to 4 and 45 to 75, ``"hard"`` ones 4 and 65 to 110; the facts are the same.

    ## Version History
    * v1: the drafts of a hurried writer, and a start model that learned from them (``tiny-hurried``: gold 0.50 at
      temperature 1 and 0.59 at temperature 0); levels of difficulty; models with a chat template are asked by an
      instruction instead of the cue.
    * v0: first version.
    """

    name = "summarization"
    built_in: ClassVar[BuiltIn] = {_BUILT_IN: reports.Reports}
    default_data: ClassVar[Data] = _BUILT_IN
    prompt_template = "{prompt}\n\nSummary:"
    gold_meaning = "share of key facts stated, less what is invented, times fluency and brevity"
    max_prompt_tokens = 512
    max_new_tokens = 48

    def adapt_to_data(self) -> None:
        """Choose metrics and reward by whether there are references."""
        self.metrics = {**_ROUGE, **TEXT_METRICS} if self.has_references else TEXT_METRICS
        self.main_metric = "rougeL" if self.has_references else None
        self.reward, self.reward_reason = _default_reward(self.data, self.dataset.name, self.has_references)

    def gold(self, episodes: Sequence[Episode]) -> FloatArray | None:
        """True quality in [0, 1], shape ``(n,)``, on the built-in corpus; ``None`` on other data."""
        if self.data != _BUILT_IN:
            return None
        return reports.gold([episode.text for episode in episodes], [episode.example for episode in episodes])

    def is_success(self, episode: Episode) -> bool:
        """All key facts and nothing invented; on other data, ROUGE-L F1 of at least 0.5."""
        if self.data == _BUILT_IN:
            return reports.is_success(episode.text, episode.example)
        return bool(episode.example.references) and reaches_rougeL(episode.text, episode.example, _SUCCESS_ROUGE_L)


class HurriedSummarization(Summarization):
    """Version 1 of :class:`Summarization`: a start model with a skill to learn, and an instruction for chat models.

    The drafts that supervised training imitates, and so the start model ``tiny-hurried``, state an old figure or none
    (70 %) and add a side issue (65 %): the most likely summary is wrong, and a policy that only becomes surer of what
    it writes scores lower.
    """

    options: ClassVar[Mapping[str, Sequence[str]]] = {"difficulty": LEVELS}
    built_in: ClassVar[BuiltIn] = {_BUILT_IN: partial(reports.Reports, writer="hurried")}
    model = "tiny-hurried"
    chat_prompt_template = "Summarize the following text in one or two sentences.\n\n{prompt}"


def _default_reward(data: Data, name: str, has_references: bool) -> tuple[str, str]:
    if data == _BUILT_IN:
        return "learned", "The default reward on the built-in reports is the shipped reward model."
    shown = repr(data if isinstance(data, str) else name)
    if has_references:
        return "rouge", f"The default reward on {shown} is ROUGE-L against its references."
    return "learned", (
        f"{shown} has no references, so the default reward is the shipped reward model, which knows the built-in "
        "reports only."
    )
