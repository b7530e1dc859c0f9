"""The conversations in the copies of an environment, turn by turn, for both grains of a task."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from textgym.envs.prompts import Root, find_example
from textgym.envs.scoring import score_episodes
from textgym.envs.types import EnvState, Info
from textgym.errors import RewardError
from textgym.tasks.base import prompt_of
from textgym.text.messages import conversation_text
from textgym.types import BoolArray, Episode, Example, FinishReason, FloatArray, IntArray, Message, RewardFn, Task


class Answers(NamedTuple):
    """The replies to and rewards of ``k`` turns of agents.

    Attributes:
        rewards: The task's rewards of the turns themselves, shape ``(k,)``.
        replies: Messages that answer each turn; empty where the episode ends.
    """

    rewards: FloatArray
    replies: list[tuple[Message, ...]]


class TurnEnds(NamedTuple):
    """The results of ``k`` turns of agents.

    Attributes:
        rewards: Rewards, shape ``(k,)``: of the turn, and after the last turn of the episode too.
        ended: Whether they were the last ones, shape ``(k,)``.
        infos: Infos of the episodes that ended; empty dicts for the others.
        replies: Messages that answer the other turns; empty for episodes that ended.
    """

    rewards: FloatArray
    ended: BoolArray
    infos: list[Info]
    replies: list[tuple[Message, ...]]


class Conversations:
    """The conversations of ``n`` copies; a task of one turn is a conversation of one turn.

    What a task draws in :meth:`~textgym.types.Task.reply` is a pure function of the copy's seed, the number of the
    episode since it was seeded, and the number of the turn. So it is the same at both grains, in one copy and in many,
    and after a resume.

    Args:
        task: Source of examples, replies and rewards.
        n: Number of copies.

    Attributes:
        has_turns: Whether an episode may have more than one turn.
        examples: The current example of every copy.
    """

    def __init__(self, task: Task, n: int) -> None:
        if task.max_turns < 1:
            raise ValueError(f"expected max_turns of at least 1 in the task {task.name!r}, got {task.max_turns}")
        self.task, self.n = task, n
        self.has_turns = task.max_turns > 1
        self.examples: list[Example] = []
        self._turns: list[tuple[Message, ...]] = [()] * n
        self._states: list[EnvState] = [{} for _ in range(n)]
        self._turn_returns = [0.0] * n
        self._written = [0] * n  # turns of the agent
        self._roots: list[Root] = [Root(0, 0)] * n
        self._reasons: list[FinishReason] = ["eos"] * n

    def start(self, rows: Sequence[int], examples: Sequence[Example], roots: Sequence[Root]) -> None:
        """Start ``rows`` on ``examples``; ``roots`` is where their other sides' random numbers come from."""
        if not self.examples:
            self.examples = list(examples[:1]) * self.n
        for row, example, root in zip(rows, examples, roots, strict=True):
            self.examples[row], self._roots[row] = example, root
            self._turns[row], self._states[row], self._turn_returns[row], self._written[row] = (), {}, 0.0, 0

    def copy_from(self, other: Conversations, rows: Sequence[int] | IntArray) -> None:
        """Go on from the conversations in some copies of another one of the same task, in this order."""
        for name in ("examples", "_turns", "_states", "_turn_returns", "_written", "_roots", "_reasons"):
            values = vars(other)[name]
            setattr(self, name, [copy.deepcopy(values[row]) if name == "_states" else values[row] for row in rows])

    def answer(self, rows: Sequence[int], texts: Sequence[str], reasons: Sequence[FinishReason]) -> Answers:
        """Take in one turn of each of ``rows``, and let it be answered.

        Raises:
            RewardError: The task does not pay finite numbers.
            TypeError: The other side says something else than messages.
        """
        rewards, replies = np.zeros(len(rows)), list[tuple[Message, ...]]()
        for place, (row, text, reason) in enumerate(zip(rows, texts, reasons, strict=True)):
            self._turns[row] = (*self._turns[row], Message("assistant", text))
            self._reasons[row] = reason
            self._written[row] += 1
            rewards[place] = self._turn_reward(row)
            self._turn_returns[row] += float(rewards[place])
            replies.append(self._reply(row))
            self._turns[row] = (*self._turns[row], *replies[-1])
        return Answers(rewards, replies)

    def end_turns(
        self, rows: Sequence[int], texts: Sequence[str], reasons: Sequence[FinishReason], reward: RewardFn
    ) -> TurnEnds:
        """Do as :meth:`answer` does, and score the episodes that end with these turns by one call of ``reward``.

        Raises:
            RewardError: The task or the reward does not pay finite numbers.
            TypeError: The other side says something else than messages.
        """
        rewards, replies = self.answer(rows, texts, reasons)
        ended = np.array([not reply for reply in replies], dtype=np.bool_)
        infos: list[Info] = [{} for _ in rows]
        if ended.any():
            places = np.flatnonzero(ended).tolist()
            scores, ends = score_episodes(self.task, reward, [self.episode(rows[place]) for place in places])
            rewards[places] += scores
            for place, info in zip(places, ends, strict=True):
                infos[place] = info
        return TurnEnds(rewards, ended, infos, replies)

    def episode(self, row: int) -> Episode:
        """Return what was said so far in one copy."""
        said, reason = self._turns[row], self._reasons[row]
        return Episode(self.examples[row], said, reason, self._states[row], self._turn_returns[row])

    def shown(self, row: int) -> str:
        """Return what the agent of one copy is shown before its turn (at the end: before its last one)."""
        turns = self._turns[row]
        ended = bool(turns) and turns[-1].role == "assistant"
        return conversation_text(prompt_of(self.task, self.examples[row]), turns[:-1] if ended else turns)

    def get_state(self) -> EnvState:
        """Return what :meth:`set_state` needs: JSON values only."""
        state: EnvState = {"task_keys": [example.key for example in self.examples]}
        if self.has_turns:
            turns = [[list(message) for message in turns] for turns in self._turns]
            state |= {"turns": turns, "states": [self._saved(own) for own in self._states]}
            state |= {"earned": list(self._turn_returns), "roots": [list(root) for root in self._roots]}
        return state

    def set_state(self, state: EnvState) -> None:
        """Go on from a state of :meth:`get_state`, of the same task."""
        self.examples = [find_example(self.task, key) for key in state["task_keys"]]
        if self.has_turns:
            self._turns = [tuple(Message(*message) for message in turns) for turns in state["turns"]]
            self._written = [sum(message.role == "assistant" for message in turns) for turns in self._turns]
            self._states = [self._saved(own) for own in state["states"]]
            self._turn_returns = [float(turn_return) for turn_return in state["earned"]]
            self._roots = [Root(*map(int, root)) for root in state["roots"]]

    def _turn_reward(self, row: int) -> float:
        """Return the task's reward of the turn that was just written."""
        reward = float(self.task.turn_reward(self.episode(row)))
        if not math.isfinite(reward):
            raise RewardError(f"expected a finite number from turn_reward of {self.task.name!r}, got {reward}")
        return reward

    def _reply(self, row: int) -> tuple[Message, ...]:
        """Return what is said to the turn that was just written; nothing where the episode ends."""
        if self._written[row] >= self.task.max_turns:
            return ()
        rng = np.random.default_rng((*self._roots[row], self._written[row]))
        said = self.task.reply(self.episode(row), rng)
        if said is None:
            return ()
        if not said or not all(isinstance(message, Message) for message in said):
            raise TypeError(
                f"expected messages or None from reply of {self.task.name!r}, got {said!r:.80}; return "
                '[Message("user", "...")], or None to end the episode'
            )
        if any(message.role == "assistant" for message in said):
            raise ValueError(f"expected messages of others from reply of {self.task.name!r}, got one of the assistant")
        return tuple(said)

    def _saved(self, state: EnvState) -> EnvState:
        """Return a copy of what a task keeps, through JSON."""
        try:
            copied: EnvState = json.loads(json.dumps(state))
        except (TypeError, ValueError) as error:
            raise TypeError(
                f"expected JSON values in the state of an episode of {self.task.name!r}, got: {error}; keep numbers, "
                "strings, lists and dicts there"
            ) from error
        return copied
