"""The state of an optimizer as named tensors and JSON: for checkpoints that hold no pickle."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from textgym.errors import CheckpointError
from textgym.models.stored_values import StoredRecord
from textgym.values import attribute_of


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return moments and counters by name: ``"0.exp_avg"`` is the first parameter's.

    Those of which several processes hold parts are gathered, by a call that all of them make.
    """
    return {
        f"{index}.{name}": whole(torch.as_tensor(value)).contiguous()
        for index, values in optimizer.state_dict()["state"].items()
        for name, value in values.items()
    }


def whole(tensor: Tensor) -> Tensor:
    """Return a tensor of which processes hold parts (a ``DTensor``), gathered; any other as it is."""
    gather = attribute_of(tensor, "full_tensor")
    gathered: Tensor = tensor if gather is None else gather()
    return gathered


def describe_optimizer(optimizer: torch.optim.Optimizer) -> StoredRecord:
    """Return everything but the tensors, as JSON."""
    return {"class": type(optimizer).__name__, "param_groups": optimizer.state_dict()["param_groups"]}


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], record: StoredRecord) -> None:
    """Take over what :func:`optimizer_tensors` and :func:`describe_optimizer` gave.

    Raises:
        CheckpointError: It is of an optimizer of another class.
    """
    if record["class"] != type(optimizer).__name__:
        raise CheckpointError(
            f"expected optimizer {record['class']}, got {type(optimizer).__name__}; pass the policy_kwargs of the run "
            "to load"
        )
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = tensor
    known = set().union(*(group.keys() for group in optimizer.param_groups))
    if unknown := set().union(*(group.keys() for group in record["param_groups"])) - known:
        raise CheckpointError(f"expected options of {record['class']} in a checkpoint, got {min(unknown)!r}")
    groups = [
        {**group, "betas": tuple(group["betas"])} if "betas" in group else group for group in record["param_groups"]
    ]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose names begin with ``prefix``, under the rest of their names."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
