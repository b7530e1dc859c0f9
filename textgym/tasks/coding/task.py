"""The task of writing a function, which hidden tests score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np

from textgym.data.source import BuiltIn
from textgym.metrics.pass_at_k import PassAtK
from textgym.metrics.texts import TEXT_METRICS
from textgym.sandbox import Outcome, score_replies, suite_of
from textgym.tasks.base import TextTask
from textgym.tasks.coding.generator import COUNTS, NAME, functions
from textgym.types import Data, Episode, FloatArray, Metric, NameOrPath, RewardFn

_OWN_PROMPT_TOKENS, _OWN_NEW_TOKENS = 512, 256
_TESTS = ("tests", "test")  # columns that hold tests


def outcomes_of(episodes: Sequence[Episode]) -> list[list[Outcome]]:
    """Run the hidden tests of the code in ``n`` texts, in a sandbox; what was run before is remembered."""
    return score_replies([episode.text for episode in episodes], [episode.example for episode in episodes])


def passed_share(episodes: Sequence[Episode]) -> FloatArray:
    """Measure the share of its hidden tests that each text passes; shape ``(n,)``, in [0, 1]."""
    return np.array([np.mean([test.passed for test in tests]) for tests in outcomes_of(episodes)], dtype=np.float64)


def answered_share(episodes: Sequence[Episode]) -> FloatArray:
    """Measure the share of its tests that ended without an error, right or wrong; shape ``(n,)``, in [0, 1]."""
    ended = [[test.passed or test.reason == "wrong" for test in tests] for tests in outcomes_of(episodes)]
    return np.array([np.mean(tests) for tests in ended], dtype=np.float64)


class Coding(TextTask):
    r'''Write a Python function that passes hidden tests.

    ## Description
    Given the beginning of a function with its specification and an example, write its body. The tests are not shown.
    Programs run in a sandbox, never in the process that trains, see the page ``docs/sandbox.md``; ``pydantic-monty``, a
    dependency of textgym, is one. Where there is none, environments are made as usual, and scoring a text raises
    ``SandboxUnavailableError``, which says what to install.

    ## Data
    Built in: ``"functions"``, small functions of a list of numbers or of a string, composed of 1 to 3 out of 47 steps::

        def f(x):
            """Keep the numbers above 4, then take the first 3 numbers.

            >>> f([6, 4, 1, 7, 9, 8])  # doctest: +SKIP
            [6, 7, 9]
            """

    Each has six hidden tests, one of them with an empty argument; their values differ, so that no constant passes more
    than one. Every example has a solution (``references``) and the draft of a hurried writer (``demonstrations``),
    which supervised training imitates: 70 % of the steps where this is possible are off by one, miss the empty case, or
    are otherwise nearly right (``>=`` for "above", ``x[:2]`` for "the first 3"), and in 65 % of the drafts two steps
    that may come in either order are exchanged. Functions that these writers always get right are left out. 100,000
    training, 2,000 validation and 2,000 test examples.

    | difficulty | steps | no two splits share |
    |---|---|---|
    | ``"easy"`` | 1 | a function with its example |
    | ``"medium"`` | 2 | a function |
    | ``"hard"`` | 3 | a function |
    | ``"mixed"`` | 1 to 3 | as above |

    Your own: any file, folder or Hub data set with a column of prompts and columns of tests: ``tests``, a list of
    ``[arguments, value]`` pairs or of assert statements, and ``entry_point``, the name of the function; or ``test`` and
    ``entry_point`` of HumanEval, whose file loads as it is. References are in ``canonical_solution``, ``solution`` or
    the like.

    ## Prompt
    ``"{prompt}\n   "``, so that a text that starts with a space is the body; a whole function, in a fenced block or
    not, is understood as well. Models with a chat template are asked ``"Complete this Python function. Reply with the
    whole function in one code block.\n\n{prompt}"``. ``prompt_template=`` is another one, for all models. Budgets: 128
    tokens for the prompt and 48 for the text; 512 and 256 for your own data.

    ## Rewards
    ``"unit_tests"``: the share of hidden tests passed. ``reward="gold"`` is the same on built-in data; ``"success"`` is
    1 where all are passed.

    ## Scores
    On 200 test functions (half a 95 % interval is 0.05): ``textgym evaluate TextCode-v0 --prompts 200``. The reward is
    gold.

    | writer | gold | pass@1 | answered |
    |---|---|---|---|
    | random tokens (``--agent random``) | 0.000 | 0.000 | 0.005 |
    | shipped model | 0.373 | 0.195 | 0.926 |
    | shipped model, ``--temperature 0`` | 0.290 | 0.070 | 0.990 |
    | the same after PPO (27,648 tokens, one seed), at temperature 1 | 0.474 | 0.305 | 0.904 |
    | the same, ``--temperature 0`` | 0.593 | 0.370 | 0.995 |
    | first reference | 1.000 | 1.000 | 1.000 |

    ## Success
    All hidden tests are passed.

    ## Metrics
    ``pass_at_1``: the share of the texts for a prompt that pass all tests
    (``textgym.metrics.pass_at_k.PassAtK(k)`` for other ``k``). ``answered``: share of the tests that end without an
    error, right or wrong. ``words``, ``distinct_2`` and ``repetition_4`` as in every task.

    ## Arguments
    * ``data="functions"``: the built-in functions, a file, a folder, a Hub id, or a list of examples or rows.
    * ``prompt_column=None``, ``reference_column=None``: columns of your own data; guessed by default.
    * ``split="train"``: ``"train"``, ``"validation"`` or ``"test"``.
    * ``prompt_template=None``: text around every prompt instead of the one above.
    * ``difficulty="medium"``: ``"easy"``, ``"medium"``, ``"hard"`` or ``"mixed"``, see above; built-in data only.

    ## Version History
    * v0: first version.
    '''

    name = "coding"
    options: ClassVar[Mapping[str, Sequence[str]]] = {"difficulty": tuple(COUNTS)}
    difficulty: str
    built_in: ClassVar[BuiltIn] = {NAME: functions}
    default_data: ClassVar[Data] = NAME
    prompt_template = "{prompt}\n   "
    chat_prompt_template = "Complete this Python function. Reply with the whole function in one code block.\n\n{prompt}"
    gold_meaning = "share of hidden tests passed"
    max_prompt_tokens = 128
    max_new_tokens = 48
    reward: RewardFn | NameOrPath = "unit_tests"
    reward_reason = "The default reward of TextCode is the share of hidden tests passed."
    metrics: Mapping[str, Metric] = {"pass_at_1": PassAtK(1), "answered": answered_share, **TEXT_METRICS}
    main_metric = "pass_at_1"
    model = "tiny-code"

    def adapt_to_data(self) -> None:
        """Choose the budgets, and check that your own data have tests."""
        if self.data != NAME:
            self.max_prompt_tokens, self.max_new_tokens = _OWN_PROMPT_TOKENS, _OWN_NEW_TOKENS
            self._require_tests()

    def _require_tests(self) -> None:
        """Check that the first example has tests that can be read, and all others the columns of tests.

        Raises:
            DataError: One has not.
        """
        for place in range(len(self.dataset)):
            example = self.dataset[place]
            if place == 0 or not any(name in example.extra for name in _TESTS):
                suite_of(example.extra, example.text)

    def gold(self, episodes: Sequence[Episode]) -> FloatArray | None:
        """Return the share of hidden tests passed, shape ``(n,)``, on built-in data; ``None`` on other data."""
        return passed_share(episodes) if self.data == NAME else None

    def is_success(self, episode: Episode) -> bool:
        """Return whether all hidden tests are passed."""
        return bool(passed_share([episode])[0] == 1.0)
