"""BERTScore against references, by the ``bert-score`` package and a model of the user's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from textgym.errors import ModelError
from textgym.files.paths import user_path
from textgym.metrics.references import import_extra, references_of
from textgym.security.foreign import read_json
from textgym.types import Example, FloatArray, JsonObject
from textgym.values import is_number, is_whole

_LAYERS = ("num_hidden_layers", "n_layers", "n_layer", "num_layers")  # as configurations call their number
_LONGEST = 2**20  # tokens; tokenizers without a limit state 10^30
_PARTS = ("precision", "recall", "f1")


class BertScore:
    """BERTScore of each text against the best reference of its example: words matched by their contextual embeddings.

    Args:
        model: Folder of a Hugging Face encoder, such as a copy of ``roberta-large``.
        layer: Layer whose hidden states are compared, from 1; 0 is the last one. Layers that agree best with people are
            listed by the package: 17 of ``roberta-large``.
        part: ``"f1"``, ``"precision"`` or ``"recall"``.
        batch_size: Texts that are encoded together.
        device: Device of the model.

    Raises:
        ModelError: The folder has no ``config.json``, the model fewer layers, or its tokenizer no longest text.
        ValueError: There is no such part.
        MissingExtraError: Without bert-score, when it first scores.

    References:
        Zhang et al., "BERTScore: evaluating text generation with BERT" (2020).
    """

    name = "bertscore"

    def __init__(self, model: str, layer: int = 0, part: str = "f1", batch_size: int = 32, device: str = "cpu") -> None:
        if part not in _PARTS:
            raise ValueError(f"expected {', '.join(_PARTS)} as part of BERTScore, got {part!r}")
        self._folder, self._part = user_path(model), _PARTS.index(part)
        self._layer = _layer(self._folder, layer)
        self._batch_size, self._device = batch_size, device

    def __call__(self, prompts: Sequence[str], responses: Sequence[str], examples: Sequence[Example], /) -> FloatArray:
        """Score ``n`` texts.

        Returns:
            Shape ``(n,)``, in [-1, 1], mostly above 0.5; higher is better; 0 for empty texts.

        Raises:
            DataError: An example has no references.
        """
        scores = np.zeros(len(responses))
        known = [references_of(example, "BERTScore") for example in examples]
        rows = [row for row, text in enumerate(responses) if text.strip()]
        if rows:
            texts, references = [responses[row] for row in rows], [list(known[row]) for row in rows]
            parts = self._scorer.score(texts, references, batch_size=self._batch_size)
            scores[rows] = parts[self._part].double().cpu().numpy()
        return scores

    @cached_property
    def _scorer(self) -> Any:
        package = import_extra("bert_score", "BERTScore", "bert-score", "bertscore")
        return package.BERTScorer(model_type=str(self._folder), num_layers=self._layer, device=self._device)


def _layer(folder: Path, layer: int) -> int:
    """Return the number of the layer that is meant, and check what the package takes for granted."""
    if not (folder / "config.json").is_file():
        raise ModelError(f"expected a folder with a Hugging Face encoder for BERTScore, got {str(folder)!r}")
    words = folder / "tokenizer_config.json"
    config, of_words = _object(folder / "config.json"), _object(words)
    longest = of_words.get("model_max_length")
    if not is_number(longest) or longest > _LONGEST:
        raise ModelError(
            f"expected a model_max_length in {str(words)!r}, to which BERTScore cuts texts, got "
            f"{'none' if longest is None else longest}; write one into the file, such as 512"
        )
    layers = next((found for name in _LAYERS if is_whole(found := config.get(name))), max(1, layer))
    if not 0 <= layer <= layers:
        raise ModelError(f"expected a layer from 1 to {layers} of {str(folder)!r}, got {layer}; 0 is the last one")
    return layer or layers


def _object(file: Path) -> JsonObject:
    found = read_json(file) if file.is_file() else {}
    return found if isinstance(found, Mapping) else {}
