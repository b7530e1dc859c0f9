"""Episodes in which a person acts: what lines that are typed mean, and which tokens a model would write."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import takewhile

import numpy as np
import torch

from textgym.envs.episode_text import EpisodeTextEnv
from textgym.envs.token_text import TokenTextEnv
from textgym.envs.types import Info, Observation
from textgym.models.batch import TextBatch
from textgym.models.decoding.prefix_cache import last_hidden
from textgym.models.text_model import TextModel
from textgym.text.tokenizer import Tokenizer
from textgym.types import Episode

Read = Callable[[str], str]
"""Shows a prompt, and returns the line that is typed behind it."""
Say = Callable[[str], object]
Offer = Callable[[Sequence[tuple[int, float]]], object]
"""Shows tokens that are offered, with their probabilities."""


def play_texts(env: EpisodeTextEnv, prompt: str, read: Read, say: Say) -> tuple[float, Info]:
    """Play an episode that was reset, a line per turn.

    Args:
        env: Episode-level environment, reset.
        prompt: Observation of the reset.
        read: Gets a turn.
        say: Shows the prompt, and what is said to a turn.

    Returns:
        The return, and the last info.
    """
    say(prompt)
    total, terminated = 0.0, False
    while not terminated:
        _, reward, terminated, _, info = env.step(read("> "))
        total += reward
        if not terminated:
            say(said_last(env.episode))
    return total, info


def play_tokens(
    env: TokenTextEnv,
    observation: Observation,
    read: Read,
    say: Say,
    *,
    model: TextModel | None = None,
    choices: int = 8,
    offer: Offer = lambda tokens: None,
) -> tuple[float, Info]:
    """Play an episode that was reset, token by token; what a line means is told by :func:`typed_tokens`.

    Args:
        env: Token-level environment, reset.
        observation: Observation of the reset.
        read: Gets a line.
        say: Shows the prompt, what was written so far, and what is said to a turn.
        model: Language model whose likeliest tokens are offered; ``None`` offers none.
        choices: Number of tokens offered.
        offer: Shows them.

    Returns:
        The return, and the last info.
    """
    tokenizer, total = env.tokenizer, 0.0
    say(tokenizer.decode(visible_ids(observation)))
    while True:
        begin, written = int(observation["prompt_length"][0]), len(visible_ids(observation))
        offered = likeliest_tokens(model, observation, choices) if model else []
        if offered:
            offer(offered)
        line = read(f"[{env.max_new_tokens - (written - begin)} tokens left] > ")
        for token in typed_tokens(line, [token for token, _ in offered], tokenizer, begins=begin == written):
            observation, reward, terminated, _, info = env.step(np.int64(token))
            total += reward
            if terminated:
                return total, info
            if int(observation["prompt_length"][0]) != begin:  # the turn ended
                say(said_last(env.episode))
                break
        else:
            say(f"... {tokenizer.decode(visible_ids(observation)[begin:])}")


def typed_tokens(typed: str, offered: Sequence[int], tokenizer: Tokenizer, *, begins: bool = True) -> list[int]:
    """Return the tokens that a line means: EOS if it is empty, an offered token by number, or the line's own tokens.

    Args:
        typed: The line.
        offered: Tokens that are numbered from 1.
        tokenizer: Makes tokens of it.
        begins: Whether the line begins a turn.
    """
    if not typed.strip():
        return [tokenizer.require_eos()]
    if offered and typed.strip().isdecimal() and 1 <= int(typed) <= len(offered):
        return [offered[int(typed) - 1]]
    # Punctuation continues the last word, anything else begins a new one.
    text = typed.strip()
    if not text[0].isalnum():
        return tokenizer.encode(text)
    return tokenizer.encode_response(text) if begins else tokenizer.encode_words(text)


@torch.no_grad()
def likeliest_tokens(model: TextModel, observation: Observation, n: int) -> list[tuple[int, float]]:
    """Return the ``n`` likeliest next tokens with their probabilities."""
    ids = torch.tensor([visible_ids(observation)], device=model.device)
    prompt_length = torch.tensor([int(observation["prompt_length"][0])], device=model.device)
    text = TextBatch(ids, torch.full_like(prompt_length, ids.shape[1]), prompt_length)
    probabilities = model.logits(last_hidden(model, text))[0].softmax(-1)
    best = probabilities.topk(min(n, len(probabilities)))
    return list(zip(best.indices.tolist(), best.values.tolist(), strict=True))


def visible_ids(observation: Observation) -> list[int]:
    """Return the ids of an observation without padding: prompt and what was written so far."""
    ids: list[int] = observation["input_ids"][: int(observation["attention_mask"].sum())].tolist()
    return ids


def said_last(episode: Episode) -> str:
    """Return what was said after the agent's last turn, a line per message."""
    last = list(takewhile(lambda turn: turn.role != "assistant", reversed(episode.turns)))
    return "\n".join(f"{role.capitalize()}: {content.strip()}" for role, content in reversed(last))
