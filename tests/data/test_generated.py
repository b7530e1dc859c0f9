"""Corpora that are made up: pure functions of seed, split and position, with splits that share nothing."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from textgym.data.draws import Draws
from textgym.data.generated import SIZES, GeneratedDataset, Item, composed, name_of_level, parse_key
from textgym.errors import DataError
from textgym.types import SPLITS, Split


def sums(draws: Draws) -> Item:
    first, second = draws.whole(1, 40), draws.whole(1, 40)
    total = str(first + second)
    return Item(f"{first}+{second}", f"{first} + {second} =", (total,), (total,), {"total": first + second})


SMALL: dict[Split, int] = {"train": 800, "validation": 100, "test": 100}


def dataset(split: Split = "train", seed: int = 0) -> GeneratedDataset:
    return GeneratedDataset("sums", split, composed(sums), sizes=SMALL, seed=seed)


def test_an_item_is_what_its_place_says() -> None:
    data = dataset()
    assert (len(data), data[3], data[-1].key) == (800, dataset()[3], "sums/train/799")
    assert data[3] != data[4]
    assert dataset(seed=1)[3].prompt != data[3].prompt
    assert dataset(seed=1)[3].key == "sums@1/train/3"
    assert data.find("sums/train/3") == data[3]
    assert pickle.loads(pickle.dumps(data.fingerprint())) == dataset().fingerprint() != dataset(seed=1).fingerprint()
    assert repr(data) == "GeneratedDataset('sums', 'train', 800 examples)"


def test_no_two_splits_share_an_item() -> None:
    prompts = {split: {dataset(split)[place].prompt for place in range(100)} for split in SPLITS}
    assert all(prompts[one].isdisjoint(prompts[other]) for one in SPLITS for other in SPLITS if one < other)


@pytest.mark.parametrize("key", ["sums/train/800", "sums/trian/0", "sums", "totals/train/3", "sums/train/-1"])
def test_keys_of_nothing(key: str) -> None:
    with pytest.raises(KeyError, match="expected"):
        dataset().find(key)


def test_what_is_not_there() -> None:
    with pytest.raises(KeyError, match="load split 'test'"):
        dataset().find("sums/test/3")
    with pytest.raises(IndexError, match="expected an index below 800"):
        dataset()[800]
    with pytest.raises(DataError, match=r"got 'tets'. Did you mean 'test'"):
        dataset("tets")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="seed of at least 0"):
        dataset(seed=-1)
    same = GeneratedDataset("same", "test", composed(lambda draws: Item("one identity", "prompt")))
    with pytest.raises(DataError, match="got 10,000 of other splits, such as 'one identity'"):
        [GeneratedDataset("same", split, composed(lambda draws: Item("one identity", "prompt")))[0] for split in SPLITS]
    assert (len(same), parse_key("same", "same/test/1999")) == (SIZES["test"], (0, "test", 1999))


def test_another_level_is_another_corpus() -> None:
    assert [name_of_level("sums", level, "medium") for level in ("easy", "medium")] == ["sums-easy", "sums"]


def test_draws() -> None:

    draws = Draws(np.random.default_rng(0))
    numbers = [draws.whole(2, 4) for _ in range(300)]
    assert (min(numbers), max(numbers)) == (2, 4)
    assert 0.2 < sum(draws.chance(0.3) for _ in range(1000)) / 1000 < 0.4
    assert sorted(draws.shuffled("abc")) == ["a", "b", "c"]
    assert len(set(draws.sample(range(10), 4))) == 4
    assert len(draws.sample("ab", 4)) == 2
