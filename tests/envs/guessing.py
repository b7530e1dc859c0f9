"""A small dialogue: the other side thinks of a number and says whether a guess is too low or too high."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from tokenizers import decoders, models, pre_tokenizers

from textgym.data import InMemoryDataset
from textgym.tasks import TextTask
from textgym.types import Dataset, Episode, Example, IntArray, Message, Prompt, Split

NUMBERS = ("1", "2", "3", "4", "5", "6", "7")
WORDS = ("<pad>", "<eos>", *NUMBERS, "higher", "lower", "guess", "from", "to", "User", "Assistant", ":", "x", "y")


class Guessing(TextTask):
    """Find a number in three turns; a guess that is no number is wrong, and every guess that is one has a small reward.

    The number is drawn when the first guess is answered, and kept in the state of the episode.
    """

    name = "guessing"
    max_prompt_tokens = 16
    max_new_tokens = 2
    max_reply_tokens = 8
    max_turns = 3
    reward = "none"

    def __init__(self, split: Split = "train") -> None:
        examples = [Example(f"{split}/{top}", f"guess from 1 to {top}", extra={"top": top}) for top in (5, 6, 7)]
        self.dataset: Dataset = InMemoryDataset("guessing", split, examples)

    def prompt(self, example: Example) -> Prompt:
        return Prompt("", example.text, "\nAssistant:")

    def reply(self, episode: Episode, rng: np.random.Generator) -> Sequence[Message] | None:
        number = int(episode.state.setdefault("number", int(rng.integers(1, episode.example.extra["top"] + 1))))
        if episode.text == str(number):
            return None
        return [Message("user", "higher" if episode.text not in NUMBERS or int(episode.text) < number else "lower")]

    def turn_reward(self, episode: Episode) -> float:
        """A number is worth 0.1; 1 more where it is the right one, which is known from the second turn on."""
        return 0.1 * (episode.text in NUMBERS) + float(self._is_right(episode))

    def is_success(self, episode: Episode) -> bool:
        return self._is_right(episode)

    def _is_right(self, episode: Episode) -> bool:
        return "number" in episode.state and episode.text == str(episode.state["number"])


class MaskedGuessing(Guessing):
    """The same, where only numbers that are still possible may be written, and then the end of the turn."""

    name = "masked guessing"

    def allowed(self, episode: Episode, ids: Sequence[int], tokenizer: Any) -> IntArray | None:
        if ids:
            return np.array(tokenizer.eos_ids)
        low, high = 1, episode.example.extra["top"]
        for guess, answer in zip(episode.turns[::2], episode.turns[1::2], strict=True):
            if guess.content in NUMBERS:
                low = max(low, int(guess.content) + 1) if answer.content == "higher" else low
                high = min(high, int(guess.content) - 1) if answer.content == "lower" else high
        return np.array([tokenizer.encode(str(number))[0] for number in range(low, max(low, high) + 1)])


def write_tokenizer(folder: Path) -> Path:
    """Write a tokenizer of whole words."""
    backend = tokenizers.Tokenizer(models.WordLevel({word: id_ for id_, word in enumerate(WORDS)}, unk_token="x"))
    backend.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()])
    backend.decoder = decoders.WordPiece(prefix="##")
    backend.add_special_tokens(["<pad>", "<eos>"])
    folder.mkdir(parents=True, exist_ok=True)
    backend.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<eos>", "pad_token": "<pad>"}))
    return folder
