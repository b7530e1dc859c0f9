"""Logged episodes as ids: prompts as environments ask them, responses as models write them, and their rewards."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from textgym.agents.common.feedback_ids import pack_ids, unpack_ids
from textgym.agents.common.token_pairs import fit_prompt
from textgym.data.logs import LoggedEpisode, LoggedStep
from textgym.errors import CheckpointError
from textgym.models.batch import EpisodeBatch
from textgym.models.log_probs import response_batch
from textgym.models.text_model import TextModel
from textgym.tasks.base import prompt_of, templates_of
from textgym.text.messages import as_prompt
from textgym.text.templates import parse_template
from textgym.text.tokenizer import Tokenizer
from textgym.types import Example, Prompt, Task

_ANY = 2**20  # tokens of a prompt where nothing limits them


class LoggedTurn(NamedTuple):
    """One action of a log as ids.

    Attributes:
        prompt: All that was read before it.
        response: The action, at least one id long.
        reward: Reward of its last token.
    """

    prompt: list[int]
    response: list[int]
    reward: float


LoggedTurns = tuple[LoggedTurn, ...]
"""The actions of one episode."""


class LoggedBatch(NamedTuple):
    """Logged transitions, a token each, those of an episode in order.

    Attributes:
        texts: ``N`` transitions.
        actions: (N,) tokens.
        rewards: (N,), that of an action with its last token.
        ended: (N,) whether the episode ended with the token. The state after any other is that of the next transition.
    """

    texts: EpisodeBatch
    actions: Tensor
    rewards: Tensor
    ended: Tensor


def logged_batch(model: TextModel, episodes: Sequence[LoggedTurns]) -> LoggedBatch:
    """Put episodes into one batch on the model's device."""
    turns = [turn for episode in episodes for turn in episode]
    batch, actions = response_batch(model, [turn.prompt for turn in turns], [turn.response for turn in turns])
    ends = np.cumsum([len(turn.response) for turn in turns]) - 1
    rewards, ended = np.zeros(len(actions), dtype=np.float32), np.zeros(len(actions), dtype=np.bool_)
    rewards[ends] = [turn.reward for turn in turns]
    ended[ends[np.cumsum([len(episode) for episode in episodes]) - 1]] = True
    return LoggedBatch(batch, actions, *(torch.from_numpy(each).to(model.device) for each in (rewards, ended)))


def encode_log(
    episodes: Sequence[LoggedEpisode],
    tokenizer: Tokenizer,
    task: Task | None = None,
    *,
    max_prompt_tokens: int | None = None,
    max_new_tokens: int | None = None,
    room: Callable[[int], float] | None = None,
) -> list[LoggedTurns]:
    """Encode logged episodes.

    Args:
        episodes: The log.
        tokenizer: Tokenizer of the model.
        task: Formats the states that begin a text, as its environment asks them; states that have its template around
            them already stay as they are. ``None``: states are prompts.
        max_prompt_tokens: Budget of a prompt; ``None`` is none.
        max_new_tokens: Budget of a response: one that fills it was ended by it, so that no end-of-text token follows.
        room: Most tokens of a prompt that so many follow on, in a model with a limited context.

    Returns:
        The episodes, but for those that do not fit the context, or do nothing, which are counted in a warning.

    Raises:
        ModelError: The tokenizer has no token that ends a text.
    """
    tokenizer.require_eos()
    asked = {
        step.given.prompt: _ask(task, step.given)
        for episode in episodes
        for step in episode
        if isinstance(step.given, Example)
    }
    encoded = tokenizer.encode_prompts(list(asked.values()), max_prompt_tokens or _ANY)
    prompts = {shown: (asked[shown], each.ids) for shown, each in zip(asked, encoded, strict=True)}
    encoder = _Encoder(tokenizer, task, max_new_tokens, prompts, room)
    found = [encoder.encode(episode) for episode in episodes]
    kept = [turns for turns in found if turns is not None]
    if len(kept) < len(found):
        warnings.warn(
            f"left out {len(found) - len(kept)} of {len(found)} logged episodes: they are longer than the context of "
            "the model, or one of their actions is empty",
            stacklevel=3,
        )
    return kept


