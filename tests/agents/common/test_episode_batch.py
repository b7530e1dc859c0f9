from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from textgym.agents.common.episode_batch import EpisodeBatch, share_prefixes

# Few different ids, 0 among them: many texts are equal or begin alike, and ids look like padding.
TEXTS = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=6), min_size=1, max_size=12)


def observations(texts: list[list[int]], width: int = 8, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Right-padded rows whose padding is noise, and their lengths."""
    ids = torch.from_numpy(np.random.default_rng(seed).integers(0, 3, (len(texts), width)))
    for target, text in zip(ids, texts, strict=True):
        target[: len(text)] = torch.tensor(text)
    return ids, torch.tensor([len(text) for text in texts])


@settings(max_examples=200)
@given(TEXTS, st.integers(0, 5))
def test_every_observation_is_answered_by_its_own_text(texts: list[list[int]], seed: int) -> None:
    batch = share_prefixes(*observations(texts, seed=seed))
    for text, row, position in zip(texts, batch.rows.tolist(), batch.positions.tolist(), strict=True):
        assert position == len(text) - 1
        assert batch.input_ids[row, : position + 1].tolist() == text


@settings(max_examples=200)
@given(TEXTS, st.integers(0, 5))
def test_only_texts_that_no_other_extends_are_computed(texts: list[list[int]], seed: int) -> None:
    batch = share_prefixes(*observations(texts, seed=seed))
    different = {tuple(text) for text in texts}
    leaders = [a for a in different if not any(a != b and b[: len(a)] == a for b in different)]
    assert len(batch.input_ids) == len(leaders)
    assert batch.input_ids.shape[1] == max(map(len, texts))


def test_one_episode_is_one_row() -> None:
    batch = share_prefixes(*observations([[1, 2], [1, 2, 0], [1, 2, 0, 2]]))
    assert batch.input_ids.tolist() == [[1, 2, 0, 2]]
    assert batch.rows.tolist() == [0, 0, 0]
    assert batch.positions.tolist() == [1, 2, 3]


def test_large_ids_sort_as_numbers() -> None:
    texts = [[255], [256], [65536, 1], [65536], [50256, 255], [256, 3]]
    ids = torch.zeros(len(texts), 2, dtype=torch.long)
    for target, text in zip(ids, texts, strict=True):
        target[: len(text)] = torch.tensor(text)
    batch = share_prefixes(ids, torch.tensor([len(text) for text in texts]))
    assert len(batch.input_ids) == 4
    for text, row in zip(texts, batch.rows.tolist(), strict=True):
        assert batch.input_ids[row, : len(text)].tolist() == text


def test_gather() -> None:
    states = torch.arange(24).reshape(2, 3, 4)
    batch = EpisodeBatch(torch.zeros(2, 3), torch.tensor([1, 0, 1]), torch.tensor([2, 0, 0]))
    assert batch.gather(states).tolist() == [[20, 21, 22, 23], [0, 1, 2, 3], [12, 13, 14, 15]]


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
    ids, lengths = observations(texts)
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
