"""A linear head on frozen sentence embeddings: a reward that is fitted in well under a second."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from textgym.errors import CheckpointError, RewardError, TextGymError, is_out_of_memory
from textgym.files.paths import user_path
from textgym.hub import resolve_folder
from textgym.models.pretrained import quiet
from textgym.models.proportions import proportionate
from textgym.reward_models import storage
from textgym.reward_models.encoder_files import check_encoder, require_safe_release
from textgym.reward_models.encoding import whole_characters
from textgym.reward_models.evidence import Candidate, Evidence, Observation
from textgym.reward_models.fitting import Training
from textgym.reward_models.learned import LearnedReward, resampled
from textgym.reward_models.likelihood import AnswerLikelihood
from textgym.types import FloatArray, JsonObject, Shown, shown_text
from textgym.values import expect_integer

DEFAULT_ENCODER = "sentence-transformers/all-MiniLM-L6-v2"
_HEAD = "head.safetensors"
_ENCODER = "encoder"
_REMEMBERED = 50_000
_STEPS = 200
_SMALLEST_SPREAD = 1e-6

Embeddings = npt.NDArray[np.float32]


class TextEmbedder:
    """A frozen sentence-transformers model that embeds every text once; the last 50,000 are remembered.

    Args:
        model: A sentence-transformers model: a folder, a Hub id, or a loaded one. Any other Hugging Face encoder or
            causal LM works too (``"tiny"`` for instance): its last hidden states are averaged.
        batch_size: Texts per forward pass.

    Raises:
        CheckpointError: If there is no such model, or its weights are not safetensors.
    """

    def __init__(self, model: str | Path | Any = DEFAULT_ENCODER, *, batch_size: int = 64) -> None:
        self.network: Any = _load_encoder(model) if isinstance(model, str | Path) else model
        self.network.eval().requires_grad_(False)
        # Static embeddings, which embed nothing as zeros, have a tokenizer of another library; a model may have none.
        tokenizer = getattr(self.network, "tokenizer", None)
        self._tokenizer = tokenizer if isinstance(tokenizer, PreTrainedTokenizerBase) else None
        self._batch_size = batch_size
        self._known: dict[str, Embeddings] = {}

    def __call__(self, texts: Sequence[str]) -> Embeddings:
        """Embeddings of ``n`` texts, (n, D).

        Texts beyond the encoder's context lose their end. Not every tokenizer has a token for nothing: a text of white
        space is embedded as a full stop, and a text that the tokenizer leaves no token of as zeros.
        """
        texts = [whole_characters(text) if text.strip() else "." for text in texts]
        known = {text: self._known[text] for text in texts if text in self._known}
        new = [text for text in dict.fromkeys(texts) if text not in known]
        if new:
            known.update(self._embed(new))
            self._remember({text: known[text] for text in new})
        return np.stack([known[text] for text in texts])

    def _embed(self, texts: list[str]) -> dict[str, Embeddings]:
        read = [text for text in texts if self._is_read(text)]
        if self._tokenizer is None or len(read) == len(texts):
            return dict(zip(texts, self._encode(texts), strict=True))
        some_token = next(filter(self._is_read, self._tokenizer.get_vocab()))  # tells the width where nothing is read
        *vectors, last = self._encode([*read, some_token])
        return dict.fromkeys(texts, np.zeros_like(last)) | dict(zip(read, vectors, strict=True))

    def _encode(self, texts: list[str]) -> Embeddings:
        vectors = self.network.encode(
            texts, batch_size=self._batch_size, convert_to_numpy=True, show_progress_bar=False
        )
        return np.asarray(vectors, dtype=np.float32)

    def _is_read(self, text: str) -> bool:
        """Return whether the encoder's tokenizer makes at least one token of a text."""
        return self._tokenizer is None or len(self._tokenizer(text)["input_ids"]) > 0

    def _remember(self, vectors: dict[str, Embeddings]) -> None:
        self._known.update(vectors)
        for text in list(self._known)[: max(0, len(self._known) - _REMEMBERED)]:
            del self._known[text]


class Scale(NamedTuple):
    """The standardisation of features: shift (F,) and divisor (F,)."""

    mean: FloatArray
    spread: FloatArray