def _ask(task: Task | None, example: Example) -> Prompt:
    """Return how a state is asked: with the template of the task around it, once."""
    templates = None if task is None else templates_of(task)
    around = None if templates is None else parse_template(templates.plain).fixed
    state = example.prompt
    if around is not None and isinstance(state, str):
        before, after = around
        if len(state) >= len(before + after) > 0 and state.startswith(before) and state.endswith(after):
            return Prompt(before, state[len(before) : len(state) - len(after)], after)
    return as_prompt(state) if task is None else prompt_of(task, example)


class _Encoder(NamedTuple):
    """The encoding of single episodes; see :func:`encode_log`."""

    tokenizer: Tokenizer
    task: Task | None
    max_new_tokens: int | None
    prompts: Mapping[object, tuple[Prompt, list[int]]]
    room: Callable[[int], float] | None

    def encode(self, episode: LoggedEpisode) -> LoggedTurns | None:
        """Return the turns of an episode; ``None`` if they do not fit."""
        turns: list[LoggedTurn] = []
        text: list[LoggedStep] = []
        for step in episode:
            if isinstance(step.given, Example) and text:
                turns += self._text(text)
                text = []
            text.append(step)
        turns += self._text(text)
        return tuple(turns) if len(turns) == len(episode) else None

    def _text(self, steps: Sequence[LoggedStep]) -> list[LoggedTurn]:
        """Return the turns of steps that go on with each other, none if they do not fit; the first has a prompt."""
        tails: list[tuple[list[int], list[int]]] = []  # what stands between, and the response
        written, was_ended = 0, True
        for step in steps:
            between = self._between(step, was_ended)
            is_new = not (tails and step.given == "")
            ids = self.tokenizer.encode_response(step.action) if is_new else self.tokenizer.encode(step.action)
            written = len(ids) + (0 if is_new else written)
            is_full = self.max_new_tokens is not None and written == self.max_new_tokens
            was_ended = step.ended and not is_full
            tails.append((between, [*ids, *(self.tokenizer.response_end if was_ended else ())]))
        behind = sum(len(between) + len(response) for between, response in tails)
        first = steps[0].given
        assert isinstance(first, Example)
        asked, ids = self.prompts[first.prompt]
        prompt = ids if self.room is None else fit_prompt(asked, self.tokenizer, ids, self.room(behind))
        if prompt is None or not all(response for _, response in tails):
            return []
        turns: list[LoggedTurn] = []
        for step, (between, response) in zip(steps, tails, strict=True):
            before = [*turns[-1].prompt, *turns[-1].response] if turns else prompt
            turns.append(LoggedTurn([*before, *between], response, step.reward))
        return turns

    def _between(self, step: LoggedStep, was_ended: bool) -> list[int]:
        """Return the ids of what stands between an action and the one before it."""
        match step.given:
            case str(said):
                return self.tokenizer.encode(said) if said else []
            case Example():
                return []
        budget = _ANY if self.task is None else self.task.max_reply_tokens
        return self.tokenizer.encode_reply(step.given, budget, ended=was_ended).ids


def pack_episodes(episodes: Sequence[LoggedTurns]) -> dict[str, Tensor]:
    """Return episodes as tensors by name: ids, their lengths, rewards (T,) and counts of turns (n,)."""
    turns = [turn for episode in episodes for turn in episode]
    packed = pack_ids([turn[:2] for turn in turns])
    packed["lengths"] = packed["lengths"].reshape(-1, 2)
    packed["rewards"] = torch.tensor([turn.reward for turn in turns], dtype=torch.float64)
    packed["turns"] = torch.tensor([len(episode) for episode in episodes], dtype=torch.int64)
    return packed


def unpack_episodes(tensors: Mapping[str, Tensor], vocabulary: int) -> list[LoggedTurns]:
    """Return what :func:`pack_episodes` packed.

    Args:
        tensors: The tensors, which may be somebody else's.
        vocabulary: Ids are below it.

    Raises:
        CheckpointError: They are something else.
    """
    rows = unpack_ids(tensors, 2, vocabulary)
    rewards, counts = tensors.get("rewards"), tensors.get("turns")
    if (
        rewards is None
        or counts is None
        or rewards.shape != (len(rows),)
        or counts.ndim != 1
        or bool((counts < 1).any())
        or int(counts.sum()) != len(rows)
        or not all(prompt and response for prompt, response in rows)
    ):
        raise CheckpointError("expected a log of episodes in a checkpoint, got another; use another checkpoint")
    turns = iter([LoggedTurn(*row, reward) for row, reward in zip(rows, rewards.tolist(), strict=True)])
    return [tuple(next(turns) for _ in range(count)) for count in counts.tolist()]
