"""Best-of-n: what it writes follows the exact law, and it needs the examples of a task only for its reward."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from textgym.agents.best_of_n import BestOfN
from textgym.errors import ConsentError
from textgym.metrics.best_of_n import best_of_n_law
from textgym.models.loading import load_language_model
from textgym.models.log_probs import response_log_probs
from textgym.types import Example


def first_letter(prompts: Sequence[str], texts: Sequence[str], examples: Sequence[Example]) -> list[float]:
    """A reward that differs between all letters."""
    return [float("abcdef".find(text[:1])) if text else -1.0 for text in texts]


@pytest.mark.parametrize("n", [1, 4])
def test_its_texts_follow_the_exact_law(n: int) -> None:
    """Texts of one letter; what the model thinks of them is known."""
    model = load_language_model("letters", device="cpu")
    agent = BestOfN(model, first_letter, n=n, max_new_tokens=1)
    tokenizer, count = model.tokenizer, 1500
    texts = agent.act(["ab="] * count, generator=torch.Generator().manual_seed(0))
    ids = [[token] for token in range(model.vocab_size)]
    p = np.exp(response_log_probs(model, [tokenizer.encode("ab=")] * len(ids), ids))
    written = [tokenizer.decode([] if token in tokenizer.eos_ids else [token]) for [token] in ids]
    law = best_of_n_law(p / p.sum(), first_letter([], written, []), n)
    for letter in "abcd":
        expected = float(law[[text == letter for text in written]].sum())
        assert texts.count(letter) / count == pytest.approx(expected, abs=4 * np.sqrt(0.25 / count))


def test_the_reward_reads_the_example_of_a_prompt(env_ids: tuple[str, str], model_folder: Path) -> None:
    env: Any = gym.make(env_ids[1])
    task = env.unwrapped.task
    seen: list[Example] = []

    def reward(prompts: Sequence[str], texts: Sequence[str], examples: Sequence[Example]) -> list[float]:
        seen.extend(examples)
        assert list(prompts) == [task.prompt(example).text for example in examples]
        return [float(len(text)) for text in texts]

    agent = BestOfN.create(gym.make(env_ids[1], reward=reward), str(model_folder), n=3, max_new_tokens=4)
    prompts = [env.reset(options={"task_key": task.dataset[row].key})[0] for row in (2, 0)]
    assert len(agent.act(prompts)) == 2
    assert seen == [task.dataset[2]] * 3 + [task.dataset[0]] * 3


def test_it_answers_prompts_of_no_task(model_folder: Path) -> None:
    model = load_language_model(model_folder, device="cpu")
    agent = BestOfN(model, "length", n=2, max_new_tokens=4)
    assert len(agent.act(["The council met.", "A storm."])) == 2
    assert agent.act(["A storm."], greedy=True) == agent.act(["A storm."], greedy=True)


def test_more_samples_get_more_reward(env_ids: tuple[str, str], model_folder: Path) -> None:
    env: Any = gym.make(env_ids[1], reward="length")
    prompts = [env.reset(seed=seed)[0] for seed in range(6)]
    scores = []
    for n in (1, 4, 16):
        agent = BestOfN.create(env, str(model_folder), n=n, max_new_tokens=6)
        texts = agent.act(prompts * 4, generator=torch.Generator().manual_seed(0))
        scores.append(float(np.mean(agent.reward([], texts, [Example("", "")] * len(texts)))))
    assert scores == sorted(scores)
    assert scores[0] < scores[-1]


def test_a_saved_one_has_its_reward_by_name(env_ids: tuple[str, str], model_folder: Path, tmp_path: Path) -> None:
    env: Any = gym.make(env_ids[1], reward="length")
    agent = BestOfN.create(env, str(model_folder), n=3, temperature=0.7, max_new_tokens=4)
    assert repr(agent).startswith("<BestOfN: 3 texts, model ")
    agent.save(tmp_path / "agent")
    again = BestOfN.load(tmp_path / "agent", device="cpu")
    assert (again.n, again.temperature, again.max_new_tokens) == (3, 0.7, 4)
    nameless = BestOfN.create(gym.make(env_ids[1], reward=first_letter), str(model_folder))
    nameless.save(tmp_path / "nameless")
    with pytest.raises(ValueError, match=r"expected reward=\.\.\. to load best-of-n with"):
        BestOfN.load(tmp_path / "nameless")
    assert BestOfN.load(tmp_path / "nameless", reward=first_letter, n=2).n == 2


def test_a_reward_named_in_a_file_needs_consent(model_folder: Path, tmp_path: Path) -> None:
    agent = BestOfN(load_language_model(model_folder, device="cpu"), f"{__name__}:first_letter", n=2)
    agent.save(tmp_path / "agent")
    with pytest.raises(ConsentError, match="reward"):
        BestOfN.load(tmp_path / "agent")


def test_mistakes(model_folder: Path) -> None:
    model = load_language_model(model_folder, device="cpu")
    with pytest.raises(ValueError, match="expected n of at least 1, got 0"):
        BestOfN(model, "length", n=0)
    talk: Any = gym.make("TextChatEpisode-v0")
    with pytest.raises(ValueError, match=r"expected a task of one turn for best-of-n, got .* of up to \d"):
        BestOfN.create(talk, model)
