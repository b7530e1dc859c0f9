from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3.common.utils import polyak_update
from torch import Tensor

from textgym.agents.common.cache_pool import CachePool
from textgym.models.batch import TextBatch
from textgym.models.causal_lm import CausalLM
from textgym.models.decoding.prefix_cache import PrefixCache, last_hidden

Oracle = Callable[[Any, Sequence[int]], Tensor]
CACHED = ("gpt2", "gpt_neox", "llama", "qwen2", "qwen3", "opt", "falcon", "gpt_bigcode", "granite", "cohere")
UNCACHED = ("mistral", "gemma2", "bloom", "falcon_alibi", "openai_gpt", "mamba")


class Texts:
    """Rows of ids that change as environments' do: grow, start over, repeat, branch, swap places."""

    def __init__(self, rows: int, width: int, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.width = width
        self.rows = [self.fresh() for _ in range(rows)]

    def fresh(self) -> list[int]:
        return self.rng.integers(0, 64, self.rng.integers(1, self.width + 1)).tolist()

    def grow(self) -> None:
        for i, row in enumerate(self.rows):
            full = len(row) == self.width
            self.rows[i] = self.fresh() if full else [*row, int(self.rng.integers(64))]

    def disturb(self) -> None:
        """Do one of the things that a cache must notice."""
        i, k = self.rng.integers(0, len(self.rows), 2).tolist()
        row = self.rows[i]
        what = self.rng.integers(6)
        if what == 0:
            self.rows[i] = self.fresh()
        elif what == 1:  # a branch: the same length, one id in the middle differs
            place = int(self.rng.integers(len(row)))
            self.rows[i] = [*row[:place], (row[place] + 1) % 64, *row[place + 1 :]]
        elif what == 2:  # equal rows
            self.rows[i] = list(self.rows[k])
        elif what == 3:
            self.rows = [self.rows[j] for j in self.rng.permutation(len(self.rows))]
        elif what == 4:  # a step back
            self.rows[i] = row[: max(1, len(row) - 1)]
        else:  # two ids at once
            self.rows[i] = [*row, 3, 4][: self.width]

    def batch(self) -> TextBatch:
        # What lies behind a text's end must not matter, so it is noise.
        ids = torch.from_numpy(self.rng.integers(0, 64, (len(self.rows), self.width)))
        for target, row in zip(ids, self.rows, strict=True):
            target[: len(row)] = torch.tensor(row)
        return TextBatch.of_ids(ids, torch.tensor([len(row) for row in self.rows]))


def worst_error(model: CausalLM, oracle: Oracle, states: Tensor, rows: Sequence[Sequence[int]]) -> float:
    expected = torch.stack([oracle(model.network, row) for row in rows])
    with torch.no_grad():
        return float((model.logits(states) - expected).abs().max())


def play(model: CausalLM, oracle: Oracle, steps: int, rows: int = 4, width: int = 24, check: int = 4) -> float:
    cache, texts = PrefixCache(model, rows, width), Texts(rows, width)
    worst = 0.0
    for step in range(steps):
        if texts.rng.random() < 0.25:
            texts.disturb()
        elif texts.rng.random() < 0.9:
            texts.grow()
        states = cache.hidden(texts.batch())
        if step % check == 0:
            worst = max(worst, worst_error(model, oracle, states, texts.rows))
    return worst


@pytest.mark.parametrize("kind", CACHED)
def test_equals_the_bare_model_in_float64(kind: str, make_network: Any, oracle: Oracle) -> None:
    model = CausalLM(make_network(kind))
    assert model.is_cacheable
    assert play(model, oracle, 160) < 1e-9


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_equals_the_bare_model_in_fp32(kind: str, make_network: Any, oracle: Oracle) -> None:
    assert play(CausalLM(make_network(kind, torch.float32)), oracle, 100) < 1e-4


@pytest.mark.parametrize("kind", ["gpt_neox", "qwen2"])
def test_eager_attention(kind: str, make_network: Any, oracle: Oracle) -> None:
    model = CausalLM(make_network(kind, attn_implementation="eager"))
    assert model.network.config._attn_implementation == "eager"
    assert play(model, oracle, 60) < 1e-6  # transformers computes the eager softmax in fp32
    twin = CausalLM(make_network(kind, attn_implementation="sdpa"))
    texts = Texts(3, 20).batch()
    torch.testing.assert_close(last_hidden(model, texts), last_hidden(twin, texts), rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", UNCACHED)
def test_architectures_without_a_cache_warn_and_are_right(kind: str, make_network: Any, oracle: Oracle) -> None:
    with pytest.warns(UserWarning, match="is not continued from keys and values") as said:
        model = CausalLM(make_network(kind))
    assert not model.is_cacheable
    assert len([each for each in said if "keys and values" in str(each.message)]) == 1  # once, when it is loaded
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cache = PrefixCache(model, 3, 20)
    texts = Texts(3, 20)
    for _ in range(4):
        # Mamba's and Bloom's code computes parts in fp32 whatever the dtype.
        assert worst_error(model, oracle, cache.hidden(texts.batch()), texts.rows) < 1e-5
        texts.grow()


def test_a_window_on_some_layers_only_is_noticed(make_network: Any) -> None:
    window = {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1}
    assert not CausalLM(make_network("qwen2", **window)).is_cacheable
    assert CausalLM(make_network("mistral", sliding_window=None)).is_cacheable


def test_cached_models_do_not_warn(make_network: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        PrefixCache(CausalLM(make_network("llama")), 2, 8)


def test_a_long_rollout_in_which_rows_start_over(make_network: Any, oracle: Oracle) -> None:
    model = CausalLM(make_network("llama"))
    cache, texts = PrefixCache(model, 3, 30), Texts(3, 30)
    for step in range(300):
        states = cache.hidden(texts.batch())
        if step % 10 == 0 or step > 290:
            assert worst_error(model, oracle, states, texts.rows) < 1e-9
        texts.grow()


@pytest.mark.parametrize("kind", ["gpt2", "opt"])
def test_a_full_row_next_to_growing_ones(kind: str, make_network: Any, oracle: Oracle) -> None:
    """The width may be all positions the model has: a finished row must not ask for one more."""
    width = 64
    model = CausalLM(make_network(kind))
    cache = PrefixCache(model, 2, width)
    full, short = [7] * width, [1, 2, 3]
    rows = torch.zeros(2, width, dtype=torch.long)
    for _ in range(3):
        short = [*short, 5]
        rows[0], rows[1, : len(short)] = torch.tensor(full), torch.tensor(short)
        states = cache.hidden(TextBatch.of_ids(rows, torch.tensor([width, len(short)])))
        assert worst_error(model, oracle, states, [full, short]) < 1e-9


def test_memory_that_was_never_written_does_not_matter(
    make_network: Any, oracle: Oracle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A masked key has weight 0, and 0 times the NaN that fresh memory may hold is NaN."""
    original = Tensor.new_empty
    monkeypatch.setattr(
        Tensor, "new_empty", lambda self, *size, **named: original(self, *size, **named).fill_(math.nan)
    )
    model = CausalLM(make_network("llama"))
    cache = PrefixCache(model, 2, 20)
    short, long = [5, 6], [7]
    for step in range(4):
        rows = torch.zeros(2, 20, dtype=torch.long)
        for target, row in zip(rows, (long, short), strict=True):
            target[: len(row)] = torch.tensor(row)
        states = cache.hidden(TextBatch.of_ids(rows, torch.tensor([len(long), len(short)])))
        assert worst_error(model, oracle, states, [long, short]) < 1e-9
        # The second row is given a longer text than the first one ever had.
        short, long = [*short, 4], list(range(12)) if step == 1 else [*long, 3]


def test_one_token_costs_one_token(make_network: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model = CausalLM(make_network("llama"))
    cache = PrefixCache(model, 2, 20)
    ids = torch.arange(40).reshape(2, 20)
    computed: list[tuple[int, ...]] = []
    original = model.token_states

    def spy(input_ids: Tensor, *rest: Any, **named: Any) -> Tensor:
        computed.append(tuple(input_ids.shape))
        return original(input_ids, *rest, **named)

    monkeypatch.setattr(model, "token_states", spy)
    cache.hidden(TextBatch.of_ids(ids, torch.tensor([5, 9])))
    cache.hidden(TextBatch.of_ids(ids, torch.tensor([6, 10])))
    cache.hidden(TextBatch.of_ids(ids, torch.tensor([6, 10])))
    ids[1] += 1
    cache.hidden(TextBatch.of_ids(ids, torch.tensor([7, 3])))
    assert computed == [(2, 9), (2, 1), (2, 1), (1, 3)]


def step_of(optimizer: type[torch.optim.Optimizer], **options: Any) -> Callable[[Any], None]:
    def change(network: Any) -> None:
        stepper: Any = optimizer(network.parameters(), lr=0.1, **options)  # type: ignore[call-arg]
        for parameter in network.parameters():
            parameter.grad = torch.ones_like(parameter)
        stepper.step()

    return change


def hand_written_step(network: Any) -> None:
    with torch.no_grad():
        for parameter in network.parameters():
            parameter -= 0.1


def copy_in_place(network: Any) -> None:
    with torch.no_grad():
        next(network.parameters()).copy_(next(network.parameters()) * 1.5)


def load_other_weights(network: Any) -> None:
    network.load_state_dict({name: tensor * 1.1 for name, tensor in network.state_dict().items()})


def assign_other_weights(network: Any) -> None:
    network.load_state_dict({name: tensor * 1.1 for name, tensor in network.state_dict().items()}, assign=True)


def replace_data(network: Any) -> None:
    for parameter in network.parameters():
        parameter.data = parameter.data * 1.1


def data_in_place(network: Any) -> None:
    for parameter in network.parameters():
        parameter.data -= 1e-3


def data_in_place_foreach(network: Any) -> None:
    torch._foreach_mul_([parameter.data for parameter in network.parameters()], 1.01)
    torch._foreach_add_([parameter.data for parameter in network.parameters()], 1e-3)


def polyak(network: Any) -> None:
    polyak_update([parameter + 1 for parameter in network.parameters()], network.parameters(), 0.01)


def replace_parameter(network: Any) -> None:
    norm = network.gpt_neox.final_layer_norm
    norm.weight = torch.nn.Parameter(norm.weight * 1.1)


def replace_module(network: Any) -> None:
    old = network.gpt_neox.layers[0].mlp.dense_h_to_4h
    new = torch.nn.Linear(old.in_features, old.out_features, dtype=old.weight.dtype)
    network.gpt_neox.layers[0].mlp.dense_h_to_4h = new


def add_parameter(network: Any) -> None:
    """As `torch.nn.utils.parametrizations.weight_norm` does: other parameters make up the weight."""
    torch.nn.utils.parametrizations.weight_norm(network.gpt_neox.layers[0].mlp.dense_h_to_4h)
    with torch.no_grad():
        network.gpt_neox.layers[0].mlp.dense_h_to_4h.parametrizations.weight.original0.mul_(1.5)


def replace_all_parameters_of_a_module(network: Any) -> None:
    norm = network.gpt_neox.final_layer_norm
    norm._parameters = {name: torch.nn.Parameter(part * 1.7) for name, part in norm._parameters.items()}


def buffer_in_place(network: Any) -> None:
    network.gpt_neox.rotary_emb.inv_freq.mul_(0.5)


def replace_buffer(network: Any) -> None:
    network.gpt_neox.rotary_emb.inv_freq = network.gpt_neox.rotary_emb.inv_freq * 0.5


def add_hook(network: Any) -> None:
    network.gpt_neox.layers[0].mlp.register_forward_hook(lambda _module, _given, output: output * 1.5)


def add_pre_hook(network: Any) -> None:
    network.gpt_neox.layers[1].mlp.register_forward_pre_hook(lambda _module, given: (given[0] * 1.5,))


CHANGES = {
    "adamw": step_of(torch.optim.AdamW, foreach=False),
    "adamw foreach": step_of(torch.optim.AdamW, foreach=True),
    "adamw fused": step_of(torch.optim.AdamW, fused=True),
    "sgd fused": step_of(torch.optim.SGD, fused=True),
    "hand-written": hand_written_step,
    "copy_": copy_in_place,
    "load_state_dict": load_other_weights,
    "load_state_dict(assign)": assign_other_weights,
    "data replaced": replace_data,
    "data in place": data_in_place,
    "data in place, foreach": data_in_place_foreach,
    "polyak": polyak,
    "parameter replaced": replace_parameter,
    "parameters replaced": replace_all_parameters_of_a_module,
    "module replaced": replace_module,
    "parametrized": add_parameter,
    "buffer in place": buffer_in_place,
    "buffer replaced": replace_buffer,
    "hook": add_hook,
    "pre-hook": add_pre_hook,
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
@pytest.mark.parametrize("grows", [True, False])
def test_the_cache_dies_with_the_weights(change: Any, grows: bool, make_network: Any, oracle: Oracle) -> None:
    model = CausalLM(make_network("gpt_neox"))
    cache, pool, texts = PrefixCache(model, 3, 16), CachePool(model), Texts(3, 12)
    texts.width = 16
    before = cache.hidden(texts.batch()).clone()
    pool.hidden(texts.batch())
    change(model.network)
    if grows:
        texts.rows = [[*row, 9] for row in texts.rows]
    states = cache.hidden(texts.batch())
    assert not torch.allclose(before, states)
    assert worst_error(model, oracle, states, texts.rows) < 1e-9
    assert worst_error(model, oracle, pool.hidden(texts.batch()), texts.rows) < 1e-9


def test_every_parameter_is_watched(make_network: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write through ``.data`` into one parameter, trained or frozen, of any layout, is enough to be seen."""
    pytest.importorskip("peft")
    network = make_network("gpt2")
    weight = network.transformer.h[0].mlp.c_fc.weight
    weight.data = weight.data.T.contiguous().T  # not contiguous
    model = CausalLM(network)
    model.add_lora(2)
    cache = PrefixCache(model, 2, 10)
    ids, lengths = torch.arange(20).reshape(2, 10), torch.tensor([4, 5])
    read: list[int] = []
    original = model.token_states
    monkeypatch.setattr(
        model, "token_states", lambda ids, *a, **k: (read.append(ids.shape[1]), original(ids, *a, **k))[1]
    )
    for number, parameter in enumerate(model.parameters()):
        for _ in range(2):
            cache.hidden(TextBatch.of_ids(ids, lengths))
        assert read == [5]  # read once
        read.clear()
        parameter.data += 0.01
        if number % 2:
            cache.act(TextBatch.of_ids(ids, lengths + 1), lambda states: (states.argmax(-1),))
            assert read == [1, 6]  # found out when the choice was made, which is made again
            read.clear()
            parameter.data += 0.01
    cache.hidden(TextBatch.of_ids(ids, lengths + 1))
    assert read == [6]


def test_the_cache_survives_calls_that_change_nothing(make_network: Any) -> None:
    model = CausalLM(make_network("llama"))
    cache = PrefixCache(model, 2, 10)
    ids = torch.arange(20).reshape(2, 10)
    cache.hidden(TextBatch.of_ids(ids, torch.tensor([4, 5])))
    model.eval()
    model.train()
    extended, unchanged = cache.match(TextBatch.of_ids(ids, torch.tensor([5, 5])))
    assert extended.tolist() == [True, False]
    assert unchanged.tolist() == [False, True]


def test_adapters_switched_off_are_another_model(make_network: Any) -> None:
    pytest.importorskip("peft")
    model = CausalLM(make_network("llama"))
    model.add_lora(2)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter)
    cache = PrefixCache(model, 2, 10)
    ids, lengths = torch.arange(20).reshape(2, 10), torch.tensor([4, 5])
    adapted = cache.hidden(TextBatch.of_ids(ids, lengths)).clone()
    with model.without_adapter():
        plain = cache.hidden(TextBatch.of_ids(ids, lengths)).clone()
        torch.testing.assert_close(plain, last_hidden(model, TextBatch.of_ids(ids, lengths)), rtol=0, atol=1e-9)
    assert not torch.allclose(plain, adapted)
    torch.testing.assert_close(cache.hidden(TextBatch.of_ids(ids, lengths)), adapted, rtol=0, atol=1e-9)


def test_training_and_evaluation_take_turns(make_network: Any, oracle: Oracle) -> None:
    """Two environments of equal size and seed, one of which is a few steps behind, share one pool."""
    model = CausalLM(make_network("qwen2"))
    pool = CachePool(model)
    train, evaluation = Texts(3, 20, seed=5), Texts(3, 20, seed=5)
    for step in range(60):
        for texts in (train, evaluation) if step % 3 else (train,):
            states = pool.hidden(texts.batch())
            assert worst_error(model, oracle, states, texts.rows) < 1e-9
            texts.grow()
        if step % 7 == 0:
            train.disturb()
    assert len(pool._caches) <= 2


def test_pool_takes_batches_of_any_size(make_network: Any, oracle: Oracle) -> None:
    model = CausalLM(make_network("gpt2"))
    pool = CachePool(model)
    for rows in (1, 4, 2, 1, 4):
        texts = Texts(rows, 10 + rows, seed=rows)
        assert worst_error(model, oracle, pool.hidden(texts.batch()), texts.rows) < 1e-9


@pytest.mark.parametrize("kind", ["gpt2", "gpt_neox", "llama", "opt", "falcon", "gpt_bigcode", "persimmon", "bloom"])
def test_dropout_in_the_config_has_no_effect(kind: str, make_network: Any, oracle: Oracle) -> None:
    model = CausalLM(make_network(kind))
    model.train()
    texts = Texts(3, 20).batch()
    states = last_hidden(model, texts)
    assert torch.equal(states, last_hidden(model, texts))
    model.eval()
    assert torch.equal(states, last_hidden(model, texts))
