"""BERTScore against references, by the ``bert-score`` package and a model of the user's."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from textgym.errors import ModelError
from textgym.files.paths import user_path
from textgym.metrics.references import import_extra, references_of
from textgym.types import Example, FloatArray

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
        ModelError: The folder has no ``config.json``, or the model fewer layers.
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
    file = folder / "config.json"
    if not file.is_file():
        raise ModelError(f"expected a folder with a Hugging Face encoder for BERTScore, got {str(folder)!r}")
    config = json.loads(file.read_text(encoding="utf-8"))
    layers = int(config.get("num_hidden_layers", 0) or config.get("n_layers", 0) or layer)
    if not 0 <= layer <= layers:
        raise ModelError(f"expected a layer from 1 to {layers} of {str(folder)!r}, got {layer}; 0 is the last one")
    return layer or layers
