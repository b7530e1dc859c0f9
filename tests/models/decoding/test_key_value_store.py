"""The store on its own; together with the cache it is tested in test_prefix_cache.py."""

from __future__ import annotations

import copy
import gc
import weakref
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.recorded_steps import Replayed
from textgym.models.batch import TextBatch
from textgym.models.causal_lm import CausalLM
from textgym.models.decoding import cuda_graph
from textgym.models.decoding.generation import generate
from textgym.models.decoding.key_value_store import KeyValueStore
from textgym.models.decoding.prefix_cache import PrefixCache, last_hidden


def test_equal_new_rows_are_computed_once(make_network: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model = CausalLM(make_network("llama"))
    store = KeyValueStore(model, 4, 10)
    shapes: list[tuple[int, ...]] = []
    original = model.token_states
    monkeypatch.setattr(
        model, "token_states", lambda ids, *a, **k: (shapes.append(tuple(ids.shape)), original(ids, *a, **k))[1]
    )
    ids = torch.tensor([[1, 2, 3], [1, 2, 9], [1, 2, 3], [1, 2, 7]])
    with torch.no_grad():
        states = store.prefill(torch.arange(4), TextBatch.of_ids(ids, torch.tensor([3, 2, 3, 2])))
    assert shapes == [(2, 3)]
    assert torch.equal(states[0], states[2])
    assert torch.equal(states[1], states[3])
    assert not torch.equal(states[0], states[1])


def expected_logits(oracle: Any, model: CausalLM, rows: Tensor, lengths: Tensor) -> Tensor:
    """Logits (B, V) after each row by the bare model."""
    return torch.stack([oracle(model.network, row[:n].tolist()) for row, n in zip(rows, lengths, strict=True)])


@pytest.mark.parametrize("kind", ["gpt2", "gpt_neox", "llama", "qwen3"])
def test_recorded_steps_equal_the_bare_model(kind: str, make_network: Any, oracle: Any, recorded: None) -> None:
    model = CausalLM(make_network(kind, max_position_embeddings=256) if kind != "gpt2" else make_network(kind))
    width = 64 if kind == "gpt2" else 150
    cache, rng = PrefixCache(model, 3, width), torch.Generator().manual_seed(0)
    rows = torch.zeros(3, width, dtype=torch.long)
    lengths = torch.tensor([3, 11, 5])
    rows[:, :11] = torch.randint(0, 64, (3, 11), generator=rng)
    for step in range(width - 12):
        states = cache.hidden(TextBatch.of_ids(rows, lengths))
        if step % 13 == 0:
            expected = torch.stack(
                [oracle(model.network, row[:n].tolist()) for row, n in zip(rows, lengths, strict=True)]
            )
            torch.testing.assert_close(model.logits(states), expected, rtol=0, atol=1e-9)
        if step == 40:  # a row starts over
            rows[1], lengths[1] = 7, 2
        rows[torch.arange(3), lengths] = torch.randint(0, 64, (3,), generator=rng)
        lengths = lengths + 1
    assert Replayed.made == -(-width // 64)  # one for every 64 columns


def test_recorded_steps_survive_an_update(make_network: Any, oracle: Any, recorded: None) -> None:
    """New weights in the old places: what was recorded computes with them."""
    model = CausalLM(make_network("llama"))
    cache = PrefixCache(model, 2, 20)
    rows = torch.arange(40).reshape(2, 20)
    for _ in range(3):
        for lengths in (torch.tensor([4, 6]), torch.tensor([5, 7]), torch.tensor([6, 8])):
            states = cache.hidden(TextBatch.of_ids(rows, lengths))
            expected = torch.stack(
                [oracle(model.network, row[:n].tolist()) for row, n in zip(rows, lengths, strict=True)]
            )
            torch.testing.assert_close(model.logits(states), expected, rtol=0, atol=1e-9)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter *= 1.1
        cache.drop()
    assert Replayed.made == 1


def test_weights_in_new_places_are_recorded_again(make_network: Any, oracle: Any, recorded: None) -> None:
    model = CausalLM(make_network("llama"))
    cache, rows = PrefixCache(model, 2, 20), torch.arange(40).reshape(2, 20)
    for _ in range(2):
        for lengths in (torch.tensor([4, 6]), torch.tensor([5, 7])):
            states = cache.hidden(TextBatch.of_ids(rows, lengths))
        expected = expected_logits(oracle, model, rows, torch.tensor([5, 7]))
        torch.testing.assert_close(model.logits(states), expected, rtol=0, atol=1e-9)
        for parameter in model.parameters():
            parameter.data = parameter.data * 1.1
    assert Replayed.made == 2


def test_adapters_switched_off_are_recorded_apart(make_network: Any, oracle: Any, recorded: None) -> None:
    pytest.importorskip("peft")
    model = CausalLM(make_network("llama"))
    model.add_lora(2)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter)
    cache, rows, size = PrefixCache(model, 2, 20), torch.arange(40).reshape(2, 20), 4
    for off in (False, True, False):
        with model.without_adapter() if off else nullcontext():
            for _ in range(2):
                size += 1
                states = cache.hidden(TextBatch.of_ids(rows, torch.tensor([size, size])))
                expected = last_hidden(model, TextBatch.of_ids(rows, torch.tensor([size, size])))
                torch.testing.assert_close(states, expected, rtol=0, atol=1e-9)


def test_a_store_goes_as_soon_as_nobody_needs_it(make_network: Any) -> None:
    model = CausalLM(make_network("llama"))
    store = KeyValueStore(model, 2, 8)
    store.prefill(torch.arange(2), TextBatch.of_ids(torch.full((2, 3), 5), torch.full((2,), 3)))
    store.extend(torch.tensor([4, 5]))
    keys = weakref.ref(store._layers[0].keys)
    gc.disable()
    try:
        del store
        assert keys() is None
    finally:
        gc.enable()


def test_after_inference_mode(make_network: Any) -> None:
    model = CausalLM(make_network("llama"))
    cache, rows = PrefixCache(model, 2, 20), torch.arange(40).reshape(2, 20)
    with torch.inference_mode():
        cache.hidden(TextBatch.of_ids(rows, torch.tensor([4, 6])))
        cache.hidden(TextBatch.of_ids(rows, torch.tensor([5, 7])))
    states = cache.hidden(TextBatch.of_ids(rows, torch.tensor([6, 8])))
    expected = last_hidden(model, TextBatch.of_ids(rows, torch.tensor([6, 8])))
    torch.testing.assert_close(states, expected, rtol=0, atol=1e-9)


def test_decoding_where_activations_are_recomputed(make_network: Any) -> None:
    """In training mode transformers fills no cache then."""
    model = CausalLM(make_network("llama"))
    settings: dict[str, Any] = {"max_new_tokens": 6, "eos_ids": [5], "temperature": 0.0}
    expected = generate(model, [[1, 2], [3]], **settings)
    model.recompute_activations()
    model.train()
    assert generate(model, [[1, 2], [3]], **settings) == expected
    assert model.trunk.training


def test_generation_with_recorded_steps(make_network: Any, recorded: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows idle, start over and are dropped while steps are recorded."""
    model = CausalLM(make_network("llama"))
    prompts = [[i % 60, *range(2, 2 + i % 7)] for i in range(20)]
    settings: dict[str, Any] = {"max_new_tokens": 12, "eos_ids": [5, 6, 7], "temperature": 0.0, "batch_size": 6}
    found = generate(model, prompts, **settings)
    assert Replayed.made == 1  # rows that are left over are not worth another recording
    monkeypatch.undo()
    assert found == generate(model, prompts, **settings)
    assert len(set(map(len, found))) > 1


def test_a_step_that_cannot_be_recorded_is_computed(
    make_network: Any, oracle: Any, recorded: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any) -> None:
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    monkeypatch.setattr(cuda_graph, "RecordedStep", refuse)
    model = CausalLM(make_network("llama"))
    cache, rows = PrefixCache(model, 1, 20), torch.arange(20)[None]
    cache.hidden(TextBatch.of_ids(rows, torch.tensor([4])))
    with pytest.warns(
        UserWarning, match="without CUDA graphs, slower: operation not permitted when stream is capturing$"
    ):
        states = cache.hidden(TextBatch.of_ids(rows, torch.tensor([5])))
    torch.testing.assert_close(model.logits(states)[0], oracle(model.network, list(range(5))), rtol=0, atol=1e-9)
    cache.hidden(TextBatch.of_ids(rows, torch.tensor([6])))  # and no second warning


@torch.no_grad()
def test_functions_are_recorded_for_the_first_shapes_and_again_when_what_they_read_changes(
    make_network: Any, recorded: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, weight, recordings = CausalLM(make_network("llama")), torch.tensor([2.0]), cuda_graph.Recordings()
    calls = []

    def scaled(values: Tensor, offset: Tensor) -> tuple[Tensor, Tensor]:
        calls.append(tuple(values.shape))
        return values * weight + offset, values.sum()

    def run(rows: int, first: float, read: int = 0) -> list[list[float]]:
        values = first + torch.arange(float(rows))
        return [part.tolist() for part in recordings.run(model, scaled, (values, torch.ones(1)), read)]

    assert run(2, 0.0) == [[1.0, 3.0], 1.0]
    recordings_made = len(calls)
    assert run(2, 5.0) == [[11.0, 13.0], 11.0]
    weight.fill_(3.0)  # in its place
    assert run(2, 5.0) == [[16.0, 19.0], 11.0]
    assert len(calls) == recordings_made  # replayed
    weight = torch.tensor([4.0])
    assert run(2, 5.0, read=1) == [[21.0, 25.0], 11.0]
    assert Replayed.made == 2
    assert [run(rows, 0.0, read=1)[1] for rows in (1, 3, 4, 5, 6)] == [0.0, 3.0, 6.0, 10.0, 15.0]
    assert Replayed.made == 5  # the last shapes were computed
    copied = copy.deepcopy(recordings)
    assert copied.run(model, scaled, (torch.ones(2), torch.ones(1)), 1)[0].tolist() == [5.0, 5.0]
    assert Replayed.made == 6
    model.stop_recording()
    calls.clear()
    assert run(2, 0.0, read=1) == [[1.0, 5.0], 1.0]
    assert calls == [(2,)]


@torch.no_grad()
def test_a_function_that_cannot_be_recorded_is_computed(
    make_network: Any, recorded: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any) -> None:
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    monkeypatch.setattr(cuda_graph, "RecordedStep", refuse)
    model, recordings = CausalLM(make_network("llama")), cuda_graph.Recordings()
    with pytest.warns(UserWarning, match="without CUDA graphs, slower: operation not permitted"):
        assert recordings.run(model, lambda values: (values + 1,), (torch.ones(1),), 0)[0].tolist() == [2.0]
    assert not model.can_be_recorded
    assert recordings.run(model, lambda values: (values + 1,), (torch.ones(1),), 0)[0].tolist() == [2.0]
