"""The neutral task: a prompt comes in, a text goes out, and any reward says how good it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

from textgym.data.dataset import InMemoryDataset, check_split
from textgym.data.source import BuiltIn
from textgym.tasks.base import TextTask
from textgym.types import Data, Episode, Example, Message, NameOrPath, RewardFn, Split

TARGET_WORDS = 20
_BUILT_IN = "requests"
_ENDS = (".", "!", "?", "…", "。", "！", "？")
_CLOSING = "\"'”’»)]"
_FORMS = (
    "Describe {} to somebody who has never seen one.",
    "Write the opening of a story about {}.",
    "Give one piece of advice about {}.",
    "What should a visitor know about {}?",
    "Write a short note to a friend about {}.",
    "What can go wrong with {}?",
    "Tell a child about {}.",
    "What is the best thing about {}?",
    "Write a notice for the town hall about {}.",
    "How would you draw {}?",
    "What does {} sound like?",
    "Write two sentences that end with {}.",
    "Why might somebody remember {}?",
    "Explain {} to a traveller from another century.",
    "Write a headline and one sentence about {}.",
    "What would you change about {}?",
)
_SUBJECTS = (
    *("a harbour in winter", "a weekly market", "a night train", "a small library", "a bicycle workshop"),
    *("a village school", "an old bridge", "a mountain hut", "an allotment", "a city garden", "a lighthouse"),
    *("a bakery before dawn", "a football match in the rain", "a lost umbrella", "a new neighbour", "a long walk"),
    *("a broken clock", "a river after rain", "a museum of tools", "a summer fair", "a choir rehearsal"),
    *("a ferry crossing", "a power cut", "a handwritten letter", "a crowded tram", "a quiet Sunday"),
    *("an orchard in spring", "a box of photographs", "a chess club", "a mended coat", "a fire drill"),
    *("an empty theatre", "a beehive", "a dictionary", "a first day at work", "a kite on the beach"),
    *("a swimming lesson", "a stray cat", "a radio play", "a puzzle with a missing piece", "a rooftop", "a canal lock"),
    *("a street musician", "a birthday cake", "a windmill", "a snowed-in road", "a telescope", "a second-hand piano"),
    *("a school play", "a wooden boat", "a thunderstorm", "a water tower", "a picnic", "a printing press"),
    *("a footbridge", "a post office", "a pottery class", "a map without names", "a tunnel", "a night shift"),
)
_ANSWERS = (
    "Imagine {}: it looks ordinary at first, but whoever stays for a while notices something new every few minutes.",
    "Nobody had planned to talk about {} that evening, until Martha put down her cup and began to laugh.",
    "Whatever you have heard about {}, take your time, look twice, and ask somebody who knows it well.",
    "A visitor should know that {} is best seen early, when it is quiet and nobody is in a hurry.",
    "Dear Anna, I have to tell you about {}, which made me think of our last summer. Yours, Tom.",
    "With {}, nearly everything can go wrong: bad weather, bad timing, and people who never read the instructions.",
    "Listen, there is a little secret about {}: if you look closely, it has a story of its own.",
    "The best thing about {} is that it costs nothing to enjoy and that no two are the same.",
    "Notice: there will be a short talk about {} in the town hall on Friday evening, and all are welcome.",
    "I would draw {} with a soft pencil, from the side, and leave most of the paper quite empty.",
    "Close your eyes, and {} sounds like a low hum, a few light steps, and then nothing at all.",
    "We had walked for hours before anybody mentioned it. Then, at last, all of us spoke of {}.",
    "Somebody might remember {} because it was there on the day when everything else in life suddenly changed.",
    "Traveller, {} is a thing of our time: people made it, people use it, and few think about it.",
    "Small Things Matter. Our readers have sent us more letters about {} this week than about anything else.",
    "I would change very little about {}: a bit more light, a bit more time, and fewer hasty people.",
)
"""An answer to each of the forms, of about 20 words."""
_TEST = 8  # subjects of each of the test and the validation split


class Generation(TextTask):
    r"""Answer a prompt with a text.

    ## Description
    The neutral task, for prompts and rewards of your own: nothing stands around the prompt, nothing is known about good
    answers, and any reward says what they are worth::

        env = gym.make("TextGen-v0", data="tickets.csv", prompt_column="ticket", reward=polite,
                       prompt_template="Customer: {prompt}\n\nReply:")

    ``textgym train TextGen-v0 --data tickets.csv --prompt-column ticket --reward rewards:polite`` trains on it.

    ## Data
    Built in: ``"requests"``, short requests such as "Give one piece of advice about a night train.": 704 for training,
    128 for validation and 128 for tests, about subjects that no other split has. There are no references:
    no answer is known to be good. ``--agent scripted --script reference`` writes one or two sentences of about 20
    words for each.

    Your own: any file, folder or Hub data set with a column of prompts, or of conversations. All other columns reach
    rewards as ``example.extra``, and may stand in the prompt template.

    ## Prompt
    ``"{prompt}"``: the prompt alone, without a cue. A model with a chat template reads it as the user's turn. Most
    models without one go on writing the prompt, unless a template ends with a cue, such as
    ``prompt_template="{prompt}\n\nReply:"``. Budgets: 512 tokens for the prompt, 48 for the text.

    ## Rewards
    Without ``reward=``, a length reward, to try an algorithm on: 1 for a text of 20 words, falling in a straight line
    to 0 for an empty one and for one of 40 words or more. It says nothing about content.

    ## Success
    The text is not cut off: it ends with a full stop, a question mark, or the like.

    ## Metrics
    None needs references. ``words``: length. ``distinct_2``: share of different word pairs. ``repetition_4``: share of
    runs of four words that occurred before. There is no gold.

    ## Arguments
    * ``data="requests"``: the built-in requests, a file, a folder, a Hub id, or a list of examples or rows.
    * ``prompt_column=None``, ``reference_column=None``: columns of your own data; guessed by default.
    * ``split="train"``: ``"train"``, ``"validation"`` or ``"test"``.
    * ``prompt_template=None``: text around every prompt: ``{prompt}`` once, ``{name}`` for another column, ``{{`` and
      ``}}`` for literal braces.

    ## Version History
    * v0: first version.
    """

    name = "generation"
    built_in: ClassVar[BuiltIn] = {_BUILT_IN: lambda split: requests(split)}
    default_data: ClassVar[Data] = _BUILT_IN
    reward: RewardFn | NameOrPath = f"length?target={TARGET_WORDS}"
    reward_reason = f"The default reward of TextGen is for texts of {TARGET_WORDS} words, whatever they say."

    def exemplary(self, example: Example) -> Sequence[Message]:
        """Return an answer to a built-in request that the default reward likes; to others, their first reference."""
        if self.data != _BUILT_IN:
            return super().exemplary(example)
        return [Message("assistant", _answer(example.text))]

    def is_success(self, episode: Episode) -> bool:
        """Return whether the text is not cut off."""
        return episode.text.rstrip().rstrip(_CLOSING).endswith(_ENDS)


def requests(split: Split) -> InMemoryDataset:
    """Return one split of the built-in requests; no two splits share a subject."""
    check_split(split)
    return InMemoryDataset(_BUILT_IN, split, list(_examples(split)))


def _examples(split: Split) -> Iterator[Example]:
    parts = {"test": _SUBJECTS[:_TEST], "validation": _SUBJECTS[_TEST : 2 * _TEST], "train": _SUBJECTS[2 * _TEST :]}
    # The subject changes fastest, so that the first few examples are of several kinds.
    places = [(form, subject) for form in range(len(_FORMS)) for subject in range(len(parts[split]))]
    for number, (form, subject) in enumerate(places):
        turned = (form + subject) % len(_FORMS)
        yield Example(f"{_BUILT_IN}/{split}/{number}", _FORMS[turned].format(parts[split][subject]))


def _answer(request: str) -> str:
    """Return the answer to a request, by its form.

    >>> _answer("What is the best thing about a night train?")
    'The best thing about a night train is that it costs nothing to enjoy and that no two are the same.'
    """
    for form, answer in zip(_FORMS, _ANSWERS, strict=True):
        before, after = form.split("{}")
        if request.startswith(before) and request.endswith(after):
            return answer.format(request[len(before) : len(request) - len(after)])
    raise ValueError(f"expected a built-in request, got {request!r:.80}")
