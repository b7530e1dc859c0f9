"""Updates on weights that are shared out over processes (FSDP2), for models whose update does not fit one."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor

from textgym.agents.common.distributed import Communicator
from textgym.models.text_model import TextModel


class Shards:
    """Copies of an agent's networks, of which every process holds a part; updates run on them.

    Weights, gradients and moments of an update are shared out: a layer is gathered when it is computed, and its
    gradients are added up over all processes. Everything else (rollouts, evaluations, checkpoints) reads the networks
    themselves, which stay whole in every process and get the new weights after each update.

    Args:
        networks: Modules by their names in the agent's policy.
        ranks: The processes; each is on a device of its own.

    Attributes:
        copies: The copies, by name.
    """

    def __init__(self, networks: Mapping[str, nn.Module], ranks: Communicator) -> None:
        self.networks = networks
        device = next(parameter.device for network in networks.values() for parameter in network.parameters())
        mesh = init_device_mesh(device.type, (ranks.size,))
        self.copies = {name: copy.deepcopy(network) for name, network in networks.items()}
        for network in self.copies.values():
            for block in _blocks(network):
                fully_shard(block, mesh=mesh)
            fully_shard(network, mesh=mesh)
            if isinstance(network, TextModel):
                register_fsdp_forward_method(network, "hidden")
            for module in network.modules():
                if isinstance(module, FSDPModule):
                    module.set_force_sum_reduction_for_comms(True)
                    module.set_gradient_divide_factor(1.0)  # the loss of each process is its share of the mean

    def parameters(self) -> Iterator[nn.Parameter]:
        """Iterate over the parts of this process, which an optimizer steps."""
        for network in self.copies.values():
            yield from network.parameters()

    @contextmanager
    def standing_in(self, policy: nn.Module) -> Iterator[None]:
        """Let a policy compute with the copies in the block, at the end of which its networks get their weights."""
        with torch.no_grad():
            for whole, part in self._pairs():
                part.copy_(distribute_tensor(whole, part.device_mesh, part.placements, src_data_rank=None))
        for name, network in self.copies.items():
            setattr(policy, name, network)
        try:
            yield
        finally:
            for name, network in self.networks.items():
                setattr(policy, name, network)
        with torch.no_grad():
            for whole, part in self._pairs():
                whole.copy_(part.full_tensor())

    def shared_out(self, moments: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return moments of the optimizer, each shared out as its parameter is.

        Args:
            moments: Whole ones by name: ``"0.exp_avg"`` is the first parameter's.
        """
        known = list(self.parameters())

        def share(name: str, tensor: Tensor) -> Tensor:
            parameter = known[int(name.split(".", 1)[0])]
            if not isinstance(parameter, DTensor) or tensor.shape != parameter.shape:
                return tensor  # such as the number of steps
            there = tensor.to(parameter.device)
            return distribute_tensor(there, parameter.device_mesh, parameter.placements, src_data_rank=None)

        return {name: share(name, tensor) for name, tensor in moments.items()}

    def _pairs(self) -> Iterator[tuple[Tensor, DTensor]]:
        """Iterate over the parameters of the networks with those of their copies."""
        for name, network in self.networks.items():
            for whole, part in zip(network.parameters(), self.copies[name].parameters(), strict=True):
                assert isinstance(part, DTensor)
                yield whole.detach(), part


def _blocks(network: nn.Module) -> Iterator[nn.Module]:
    """Iterate over the layers of a network: the members of its lists of modules, but for lists within these."""
    for child in network.children():
        if isinstance(child, nn.ModuleList):
            yield from child
        else:
            yield from _blocks(child)
