from __future__ import annotations

from typing import Any

import pytest
import torch

from textgym.models.batch import EpisodeBatch
from textgym.models.causal_lm import CausalLM
from textgym.models.decoding.continuation import copied
from textgym.models.prompt_sharing import shared_prompts

LONG, SHORT = [5, 6, 7, 8, 9, 10, 11, 12], [20, 21, 22]
TEXTS = [(LONG, [1, 2, 3]), (LONG, [4, 5]), (SHORT, [6]), (LONG, [7, 8, 9, 10]), (SHORT, []), (LONG, [1, 2])]
INSTRUCTED = [([*LONG, 30, 31], [1, 2]), ([*LONG, 32], [3]), ([*LONG, 30, 32, 33], []), ([*LONG, 34], [1, 2])]


def batch_of(texts: list[tuple[list[int], list[int]]], noise: int = 0) -> EpisodeBatch:
    """One transition after the prompt and after each token of the response, shuffled."""
    width = max(len(prompt) + len(response) for prompt, response in texts)
    ids = torch.full((len(texts), width), noise)
    places = []
    for row, (prompt, response) in enumerate(texts):
        ids[row, : len(prompt) + len(response)] = torch.tensor([*prompt, *response])
        places += [(row, len(prompt) - 1 + step) for step in range(len(response) + 1)]
    order = torch.randperm(len(places), generator=torch.Generator().manual_seed(0))
    rows, positions = torch.tensor(places)[order].T
    prompt_lengths = torch.tensor([len(prompt) for prompt, _ in texts])
    return EpisodeBatch(ids, prompt_lengths, rows.contiguous(), positions.contiguous())


@pytest.mark.parametrize("kind", ["gpt_neox", "gpt2", "llama"])
@pytest.mark.parametrize("noise", [0, 3])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("texts", [TEXTS, INSTRUCTED])
def test_states_and_gradients_are_those_of_whole_texts(
    texts: list[tuple[list[int], list[int]]], kind: str, noise: int, attention: str, make_network: Any
) -> None:
    model = CausalLM(make_network(kind, attn_implementation=attention).double())
    batch = batch_of(texts, noise)
    assert shared_prompts(batch) is not None
    weights = torch.linspace(-1, 2, len(batch.rows), dtype=torch.float64)[:, None]
    found = []
    for states in (model.hidden(batch), batch.gather(model.token_states(batch.input_ids))):
        model.zero_grad()
        (states * weights).square().sum().backward()
        found.append([states, *(parameter.grad for parameter in model.parameters() if parameter.grad is not None)])
    # transformers computes the eager softmax and Llama's norms in fp32.
    tolerance = 1e-9 if attention == "sdpa" and kind != "llama" else 1e-3
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    ("texts", "passes"),
    [
        (TEXTS, [(2, 8), (6, 4)]),  # two prompts, and at most four tokens of a response
        (INSTRUCTED, [(1, 8), (4, 4)]),  # what all prompts begin with, and the rest of prompts and responses
    ],
)
def test_each_beginning_is_read_once(
    texts: list[tuple[list[int], list[int]]],
    passes: list[tuple[int, int]],
    make_network: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, shapes = CausalLM(make_network("gpt_neox")), []
    original = model.token_states

    def spy(ids: torch.Tensor, *rest: Any, **named: Any) -> torch.Tensor:
        shapes.append(tuple(ids.shape))
        return original(ids, *rest, **named)

    monkeypatch.setattr(model, "token_states", spy)
    model.hidden(batch_of(texts))
    assert shapes == passes


@pytest.mark.parametrize("beginnings", [1, 3])
def test_gradients_of_copies_add_up_in_one_order(beginnings: int) -> None:
    """On several threads, too, where picking rows by an index adds them up as threads come."""
    generator = torch.Generator().manual_seed(0)
    parts = torch.randn(beginnings, 4, 200, 32, generator=generator, requires_grad=True)
    weights, which = torch.randn(64, 4, 200, 32, generator=generator), torch.arange(64) % beginnings
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        found = {
            torch.autograd.grad((copied(parts, which) * weights).sum(), parts)[0].numpy().tobytes() for _ in range(8)
        }
    finally:
        torch.set_num_threads(threads)
    assert len(found) == 1
    assert torch.equal(copied(parts, which), parts[which])


def test_texts_of_one_token_need_no_second_pass(make_network: Any) -> None:
    model, batch = CausalLM(make_network("gpt_neox")), batch_of([(LONG, [])] * 4)
    torch.testing.assert_close(model.hidden(batch), batch.gather(model.token_states(batch.input_ids)))


@pytest.mark.parametrize(
    "texts",
    [
        [(LONG, [1, 2]), ([50, *LONG], [3, 4]), ([51, *LONG], [5])],  # nothing in common before the first action
        [(SHORT, list(range(20))), (SHORT, list(range(20)))],  # too little in common
    ],
)
def test_one_pass_where_sharing_does_not_pay(texts: list[tuple[list[int], list[int]]]) -> None:
    assert shared_prompts(batch_of(texts)) is None


def test_recomputed_activations_are_left_alone(make_network: Any) -> None:
    """Keys and values of recomputed layers carry no gradients."""
    model = CausalLM(make_network("gpt_neox"))
    assert model.can_continue_with_gradients(11)
    model.recompute_activations()
    assert not model.can_continue_with_gradients(11)


def test_weights_that_are_shared_out_are_left_alone(make_network: Any) -> None:
    """Processes that took another number of passes each would wait for one another; only some modules gather them."""
    model = CausalLM(make_network("gpt_neox"))
    layer = next(each for name, each in model.network.named_modules() if name.endswith("layers.1"))
    assert not layer.gradient_checkpointing  # which says no more than that activations are kept
    layer.unshard = lambda: None  # as FSDP2 adds
    assert not model.can_continue_with_gradients(11)
