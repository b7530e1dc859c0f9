"""MAUVE: how close the distribution of generated texts is to that of human ones, by the ``mauve-text`` package."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from textgym.errors import DataError
from textgym.metrics.references import import_extra

Embed = Callable[[Sequence[str]], npt.NDArray[np.floating]]


def mauve(
    responses: Sequence[str],
    references: Sequence[str],
    embed: Embed,
    *,
    clusters: int | None = None,
    scaling: float = 5.0,
    seed: int = 25,
) -> float:
    """Return MAUVE of all responses and all references together, in (0, 1]; higher is better.

    Both sets are embedded and quantized by k-means. MAUVE is the area under the curve of the divergences of the two
    histograms from their mixtures. It needs thousands of texts of each kind to be steady, and one number stands for
    all texts: there is none of a single one.

    Args:
        responses: Generated texts.
        references: Human texts, about as many; they need not answer the same prompts.
        embed: Turns texts into vectors, shape ``(n, d)``: for example
            :class:`~textgym.reward_models.TextEmbedder`, of a folder with a sentence-transformers model. Values of
            different embeddings cannot be compared; papers use the last state of GPT-2 large.
        clusters: Number of clusters of k-means; ``None`` is a tenth of the smaller set.
        scaling: Factor of the divergences in the exponent, 5 in the paper.
        seed: Seed of k-means.

    Raises:
        DataError: There are fewer than 2 texts of a kind.
        MissingExtraError: Without mauve-text.

    References:
        Pillutla et al., "MAUVE: measuring the gap between neural text and human text using divergence
        frontiers" (2021).
    """
    if min(len(responses), len(references)) < 2:
        raise DataError(
            f"expected at least 2 responses and 2 references for MAUVE, got {len(responses)} and {len(references)}"
        )
    package: Any = import_extra("mauve", "MAUVE", "mauve-text", "mauve")
    found = package.compute_mauve(
        p_features=np.asarray(embed(responses), dtype=np.float32),
        q_features=np.asarray(embed(references), dtype=np.float32),
        num_buckets="auto" if clusters is None else clusters,
        mauve_scaling_factor=scaling,
        seed=seed,
        verbose=False,
    )
    return float(found.mauve)