class EmbeddingRewardModel(LearnedReward):
    """A reward linear in frozen embeddings (a :class:`~textgym.types.RewardFn`), for feedback that comes in bit by bit.

    With embeddings p of the prompt and r of the response, the features are r, p * r and abs(p - r), standardised: the
    head scores a response by itself and by how it relates to its prompt. The weights have a normal prior and maximise
    the posterior, which is found by L-BFGS: there is no learning rate, and the same records give the same model.

    With ``replicas``, that many more heads are fitted to reweighted prompts (Bayesian bootstrap), each pulled towards
    weights drawn from the prior instead of 0; where there is no data they disagree as the prior does. Scores are the
    head's; :meth:`raw_members` and :meth:`spread` are theirs.

        reward = EmbeddingRewardModel("sentence-transformers/all-MiniLM-L6-v2", replicas=8)
        report = reward.fit(records)

    Args:
        encoder: Argument of :class:`TextEmbedder`, or a :class:`TextEmbedder` whose memory several models share.
        prior_std: Standard deviation of the scores before any answer is known.
        replicas: Number of further heads.

    Raises:
        CheckpointError: If the encoder cannot be read.
        ValueError: If ``prior_std`` is not positive or ``replicas`` negative.

    References:
        Reimers and Gurevych, "Sentence-BERT" (2019), arXiv:1908.10084; Pearce, Leibfried and Brintrup, "Uncertainty in
        neural networks: approximately Bayesian ensembling" (2020), arXiv:1810.05546, on drawn anchors.
    """

    kind = "embedding"

    def __init__(
        self, encoder: str | Path | TextEmbedder | Any = DEFAULT_ENCODER, *, prior_std: float = 1.0, replicas: int = 0
    ) -> None:
        super().__init__()
        if not 0 < prior_std < np.inf or replicas < 0:
            raise ValueError(
                f"expected prior_std above 0 and replicas of at least 0, got {prior_std} and {replicas}; correct them"
            )
        self.embedder = encoder if isinstance(encoder, TextEmbedder) else TextEmbedder(encoder)
        self.encoder = self.embedder.network  # an nn.Module, so that it moves with the reward
        self.prior_std = prior_std
        self.replicas = replicas
        width = self._features([Candidate("", "")]).shape[1]
        self._scale = Scale(np.zeros(width), np.ones(width))
        self._weights = np.zeros((1 + replicas, width))  # the head, then its replicas

    def raw(self, prompts: Sequence[Shown], responses: Sequence[str]) -> FloatArray:
        """Scores before normalisation; arguments, return value and errors as in :meth:`forward`."""
        return np.asarray(self._all_scores(prompts, responses)[0])

    def raw_members(self, prompts: Sequence[Shown], responses: Sequence[str]) -> FloatArray:
        """Raw scores by every replica, shape ``(replicas, n)``."""
        return self._all_scores(prompts, responses)[1:]

    def spread(self, prompts: Sequence[Shown], responses: Sequence[str]) -> FloatArray:
        """Standard deviation of the raw score over the replicas, shape ``(n,)``."""
        return np.asarray(self.raw_members(prompts, responses).std(axis=0))

    def learn(self, evidence: Evidence, *, seed: int = 0) -> Training:
        """Fit the heads; ``seed`` decides the replicas.

        Raises:
            RewardError: If the weights become infinite or NaN.
        """
        observations = evidence.observations
        candidates = list(dict.fromkeys(text for each in observations for text in each.candidates))
        features = self._features(candidates)
        spread = np.maximum(features.std(axis=0), _SMALLEST_SPREAD) * np.sqrt(features.shape[1])
        self._scale = Scale(features.mean(axis=0), spread)
        scaled = torch.from_numpy((features - self._scale.mean) / self._scale.spread)  # (T, F)
        numbers = {text: number for number, text in enumerate(candidates)}
        places = [[numbers[text] for text in each.candidates] for each in observations]
        fit = partial(fit_head, scaled, places=places, prior_std=self.prior_std)
        head = fit(observations)
        generator = torch.Generator().manual_seed(seed)
        weights = [head.weights]
        for replica in range(self.replicas):
            anchor = self.prior_std * torch.randn(scaled.shape[1], generator=generator, dtype=torch.float64)
            weights.append(fit(resampled(observations, seed + replica), anchor=anchor).weights)
        self._weights = np.stack(weights)
        return Training([head.loss], [], 1, head.likelihood.reliability, head.likelihood.severity)

    def _all_scores(self, prompts: Sequence[Shown], responses: Sequence[str]) -> FloatArray:
        """Raw scores by the head and all replicas, shape ``(1 + replicas, n)``."""
        if not len(prompts):
            return np.zeros((len(self._weights), 0))
        features = self._features([Candidate(*each) for each in zip(prompts, responses, strict=True)])
        scores = self._weights @ ((features - self._scale.mean) / self._scale.spread).T
        return np.stack([self._checked(each, responses) for each in scores])

    def _features(self, candidates: Sequence[Candidate]) -> FloatArray:
        """Embeddings of responses, products with and distances from those of prompts, shape ``(n, 3 * D)``."""
        prompts = self.embedder([shown_text(each.prompt) for each in candidates])
        responses = self.embedder([each.response.strip() for each in candidates])
        return np.concatenate([responses, prompts * responses, np.abs(prompts - responses)], 1).astype(np.float64)

    def _write_parts(self, folder: Path) -> dict[str, object]:
        with quiet():
            self.encoder.save_pretrained(str(folder / _ENCODER), create_model_card=False)
        save_file(self._tensors(), folder / _HEAD)
        return {"prior_std": self.prior_std, "replicas": self.replicas}

    @classmethod
    def _read_parts(cls, folder: Path, card: JsonObject) -> Self:
        replicas = expect_integer(card["replicas"])
        model = cls(folder / _ENCODER, prior_std=float(card["prior_std"]), replicas=replicas)
        found = storage.read_tensors(folder / _HEAD, model._tensors())
        model._scale = Scale(found["mean"].numpy(), found["spread"].numpy())
        model._weights = found["weights"].numpy()
        return model

    def _tensors(self) -> dict[str, Tensor]:
        arrays = {"mean": self._scale.mean, "spread": self._scale.spread, "weights": self._weights}
        return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}


