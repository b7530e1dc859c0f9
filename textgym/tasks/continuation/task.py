"""The task of continuing a review with a wanted sentiment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np

from textgym.data.dataset import map_examples, prompt_digest
from textgym.data.source import BuiltIn
from textgym.metrics.polarity import polarity
from textgym.metrics.texts import TEXT_METRICS
from textgym.metrics.words import count_words, first_words, words_of
from textgym.tasks.base import TextTask
from textgym.tasks.continuation.generator import AMOUNTS, MIXED, NAME, reviews
from textgym.tasks.continuation.grammar import opinions_of, sentences_of
from textgym.tasks.options import LEVELS
from textgym.types import Data, Dataset, Episode, Example, FloatArray, NameOrPath, RewardFn, Split

SIGNS = {"positive": 1, "negative": -1}
OPENING_WORDS = 12
_COLUMNS = ("sentiment", "label", "polarity")
_NEITHER = "neither"
_LABELS = {"pos": "positive", "neg": "negative", "1": "positive", "0": "negative", "true": "positive"}
_LABELS = {**_LABELS, "false": "negative", "positive": "positive", "negative": "negative"}
_UNDECIDED = 0.25  # for a sentence that neither praises nor blames
_SHORT = 3  # letters of words that may come back in every sentence, such as "the"


def polarity_reward(prompts: Sequence[str], responses: Sequence[str], examples: Sequence[Example]) -> FloatArray:
    """Score ``n`` continuations by the words that praise and blame in them, sentence by sentence.

    Each of the sentences asked for gets 1 where its words have the wanted polarity, 0.25 where they have none,
    and 0 where they have the other, times the share of its words that no earlier sentence had. The score is their mean;
    a further sentence counts as one with 0.

    >>> wanted = Example("a", "", extra={"wanted": "positive", "sentences": 2})
    >>> texts = ["The room was bright. I hated the soup.", "The room was bright. The room was bright.", "Good."]
    >>> polarity_reward([""] * 3, texts, [wanted] * 3).tolist()
    [0.5, 0.5, 0.5]
    """
    return np.array([_polarity_score(*each) for each in zip(responses, examples, strict=True)], dtype=np.float64)


def _polarity_score(response: str, example: Example) -> float:
    wanted, amount = SIGNS[example.extra["wanted"]], int(example.extra["sentences"])
    sentences, seen, total = sentences_of(response), set[str](), 0.0
    for sentence in sentences[:amount]:
        words = {word for word in words_of(sentence) if len(word) > _SHORT}
        new = len(words - seen) / len(words) if words else 0.0
        found = wanted * polarity(sentence)
        total += new * (1.0 if found > 0 else 0.0 if found < 0 else _UNDECIDED)
        seen |= words
    return total / max(amount, len(sentences))


class Continuation(TextTask):
    r"""Continue a review with a wanted sentiment.

    ## Description
    Given the opening of a review, a sentiment and a number of sentences, write what comes next: that many sentences,
    each an opinion of the wanted sentiment about a side of the thing which nothing was said of before.

    ## Data
    Built in: ``"reviews"``, invented reviews of eight kinds of things (hotels, restaurants, headphones, novels,
    dentists, bicycles, museums, coffee machines), each with six sides that eight adjectives praise or blame. Opinions
    are praise, blame, or either denied ("anything but rude"). Every example has two continuations as they should be
    (``references``), and a draft (``demonstrations``), whose writer grumbles (60 % of its sentences blame where praise
    is wanted, 80 % where blame is), comes back to what was spoken of (40 % of the sentences that can) and rambles (60 %
    have a further sentence without an opinion). 100,000 training, 2,000 validation and 2,000 test examples; no two
    splits share an opening.

    Your own: any file, folder or Hub data set with a column of reviews or of openings. Without a reference column, a
    review is cut: its first half, of at most 12 words, is the opening, the rest the reference. The wanted sentiment is
    that of the column ``sentiment``, ``label`` or ``polarity`` (``positive``, ``pos``, ``1`` or ``true``; ``negative``,
    ``neg``, ``0`` or ``false``); where it says neither, one of the two, by a hash of the review. A review of another
    sentiment than the wanted one is no reference. One sentence is asked for::

        textgym train TextContinue-v0 --data reviews.jsonl --prompt-column text

    ## Prompt
    ``"Sentiment: {wanted}. Length: {amount}.\nReview: {prompt}"``, such as ``Sentiment: positive. Length: two
    sentences.``; models with a chat template are asked for the same in a sentence. Budgets: 160 tokens for the prompt,
    48 for the continuation.

    ## Rewards
    Without ``reward=``, ``polarity_reward``: the mean over the sentences asked for of 1 where its words praise or
    blame as wanted, 0.25 where they do neither, else 0, times the share of its words that are new. It counts words of a
    list of 600 (turned round by a denial), and knows neither grammar nor what the review is about.

    ``reward="gold"`` on the built-in reviews is the true quality: the number of sentences that the grammar of the
    reviews has, with the wanted sentiment, about a side of this kind of thing which neither the opening nor an earlier
    sentence spoke of, at most as many as were asked for; divided by the number of sentences asked for, or written where
    these are more. Praise words in a row are no sentence, and the same praise twice counts once.

    ## Scores
    On the first 200 test examples of level medium (half a 95 % interval of gold is at most 0.04):

    | writer | gold | default reward | sentiment | grammatical | words |
    |---|---|---|---|---|---|
    | random tokens | 0.000 | 0.21 | 0.50 | 0.00 | 18 |
    | start model | 0.207 | 0.37 | 0.51 | 0.67 | 15 |
    | start model, ``--temperature 0`` | 0.002 | 0.25 | 0.49 | 0.87 | 11 |
    | drafts | 0.258 | 0.41 | 0.55 | 0.82 | 15 |
    | first reference | 1.000 | 0.96 | 1.00 | 1.00 | 12 |

    The start model writes such sentences, but of any sentiment, and repeats itself: what there is to learn is to follow
    the sentiment, to speak of another side each time, and to stop. ``textgym evaluate TextContinue-v0 --prompts 200``
    prints the second row.

    ## Success
    Built in: gold is 1. Own data: the words of the text have the wanted polarity, more of them than not.

    ## Metrics
    ``sentiment``: built in, the share of opinions that are as wanted; own data, 1 where the polarity of its words is as
    wanted, 0 where it is the other; 0.5 for neither. ``grammatical``: share of sentences that the grammar of the
    reviews has, built in only. ``words``: length. ``distinct_2``: share of different word pairs. ``repetition_4``:
    share of runs of four words that occurred before.

    ## Arguments
    * ``data="reviews"``: the built-in reviews, a file, a folder, a Hub id, or a list of examples or rows.
    * ``prompt_column=None``, ``reference_column=None``: columns of your own data; guessed by default.
    * ``split="train"``: ``"train"``, ``"validation"`` or ``"test"``.
    * ``prompt_template=None``: text around every opening instead of the one above.
    * ``difficulty="medium"``, of the built-in reviews:

      | level | sentences to write | opinions in the opening, each about another side |
      |---|---|---|
      | ``"easy"`` | 1 | none |
      | ``"medium"`` | 2 | 1, of either sentiment |
      | ``"hard"`` | 3 | 2, both of the sentiment that is not wanted |
      | ``"mixed"`` | 1 to 3 | as of one of the three, at random |

    * ``sentiment="given"``: that of each example; ``"positive"`` or ``"negative"``: this one for all.

    ## Version History
    * v0: first version.
    """

    name = "continuation"
    model = "tiny-continue"
    options: ClassVar[dict[str, tuple[str, ...]]] = {
        "difficulty": (*LEVELS, MIXED),
        "sentiment": ("given", "positive", "negative"),
    }
    difficulty: str
    sentiment: str
    built_in: ClassVar[BuiltIn] = {NAME: reviews}
    default_data: ClassVar[Data] = NAME
    prompt_template = "Sentiment: {wanted}. Length: {amount}.\nReview: {prompt}"
    chat_prompt_template = (
        "Below is the beginning of a review. Continue it by {amount}. What you add must be {wanted} about it. "
        "Write only what you add.\n\n{prompt}"
    )
    gold_meaning = "share of sentences that are grammatical, of the wanted sentiment, and about another side"
    max_prompt_tokens = 160
    max_new_tokens = 48
    reward: RewardFn | NameOrPath = polarity_reward
    reward_reason = "The default reward of TextContinue counts words that praise and that blame."

    def adapt_to_data(self) -> None:
        """Choose the metrics: of grammar, on the built-in reviews alone."""
        own = {"sentiment": self._sentiments}
        self.metrics = {**own, **({"grammatical": _grammatical} if self._is_built_in else {}), **TEXT_METRICS}
        self.main_metric = "sentiment"

    @property
    def _is_built_in(self) -> bool:
        return self.data == NAME

    def examples(self, split: Split) -> Dataset:
        """Load one split; reviews of your own become openings with a wanted sentiment."""
        loaded = super().examples(split)
        if self._is_built_in:
            return loaded
        cut = self.reference_column is None
        return map_examples(loaded, lambda example: to_continue(example, self.sentiment, cut))

    def gold(self, episodes: Sequence[Episode]) -> FloatArray | None:
        """Return the true quality in [0, 1], shape ``(n,)``, on the built-in reviews; ``None`` on other data."""
        if not self._is_built_in:
            return None
        return np.array([gold_of(episode.text, episode.example) for episode in episodes], dtype=np.float64)

    def is_success(self, episode: Episode) -> bool:
        """Return whether gold is 1; on other data, whether the words have the wanted polarity."""
        if self._is_built_in:
            return gold_of(episode.text, episode.example) == 1
        return SIGNS[episode.example.extra["wanted"]] * polarity(episode.text) > 0

    def _sentiments(self, episodes: Sequence[Episode]) -> FloatArray:
        """Measure the share of the opinions of each text that are as wanted, 0.5 where it has none."""
        return np.array([self._sentiment(each) for each in episodes], dtype=np.float64)

    def _sentiment(self, episode: Episode) -> float:
        """Return how much of the opinions of a text is as wanted, 0.5 where it has none."""
        extra, text = episode.example.extra, episode.text
        wanted = SIGNS[extra["wanted"]]
        if not self._is_built_in:
            return 0.5 + 0.5 * float(np.sign(wanted * polarity(text)))
        signs = [opinion.polarity for opinion in opinions_of(text, extra["kind"]) if opinion is not None]
        return signs.count(wanted) / len(signs) if signs else 0.5


def gold_of(text: str, example: Example) -> float:
    """Return the true quality of a continuation of a built-in review, in [0, 1]."""
    extra, told, good, written = example.extra, set(example.extra["told"]), 0, 0
    for opinion in opinions_of(text, extra["kind"]):
        written += 1
        if opinion is not None and opinion.aspect not in told:
            good += opinion.polarity == SIGNS[extra["wanted"]]
            told.add(opinion.aspect)
    amount = int(extra["sentences"])
    return min(good, amount) / max(written, amount)


def _grammatical(episodes: Sequence[Episode]) -> FloatArray:
    """Return the share of sentences of each text that the grammar has; 0 for a text without any."""
    read = [list(opinions_of(each.text, each.example.extra["kind"])) for each in episodes]
    shares = [sum(opinion is not None for opinion in found) / max(1, len(found)) for found in read]
    return np.array(shares, dtype=np.float64)


def to_continue(example: Example, sentiment: str, cut: bool) -> Example:
    """Return a review of your own as an opening with a wanted sentiment.

    Args:
        example: The review, or with a reference its opening.
        sentiment: ``"positive"``, ``"negative"``, or ``"given"``: that of its label.
        cut: Whether the opening is to be cut off the review.
    """
    label = label_of(example)
    by_hash = (
        "positive" if int(prompt_digest(example.text)[0], 16) % 2 else "negative"
    )  # the last digits tell the split
    wanted = sentiment if sentiment != "given" else by_hash if label in (None, _NEITHER) else label
    prompt, references = example.prompt, example.references
    if cut and isinstance(prompt, str):
        prompt = first_words(prompt, min(OPENING_WORDS, (count_words(prompt) + 1) // 2))
        rest = " ".join(example.text.split())[len(prompt) :].strip()
        references = (rest,) if rest else ()
    extra = {**example.extra, "wanted": wanted, "amount": AMOUNTS[1], "sentences": 1}
    return replace(example, prompt=prompt, references=references if label in (None, wanted) else (), extra=extra)


def label_of(example: Example) -> str | None:
    """Return the sentiment that a column of an example says it has; ``None`` where there is no such column.

    >>> label_of(Example("a", "Fine.", extra={"label": 1})), label_of(Example("a", "Fine.", extra={"sentiment": "so"}))
    ('positive', 'neither')
    """
    found = next((example.extra[name] for name in _COLUMNS if name in example.extra), None)
    return None if found is None else _LABELS.get(str(found).strip().lower(), _NEITHER)
