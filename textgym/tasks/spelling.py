"""The task of spelling a short word: text generation of tabular size, whose optimal values can be computed."""

from __future__ import annotations

import hashlib
import itertools
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import ClassVar, NamedTuple

import numpy as np

from textgym.data.dataset import InMemoryDataset, check_split, map_examples
from textgym.data.generated import name_of_level
from textgym.data.source import BuiltIn
from textgym.metrics.letters import letters
from textgym.metrics.texts import ReferenceMetric
from textgym.tasks.base import TextTask
from textgym.tasks.options import LEVELS
from textgym.types import Data, Episode, Example, FloatArray, IntArray, Metric, Split
from textgym.values import attribute_of

_BUILT_IN = "words"
_CUE = "="
_ALL = "all-words"
_DRAFTS = 8  # demonstrations of each word
_RIGHT = 0.4  # share of their letters that are right
_DENSITIES: Mapping[str, str] = {"dense": "letters", "sparse": "success", "deceptive": "decoy"}


class Level(NamedTuple):
    """The size of a level: its words are all those of ``length`` letters out of ``alphabet``."""

    alphabet: str
    length: int


_LETTERS = "abcdef"
_LEVELS: Mapping[str, Level] = {"easy": Level("abc", 2), "medium": Level("abcd", 3), "hard": Level(_LETTERS, 4)}


class Spelling(TextTask):
    r"""Spell a short word.

    ## Description
    Given a word, write it letter by letter. The task is of tabular size, for looking into algorithms: a handful of
    tokens, words of two to four letters, and an optimal value of every state that is known exactly::

        env = gym.make("TextSpell-v0", difficulty="easy", density="sparse")
        values = env.unwrapped.optimal_values(gamma=0.9)
        values["words-easy/train/0", ""]  # 0.9, since the last of two letters is paid

    ## Data
    Built in: ``"words"``, all words of a length over an alphabet. Half of them are for training, a quarter for
    validation, a quarter for tests, and no word is in two splits; demonstrations are wrong in each letter three times
    out of five (the next letter of the alphabet).

    | difficulty | alphabet | letters | words | training, validation, test | states of the training split |
    |---|---|---|---|---|---|
    | ``"easy"`` | abc | 2 | 9 | 5, 2, 2 | 20 |
    | ``"medium"`` | abcd | 3 | 64 | 32, 16, 16 | 672 |
    | ``"hard"`` | abcdef | 4 | 1,296 | 648, 324, 324 | 167,832 |

    ``"all-words"``: the words of all levels together.

    Your own: any file, folder or Hub data set with a column of prompts. The first reference is the text to write;
    without references, the prompt itself. The letters of ``model="letters"`` are a to f; for others take another model,
    such as ``model="tiny"``.

    ## Prompt
    ``"{prompt}="``. Budgets: 32 tokens for the prompt, and one token for each letter of the longest text to write, so
    that an episode ends with its last letter; an end-of-text token is needed for shorter ones only. The action mask
    allows the letters (and the end-of-text token where a text may be complete), if the tokenizer has them.

    ## Rewards
    All of them are 1 for the word, which is the optimal return, and both grains pay a text the same.

    | density | reward | paid |
    |---|---|---|
    | ``"dense"`` | ``"letters"``: share of letters in their place | letter by letter |
    | ``"sparse"`` | ``"success"``: 1 for the word, else 0 | at the end |
    | ``"deceptive"`` | ``"decoy"``: 1 for the word, else half the share of wrong letters | letter by letter |

    What is paid letter by letter is shaping by a potential (``textgym.rewards.Shaped``), which changes no optimum.

    ## Scores
    On all 16 test words of ``"medium"``, with 95 % intervals: ``textgym evaluate TextSpell-v0 --prompts 16``.

    | writer | gold | letters in place |
    |---|---|---|
    | random tokens (``--agent random``) | 0.00 [0.00, 0.21] | 0.08 |
    | shipped model | 0.12 [0.02, 0.38] | 0.31 |
    | shipped model, ``--temperature 0`` | 0.06 [0.00, 0.30] | 0.25 |
    | the same after PPO | 0.88 [0.62, 0.98] | 0.96 |
    | the same after PPO, ``--temperature 0`` | 0.81 [0.54, 0.96] | 0.94 |
    | reference | 1.00 | 1.00 |

    PPO is ``textgym train TextSpell-v0 --steps 40000 --n-steps 12 --lr 0.003 --kl-coef 0.01``, one seed.

    ## Success
    The text is the word. Gold is 1 then, else 0: whether the return is the optimal one.

    ## Metrics
    ``letters``: share of letters in their place, minus that of letters too many.

    ## Arguments
    * ``data="words"``: the built-in words, a file, a folder, a Hub id, or a list of examples or rows.
    * ``difficulty="medium"``: ``"easy"``, ``"medium"`` or ``"hard"``, as above.
    * ``density="dense"``: ``"dense"``, ``"sparse"`` or ``"deceptive"``: the default reward, as above.
    * ``prompt_column=None``, ``reference_column=None``: columns of your own data; guessed by default.
    * ``split="train"``: ``"train"``, ``"validation"`` or ``"test"``.
    * ``prompt_template=None``: text around every word instead of the one above.

    ## Version History
    * v0: first version.
    """

    name = "spelling"
    options: ClassVar[Mapping[str, Sequence[str]]] = {"difficulty": LEVELS, "density": tuple(_DENSITIES)}
    difficulty: str
    density: str
    model = "letters"
    built_in: ClassVar[BuiltIn] = {
        _BUILT_IN: lambda split, **chosen: words(split, chosen["difficulty"]),
        _ALL: lambda split, **chosen: words(split, *LEVELS),
    }
    default_data: ClassVar[Data] = _BUILT_IN
    prompt_template = "{prompt}" + _CUE
    gold_meaning = "1 for the word, else 0"
    max_prompt_tokens = 32
    metrics: Mapping[str, Metric] = {"letters": ReferenceMetric(letters)}
    main_metric = "letters"

    def adapt_to_data(self) -> None:
        """Choose the reward, and read the longest and the shortest word and the letters."""
        self.reward = _DENSITIES[self.density]
        targets = [_target(self.dataset[place]) for place in range(len(self.dataset))]
        lengths = {len(target) for target in targets}
        self.max_new_tokens, self._shortest = max((1, *lengths)), min(lengths, default=0)
        self._masked: tuple[object, tuple[IntArray | None, IntArray | None]] | None = None
        self._alphabet = {letter.encode() for target in targets for letter in target}

    def examples(self, split: Split) -> InMemoryDataset:
        """Load one split of the data; a prompt without references is to be copied."""
        return map_examples(super().examples(split), _to_be_copied)

    def allowed(self, episode: Episode, ids: Sequence[int], tokenizer: object) -> IntArray | None:
        """Return the tokens that are a letter of the data, and those that end a text where one may be complete."""
        if self._masked is None or self._masked[0] is not tokenizer:
            self._masked = tokenizer, self._letters_of(tokenizer)
        letters, complete = self._masked[1]
        return complete if len(ids) >= self._shortest else letters

    def _letters_of(self, tokenizer: object) -> tuple[IntArray | None, IntArray | None]:
        """Return the tokens that are a letter, and these with the ends; ``None`` where it writes in another way."""
        pieces, ends = attribute_of(tokenizer, "token_bytes"), attribute_of(tokenizer, "eos_ids")
        ids = [id_ for id_, piece in enumerate(pieces) if piece in self._alphabet]
        if len(ids) < len(self._alphabet):
            return None, None
        return np.array(ids, dtype=np.int64), np.array([*ids, *ends], dtype=np.int64)

    def is_success(self, episode: Episode) -> bool:
        """Return whether the text is the word."""
        return episode.text.strip() == _target(episode.example)

    def gold(self, episodes: Sequence[Episode]) -> FloatArray | None:
        """Return 1 for the word, else 0: whether the return is the optimal one; shape ``(n,)``."""
        return np.array([float(self.is_success(episode)) for episode in episodes])


