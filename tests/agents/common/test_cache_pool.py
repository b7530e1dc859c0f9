"""Which cache serves which rows; that the states are right is tested with the caches."""

from __future__ import annotations

from typing import Any

import torch

from textgym.agents.common.cache_pool import CachePool
from textgym.models.batch import TextBatch
from textgym.models.causal_lm import CausalLM


def test_new_rows_take_over_the_oldest_cache_of_a_full_pool(make_network: Any) -> None:
    """What was recorded for it then serves them too."""
    model = CausalLM(make_network())
    pool = CachePool(model, size=2)
    used = []
    for first in (1, 5, 9, 13):
        ids = torch.arange(first, first + 4)[None]
        with torch.no_grad():
            logits = model.logits(pool.hidden(TextBatch.of_ids(ids, torch.tensor([3]))))[0]
            expected = model.network(input_ids=ids[:, :3]).logits[0, -1]
        torch.testing.assert_close(logits, expected, rtol=0, atol=1e-5)
        used.append(pool._caches[-1])
    assert used[0] is used[2]
    assert used[1] is used[3]
    assert used[0] is not used[1]
