"""States of the global random generators: what is read draws the same again."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest
import torch

from textgym.agents.common.distributed import current
from textgym.agents.common.random_states import RandomStates, cuda_states, describe_generators, restore_generators
from textgym.errors import CheckpointError


def draw() -> list[float]:
    return [random.random(), float(np.random.random()), float(torch.rand(()))]


def test_they_go_on_from_where_they_were_read() -> None:
    states = RandomStates.read()
    first = draw()
    draw()
    states.restore()
    assert draw() == first


def test_they_go_on_from_a_checkpoint() -> None:
    tensors = {"rng.torch": torch.get_rng_state()}
    tensors |= {f"rng.cuda.{place}": state for place, state in enumerate(cuda_states(current()))}
    record = json.loads(json.dumps(describe_generators()))
    first = draw()
    restore_generators(record, tensors)
    assert draw() == first


def test_other_states_are_refused() -> None:
    record = describe_generators()
    with pytest.raises(CheckpointError, match="expected states of random generators in a checkpoint, got others"):
        restore_generators(record, {})
    with pytest.raises(CheckpointError, match="expected states of random generators"):
        restore_generators({**record, "numpy": {}}, {"rng.torch": torch.get_rng_state()})