def _target(example: Example) -> str:
    return example.references[0].strip()


def _to_be_copied(example: Example) -> Example:
    return example if example.references else replace(example, references=(example.text,))


def words(split: Split, *levels: str) -> InMemoryDataset:
    """Return one split of all words of some levels."""
    check_split(split)
    return _words(split, levels)


@cache
def _words(split: Split, levels: tuple[str, ...]) -> InMemoryDataset:
    level = levels[0] if len(levels) == 1 else ""
    name = name_of_level(_BUILT_IN, level, LEVELS[0]) if level else _ALL
    found = [word for each in levels for word in words_of_level(split, each)]
    return InMemoryDataset(name, split, [_example(f"{name}/{split}/{at}", word) for at, word in enumerate(found)])


def words_of_level(split: Split, level: str) -> list[str]:
    """Return the words of a level in one split: half of them for training, a quarter for each of the others.

    >>> words_of_level("test", "easy")
    ['ac', 'ab']
    """
    alphabet, length = _LEVELS[level]
    everything = map("".join, itertools.product(alphabet, repeat=length))
    ordered = sorted(everything, key=lambda word: hashlib.sha256(word.encode()).digest())
    half, quarter = -(-len(ordered) // 2), len(ordered) // 4
    parts = {"train": slice(half), "validation": slice(half, half + quarter), "test": slice(half + quarter, None)}
    return ordered[parts[split]]


def _example(key: str, word: str) -> Example:
    return Example(key, word, (word,), _drafts(word))


def _drafts(word: str) -> tuple[str, ...]:
    """Return the word as a careless writer spells it, who takes the next letter of the alphabet more often than not."""
    right = np.random.default_rng(zlib.crc32(word.encode())).random((_DRAFTS, len(word))) < _RIGHT
    following = [_LETTERS[(_LETTERS.index(letter) + 1) % len(_LETTERS)] for letter in word]
    return tuple("".join(np.where(row, [*word], following).tolist()) for row in right)
