"""Preferences for words that the shipped model of letters misspells, and the agents that learn from them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import torch

from textgym.agents.common.feedback_ids import LabelledText, PreferencePair
from textgym.agents.dpo import DPO
from textgym.agents.ipo import IPO
from textgym.agents.kto import KTO
from textgym.agents.orpo import ORPO
from textgym.agents.simpo import SimPO
from textgym.models.loading import load_language_model
from textgym.models.log_probs import response_log_probs
from textgym.models.text_model import TextModel

WORDS = ("ab", "ca", "bb")
AGENTS: Mapping[str, type[Any]] = {"dpo": DPO, "ipo": IPO, "kto": KTO, "orpo": ORPO, "simpo": SimPO}
_OTHERS = tuple(map("".join, itertools.product("abcd", repeat=2)))


def letters() -> TextModel:
    """The shipped model of letters."""
    return load_language_model("letters", device="cpu")


def pairs_of(model: TextModel) -> list[PreferencePair]:
    """The right spelling of each word is preferred to every other one of two letters, which end a text."""
    encode = model.tokenizer.encode
    return [
        PreferencePair(encode(f"{word}="), encode(word), encode(other))
        for word, other in itertools.product(WORDS, _OTHERS)
        if word != other
    ]


def feedback_for(name: str, model: TextModel) -> list[Any]:
    """The same as labels, for the agent that learns from these."""
    pairs = pairs_of(model)
    if name != "kto":
        return list(pairs)
    both = [[LabelledText(*pair[:2], True), LabelledText(pair.prompt, pair.rejected, False)] for pair in pairs]
    return [text for texts in both for text in texts]


def make(name: str, **options: Any) -> Any:
    """An agent that learns from most of this, and is measured on every fifth item."""
    model = letters()
    feedback = feedback_for(name, model)
    settings = {"batch_size": 12, "learning_rate": 4e-3, "log_every": 4, **options}
    kept = [item for row, item in enumerate(feedback) if row % 5]
    return AGENTS[name](model, kept, feedback[::5], **settings)


def spelled(model: TextModel) -> list[str]:
    """The likeliest spelling of each word, out of all those that were compared."""
    encode = model.tokenizer.encode
    found = []
    for word in WORDS:
        chances = response_log_probs(model, [encode(f"{word}=")] * len(_OTHERS), [encode(each) for each in _OTHERS])
        found.append(_OTHERS[int(chances.argmax())])
    return found


def weights(agent: Any) -> list[torch.Tensor]:
    """Copies of all weights."""
    return [parameter.detach().clone() for parameter in agent.text_model.parameters()]
