"""Texts sampled from a language model for examples of a task, turn by turn, and their log-probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from textgym import console
from textgym.checks import SEEDS
from textgym.envs.conversations import Conversations
from textgym.envs.prompts import Root
from textgym.models.decoding.generation import generate
from textgym.models.log_probs import response_log_probs
from textgym.models.text_model import TextModel
from textgym.tasks.base import prompt_of
from textgym.text.stopping import cut_at_stop
from textgym.text.tokenizer import Tokenizer
from textgym.text.turns import encode_turns
from textgym.types import Episode, Example, FinishReason, FloatArray, Message, Task

_CONTEXTS = 1
"""Keeps what is drawn for contexts apart from what is drawn for the turns behind them."""


@dataclass(frozen=True, slots=True)
class Samples:
    """One sampled episode per example, ``n`` of them, which have ``m`` turns of the model together.

    Attributes:
        episodes: Episodes, with texts as a user sees them, shape ``(n,)``.
        prompts: Ids before each turn, shape ``(m,)``: of first turns the prompt.
        ids: Sampled ids of each turn, the EOS included where it was reached, shape ``(m,)``.
        rows: Row of ``episodes`` of each turn, shape ``(m,)``: all first turns in order, then the second ones, ...
    """

    episodes: list[Episode] = field(default_factory=list)
    prompts: list[list[int]] = field(default_factory=list)
    ids: list[list[int]] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)

    @property
    def texts(self) -> list[str]:
        """The last turn of every episode, as a user sees it."""
        return [episode.text for episode in self.episodes]

    @property
    def lengths(self) -> FloatArray:
        """Number of ids sampled per episode, shape ``(n,)``."""
        return self._sums([len(ids) for ids in self.ids])

    def log_probs(self, model: TextModel, temperature: float = 1.0) -> FloatArray:
        """Return the log-probability of everything sampled in an episode, given what it followed, in nats.

        Args:
            model: Model that computes the probabilities.
            temperature: Above 0; divides the logits.

        Returns:
            Shape ``(n,)``: sums over the turns.
        """
        return self._sums(response_log_probs(model, self.prompts, self.ids, temperature))

    def _sums(self, numbers: Sequence[float] | FloatArray) -> FloatArray:
        """Return sums per episode, shape ``(n,)``, of one number per turn."""
        sums = np.zeros(len(self.episodes))
        np.add.at(sums, self.rows, numbers)
        return sums


@dataclass(frozen=True, slots=True)
class Sampling:
    """Settings of sampling; the same settings and seed give the same texts.

    Attributes:
        max_prompt_tokens, max_new_tokens: Budgets.
        temperature: Divides the logits; 0 takes the most likely token.
        seed: Seed of a generator of its own.
        batch_size: Number of texts decoded in parallel.
        stop: Strings that end a text, and are no part of it.
    """

    max_prompt_tokens: int
    max_new_tokens: int
    temperature: float = 1.0
    seed: int = 0
    batch_size: int = 64
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Context:
    """The place of an agent's turn: a task's prompt, and the messages since.

    Attributes:
        example: Example that the prompt is about.
        turns: Messages after the prompt; none before the first turn.
        ended: Whether each of the agent's turns among them ended by itself, not by its budget.
    """

    example: Example
    turns: tuple[Message, ...] = ()
    ended: tuple[bool, ...] = ()


def encode_prompts(task: Task, examples: Sequence[Example], tokenizer: Tokenizer, budget: int) -> list[list[int]]:
    """Return the prompt ids of ``n`` examples as environments encode them, each of at most ``budget`` ids."""
    prompts = [prompt_of(task, example) for example in examples]
    return [prompt.ids for prompt in tokenizer.encode_prompts(prompts, budget)]


def begin_episodes(task: Task, examples: Sequence[Example], seed: int) -> Conversations:
    """Start a conversation about each of ``n`` examples.

    In the ``i``-th, the other side draws the same numbers as in an environment after ``reset(seed=seed + i)``.
    """
    conversations = Conversations(task, len(examples))
    rows = range(len(examples))
    conversations.start(rows, examples, [Root(seed + row, 0) for row in rows])
    return conversations


def sample_texts(
    model: TextModel, task: Task, examples: Sequence[Example], sampling: Sampling, title: str | None = None
) -> Samples:
    """Sample one response per example; in a task of several turns, a conversation.

    Args:
        model: Writes.
        task: Formats the prompts, and answers.
        examples: Examples to write about.
        sampling: Budgets, temperature, seed.
        title: Title of the progress bar; no bar without.
    """
    n, found = len(examples), Samples()
    contexts = encode_prompts(task, examples, model.tokenizer, sampling.max_prompt_tokens)
    conversations = begin_episodes(task, examples, sampling.seed)
    generator = torch.Generator(device=model.device).manual_seed(sampling.seed)
    bar = nullcontext() if title is None else console.progress(title, n * task.max_turns, "texts")
    going, turn = list(range(n)), 0
    with bar as ticker:
        while going:
            turn += 1
            prompts = [contexts[row] for row in going]
            ids = _generate(model, prompts, sampling, generator, ticker)
            found.prompts.extend(prompts)
            found.ids.extend(ids)
            found.rows.extend(going)
            answered = _answer(model.tokenizer, conversations, going, ids, sampling.stop)
            if ticker is not None:
                ticker.advance((len(going) - len(answered)) * (task.max_turns - turn))
            for row, reply in answered.items():
                contexts[row] = [*contexts[row], *reply]
            going = list(answered)
    found.episodes.extend(conversations.episode(row) for row in range(n))
    return found


def sample_contexts(
    model: TextModel, task: Task, examples: Sequence[Example], sampling: Sampling, title: str | None = None
) -> list[Context]:
    """Return one context per example, before a turn that is drawn out of all turns of a sampled conversation.

    In a task of one turn, there is nothing to sample.

    Args:
        model: Writes the turns so far.
        task: Formats the prompts, and answers.
        examples: Examples to write about.
        sampling: Budgets, temperature, seed.
        title: Title of the progress bar; no bar without.
    """
    if task.max_turns == 1:
        return [Context(example) for example in examples]
    rng = np.random.default_rng((sampling.seed, _CONTEXTS))
    samples = sample_texts(model, task, examples, replace(sampling, seed=int(rng.integers(SEEDS))), title)
    ended: list[list[bool]] = [[] for _ in examples]
    for row, ids in zip(samples.rows, samples.ids, strict=True):
        ended[row].append(bool(ids) and ids[-1] in model.tokenizer.eos_ids)
    return [
        _context_before(episode, int(rng.integers(len(ends))), ends)
        for episode, ends in zip(samples.episodes, ended, strict=True)
    ]


def _context_before(episode: Episode, turn: int, ended: Sequence[bool]) -> Context:
    """Return the context of one of the agent's turns of an episode, counted from 0."""
    starts = [place for place, message in enumerate(episode.turns) if message.role == "assistant"]
    return Context(episode.example, episode.turns[: starts[turn]], tuple(ended[:turn]))


