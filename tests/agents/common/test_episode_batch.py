from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

OPTIONS: dict[str, dict[str, Any]] = {
    "detached": {},
    "shared": {"critic": "shared"},
    "separate": {"critic": "separate"},
    "temperature": {"critic": "shared", "temperature": 0.7, "suppress_tokens": (3, 0)},
    "checkpointing": {"gradient_checkpointing": True},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
@pytest.mark.parametrize("kind", ["gpt_neox", "gpt2"])
def test_numbers_and_gradients_are_those_of_the_bare_model(
    kind: str, options: dict[str, Any], make_network: Any, make_policy: Any, oracle_of: Any
) -> None:
    """Checklist 12: float64 to 1e-9, with an entropy term, in training mode, with dropout in the config."""
    texts = [[5, 6], [5, 6, 7], [5, 6, 7, 8], [9], [5, 6, 7], [0, 0], [0], [5, 2, 2, 2, 2, 11]]
    actions = [7, 8, 1, 4, 20, 0, 376, 6]
    if "suppress_tokens" in options:
        actions = [max(4, action) for action in actions]
    policy = make_policy(make_network(kind), **options).double()
    torch.nn.init.normal_(policy.value_head.weight)
    policy.set_training_mode(True)
    ids = torch.from_numpy(np.random.default_rng(0).integers(0, 3, (len(texts), 8)))  # padding is noise
    for target, text in zip(ids, texts, strict=True):
        target[: len(text)] = torch.tensor(text)
    lengths = torch.tensor([len(text) for text in texts])
    mask = torch.arange(ids.shape[1])[None] < lengths[:, None]
    obs = {"input_ids": ids, "attention_mask": mask.to(torch.int8)}
    trainable = [parameter for parameter in policy.parameters() if parameter.requires_grad]
    weights = torch.linspace(-1, 2, len(texts), dtype=torch.float64)

    def gradients(values: Tensor, log_probs: Tensor, entropies: Tensor) -> tuple[Tensor | None, ...]:
        loss = (log_probs * weights - 0.3 * entropies * weights.flip(0) + 0.5 * values[:, 0] ** 2).sum()
        return torch.autograd.grad(loss, trainable, allow_unused=True)  # a critic has no use for its head

    ours = policy.evaluate_actions(obs, torch.tensor(actions))
    theirs = oracle_of(policy).evaluate(texts, actions)
    for name, left, right in zip(("values", "log_probs", "entropies"), ours, theirs, strict=True):
        assert left.shape == right.shape, name
        torch.testing.assert_close(left, right, rtol=0, atol=1e-9, msg=name)
    for left, right in zip(gradients(*ours), gradients(*theirs), strict=True):
        assert (left is None) == (right is None)
        if left is not None:
            torch.testing.assert_close(left, right, rtol=1e-9, atol=1e-9)
