from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from textgym.models.batch import pad_rows
from textgym.models.causal_lm import CausalLM
from textgym.models.decoding.generation import generate

Oracle = Callable[[Any, Sequence[int]], Tensor]


def prompts_of(count: int, seed: int = 0, longest: int = 12) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 64, rng.integers(1, longest)).tolist() for _ in range(count)]


def greedy_by_hand(network: Any, oracle: Oracle, prompt: list[int], budget: int, eos: Sequence[int]) -> list[int]:
    response: list[int] = []
    while len(response) < budget and not (response and response[-1] in eos):
        response.append(int(oracle(network, [*prompt, *response]).argmax()))
    return response


def greedy(model: CausalLM, prompts: list[list[int]], **options: Any) -> list[list[int]]:
    settings: dict[str, Any] = {"max_new_tokens": 14, "eos_ids": [1], **options}
    return generate(model, prompts, temperature=0, **settings)


@pytest.mark.parametrize("kind", ["gpt2", "llama", "gpt_neox"])
def test_greedy_equals_hugging_face(kind: str, make_network: Any) -> None:
    network = make_network(kind)
    prompts = prompts_of(8)
    ours = greedy(CausalLM(network), prompts, eos_ids=[9])
    for prompt, response in zip(prompts, ours, strict=True):
        theirs = network.generate(
            torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
            do_sample=False,
            max_new_tokens=14,
            eos_token_id=9,
            pad_token_id=0,
        )
        assert response == theirs[0, len(prompt) :].tolist()


@pytest.mark.parametrize("kind", ["llama", "mistral"])
@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_any_batch_size_gives_the_same_greedy_texts(
    kind: str, batch_size: int, make_network: Any, oracle: Oracle
) -> None:
    network = make_network(kind)
    prompts = prompts_of(11)
    # With many ends, rows finish at different times and are refilled in the middle.
    ends = [1, 2, 3, 5, 8, 13, 21, 34, 55]
    expected = [greedy_by_hand(network, oracle, prompt, 14, ends) for prompt in prompts]
    assert len({len(response) for response in expected}) > 3
    assert greedy(CausalLM(network), prompts, eos_ids=ends, batch_size=batch_size) == expected


def test_a_long_generation_moves_the_store(make_network: Any, oracle: Oracle) -> None:
    network = make_network("llama")
    response = greedy(CausalLM(network), [[1, 2], [3, 4, 5]], max_new_tokens=150, eos_ids=[])[1]
    assert response == greedy_by_hand(network, oracle, [3, 4, 5], 150, [])


def test_frequencies_are_those_of_the_softmax(make_network: Any, oracle: Oracle) -> None:
    network = make_network("gpt_neox")
    temperature, count, prompt = 0.7, 3000, [3, 1, 4]
    generator = torch.Generator().manual_seed(0)
    sampled = generate(
        CausalLM(network),
        [prompt] * count,
        max_new_tokens=2,
        eos_ids=[],
        temperature=temperature,
        generator=generator,
        batch_size=500,
    )
    assert chi_square([row[0] for row in sampled], (oracle(network, prompt) / temperature).softmax(0)) < 4
    # The second token, after the most frequent first one, comes from the cache.
    first = int(np.bincount([row[0] for row in sampled]).argmax())
    seconds = [row[1] for row in sampled if row[0] == first]
    assert chi_square(seconds, (oracle(network, [*prompt, first]) / temperature).softmax(0)) < 4


def chi_square(tokens: list[int], probs: Tensor) -> float:
    """Standardised chi-square statistic, about N(0, 1); rare tokens are pooled."""
    observed = torch.bincount(torch.tensor(tokens), minlength=len(probs)).double()
    expected = probs * len(tokens)
    common = expected >= 5
    seen = torch.cat([observed[common], observed[~common].sum()[None]])
    hoped = torch.cat([expected[common], expected[~common].sum()[None]])
    freedom = len(seen) - 1
    assert freedom > 3
    statistic = float(((seen - hoped) ** 2 / hoped).sum())
    return abs(statistic - freedom) / (2 * freedom) ** 0.5


def test_seeds_reproduce_and_differ(make_network: Any) -> None:
    model = CausalLM(make_network("llama"))

    def sample(seed: int) -> list[list[int]]:
        generator = torch.Generator().manual_seed(seed)
        return generate(model, prompts_of(9), max_new_tokens=8, eos_ids=[1], generator=generator, batch_size=4)

    before = torch.get_rng_state()
    assert sample(1) == sample(1)
    assert torch.equal(before, torch.get_rng_state())
    assert sample(1) != sample(2)


def test_eos_is_the_last_id_and_budgets_hold(make_network: Any) -> None:
    model = CausalLM(make_network("qwen2"))
    generator = torch.Generator().manual_seed(0)
    done: list[int] = []
    responses = generate(
        model,
        prompts_of(40),
        max_new_tokens=6,
        eos_ids=[1, 2, 3, 4, 5, 6, 7, 8],
        generator=generator,
        batch_size=7,
        progress=done.append,
    )
    ended = [row for row in responses if row[-1] in range(1, 9)]
    assert 0 < len(ended) < 40
    for row in responses:
        assert 1 <= len(row) <= 6
        assert not set(row[:-1]) & set(range(1, 9))
        assert len(row) == 6 or row[-1] in range(1, 9)
    assert sum(done) == 40


def test_padded_vocabulary_is_never_drawn(make_network: Any) -> None:
    model = CausalLM(make_network("gpt2"))
    model.restrict_vocabulary(5)
    generator = torch.Generator().manual_seed(0)
    for temperature in (0.0, 3.0):
        rows = generate(
            model, [[1, 2]] * 30, max_new_tokens=6, eos_ids=[], temperature=temperature, generator=generator
        )
        assert max(max(row) for row in rows) < 5


def test_no_prompts_no_texts(make_network: Any) -> None:
    assert greedy(CausalLM(make_network("llama")), []) == []


def test_mistakes(make_network: Any) -> None:
    model = CausalLM(make_network("llama"))
    with pytest.raises(ValueError, match="got an empty one"):
        greedy(model, [[1], []])
    with pytest.raises(ValueError, match="temperature >= 0, got -1"):
        generate(model, [[1]], max_new_tokens=3, eos_ids=[1], temperature=-1)
    for budget in (0, -1):
        with pytest.raises(ValueError, match=f"max_new_tokens of at least 1, got {budget}"):
            greedy(model, [[1]], max_new_tokens=budget)
    with pytest.raises(ValueError, match="batch_size of at least 1, got 0"):
        greedy(model, [[1]], batch_size=0)


def test_pad_rows() -> None:
    ids, lengths = pad_rows([[1, 2, 3], [4]], fill=9)
    assert ids.tolist() == [[1, 2, 3], [4, 9, 9]]
    assert lengths.tolist() == [3, 1]