def encode_contexts(
    task: Task, contexts: Sequence[Context], tokenizer: Tokenizer, sampling: Sampling
) -> list[list[int]]:
    """Return the ids of ``n`` contexts, as environments encode conversations in which these turns are written."""
    prompts = encode_prompts(task, [context.example for context in contexts], tokenizer, sampling.max_prompt_tokens)
    budgets = task.max_reply_tokens, sampling.max_new_tokens

    def behind(context: Context) -> list[int]:
        return encode_turns(context.turns, tokenizer, budgets[0], ended=context.ended, max_new_tokens=budgets[1])

    return [[*prompt, *behind(context)] for prompt, context in zip(prompts, contexts, strict=True)]


def sample_responses(
    model: TextModel, task: Task, contexts: Sequence[Context], sampling: Sampling, title: str | None = None
) -> list[str]:
    """Sample one turn behind each of ``n`` contexts, for instance two behind each of ``n / 2``.

    Args:
        model: Writes.
        task: Formats the prompts.
        contexts: Places of the turns: prompt and messages before each.
        sampling: Budgets, temperature, seed.
        title: Title of the progress bar; no bar without.
    """
    generator = torch.Generator(device=model.device).manual_seed(sampling.seed)
    prompts = encode_contexts(task, contexts, model.tokenizer, sampling)
    bar = nullcontext() if title is None else console.progress(title, len(contexts), "texts")
    with bar as ticker:
        return _decode(model.tokenizer, _generate(model, prompts, sampling, generator, ticker), sampling.stop)


def _decode(tokenizer: Tokenizer, ids: Sequence[Sequence[int]], stop: Sequence[str]) -> list[str]:
    """Return turns as a user sees them, their ends left out."""
    ends = set(tokenizer.eos_ids)
    visible = [[token for token in turn if token not in ends] for turn in ids]
    if not stop:
        return tokenizer.decode_batch(visible)
    return [cut_at_stop(text, stop).strip() for text in tokenizer.decode_batch(visible, strip=False)]


def _answer(
    tokenizer: Tokenizer,
    conversations: Conversations,
    rows: Sequence[int],
    ids: Sequence[list[int]],
    stop: Sequence[str],
) -> dict[int, list[int]]:
    """Let a turn of each of ``rows`` be answered.

    Returns:
        The ids that follow its context, by row: the turn and what is said to it, up to where the next turn begins. Rows
        whose episode ends are left out.
    """
    ends = set(tokenizer.eos_ids)
    texts, table = _decode(tokenizer, ids, stop), tokenizer.stop_table(stop) if stop else None
    reasons: list[FinishReason] = [
        "eos" if turn and turn[-1] in ends else "stop" if table and table.end(turn) else "length" for turn in ids
    ]
    following = {}
    replies, budget = conversations.answer(rows, texts, reasons).replies, conversations.task.max_reply_tokens
    for row, turn, reason, reply in zip(rows, ids, reasons, replies, strict=True):
        if reply:
            following[row] = [*turn, *tokenizer.encode_reply(reply, budget, ended=reason == "eos").ids]
    return following


def _generate(
    model: TextModel,
    prompts: list[list[int]],
    sampling: Sampling,
    generator: torch.Generator,
    ticker: console.Ticker | None,
) -> list[list[int]]:
    texts = generate(
        model,
        prompts,
        max_new_tokens=sampling.max_new_tokens,
        eos_ids=model.tokenizer.eos_ids,
        temperature=sampling.temperature,
        generator=generator,
        batch_size=sampling.batch_size,
        progress=None if ticker is None else ticker.advance,
    )
    if not sampling.stop:
        return texts
    table = model.tokenizer.stop_table(sampling.stop)
    return [ids[: table.end(ids)] for ids in texts]
