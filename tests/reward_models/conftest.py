"""Tiny random models with tokenizers, built on the spot."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    GPT2ForSequenceClassification,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    PreTrainedTokenizerFast,
)

from textgym.feedback.types import Comparison, Demonstration, ImplicitFeedback, Ranking, Rating
from textgym.reward_models import TextEmbedder

TEXT = "good bad council bridge road voted closed opened the a on in mayor Summary : document {prompt} {response}"
WORDS = TEXT.split()


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def write_tokenizer(folder: Path, pad: str | None = "<pad>") -> None:
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<pad>", "<eos>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator([" ".join(WORDS)] * 3, trainer)
    PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<eos>", pad_token=pad).save_pretrained(folder)


def write_neox(folder: Path, pad: str | None = "<pad>") -> Path:
    torch.manual_seed(0)
    config = GPTNeoXConfig(
        vocab_size=400,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=256,
        hidden_dropout=0.3,
        attention_dropout=0.3,
        eos_token_id=1,
        bos_token_id=None,
        pad_token_id=0 if pad == "<pad>" else 1,
        tie_word_embeddings=True,
    )
    GPTNeoXForCausalLM(config).save_pretrained(folder)
    write_tokenizer(folder, pad)
    return folder


def write_gpt2(folder: Path) -> Path:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"vocab_size": 400, "n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 128}
    GPT2LMHeadModel(GPT2Config(**sizes, eos_token_id=1, bos_token_id=1)).save_pretrained(folder)
    write_tokenizer(folder, pad=None)
    return folder


def write_gpt2_classifier(folder: Path) -> Path:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"vocab_size": 400, "n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 128}
    config = GPT2Config(**sizes, eos_token_id=1, bos_token_id=1, num_labels=1)
    GPT2ForSequenceClassification(config).save_pretrained(folder)
    write_tokenizer(folder, pad=None)
    return folder


def write_bert(folder: Path, labels: tuple[str, ...] = ("NEGATIVE", "POSITIVE")) -> Path:
    torch.manual_seed(0)
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *sorted({word.lower() for word in WORDS})]
    backend = Tokenizer(models.WordLevel({word: i for i, word in enumerate(vocabulary)}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokens = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(
        tokenizer_object=backend, **tokens, model_input_names=["input_ids", "token_type_ids", "attention_mask"]
    ).save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=48,
        initializer_range=0.5,
        id2label=dict(enumerate(labels)),
        label2id={label: i for i, label in enumerate(labels)},
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def neox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_neox(tmp_path_factory.mktemp("neox"))


@pytest.fixture(scope="session")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gpt2(tmp_path_factory.mktemp("gpt2"))


@pytest.fixture(scope="session")
def neox_pad_is_eos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_neox(tmp_path_factory.mktemp("pad-eos"), pad="<eos>")
    assert json.loads((folder / "tokenizer_config.json").read_text())["pad_token"] == "<eos>"
    return folder


@pytest.fixture(scope="session")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="session")
def bert_one_output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bert(tmp_path_factory.mktemp("bert-one"), ("SCORE",))


@pytest.fixture(scope="session")
def gpt2_classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gpt2_classifier(tmp_path_factory.mktemp("gpt2-classifier"))


class World:
    """Texts whose quality is known, and people who compare them: the better has more "good" and less "bad" in it."""

    filler = ("council", "bridge", "road", "voted", "closed", "opened", "mayor")

    def __init__(self, seed: int = 0, temperature: float = 0.3) -> None:
        self.rng = np.random.default_rng(seed)
        self.temperature = temperature
        self.asked = 0

    def quality(self, text: str) -> float:
        return float(text.split().count("good") - text.split().count("bad"))

    def text(self) -> str:
        return " ".join(self.rng.choice([*self.filler, "good", "bad"], size=self.rng.integers(3, 8)))

    def prompt(self) -> str:
        self.asked += 1
        return f"document {' '.join(self.rng.choice(self.filler, size=3))} {self.asked}\n\nSummary:"

    def pair(self) -> tuple[str, str]:
        """Two texts of different quality."""
        while True:
            a, b = self.text(), self.text()
            if self.quality(a) != self.quality(b):
                return a, b

    def prefers_first(self, a: str, b: str) -> bool:
        gap = (self.quality(a) - self.quality(b)) / self.temperature
        return bool(self.rng.random() < 1 / (1 + np.exp(-gap)))

    def comparison(self, annotator: str = "ann", how: str = "honest") -> Comparison:
        return self.answer(self.prompt(), *self.pair(), annotator, how)

    def answer(self, prompt: str, a: str, b: str, annotator: str = "ann", how: str = "honest") -> Comparison:
        first = {
            "honest": self.prefers_first(a, b),
            "contrary": not self.prefers_first(a, b),
            "random": bool(self.rng.random() < 0.5),
            "constant": True,
        }[how]
        return Comparison(prompt, prompt, a, b, "a" if first else "b", annotator=annotator)

    def ranking(self, k: int = 4, annotator: str = "ann") -> Ranking:
        prompt, texts = self.prompt(), [self.text() for _ in range(k)]
        noisy = [self.quality(text) + self.temperature * self.rng.gumbel() for text in texts]
        ranks = [1 + sum(other > own for other in noisy) for own in noisy]
        return Ranking(prompt, prompt, tuple(texts), tuple(ranks), annotator=annotator)

    def rating(self, annotator: str = "ann", severity: float = 0.0, prompt: str | None = None) -> Rating:
        prompt, text = prompt or self.prompt(), self.text()
        felt = self.quality(text) - severity + self.temperature * self.rng.logistic()
        grade = 1 + sum(felt > border for border in (-1.5, -0.5, 0.5, 1.5))
        return Rating(prompt, prompt, text, grade, annotator=annotator)

    def edit(self, annotator: str = "ann") -> Demonstration:
        prompt, text = self.prompt(), self.text()
        return Demonstration(prompt, prompt, f"{text.replace('bad', 'road')} good", edited_from=text)

    def session(
        self, responses: int = 3, by_position: float = 2.0, by_length: float = 0.5, **signal: float
    ) -> list[ImplicitFeedback]:
        """Natural use: attention follows quality a little, position and length a lot."""
        prompt, events = self.prompt(), []
        for position in range(responses):
            text = self.text()
            interest = signal.get("interest", 1.0) * self.quality(text) - by_position * position
            interest += by_length * (len(text.split()) - 5)
            dwell = float(np.exp(1 + 0.5 * interest + 0.5 * self.rng.normal()))
            clicked = bool(self.rng.random() < 1 / (1 + np.exp(-interest)))
            events.append(
                ImplicitFeedback(prompt, prompt, text, position, clicked, dwell, annotator=f"user {self.asked}")
            )
        return events


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture(scope="session")
def words() -> TextEmbedder:
    """A sentence encoder that averages random vectors of words."""
    vocabulary = ["[UNK]", *sorted({*World.filler, "good", "bad", "document"})]
    backend = Tokenizer(models.WordLevel({word: i for i, word in enumerate(vocabulary)}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    weights = np.random.default_rng(0).normal(size=(len(vocabulary), 16)).astype(np.float32)
    return TextEmbedder(
        SentenceTransformer(modules=[StaticEmbedding(backend, embedding_weights=weights)], device="cpu")
    )