class Head(NamedTuple):
    """Fitted weights, (F,), what was learned about answering, and the mean loss of the answers."""

    weights: FloatArray
    likelihood: AnswerLikelihood
    loss: float


def fit_head(
    features: Tensor,
    observations: Sequence[Observation],
    *,
    places: Sequence[Sequence[int]],
    prior_std: float,
    anchor: Tensor | None = None,
) -> Head:
    """Maximise the posterior of linear weights and of all that the likelihood knows about answering.

    The likelihood is :class:`~textgym.reward_models.likelihood.AnswerLikelihood`.

    Args:
        features: (T, F), of T texts, float64.
        observations: ``n`` answers.
        places: Rows of the texts of each.
        prior_std: Standard deviation of the prior of every weight.
        anchor: (F,) mean of the prior; 0 by default.

    Raises:
        RewardError: If the weights become infinite or NaN.
    """
    likelihood = AnswerLikelihood(observations).double()
    answers = likelihood.collate(observations, places)
    weights = torch.zeros(features.shape[1], dtype=torch.float64, requires_grad=True)
    middle = torch.zeros_like(weights) if anchor is None else anchor
    optimizer = torch.optim.LBFGS(
        [weights, *likelihood.parameters()], max_iter=_STEPS, tolerance_grad=1e-6, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        prior = (weights - middle).square().sum() / (2 * prior_std**2) + likelihood.penalty()
        loss: Tensor = likelihood(features @ weights, answers).sum() + prior
        loss.backward()
        return loss

    optimizer.step(closure)
    with torch.no_grad():
        loss = likelihood(features @ weights, answers).mean().item()
    if not torch.isfinite(weights).all():
        raise RewardError("expected finite weights, got others; lower prior_std")
    return Head(weights.detach().numpy(), likelihood, loss)


def _load_encoder(model: str | Path) -> Any:
    require_safe_release()
    from sentence_transformers import SentenceTransformer

    folder = user_path(model)
    folder = folder if (folder / "modules.json").is_file() else resolve_folder(model)
    try:
        check_encoder(folder)
        with quiet(), proportionate(folder):
            return SentenceTransformer(
                str(folder),
                device="cpu",
                trust_remote_code=False,
                local_files_only=True,
                model_kwargs={"use_safetensors": True, "dtype": torch.float32},
            )
    except TextGymError:
        raise
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise
        raise CheckpointError(
            f"expected a sentence-transformers model with safetensors weights in {str(folder)!r}, got none that can be "
            f"read ({error}); fetch it again"
        ) from error
