"""Small tokenizers of our own making, so that tests need neither assets nor a network."""

from __future__ import annotations

import itertools
import json
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import hypothesis
import numpy as np
import pytest
import tokenizers
import torch
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

import textgym
from textgym.errors import did_you_mean
from textgym.tasks import TextTask
from textgym.types import Episode, Example, FloatArray, Metric, Split

_PROCESSES = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
if _PROCESSES > 1:  # as many threads for all as there are cores, in the commands that tests start as well
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // _PROCESSES)))
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in the background of a shell, which commands would inherit
    signal.signal(signal.SIGINT, signal.default_int_handler)

hypothesis.settings.register_profile("repeatable", deadline=None, derandomize=True)
hypothesis.settings.load_profile("repeatable")

CORPUS = (
    "The council met on Tuesday and voted for the new library.",
    "A storm closed the harbour; ships waited until the evening.",
    "Summary: the team won its third match in a row. Café, naïve, 東京, 🎉!",
    "\n\nSummary:\n\n",
)
CHAT_TEMPLATE = (
    "{% for message in messages %}<|start|>{{ message['role'] }}\n{{ message['content'] }}<eos>\n{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)


def byte_level_tokenizer(vocab_size: int = 400, specials: tuple[str, ...] = ("<pad>", "<eos>")) -> tokenizers.Tokenizer:
    """Train a byte-level BPE (GPT-2's kind) on a few sentences; pad is 0, EOS is 1."""
    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=list(specials), initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator(CORPUS, trainer)
    return backend


def metaspace_tokenizer() -> tokenizers.Tokenizer:
    """Build a Llama-like tokenizer: ``▁`` for spaces, byte fallback, a BOS from the post-processor; EOS is 2."""
    words = ["▁The", "▁council", "▁met", "▁", "T", "h", "e", "c", "o", "u", "n", "i", "l", "m", "t", "x", "S", ":"]
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    vocabulary = {piece: rank for rank, piece in enumerate(["<unk>", "<s>", "</s>", *bytes_, *words])}
    backend = tokenizers.Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>", byte_fallback=True))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    backend.add_special_tokens(["<unk>", "<s>", "</s>"])
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return backend


def write_model_folder(
    folder: Path, backend: tokenizers.Tokenizer, config: dict[str, Any], generation: dict[str, Any] | None = None
) -> Path:
    """Write a folder in Hugging Face layout, without weights."""
    folder.mkdir(parents=True, exist_ok=True)
    backend.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "generation_config.json").write_text(json.dumps(generation or {}), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a byte-level tokenizer: pad 0, EOS 1."""
    config = {"eos_token": "<eos>", "pad_token": "<pad>"}
    folder = tmp_path_factory.mktemp("byte_level")
    return write_model_folder(folder, byte_level_tokenizer(), config, {"eos_token_id": 1, "pad_token_id": 0})


@pytest.fixture(autouse=True)
def _same_questions_every_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the stores of a test differ, and those of one test be the same each time: who is asked what hangs on it."""
    numbers = itertools.count()
    drawn = SimpleNamespace(token_hex=lambda length: f"{next(numbers):0{2 * length}x}")
    monkeypatch.setattr("textgym.feedback.store.project.secrets", drawn)


@pytest.fixture(autouse=True)
def _plots_are_blank(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write plots as blank images where a test does not say ``plots``: drawing them is half of a small run's time."""
    if not any(request.node.get_closest_marker(name) for name in ("plots", "slow")):
        monkeypatch.setattr("matplotlib.backends.backend_agg.FigureCanvasAgg.draw", _begin_a_blank_image)


def _begin_a_blank_image(canvas: Any) -> None:
    canvas.renderer = canvas.get_renderer()


@pytest.fixture(scope="session")
def foreign_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tokenizer whose pad is its EOS, and with two EOS ids (0 and 1)."""
    config = {"eos_token": {"content": "<eos>"}, "pad_token": "<eos>"}
    folder = tmp_path_factory.mktemp("foreign")
    return write_model_folder(folder, byte_level_tokenizer(360), config, {"eos_token_id": [0, 1]})


@pytest.fixture(scope="session")
def metaspace_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a Llama-like tokenizer."""
    folder = tmp_path_factory.mktemp("metaspace")
    return write_model_folder(folder, metaspace_tokenizer(), {"eos_token": "</s>", "bos_token": "<s>"})


@pytest.fixture(scope="session")
def chat_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a chat template."""
    config = {"eos_token": "<eos>", "pad_token": "<pad>", "chat_template": CHAT_TEMPLATE}
    backend = byte_level_tokenizer(380, ("<pad>", "<eos>", "<|start|>"))
    return write_model_folder(tmp_path_factory.mktemp("chat"), backend, config)


DOCUMENTS = (
    "The council met on Tuesday and voted for the new library. It will cost two million.",
    "A storm closed the harbour; ships waited until the evening.",
    "Café owners in 東京 cheered 🎉 as the team won its third match in a row!",
    "Short.",
    "",
    "A literal <eos> and a <pad> in the text.",
    "word " * 90,
)


class ListDataset:
    """A few documents in memory."""

    name = "list"

    def __init__(self, split: Split) -> None:
        self.split = split
        self._items = [Example(f"{split}/{row}", text, (text[:20],)) for row, text in enumerate(DOCUMENTS)]

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> Example:
        return self._items[index]

    def find(self, key: str) -> Example:
        for item in self._items:
            if item.key == key:
                return item
        raise KeyError(f"no example {key!r}.{did_you_mean(key, [item.key for item in self._items])}")


class ListTask(TextTask):
    """A task over the documents above, for tests of environments."""

    name = "ListTask"
    prompt_template = "{prompt}\n\nSummary:"
    max_prompt_tokens = 40
    max_new_tokens = 8
    reward = "gold"
    metrics: Mapping[str, Metric] = {}

    def __init__(self, split: Split = "train") -> None:
        self.dataset = ListDataset(split)

    def gold(self, episodes: Sequence[Episode]) -> FloatArray | None:
        return word_overlap([], [each.text for each in episodes], [each.example for each in episodes])

    def is_success(self, episode: Episode) -> bool:
        return bool(episode.text) and episode.text in episode.example.text


def word_overlap(prompts: Sequence[str], responses: Sequence[str], examples: Sequence[Example]) -> FloatArray:
    """Share of the document's words in the response, minus a little per character: sensitive to the whole text."""
    scores = []
    for response, example in zip(responses, examples, strict=True):
        words = set(example.text.split())
        scores.append(len(words & set(response.split())) / (1 + len(words)) - 0.001 * len(response))
    return np.array(scores, dtype=np.float64)


@pytest.fixture(scope="session")
def env_ids() -> tuple[str, str]:
    """Ids of the two grains of :class:`ListTask`."""
    return textgym.register_task("TestList", ListTask)
