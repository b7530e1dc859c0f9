"""The task of writing a story or a poem with given words."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np

from textgym.data.dataset import map_examples
from textgym.data.source import BuiltIn
from textgym.metrics.rouge import rougeL
from textgym.metrics.texts import TEXT_METRICS, ReferenceMetric
from textgym.metrics.words import words_of
from textgym.tasks.base import TextTask
from textgym.tasks.options import LEVELS
from textgym.tasks.story.generator import FORMS, MIXED, NAME, requests
from textgym.tasks.story.scoring import score, units_of
from textgym.types import Data, Dataset, Episode, Example, FloatArray, Metric, Split

_OWN: Mapping[str, Mapping[str, object]] = {
    "story": {"asked": "One sentence.", "form": "story", "count": 1},
    "poem": {"asked": "A poem of four lines.", "form": "poem", "count": 4},
}
"""What is asked for with words of your own, by form."""
_ENDINGS = ("", "s", "es", "d", "ed", "ing", "er", "ly")


def words_reward(prompts: Sequence[str], responses: Sequence[str], examples: Sequence[Example]) -> FloatArray:
    """Score ``n`` texts by the words that they use, their number of sentences or lines, and their variety.

    The score is the share of the wanted words that occur, in any regular form, times the smaller number of sentences
    (lines of a poem) over the larger, of those written and those asked for, times the share of different word pairs.

    >>> asked = Example("a", "dog, run", extra={"words": ["dog", "run"], "count": 1, "form": "story"})
    >>> words_reward([""] * 3, ["A dog is running.", "Dogs. Dogs.", "A cat sat."], [asked] * 3).tolist()
    [1.0, 0.25, 0.0]
    """
    return np.array([_words_score(*each) for each in zip(responses, examples, strict=True)], dtype=np.float64)


def _words_score(response: str, example: Example) -> float:
    words, count = words_of(response), int(example.extra["count"])
    written = len(units_of(response, example.extra["form"]))
    if not words or not written:
        return 0.0
    pairs = list(itertools.pairwise(words))
    variety = len(set(pairs)) / len(pairs) if pairs else 1.0
    return share_used(response, example) * min(written, count) / max(written, count) * variety


def share_used(text: str, example: Example) -> float:
    """Return the share of the wanted words that occur in a text, in any regular form."""
    wanted, written = example.extra["words"], set(words_of(text))
    return sum(not written.isdisjoint(forms_of(word.lower())) for word in wanted) / len(wanted)


def forms_of(word: str) -> set[str]:
    """Return the regular forms of an English word, and some that are none.

    >>> {"carries", "carried"} <= forms_of("carry"), "running" in forms_of("run"), "making" in forms_of("make")
    (True, True, True)
    """
    stems = {word, word + word[-1]}
    if word.endswith("e"):
        stems.add(word[:-1])
    if word.endswith("y"):
        stems.add(f"{word[:-1]}i")
    found = {stem + ending for stem in stems for ending in _ENDINGS}
    return found - (stems - {word})


class Story(TextTask):
    r"""Write a story or a poem with given words.

    ## Description
    Given a genre, a form and some words, write a text of that form which uses all of the words, is fluent and does not
    repeat itself. A story has a number of sentences, of which the first opens as a beginning ("Once", "One day"), the
    last as an ending ("At last", "In the end") and the others as a middle ("Then", "Soon"). A poem has a number of
    lines of eight syllables, of which every second one is stressed, and they rhyme by a scheme such as ``abab``.

    ## Data
    Built in: ``"story-requests"``, of six genres (sea, forest, city, castle, space, mystery), each with 26 nouns
    and adjectives to ask for; 89 nouns, 32 adjectives and 23 verbs in 25 rhymes, and some verbs, adverbs and
    prepositions belong to all genres. Class, stress and rhyme of every word are known: nothing is downloaded. Every
    example has two texts as they should be (``references``), and a draft (``demonstrations``) of a careless writer, who
    leaves words out (60 % of them), opens the sentences of a story as another part of it (60 %, 45 % of all wrongly),
    writes lines of a poem out of metre (60 %) that do not rhyme (60 % of the pairs), and a sentence or line too many
    (50 %). 100,000 training, 2,000 validation and 2,000 test examples; no two splits share a genre and its words.

    Your own: any file, folder or Hub data set with a column of words or concepts, with spaces or commas between them,
    and if you have them of texts. Asked for is one sentence, or a poem of four lines::

        textgym train TextStory-v0 --data common_gen.jsonl

    ## Prompt
    ``"{asked}\nWords: {prompt}\nText:"``, such as ``A sea poem of four lines, aabb.``; models with a chat template are
    asked the same in a sentence. Budgets: 96 tokens for the prompt, 64 for the text.

    ## Rewards
    Without ``reward=``, built in: ``"gold"``, as all that is asked for are rules, which can be checked. Your own data:
    ``words_reward``, the share of the words to use that occur, in any regular form, times the smaller over the larger
    of the numbers of sentences (of a poem, lines) written and asked for, times the share of different word pairs.

    Gold is the share of the words that stand in fluent sentences or lines, times the mean of two parts, for a story, or
    of three for a poem: fluency, and the opening of the sentences, or the metre and the rhyme of the lines. Fluent is
    what the grammar has, with a word of the genre, and what repeats no more than one word of what came before. Parts
    are means over the sentences or lines asked for, or written where they are more. A list of the words is not fluent,
    and the same line twice counts once.

    ## Scores
    On the first 200 test examples of level medium, stories and poems (half a 95 % interval of gold is at most 0.04):

    | writer | gold | words used | fluency | form | words |
    |---|---|---|---|---|---|
    | random tokens | 0.000, 0.000 | 0.02, 0.02 | 0.00, 0.00 | 0.00, 0.00 | 27, 27 |
    | start model | 0.168, 0.121 | 0.26, 0.31 | 0.87, 0.88 | 0.52, 0.20 | 22, 26 |
    | start model, ``--temperature 0`` | 0.168, 0.074 | 0.39, 0.33 | 0.42, 0.30 | 0.42, 0.16 | 20, 24 |
    | drafts | 0.282, 0.298 | 0.47, 0.60 | 0.89, 0.90 | 0.48, 0.37 | 25, 26 |
    | first reference | 1.000, 1.000 | 1.00, 1.00 | 1.00, 1.00 | 1.00, 1.00 | 22, 23 |

    The start model writes fluent sentences and lines of the genre, but seldom with the words that are asked for: these,
    the opening of sentences, metre and rhyme are to be learned. ``textgym evaluate TextStory-v0 --prompts 200`` and
    ``--task-option form=poem`` print the second row.

    ## Success
    Built in: gold is 1: every word is used, every sentence or line fluent and as the form wants it. Own data: all words
    occur, in the number of sentences or lines asked for.

    ## Metrics
    ``words_used``: share of the words that occur. Built in: ``fluency`` and ``form``, the parts of gold. Own data with
    references: ``rougeL``. ``words``: length. ``distinct_2``: share of different word pairs. ``repetition_4``: share of
    runs of four words that occurred before.

    ## Arguments
    * ``data="story-requests"``: the built-in requests, a file, a folder, a Hub id, or a list of examples or rows.
    * ``prompt_column=None``, ``reference_column=None``: columns of your own data; guessed by default.
    * ``split="train"``: ``"train"``, ``"validation"`` or ``"test"``.
    * ``prompt_template=None``: text around the words instead of the one above.
    * ``form="story"``, ``"poem"`` or ``"any"``, one of the two at random. Metre and rhyme are known of the built-in
      words only: of a poem with words of your own, lines are counted.
    * ``difficulty="medium"``, of the built-in requests:

      | level | words to use | sentences of a story | lines and rhymes of a poem |
      |---|---|---|---|
      | ``"easy"`` | 1 | 2 | 2, ``aa`` |
      | ``"medium"`` | 2 | 3 | 4, ``aabb`` |
      | ``"hard"`` | 3 | 4 | 4, ``abab`` |
      | ``"mixed"`` | 1 to 3 | as of one of the three, at random | likewise |

    ## Version History
    * v0: first version.
    """

    name = "story"
    model = "tiny-story"
    options: ClassVar[dict[str, tuple[str, ...]]] = {"difficulty": (*LEVELS, MIXED), "form": FORMS}
    difficulty: str
    form: str
    built_in: ClassVar[BuiltIn] = {NAME: requests}
    default_data: ClassVar[Data] = NAME
    prompt_template = "{asked}\nWords: {prompt}\nText:"
    chat_prompt_template = "Write the following, and nothing else. {asked} Use all of these words: {prompt}"
    gold_meaning = "share of the words used, times the mean of fluency and form"
    max_prompt_tokens = 96
    max_new_tokens = 64

    def adapt_to_data(self) -> None:
        """Choose metrics and reward: of fluency and form, on the built-in requests alone."""
        self.metrics = {**self._own_metrics(), **TEXT_METRICS}
        self.main_metric = "words_used"
        self.reward = "gold" if self._is_built_in else words_reward
        if not self._is_built_in:
            self.reward_reason = "The default reward of TextStory on your own data is the share of words that are used."

    @property
    def _is_built_in(self) -> bool:
        return self.data == NAME

    def _own_metrics(self) -> Mapping[str, Metric]:
        if self._is_built_in:
            return {"words_used": _used, "fluency": _fluency, "form": _form}
        if any(self.dataset[place].references for place in range(len(self.dataset))):
            return {"words_used": _used, "rougeL": ReferenceMetric(rougeL)}
        return {"words_used": _used}

    def examples(self, split: Split) -> Dataset:
        """Load one split; words of your own become a request."""
        loaded = super().examples(split)
        if self._is_built_in:
            return loaded
        return map_examples(loaded, lambda example: as_request(example, self.form))

    def gold(self, episodes: Sequence[Episode]) -> FloatArray | None:
        """Return the true quality in [0, 1], shape ``(n,)``, on the built-in requests; ``None`` on other data."""
        if not self._is_built_in:
            return None
        return np.array([score(episode.text, episode.example).gold for episode in episodes], dtype=np.float64)

    def is_success(self, episode: Episode) -> bool:
        """Return whether gold is 1; on other data, whether all words occur in the number of sentences asked for."""
        if self._is_built_in:
            return score(episode.text, episode.example).gold == 1
        extra = episode.example.extra
        written = len(units_of(episode.text, extra["form"]))
        return written == extra["count"] and share_used(episode.text, episode.example) == 1


def _used(episodes: Sequence[Episode]) -> FloatArray:
    """Measure the share of the words to use that occur in each text."""
    return np.array([share_used(each.text, each.example) for each in episodes], dtype=np.float64)


def _fluency(episodes: Sequence[Episode]) -> FloatArray:
    """Measure the share of sentences or lines of each text that are fluent and say something new, a part of gold."""
    return np.array([score(each.text, each.example).fluent for each in episodes], dtype=np.float64)


def _form(episodes: Sequence[Episode]) -> FloatArray:
    """Measure the share of sentences or lines of each text that are fluent and in form, a part of gold."""
    return np.array([score(each.text, each.example).form for each in episodes], dtype=np.float64)


def as_request(example: Example, form: str) -> Example:
    """Return words of your own as a request for one sentence, or for a poem of four lines.

    >>> as_request(Example("a", "dog, run"), "story").extra["words"]
    ['dog', 'run']
    """
    words = [word for word in re.split(r"[\s,;]+", example.text.lower()) if word]
    asked = _OWN["poem" if form == "poem" else "story"]
    return replace(example, extra={**example.extra, **asked, "words": words or [example.text]})
