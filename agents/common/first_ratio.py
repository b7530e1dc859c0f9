"""A check that the first update gives the tokens of a rollout the probabilities they were drawn with.

PPO's ratio is 1 there. Anything else means that sampling (one token at a time, from cached keys and values) and
training (whole texts) compute different models, which no loss curve shows. It is found before anything is trained.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from textgym.errors import ModelError
from textgym.models.batch import EpisodeBatch, TextBatch
from textgym.models.text_model import TextModel
from textgym.models.weights import WeightsWatch
from textgym.naming import argument

# |ratio - 1| beyond which rounding is no explanation: (warning, error). In half precision a single token can be off by
# a step of its logit, 1/16 at 10, so that it is the mean that counts; in fp32 it is the largest.
_FULL, _HALF = (1e-4, 1e-2), (2e-2, 1e-1)
_STEPS = 256  # of a rollout among which the remembered texts are spread
_IDS = 2**22  # remembered at most, 4 bytes each

RATIO = "the first update to give the tokens of the rollout the probabilities that they were drawn with"
KL = "the policy to be its reference before the first update (KL 0)"


class FirstRatio:
    """Remembers texts of a rollout with the log-probabilities of their actions, for the first pass of the next update.

    It compares once. It goes on remembering where an update had none of its texts, or weights that others changed.

    Args:
        model: The policy's.
        tolerate: Warn where it would be an error.
    """

    def __init__(self, model: TextModel, tolerate: bool = False) -> None:
        self.model, self.tolerate = model, tolerate
        self._is_done = False
        self._watch: WeightsWatch | None = None
        self._steps: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
        self._left = _IDS

    def remember(self, batch: TextBatch, actions: Tensor, log_probs: Tensor) -> None:
        """Take note of a few texts (B, L) with actions and log-probabilities (B,); of others at each step."""
        if self._is_done or self._left <= 0:
            return
        self._watch = self._watch or WeightsWatch(self.model)
        rows, width = batch.input_ids.shape
        count = min(rows, max(1, _IDS // (_STEPS * width)))
        chosen = (torch.arange(count, device=actions.device) + len(self._steps) * count) % rows
        ids, lengths = batch.input_ids[chosen].int(), batch.lengths[chosen]
        self._steps.append((ids, lengths, actions[chosen], log_probs[chosen].detach()))
        self._left -= count * width

    def compare(self, batch: EpisodeBatch, actions: Tensor, log_probs: Tensor) -> None:
        """Compare with the log-probabilities (N,) that an update gives to actions (N,).

        Raises:
            ModelError: They are others than in the rollout.
        """
        if known := self._take():
            texts = _texts(batch.input_ids, batch.rows, batch.positions + 1)
            keys = enumerate(zip(texts, actions.flatten().tolist(), strict=True))
            found = {place: known[key] for place, key in keys if key in known}
            self._check([*found.values()], log_probs[[*found]])

    def compare_all(self, batch: EpisodeBatch, logits: Tensor) -> None:
        """Compare as :meth:`compare`, with logits (N, V) of all actions: those of the rollout are looked up.

        For updates that ask for distributions, as that of trust-region policy optimization does.
        """
        if known := self._take():
            texts = _texts(batch.input_ids, batch.rows, batch.positions + 1)
            row_of = {text: row for row, text in enumerate(texts)}
            found = {(row_of[text], action): before for (text, action), before in known.items() if text in row_of}
            log_probs = logits.detach().log_softmax(-1)
            self._check([*found.values()], log_probs[[row for row, _ in found], [action for _, action in found]])

    def _take(self) -> dict[tuple[bytes, int], float]:
        """The remembered log-probabilities by text and action, which are then forgotten; none of other weights."""
        known: dict[tuple[bytes, int], float] = {}
        if self._is_done or self._watch is None:
            return known
        for ids, lengths, actions, log_probs in [] if self._watch.has_changed() else self._steps:
            texts = _texts(ids, torch.arange(len(lengths), device=lengths.device), lengths)
            known |= zip(zip(texts, actions.tolist(), strict=True), log_probs.tolist(), strict=True)
        self._watch, self._steps, self._left = None, [], _IDS
        return known

    def _check(self, before: list[float], now: Tensor) -> None:
        if before:
            self._is_done = True
            log_ratio = now.detach().double().cpu() - torch.tensor(before, dtype=torch.float64)
            check_equal(log_ratio, self.model, RATIO, self.tolerate)

    def __reduce__(self) -> tuple[type[FirstRatio], tuple[TextModel, bool]]:
        return FirstRatio, (self.model, self.tolerate)  # a copy looks for itself


def _texts(ids: Tensor, rows: Tensor, ends: Tensor) -> list[bytes]:
    """Return keys that identify N texts: the ids in ``rows`` (N,) of a table (R, T), up to ``ends`` (N,)."""
    table = ids.int().cpu().numpy()
    return [table[row, :end].tobytes() for row, end in zip(rows.tolist(), ends.tolist(), strict=True)]


def check_equal(log_ratio: Tensor, model: TextModel, expected: str, tolerate: bool = False) -> None:
    """Warn or raise where two computations of the same log-probabilities differ by more than rounding.

    Args:
        log_ratio: (N,) their differences.
        model: Model that computed them.
        expected: Expected ratio or KL, for the message: :data:`RATIO` or :data:`KL`.
        tolerate: Warn where it would be an error.

    Raises:
        ModelError: The differences are so large that training would learn from wrong numbers.
    """
    bound, limit = _HALF if model.rounds_to_half else _FULL
    deviations = log_ratio.detach().double().expm1().abs()
    off = float(deviations.mean() if model.rounds_to_half else deviations.max())
    if not off > bound:  # NaN is reported as such by the loss
        return
    name = f"{type(model.network).__name__} {model.source or '(given as a module)'} in {model.precision}"
    message = (
        f"expected {expected}, got |ratio - 1| = {off:.2g} (rounding explains {bound:g}) with {name}: the model is "
        "computed in different ways. Please report it to the developers of textgym, with the model's config.json, this "
        "message and the versions of torch and transformers"
    )
    if off > limit and not tolerate:
        raise ModelError(
            f"{message}. Nothing was trained; to train nevertheless, set {argument('tolerate_mismatch', True)}"
        )
    warnings.warn(message, stacklevel=3)
