from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from textgym.models.batch import EpisodeBatch, TextBatch, share_prefixes

# Few different ids, 0 among them: many texts are equal or begin alike, and ids look like padding.
TEXTS = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=6), min_size=1, max_size=12)


def observations(texts: list[list[int]], width: int = 8, seed: int = 0) -> TextBatch:
    """Right-padded rows whose padding is noise."""
    ids = torch.from_numpy(np.random.default_rng(seed).integers(0, 3, (len(texts), width)))
    for target, text in zip(ids, texts, strict=True):
        target[: len(text)] = torch.tensor(text)
    return TextBatch.of_ids(ids, torch.tensor([len(text) for text in texts]))


@settings(max_examples=200)
@given(TEXTS, st.integers(0, 5))
def test_every_observation_is_answered_by_its_own_text(texts: list[list[int]], seed: int) -> None:
    batch = share_prefixes(observations(texts, seed=seed))
    for text, row, position in zip(texts, batch.rows.tolist(), batch.positions.tolist(), strict=True):
        assert position == len(text) - 1
        assert batch.input_ids[row, : position + 1].tolist() == text


@settings(max_examples=200)
@given(TEXTS, st.integers(0, 5))
def test_only_texts_that_no_other_extends_are_computed(texts: list[list[int]], seed: int) -> None:
    batch = share_prefixes(observations(texts, seed=seed))
    different = {tuple(text) for text in texts}
    leaders = [a for a in different if not any(a != b and b[: len(a)] == a for b in different)]
    assert len(batch.input_ids) == len(leaders)
    assert batch.input_ids.shape[1] == max(map(len, texts))


def test_one_episode_is_one_row() -> None:
    batch = share_prefixes(observations([[1, 2], [1, 2, 0], [1, 2, 0, 2]]))
    assert batch.input_ids.tolist() == [[1, 2, 0, 2]]
    assert batch.rows.tolist() == [0, 0, 0]
    assert batch.positions.tolist() == [1, 2, 3]


def test_large_ids_sort_as_numbers() -> None:
    texts = [[255], [256], [65536, 1], [65536], [50256, 255], [256, 3]]
    ids = torch.zeros(len(texts), 2, dtype=torch.long)
    for target, text in zip(ids, texts, strict=True):
        target[: len(text)] = torch.tensor(text)
    batch = share_prefixes(TextBatch.of_ids(ids, torch.tensor([len(text) for text in texts])))
    assert len(batch.input_ids) == 4
    for text, row in zip(texts, batch.rows.tolist(), strict=True):
        assert batch.input_ids[row, : len(text)].tolist() == text


def test_gather() -> None:
    states = torch.arange(24).reshape(2, 3, 4)
    batch = EpisodeBatch(torch.zeros(2, 3), torch.tensor([1, 1]), torch.tensor([1, 0, 1]), torch.tensor([2, 0, 0]))
    assert batch.gather(states).tolist() == [[20, 21, 22, 23], [0, 1, 2, 3], [12, 13, 14, 15]]


@settings(max_examples=100)
@given(TEXTS, st.lists(st.integers(1, 3), min_size=12, max_size=12))
def test_texts_with_other_prompts_are_other_texts(texts: list[list[int]], prompts: list[int]) -> None:
    """What an encoder-decoder computes depends on where the prompt ends."""
    prompt_lengths = torch.tensor(prompts[: len(texts)])
    batch = share_prefixes(observations(texts)._replace(prompt_lengths=prompt_lengths))
    assert batch.prompt_lengths[batch.rows].tolist() == prompt_lengths.tolist()
    for text, row, position in zip(texts, batch.rows.tolist(), batch.positions.tolist(), strict=True):
        assert batch.input_ids[row, : position + 1].tolist() == text
    different = {(prompt, tuple(text)) for prompt, text in zip(prompts, texts, strict=False)}
    leaders = [(p, a) for p, a in different if not any(p == q and a != b and b[: len(a)] == a for q, b in different)]
    assert len(batch.input_ids) == len(leaders)


def test_rows_are_in_the_order_of_their_ids_whatever_the_prompts() -> None:
    texts = observations([[3, 1], [1, 2], [1, 2, 4], [2, 2]])._replace(prompt_lengths=torch.tensor([1, 2, 2, 1]))
    batch = share_prefixes(texts)
    assert batch.input_ids[:, :2].tolist() == [[1, 2], [2, 2], [3, 1]]
    assert batch.rows.tolist() == [2, 0, 0, 1]


def test_last_tokens() -> None:
    texts = TextBatch(torch.tensor([[5, 6, 9, 9], [7, 9, 9, 9]]), torch.tensor([2, 1]), torch.tensor([2, 1]))
    batch = texts.last_tokens()
    assert batch.input_ids.tolist() == [[5, 6], [7, 9]]
    assert [each.tolist() for each in batch[1:]] == [[2, 1], [0, 1], [1, 0]]
    assert [each.tolist() for each in texts.select(torch.tensor([1]))] == [[[7, 9, 9, 9]], [1], [1]]
