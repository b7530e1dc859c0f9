"""Texts that a GPU reads ahead, with the tokens that were chosen for them: the same numbers, sooner."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from tests import seq2seq_models
from textgym.models.batch import TextBatch
from textgym.models.causal_lm import CausalLM
from textgym.models.decoding import key_value_store, prefix_cache
from textgym.models.decoding.cache import DecodingCache, RecomputingCache
from textgym.models.decoding.key_value_store import KeyValueStore
from textgym.models.decoding.prefix_cache import PrefixCache
from textgym.models.seq2seq_lm import Seq2SeqLM


class Environments:
    """Rows of ids that tokens are appended to; most of the time."""

    def __init__(self, rows: int, width: int) -> None:
        self.rng, self.width = np.random.default_rng(0), width
        self.rows = [self.prompt() for _ in range(rows)]

    def prompt(self) -> list[int]:
        return self.rng.integers(0, 64, self.rng.integers(1, 9)).tolist()

    def step(self, tokens: Sequence[int]) -> None:
        self.rows = [
            self.prompt() if len(row) == self.width or self.rng.random() < 0.05 else [*row, token]
            for row, token in zip(self.rows, tokens, strict=True)
        ]

    def change_token(self) -> None:
        """Show another token than the last one."""
        self.rows[0][-1] = (self.rows[0][-1] + 1) % 64

    def disturb(self) -> None:
        """Show something else than what an agent expects."""
        place = int(self.rng.integers(len(self.rows)))
        row, what = self.rows[place], self.rng.integers(5)
        if what == 0:
            self.rows[place] = [*row, 3, 4][: self.width]  # tokens of somebody else
        elif what == 1:
            self.rows[place] = row[: max(1, len(row) - 1)]
        elif what == 2:
            self.rows[place] = [(row[0] + 1) % 64, *row[1:]]
        elif what == 3:
            self.rows = [self.rows[other] for other in self.rng.permutation(len(self.rows))]
        else:
            self.rows = [self.prompt() for _ in self.rows]  # all begin again

    def texts(self) -> TextBatch:
        ids = torch.from_numpy(self.rng.integers(0, 64, (len(self.rows), self.width)))  # noise behind the ends
        for target, row in zip(ids, self.rows, strict=True):
            target[: len(row)] = torch.tensor(row)
        return TextBatch.of_ids(ids, torch.tensor([len(row) for row in self.rows]))


Choose = Callable[[Tensor], tuple[Tensor, ...]]


def greedy(model: CausalLM) -> Choose:
    def choose(states: Tensor) -> tuple[Tensor, ...]:
        return model.logits(states).argmax(-1), states * 1.0

    return choose


class Counted(NamedTuple):
    """Calls of stores: the rows of each."""

    extended: list[int]
    retracted: list[int]
    prefilled: list[int]

    def cache(self, model: CausalLM, rows: int, width: int) -> PrefixCache:
        """A cache whose calls count from now on; what was computed to find out about the model does not."""
        made = PrefixCache(model, rows, width)
        for each in self:
            each.clear()
        return made


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counted:
    """Count the calls of stores."""
    counted = Counted([], [], [])
    extend, retract, prefill = KeyValueStore.extend, KeyValueStore.retract, KeyValueStore.prefill

    def counting_extend(store: KeyValueStore, tokens: Tensor) -> Tensor:
        counted.extended.append(len(tokens))
        return extend(store, tokens)

    def counting_retract(store: KeyValueStore) -> None:
        counted.retracted.append(store.rows)
        retract(store)

    def counting_prefill(store: KeyValueStore, rows: Tensor, texts: TextBatch) -> Tensor:
        counted.prefilled.append(len(rows))
        return prefill(store, rows, texts)

    monkeypatch.setattr(KeyValueStore, "extend", counting_extend)
    monkeypatch.setattr(KeyValueStore, "retract", counting_retract)
    monkeypatch.setattr(KeyValueStore, "prefill", counting_prefill)
    return counted


def test_numbers_are_those_without_reading_ahead(
    make_network: Any, oracle: Any, recorded: None, calls: Counted
) -> None:
    """Bit for bit, whatever the environments do, and whoever else asks in between."""
    model = CausalLM(make_network("llama"))
    ahead, plain, choose = PrefixCache(model, 3, 20), PrefixCache(model, 3, 20), greedy(model)
    environments = Environments(3, 20)
    for step in range(52):
        texts = environments.texts()
        if step % 17 == 5:
            texts = TextBatch(*(tensor.clone() for tensor in texts))
            ahead.hidden(texts)  # values of the same texts, say
        tokens, states = ahead.act(texts, choose)
        expected_tokens, expected = choose(plain.hidden(texts))
        assert torch.equal(states, expected)
        assert torch.equal(tokens, expected_tokens)
        if step % 8 == 0:
            bare = torch.stack([oracle(model.network, row) for row in environments.rows])
            torch.testing.assert_close(model.logits(states), bare, rtol=0, atol=1e-9)
        if step % 13 != 4:  # now and then the same texts are shown again
            environments.step(tokens.tolist())
        if step % 6 == 3:
            environments.change_token()
        elif environments.rng.random() < 0.3:
            environments.disturb()
        if step == 30:
            for parameter in model.parameters():
                parameter.data *= 1.1  # which only a look at values tells
    assert len(calls.retracted) > 2


def test_a_token_is_read_before_it_is_seen(make_network: Any, recorded: None, calls: Counted) -> None:
    model = CausalLM(make_network("llama"))
    cache, choose = calls.cache(model, 2, 16), greedy(model)
    rows = torch.zeros(2, 16, dtype=torch.long)
    rows[:, :3] = torch.tensor([[5, 6, 7], [8, 9, 10]])
    lengths = torch.tensor([3, 2])
    for step in range(1, 7):
        tokens, _ = cache.act(TextBatch.of_ids(rows, lengths), choose)
        assert calls.extended == [2] * step
        rows[torch.arange(2), lengths] = tokens
        lengths += 1
    cache.hidden(TextBatch.of_ids(rows, lengths))  # the value of what came last costs nothing
    assert calls == ([2] * 6, [], [2])


def test_only_rows_that_began_again_are_prefilled(make_network: Any, recorded: None, calls: Counted) -> None:
    model = CausalLM(make_network("llama"))
    cache, choose = calls.cache(model, 3, 16), greedy(model)
    rows = torch.randint(0, 64, (3, 16), generator=torch.Generator().manual_seed(0))
    lengths = torch.tensor([3, 4, 5])
    tokens, _ = cache.act(TextBatch.of_ids(rows, lengths), choose)
    rows[torch.arange(3), lengths] = tokens
    lengths += 1
    rows[1], lengths[1] = 7, 2
    cache.act(TextBatch.of_ids(rows, lengths), choose)
    assert calls == ([3, 3], [], [3, 1])


def test_another_token_than_the_chosen_one_is_read_in_its_place(
    make_network: Any, recorded: None, calls: Counted, oracle: Any
) -> None:
    model = CausalLM(make_network("llama"))
    cache, choose = calls.cache(model, 2, 16), greedy(model)
    rows, lengths = torch.arange(32).reshape(2, 16), torch.tensor([3, 4])
    for _ in range(4):
        tokens, states = cache.act(TextBatch.of_ids(rows, lengths), choose)
        expected = torch.stack([oracle(model.network, row[:n].tolist()) for row, n in zip(rows, lengths, strict=True)])
        torch.testing.assert_close(model.logits(states), expected, rtol=0, atol=1e-9)
        rows[torch.arange(2), lengths] = tokens
        rows[1, lengths[1]] = (tokens[1] + 1) % 64  # an environment that writes what it likes
        lengths += 1
    assert calls == ([2] * 7, [2] * 3, [2])


def test_nothing_is_read_ahead_where_it_saves_nothing(make_network: Any, calls: Counted) -> None:
    """On a CPU a step is computed when it is asked for."""
    model = CausalLM(make_network("llama"))
    cache, rows = calls.cache(model, 2, 16), torch.arange(32).reshape(2, 16)
    for size in (3, 4):
        cache.act(TextBatch.of_ids(rows, torch.tensor([size, size])), greedy(model))
    assert calls == ([2], [], [2])


def test_a_full_row_is_not_read_beyond_its_end(make_network: Any, recorded: None, calls: Counted, oracle: Any) -> None:
    model = CausalLM(make_network("gpt2"))
    cache, rows = calls.cache(model, 2, 8), torch.arange(16).reshape(2, 8)
    for _ in range(2):
        _, states = cache.act(TextBatch.of_ids(rows, torch.tensor([8, 5])), greedy(model))
    assert calls == ([], [], [2])
    torch.testing.assert_close(model.logits(states)[0], oracle(model.network, list(range(8))), rtol=0, atol=1e-9)


def test_actions_may_be_written_into(make_network: Any, recorded: None, oracle: Any) -> None:
    model = CausalLM(make_network("llama"))
    cache, rows, lengths = PrefixCache(model, 1, 16), torch.arange(16)[None].clone(), torch.tensor([3])
    tokens, _ = cache.act(TextBatch.of_ids(rows, lengths), greedy(model))
    tokens += 1
    rows[0, 3] = tokens[0] % 64
    _, states = cache.act(TextBatch.of_ids(rows, lengths + 1), greedy(model))
    expected = oracle(model.network, rows[0, :4].tolist())
    torch.testing.assert_close(model.logits(states)[0], expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("where", ["choose", "extend", "collect"])
def test_an_interrupt_leaves_nothing_half_read(
    where: str, make_network: Any, recorded: None, oracle: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = CausalLM(make_network("llama"))
    cache, rows, lengths = PrefixCache(model, 2, 16), torch.arange(32).reshape(2, 16), torch.tensor([3, 4])
    cache.act(TextBatch.of_ids(rows, lengths), greedy(model))

    def interrupted(*arguments: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        if where == "extend":
            patched.setattr(key_value_store.KeyValueStore, "_step", interrupted)
        if where == "collect":
            patched.setattr(prefix_cache, "fetched", lambda tensors, device: interrupted)
        with pytest.raises(KeyboardInterrupt):
            cache.act(TextBatch.of_ids(rows, lengths), interrupted if where == "choose" else greedy(model))
    for size in (torch.tensor([4, 5]), torch.tensor([5, 6])):
        _, states = cache.act(TextBatch.of_ids(rows, size), greedy(model))
        expected = torch.stack([oracle(model.network, row[:n].tolist()) for row, n in zip(rows, size, strict=True)])
        torch.testing.assert_close(model.logits(states), expected, rtol=0, atol=1e-9)


# ------------------------------------------------------------------ a token is taken back
def caches(kind: str, make_network: Any) -> Callable[[], DecodingCache]:
    if kind == "encoded":
        encoding = Seq2SeqLM(seq2seq_models.build_network("bart").double())
        return lambda: encoding.new_cache(3, 16)
    model = CausalLM(make_network("llama"))
    if kind == "keys and values":
        return lambda: KeyValueStore(model, 3, 16)
    return lambda: RecomputingCache(model.hidden, 3, 16, 0, model.device)


@pytest.mark.parametrize("kind", ["keys and values", "encoded", "recomputing"])
def test_a_token_that_was_taken_back_leaves_no_trace(kind: str, make_network: Any) -> None:
    make = caches(kind, make_network)
    ids = torch.arange(5, 35).reshape(3, 10)
    texts = TextBatch(ids, torch.tensor([4, 6, 3]), torch.tensor([3, 4, 2]))
    rewritten, straight = make(), make()
    for cache in (rewritten, straight):
        cache.prefill(torch.arange(3), texts)
        cache.extend(torch.tensor([40, 41, 42]))
    for tokens in ([50, 51, 52], [53, 54, 55]):
        rewritten.extend(torch.tensor([60, 61, 62]))
        rewritten.retract()
        assert torch.equal(rewritten.lengths, straight.lengths)
        found, expected = rewritten.extend(torch.tensor(tokens)), straight.extend(torch.tensor(tokens))
        assert torch.equal(found, expected)
