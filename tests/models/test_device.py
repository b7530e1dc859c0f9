"""Devices and their memory."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest
import torch

from textgym.models.causal_lm import CausalLM
from textgym.models.device import fetched, release_memory
from textgym.models.loading import load_language_model


def _resident_megabytes() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc gives memory back on request")
def test_memory_between_living_tensors_is_released() -> None:
    tensors = [torch.ones(2**14) for _ in range(4096)]  # 256 MB in blocks that malloc carves out of its heap
    last = tensors.pop()  # keeps the end of the heap in use
    tensors.clear()
    before = _resident_megabytes()
    release_memory()
    assert before - _resident_megabytes() > 200
    assert last.sum() == 2**14


def test_release_is_harmless_where_there_is_nothing_to_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "win32")
    release_memory()


def test_a_module_stays_where_it_is_unless_a_device_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    moves: list[object] = []
    monkeypatch.setattr(CausalLM, "to", lambda self, device: moves.append(device) or self)
    model = load_language_model("tiny")
    assert load_language_model(model) is model
    load_language_model(model.network)
    assert moves == []
    load_language_model(model, device="cpu")
    assert moves == ["cpu"]


def test_tensors_that_are_in_place_are_not_copied() -> None:
    tensors = [torch.arange(3), torch.ones(2, 1)]
    found = fetched(tensors, torch.device("cpu"))()
    assert all(left is right for left, right in zip(found, tensors, strict=True))
    elsewhere = fetched(tensors, torch.device("meta"))()
    assert [tensor.device.type for tensor in elsewhere] == ["meta", "meta"]
