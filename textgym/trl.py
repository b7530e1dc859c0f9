"""Environments for the trainers of TRL (https://huggingface.co/docs/trl), and TRL's reward functions as rewards.

Nothing here imports TRL: its trainers take a data set and a function, and its reward functions are functions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np

from textgym.envs.choice import id_of_grain
from textgym.envs.episode_core import EpisodeCore
from textgym.envs.episode_text import EpisodeTextEnv
from textgym.envs.prompts import Root, find_example
from textgym.errors import MissingExtraError
from textgym.rewards import ScoredConversations, Scores, reward_name
from textgym.rewards.protocol import as_scores
from textgym.tasks.base import prompt_of
from textgym.text.messages import last_answer, parse_messages
from textgym.types import Example, Message, NameOrPath, RewardFn, Shown, Split, Task, shown_messages, shown_text

__all__ = ["TrlEnv", "TrlReward"]

Completion = str | Sequence[Mapping[str, Any]]
"""What TRL gives to reward functions: a text, or the messages of a conversational data set."""
_KEY, _SPLIT, _REFERENCES = "task_key", "task_split", "references"


class TrlEnv:
    """A text environment as data set and reward function of TRL's online trainers (GRPO, RLOO).

    A completion is worth what it would be worth as the action of the environment: the reward at the end, and the
    task's reward of the turn.

        env = TrlEnv("TextSumm-v1", reward="gold")
        trainer = GRPOTrainer(model, env, train_dataset=env.dataset("train"), eval_dataset=env.dataset("validation"))

    Args:
        env_id: Id of an environment of either grain, whose episodes have one turn.
        reward: A reward or its name, weighted sums included; ``None`` is that of the task.
        conversational: Whether prompts are lists of messages, for models with a chat template, instead of texts.
        env_kwargs: Further arguments of ``gymnasium.make``: data, columns, template, options of the task. Budgets are
            those of the trainer, which cuts no prompt.

    Raises:
        ValueError: An episode may have several turns.
    """

    def __init__(
        self,
        env_id: str,
        reward: RewardFn | NameOrPath | None = None,
        *,
        conversational: bool = False,
        **env_kwargs: Any,
    ) -> None:
        self.conversational = conversational
        self._env_id = id_of_grain(env_id, "episode")
        self._arguments = {"reward": reward, **env_kwargs}
        self._envs: dict[Split, EpisodeTextEnv] = {}
        task = self._env("train").task
        if task.max_turns > 1:
            raise ValueError(
                f"expected a task of one turn, as trainers of TRL write one completion per prompt, got {task.name!r} "
                f"with up to {task.max_turns}; train in it with an agent of textgym"
            )
        self.__name__ = reward_name(self._env("train").reward)  # by which TRL logs it

    def rows(self, split: Split = "train", prompts: int | None = None) -> list[dict[str, Any]]:
        """Return the first ``prompts`` examples of a split, by default all, as rows of a data set.

        Returns:
            Rows with ``prompt``, what the task asks; ``references``; and ``task_key`` and ``task_split``, by which the
            reward finds the example again.
        """
        task = self._env(split).task
        count = len(task.dataset) if prompts is None else min(prompts, len(task.dataset))
        examples = [task.dataset[place] for place in range(count)]
        return [
            {
                "prompt": self._asked(task, example),
                _REFERENCES: list(example.references),
                _KEY: example.key,
                _SPLIT: split,
            }
            for example in examples
        ]

    def dataset(self, split: Split = "train", prompts: int | None = None) -> Any:
        """Return :meth:`rows` as a ``datasets.Dataset``.

        Raises:
            MissingExtraError: The package datasets is not installed.
        """
        try:
            from datasets import Dataset
        except ImportError as error:
            raise MissingExtraError.of("data sets of TRL", "datasets", "trl") from error
        return Dataset.from_list(self.rows(split, prompts))

    def __call__(self, prompts: Sequence[Any], completions: Sequence[Completion], **columns: Any) -> list[float]:
        """Score ``n`` completions, as TRL calls reward functions.

        Args:
            prompts: Prompts, which are not looked at: the task asks about the example of the row.
            completions: Texts, or messages of which the assistant's last one is scored.
            columns: The other columns of the data set, ``n`` values each, and whatever TRL adds.

        Raises:
            ValueError: The columns of :meth:`rows` are missing, or name an example that the data do not have.
            RewardError: The reward does not return one finite number per completion.
        """
        missing = [name for name in (_KEY, _SPLIT) if name not in columns]
        if missing:
            raise ValueError(
                f"expected the column {missing[0]!r} of the data set of {type(self).__name__}, got "
                f"{', '.join(columns) or 'no column'}; train on what its dataset() returns"
            )
        splits, rewards = np.array(columns[_SPLIT]), np.zeros(len(completions))
        for split in dict.fromkeys(columns[_SPLIT]):
            rows = np.flatnonzero(splits == split).tolist()
            keys, texts = [columns[_KEY][row] for row in rows], [_text_of(completions[row]) for row in rows]
            rewards[rows] = self._score(split, keys, texts)
        return [float(reward) for reward in rewards]

    def _score(self, split: Split, keys: Sequence[str], texts: Sequence[str]) -> Any:
        """Return the rewards of an environment of a split in which texts are the actions; shape ``(n,)``."""
        env, rows = self._env(split), range(len(texts))
        core = EpisodeCore(env.task, env.reward, env.stop, len(texts))
        core.conversations.start(rows, [find_example(env.task, key) for key in keys], [Root(0, row) for row in rows])
        return core.step(texts).rewards

    def _env(self, split: Split) -> EpisodeTextEnv:
        """Return the environment of a split, which is made once."""
        if split not in self._envs:
            made: Any = gym.make(self._env_id, split=split, **self._arguments).unwrapped
            self._envs[split] = made
        return self._envs[split]

    def _asked(self, task: Task, example: Example) -> str | list[dict[str, str]]:
        prompt = prompt_of(task, example)
        return _as_dicts(prompt.for_chat.messages) if self.conversational else prompt.text


class TrlReward(ScoredConversations):
    """A reward function of TRL, ``function(prompts, completions, **columns) -> n numbers``, as a reward.

    With ``overlap = TrlReward(function)`` in ``my_rewards.py``, ``--reward my_rewards:overlap`` is the reward of a run.
    Where the function returns ``None``, which TRL leaves out of its sums, the reward is 0.

    Args:
        function: The function. Its columns are those of the data, and ``references`` and ``task_key``; there is no
            trainer, whose state and ids it could be given.
        conversational: Whether it reads prompts and completions as lists of messages instead of texts.
    """

    def __init__(self, function: Callable[..., Sequence[float | None]], *, conversational: bool = False) -> None:
        named: Any = function  # called otherwise than a reward, but named as one is
        self.function, self.conversational = function, conversational
        self.name = reward_name(named)

    def score_conversations(
        self, prompts: Sequence[Shown], responses: Sequence[str], examples: Sequence[Example]
    ) -> Scores:
        """Score ``n`` responses to texts or conversations.

        Raises:
            RewardError: The function does not return numbers.
        """
        asked: list[Any] = [shown_text(prompt) for prompt in prompts]
        written: list[Any] = list(responses)
        if self.conversational:
            asked = [_as_dicts(shown_messages(shown) or [Message("user", shown_text(shown))]) for shown in prompts]
            written = [_as_dicts([Message("assistant", text)]) for text in responses]
        values = self.function(prompts=asked, completions=written, **_columns_of(examples))
        scores = as_scores(_with_zeros(values), self.name, responses)
        return Scores(scores, {self.name: scores})


def _columns_of(examples: Sequence[Example]) -> dict[str, list[Any]]:
    """Return the columns of ``n`` examples, ``n`` values each; ``None`` where an example lacks one."""
    names = dict.fromkeys(name for example in examples for name in example.extra)
    columns = {
        name: [example.extra.get(name) for example in examples]
        for name in names
        if name not in ("prompts", "completions")
    }
    columns[_REFERENCES] = [list(example.references) for example in examples]
    columns[_KEY] = [example.key for example in examples]
    return columns


def _with_zeros(values: object) -> object:
    match values:
        case list() | tuple():
            return [0.0 if value is None else value for value in values]
    return values


def _as_dicts(messages: Sequence[Message]) -> list[dict[str, str]]:
    return [message._asdict() for message in messages]


def _text_of(completion: Completion) -> str:
    """Return what the assistant wrote."""
    return completion if isinstance(completion, str) else last_answer(parse_messages(list(completion)))
