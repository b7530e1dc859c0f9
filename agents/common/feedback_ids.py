"""Feedback as ids: preferences and labelled texts, behind prompts as environments ask them."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from textgym.agents.common.token_pairs import fit_prompt
from textgym.errors import CheckpointError
from textgym.evaluation.sampling import Sampling, sample_contexts, sample_responses
from textgym.feedback.annotators.comparisons import draw_examples
from textgym.feedback.records.dialogues import as_conversation
from textgym.feedback.records.preferences import labelled_texts, preferred_texts
from textgym.feedback.types import Choice, Comparison, Record
from textgym.models.text_model import TextModel
from textgym.rewards import reward_name, score
from textgym.tasks.base import prompt_of, shown_of, templates_of
from textgym.text.messages import as_prompt
from textgym.text.templates import parse_template
from textgym.text.turns import encode_turns
from textgym.types import Example, Message, Prompt, RewardFn, Shown, Task, as_shown, shown_messages, shown_text


class PreferencePair(NamedTuple):
    """A prompt with two responses, of which the first is preferred, as ids; responses end as the model ends them."""

    prompt: list[int]
    chosen: list[int]
    rejected: list[int]


class LabelledText(NamedTuple):
    """A prompt with a response that is desirable or not, as ids; the response ends as the model ends it.

    Attributes:
        prompt, response: Ids.
        desirable: Whether the response is.
        other: Response to another prompt; empty where none has been chosen yet.
    """

    prompt: list[int]
    response: list[int]
    desirable: bool
    other: Sequence[int] = ()


class Answered(NamedTuple):
    """A prompt as an annotator saw it, and responses to it.

    Attributes:
        task_key: Key of the example.
        prompt: Text, or messages.
        responses: Texts.
    """

    task_key: str
    prompt: Shown
    responses: tuple[str, ...]


class Encoded(NamedTuple):
    """Prompt and responses as ids."""

    prompt: list[int]
    responses: list[list[int]]


class _Asked(NamedTuple):
    """A prompt as a task asks it, and the turns since."""

    prompt: Prompt
    turns: tuple[Message, ...]


class FeedbackEncoder:
    """Makes ids of feedback: prompts have those that the environment of a task shows, responses those that it ends.

    A prompt that has the task's template around it is taken apart, so that only what stands in it is ever cut. One that
    lacks the template gets it, with a warning: the agent will be asked by it.

    Args:
        task: Task of the environment.
        model: Model that reads the ids.
        max_prompt_tokens: Budget of a prompt.
    """

    def __init__(self, task: Task, model: TextModel, max_prompt_tokens: int) -> None:
        self._task, self._model, self._budget = task, model, max_prompt_tokens
        model.tokenizer.require_eos()
        templates = templates_of(task)
        # Texts around every prompt; None where the task writes prompts in another way, or columns stand in them.
        self._around = None if templates is None else parse_template(templates.plain).fixed
        self._bare = 0

    def __call__(self, answered: Sequence[Answered]) -> list[Encoded | None]:
        """Encode ``n`` prompts with their responses; ``None`` where they do not fit the model, with a warning."""
        tokenizer, self._bare = self._model.tokenizer, 0
        asked = {
            shown: self._ask(key, shown) for shown, key in {each.prompt: each.task_key for each in answered}.items()
        }
        whole = tokenizer.encode_prompts([each.prompt for each in asked.values()], self._budget)
        ids = {shown: encoded.ids for shown, encoded in zip(asked, whole, strict=True)}
        texts = [_whole_characters(text.strip()) for each in answered for text in each.responses]
        tails = iter(tokenizer.encode_response_batch(texts))
        found: list[Encoded | None] = []
        for each in answered:
            responses = [[*next(tails), *tokenizer.response_end] for _ in each.responses]
            prompt = self._fitted(asked[each.prompt], ids[each.prompt], max(map(len, responses)))
            found.append(None if prompt is None else Encoded(prompt, responses))
        self._warn(len(asked), len(found), found.count(None))
        return found

    def _ask(self, task_key: str, shown: Shown) -> _Asked:
        """Return a prompt as the task asks it, with what was said after it."""
        shown = as_conversation(shown) if self._model.tokenizer.has_chat_template else shown
        said = shown_messages(shown) or (Message("user", shown_text(shown)),)
        if self._around is None or self._task.max_turns > 1:
            known = self._known(task_key, shown, said)
            if known is not None:
                return known
        if self._around is None:
            return _Asked(as_prompt(said), ())
        asked, (before, after) = as_prompt(said), self._around
        body = asked.body
        if len(body) >= len(before + after) and body.startswith(before) and body.endswith(after):
            body = body[len(before) : len(body) - len(after)]
        else:
            self._bare += 1
        messages = as_shown((*asked.earlier, Message("user", body), *asked.later))
        return _Asked(prompt_of(self._task, Example(task_key, messages)), ())

    def _known(self, task_key: str, shown: Shown, said: tuple[Message, ...]) -> _Asked | None:
        """Return the prompt of the example of that key, if it is what was shown."""
        try:
            example = self._task.dataset.find(task_key)
        except KeyError:
            return None
        asked = prompt_of(self._task, example)
        count = len(asked.messages)
        if said[:count] == asked.messages:
            return _Asked(asked, said[count:])
        # Earlier versions kept the text of a conversation alone.
        return _Asked(asked, ()) if shown_text(shown) == asked.text or shown == example.prompt else None

    def _fitted(self, asked: _Asked, ids: list[int], longest: int) -> list[int] | None:
        """Return the ids of a prompt and the turns after it, cut to leave room for the longest response."""
        tokenizer, turns = self._model.tokenizer, list[int]()
        if asked.turns:
            turns = encode_turns(asked.turns, tokenizer, self._task.max_reply_tokens, ended=itertools.repeat(True))
        fitting = fit_prompt(asked.prompt, tokenizer, ids, self._model.room_for_prompt(longest) - len(turns))
        return None if fitting is None else [*fitting, *turns]

    def _warn(self, prompts: int, texts: int, too_long: int) -> None:
        if self._bare:
            warnings.warn(
                f"{self._bare} of {prompts} prompts of the feedback do not have the text of the prompt template of "
                f"{self._task.name!r} around them, and get it: the model is asked by it",
                stacklevel=5,
            )
        if too_long:
            warnings.warn(
                f"left out {too_long} of {texts} responses or pairs of responses of the feedback: with the shortest "
                f"prompt they do not fit the context of {self._model.context_length} tokens",
                stacklevel=5,
            )


def encode_preferences(records: Sequence[Record], encoder: FeedbackEncoder) -> list[PreferencePair]:
    """Return the preferences that records express (:func:`~textgym.feedback.records.preferences.preferred_texts`)."""
    found = [Answered(each.task_key, each.prompt, (each.better, each.worse)) for each in preferred_texts(records)]
    return [PreferencePair(each.prompt, *each.responses) for each in encoder(found) if each is not None]


def encode_labels(records: Sequence[Record], encoder: FeedbackEncoder) -> list[LabelledText]:
    """Return the texts that records find good or bad (:func:`~textgym.feedback.records.preferences.labelled_texts`)."""
    found = labelled_texts(records)
    encoded = encoder([Answered(each.task_key, each.prompt, (each.response,)) for each in found])
    return [
        LabelledText(fitting.prompt, fitting.responses[0], each.is_good)
        for each, fitting in zip(found, encoded, strict=True)
        if fitting is not None
    ]


def compared_by_reward(
    model: TextModel, task: Task, reward: RewardFn, pairs: int, sampling: Sampling
) -> list[Comparison]:
    """Let a reward compare two texts that a model samples behind each of some prompts; equal rewards are ties.

    In a task of several turns, both texts of a pair are turns behind one conversation.

    Args:
        model: Writes.
        task: Its examples are asked about, none twice before all were asked about once.
        reward: Scores the texts.
        pairs: Number of comparisons.
        sampling: Budgets and seed.
    """
    examples = draw_examples(task, pairs, np.random.default_rng(sampling.seed))
    contexts = sample_contexts(model, task, examples, sampling)
    texts = sample_responses(model, task, contexts * 2, sampling)
    shown = [shown_of(task, context.example, context.turns) for context in contexts]
    first, second = score(reward, shown * 2, texts, examples * 2).total.reshape(2, -1)
    lead: Mapping[int, Choice] = {1: "a", -1: "b", 0: "tie"}
    return [
        Comparison(
            example.key,
            prompt,
            response_a=texts[row],
            response_b=texts[pairs + row],
            choice=lead[int(np.sign(first[row] - second[row]))],
            annotator=f"reward-{reward_name(reward)}",
        )
        for row, (example, prompt) in enumerate(zip(examples, shown, strict=True))
    ]


def pack_ids(rows: Sequence[Sequence[Sequence[int]]]) -> dict[str, Tensor]:
    """Return ``n`` rows of ``k`` lists of ids as two tensors: all ids, and the lengths of the lists, (n, k)."""
    ids = [token for row in rows for part in row for token in part]
    lengths = [[len(part) for part in row] for row in rows]
    return {"ids": torch.tensor(ids, dtype=torch.int32), "lengths": torch.tensor(lengths, dtype=torch.int32)}


def unpack_ids(tensors: Mapping[str, Tensor], parts: int, vocabulary: int) -> list[list[list[int]]]:
    """Return what :func:`pack_ids` packed.

    Args:
        tensors: The two tensors, which may be somebody else's.
        parts: Lists in a row.
        vocabulary: Ids are below it.

    Raises:
        CheckpointError: They are something else.
    """
    ids, lengths = tensors.get("ids"), tensors.get("lengths")
    if ids is None or lengths is None or ids.dtype != torch.int32 or lengths.dtype != torch.int32:
        raise CheckpointError("expected the feedback of a run in a checkpoint, got none; use another checkpoint")
    shaped = lengths.reshape(-1, parts) if lengths.numel() % parts == 0 else lengths[:0]
    fits = ids.ndim == 1 and bool((shaped >= 0).all()) and int(shaped.sum()) == len(ids)
    if not fits or bool(((ids < 0) | (ids >= vocabulary)).any()):
        raise CheckpointError("expected ids of the model as feedback in a checkpoint, got others; use another one")
    pieces = iter(ids.split(shaped.flatten().tolist()))
    return [[next(pieces).tolist() for _ in range(parts)] for _ in range(len(shaped))]


def _whole_characters(text: str) -> str:
    """Return a text with ``?`` for halves of surrogate pairs, which Python's strings hold and no tokenizer takes."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")
