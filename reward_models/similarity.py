"""The similarity of a text to its references, by frozen sentence embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from textgym.data.columns import name_references
from textgym.errors import DataError
from textgym.reward_models.embedding import DEFAULT_ENCODER, TextEmbedder
from textgym.types import Example, FloatArray


class SimilarityReward:
    """The cosine between the embeddings of a text and of its nearest reference.

        reward = SimilarityReward("sentence-transformers/all-MiniLM-L6-v2")

    Args:
        model: Argument of :class:`~textgym.reward_models.embedding.TextEmbedder`.

    Raises:
        CheckpointError: There is no such model, or its weights are not safetensors.

    References:
        Reimers and Gurevych, "Sentence-BERT: Sentence embeddings using siamese BERT-networks" (2019).
    """

    name = "similarity"

    def __init__(self, model: str | Path = DEFAULT_ENCODER) -> None:
        self._embed = TextEmbedder(model)

    def __call__(self, prompts: Sequence[str], responses: Sequence[str], examples: Sequence[Example], /) -> FloatArray:
        """Score ``n`` texts.

        Returns:
            Shape ``(n,)``, in [-1, 1]; 1 for a reference itself.

        Raises:
            DataError: An example has no references.
        """
        for example in examples:
            if not example.references:
                raise DataError(
                    f"expected at least one reference for the example {example.key!r}, got none: similarity compares "
                    f"with references; {name_references([example])}, or choose a reward that needs none"
                )
        if not examples:
            return np.zeros(0)
        references = [reference for example in examples for reference in example.references]
        vectors = self._embed([*responses, *references]).astype(np.float64)
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.finfo(np.float64).tiny)
        own, others = vectors[: len(responses)], vectors[len(responses) :]
        ends = np.cumsum([len(example.references) for example in examples]).tolist()
        starts = [0, *ends][: len(ends)]
        best = [max(others[start:end] @ row) for row, start, end in zip(own, starts, ends, strict=True)]
        return np.array(best, dtype=np.float64)
