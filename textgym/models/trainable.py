"""A network ready for training: weights in fp32, adapters, and the origin of the weights."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from textgym.errors import ModelError
from textgym.models.adapters import import_peft, without_noise
from textgym.naming import argument

HALVES = (torch.bfloat16, torch.float16)


class TrainableNetwork(nn.Module):
    """A network whose weights, or adapters in its layers, are trained.

    Args:
        network: A Hugging Face model.
        source: Where it came from.

    Attributes:
        weights_from: Source of the weights, for messages; of a module that was given, the module.
        adapter: PEFT's wrapper around the network, if it has adapters.
        adapter_is_off: Whether it computes, for the moment, as what the training of its adapters started from.
        stored_dtype: Half precision that the weights came in, if they are held in another type.
    """

    def __init__(self, network: nn.Module, source: str | None) -> None:
        super().__init__()
        self.network: Any = network
        self.source = source
        self.weights_from = source or f"the module {type(network).__name__}"
        self.adapter: Any = None
        self.adapter_is_off = False
        self.stored_dtype: torch.dtype | None = None
        self._start_is_kept = False

    def require_trainable(self) -> None:
        """Check that there is something to train.

        Raises:
            ModelError: All weights are frozen.
        """
        if not any(parameter.requires_grad for parameter in self.network.parameters()):
            raise ModelError(
                f"expected a model with weights to train, got {type(self.network).__name__} with all of them frozen; "
                f"call requires_grad_(True) on those to train, or train adapters with {argument('lora_rank')}"
            )

    def hold_masters(self) -> None:
        """Hold a network of which weights in half precision are to be trained in fp32, and say so.

        A step at a learning rate of 1e-5 is less than the distance between neighbours in bf16: most weights would never
        move. A frozen network under adapters, which are held in fp32, stays as it is, and nothing is said about it.
        """
        trained = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        halves = [parameter.dtype for parameter in trained if parameter.dtype in HALVES]
        if halves:
            self.network.float()
            self.stored_dtype = halves[0]
        if self.stored_dtype is not None and self.adapter is None:
            size = sum(parameter.numel() * parameter.itemsize for parameter in self.network.parameters()) / 1e6
            warnings.warn(
                f"the weights of {self.weights_from} come in {_name(self.stored_dtype)}; they "
                f"are held, trained and saved in float32 ({size:,.0f} MB), so that small steps are not rounded away "
                f"({argument('precision', 'bf16')} computes in bf16 nevertheless)",
                stacklevel=2,  # policies are made by Stable-Baselines3, whose warning this is not
            )
            self.stored_dtype = None  # said once

    def add_lora(self, rank: int, alpha: int | None = None, *, seed: int | None = None) -> None:
        """Freeze the network and train low-rank adapters of its linear layers (Hu et al. 2021, arXiv:2106.09685).

        Args:
            rank: Rank of the adapters.
            alpha: Numerator of their scale, alpha / rank; twice the rank by default.
            seed: Seed of their first weights; by default the global generator of torch draws them, which
                Stable-Baselines3 seeds.

        Raises:
            MissingExtraError: PEFT is not installed.
            ModelError: There are adapters already.
        """
        peft = import_peft()
        if self.adapter is not None:
            raise ModelError(
                "expected a model without adapters to add some to, got one with adapters; "
                f"leave {argument('lora_rank')} out"
            )
        config = peft.LoraConfig(r=rank, lora_alpha=alpha or 2 * rank, target_modules="all-linear", lora_dropout=0.0)
        with without_noise(), _seeded(seed):
            self.adapter = peft.get_peft_model(self.network, config)

    def remember_start(self) -> None:
        """Keep the adapter's present weights, for :meth:`as_start`. They are part of the module's state."""
        for index, parameter in enumerate(self._trained()):
            self.register_buffer(f"start_{index}", parameter.detach().clone())
        self._start_is_kept = True

    @contextlib.contextmanager
    def as_start(self) -> Iterator[None]:
        """Run the block, which computes no gradients, as the model that the training of adapters started from.

        That is the model without them, or with the weights of :meth:`remember_start`: the base is in memory once.
        """
        if not self._start_is_kept:
            with self.without_adapter():
                yield
            return
        self.adapter_is_off = True
        self._swap_start()
        try:
            yield
        finally:
            self._swap_start()
            self.adapter_is_off = False

    def _swap_start(self) -> None:
        for index, parameter in enumerate(self._trained()):
            start = self.get_buffer(f"start_{index}")
            parameter.data, start.data = start.data, parameter.data

    def _trained(self) -> list[nn.Parameter]:
        return [parameter for parameter in self.network.parameters() if parameter.requires_grad]

    @contextlib.contextmanager
    def without_adapter(self) -> Iterator[None]:
        """Run the block as the frozen model that LoRA started from."""
        if self.adapter is None:
            raise ModelError("expected a model with LoRA adapters, got one without; call add_lora first")
        self.adapter_is_off = True
        try:
            with self.adapter.disable_adapter():
                yield
        finally:
            self.adapter_is_off = False


@contextlib.contextmanager
def _seeded(seed: int | None) -> Iterator[None]:
    """Run the block with the global generators of torch at ``seed``, and put them back."""
    if seed is None:
        yield
        return
    with torch.random.fork_rng(devices=list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []):
        torch.default_generator.manual_seed(seed)
        if torch.cuda.is_initialized():
            torch.cuda.manual_seed_all(seed)
        yield


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
