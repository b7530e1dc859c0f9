"""The task of spelling a short word: text generation of tabular size, whose optimal values can be computed."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import ClassVar, NamedTuple

import numpy as np

from textgym.data.dataset import InMemoryDataset, check_split
from textgym.data.generated import name_of_level
from textgym.data.source import BuiltIn
from textgym.tasks.base import TextTask
from textgym.tasks.options import LEVELS
from textgym.text.tokenizer import Tokenizer
from textgym.types import Data, Episode, Example, FloatArray, IntArray, Metric, NameOrPath, RewardFn, Split

_BUILT_IN = "words"
_CUE = "="
_DENSITIES: Mapping[str, str] = {"dense": "letters", "sparse": "success", "deceptive": "decoy"}


class Level(NamedTuple):
    """The size of a level: its words are all those of ``length`` letters out of ``alphabet``."""

    alphabet: str
    length: int


_LEVELS: Mapping[str, Level] = {"easy": Level("abc", 2), "medium": Level("abcd", 3), "hard": Level("abcdef", 4)}


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
    On all 16 test words of ``"medium"``, 13 times each: ``textgym evaluate TextSpell-v0 --prompts 16``.

    | writer | gold | letters in place |
    |---|---|---|
    SCORES

    ## Success
    The text is the word. Gold is 1 then, else 0: whether the return is the optimal one.

    ## Metrics
    ``letters``: share of letters in their place, minus that of letters too many. ``written``: length in letters as a
    share of that of the word, up to 1.

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
    built_in: ClassVar[BuiltIn] = {_BUILT_IN: lambda split, **chosen: words(split, chosen["difficulty"])}
    default_data: ClassVar[Data] = _BUILT_IN
    prompt_template = "{prompt}" + _CUE
    max_prompt_tokens = 32
    main_metric = "letters"

    def __init__(
        self,
        data: Data | None = None,
        prompt_column: str | None = None,
        reference_column: str | None = None,
        split: Split = "train",
        prompt_template: str | None = None,
        **chosen: str,
    ) -> None:
        super().__init__(data, prompt_column, reference_column, split, prompt_template, **chosen)
        self.reward: RewardFn | NameOrPath = _DENSITIES[self.density]
