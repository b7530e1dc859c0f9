"""Tasks of several turns are measured as environments pay them: on whole conversations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

import textgym
from tests.envs.guessing import WORDS, Guessing, write_tokenizer
from textgym.agents import resolve_agent
from textgym.errors import ModelError, RewardError
from textgym.evaluation import EvaluationSet, evaluate, make_evaluation_set, measure, rescore
from textgym.evaluation.episodes import silent_episode, transcript
from textgym.evaluation.loading import load_model, require_context
from textgym.evaluation.sampling import Sampling, sample_texts
from textgym.models.causal_lm import CausalLM
from textgym.rewards import Scores
from textgym.training.results import read_episodes, read_texts, write_texts
from textgym.training.run_folder import RunFolder
from textgym.types import Episode, Example, FloatArray, Message, Shown

IDS = textgym.register_task("TestGuessing", Guessing)
TASK = Guessing("test")
EXAMPLES = [TASK.dataset[index] for index in range(3)]


class Halving:
    """Guesses the number in the middle of what is left, whole texts at a time."""

    grain = "episode"

    def act(self, observations: Sequence[str], **_: Any) -> list[str]:
        return [self._guess(*shown.splitlines()) for shown in observations]

    def _guess(self, asked: str, *said: str) -> str:
        low, high = 1, int(asked.split()[-1])
        guesses = [int(line.removeprefix("Assistant: ")) for line in said if line.startswith("Assistant: ")]
        hints = [line.removeprefix("User: ") for line in said if line.startswith("User: ")]
        for guess, hint in zip(guesses, hints, strict=True):
            low, high = (guess + 1, high) if hint == "higher" else (low, guess - 1)
        return str((low + high) // 2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model of whole words that says anything, and ends one turn in twenty by itself."""
    folder = write_tokenizer(tmp_path_factory.mktemp("words"))
    torch.manual_seed(0)
    sizes = {"vocab_size": len(WORDS), "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 38}
    GPT2LMHeadModel(GPT2Config(**sizes, bos_token_id=None, eos_token_id=1)).save_pretrained(folder)
    return str(folder)


@pytest.fixture
def model(folder: str) -> CausalLM:
    return load_model(folder, "cpu")


def letters(prompts: Sequence[str], responses: Sequence[str], examples: Sequence[Example]) -> list[float]:
    """A reward that sees the conversation so far."""
    return [len(prompt) / 100 + len(response) for prompt, response in zip(prompts, responses, strict=True)]


def returns_of_environment(agent: Any, seed: int, reward: Any) -> list[float]:
    """Return the rewards of the first episode in each copy of an episode-level vector environment."""
    env: Any = gym.make_vec(IDS[1], num_envs=3, split="test", reward=reward)
    observations, _ = env.reset(seed=seed, options={"task_keys": [example.key for example in EXAMPLES]})
    returns, running = np.zeros(3), np.ones(3, dtype=bool)
    while running.any():
        observations, rewards, terminated, _, _ = env.step(agent.act(observations))
        returns += rewards * running
        running &= ~terminated
    return returns.tolist()


def questions(reward: Any = None, seed: int = 4, temperature: float = 1.0) -> EvaluationSet:
    return make_evaluation_set(TASK, reward, 3, seed, temperature=temperature)


@pytest.mark.parametrize("seed", [0, 4])
def test_the_reward_of_an_evaluation_is_the_return_of_the_environment(seed: int) -> None:
    evaluation = evaluate(Halving(), questions(letters, seed))
    assert evaluation.measures.values["reward"].tolist() == pytest.approx(
        returns_of_environment(Halving(), seed, letters)
    )
    assert {len(episode.turns) for episode in evaluation.episodes} <= {1, 3, 5}


def test_known_answers_of_halving() -> None:
    """Three guesses find a number up to 7: each has reward 0.1, and the right one 1 more if it is not the first."""
    evaluation = evaluate(Halving(), questions("none"))
    for place, episode in enumerate(evaluation.episodes):
        guesses = [turn.content for turn in episode.turns if turn.role == "assistant"]
        assert guesses[-1] == str(episode.state["number"])
        found_at_once = len(guesses) == 1  # the number is drawn when the first guess is answered
        expected = 0.1 * len(guesses) + (not found_at_once)
        assert evaluation.measures.values["reward"][place] == pytest.approx(expected)
    assert evaluation.measures.values["eos"].tolist() == [1.0] * 3
    assert max(len(episode.turns) for episode in evaluation.episodes) > 1


def test_stepping_gives_the_conversations_that_sampling_gives(model: CausalLM, folder: str) -> None:
    likeliest = questions(letters, temperature=0)
    sampled = evaluate(model, likeliest)
    stepped = evaluate(resolve_agent("greedy")(model), likeliest, tokenizer=folder)
    assert stepped.episodes == sampled.episodes
    assert {len(episode.turns) for episode in sampled.episodes} == {5}
    for name in ("reward", "length", "eos"):
        np.testing.assert_array_equal(stepped.measures.values[name], sampled.measures.values[name])


def test_sampled_turns_follow_what_environments_show(model: CausalLM, folder: str) -> None:
    """Replayed token by token: the environment shows what each turn was sampled from, and says the same."""
    samples = sample_texts(model, TASK, EXAMPLES * 4, Sampling(16, 2, seed=4))
    assert samples.rows[:12] == list(range(12))
    env: Any = gym.make(IDS[0], split="test", model=folder, reward="none").unwrapped
    for row, episode in enumerate(samples.episodes):
        observation, _ = env.reset(seed=4 + row, options={"task_key": episode.example.key})
        for prompt, ids in zip(*turns_of(samples, row), strict=True):
            assert observation["input_ids"][: observation["attention_mask"].sum()].tolist() == prompt
            for token in ids:
                observation, _, terminated, _, info = env.step(np.int64(token))
        assert terminated
        assert env.episode == episode
        assert info["rewards"]["turns"] == episode.turn_return
    assert {episode.finish_reason for episode in samples.episodes} == {"eos", "length"}
    assert samples.lengths.sum() == sum(map(len, samples.ids))


def turns_of(samples: Any, row: int) -> tuple[list[list[int]], list[list[int]]]:
    places = [place for place, owner in enumerate(samples.rows) if owner == row]
    return [samples.prompts[place] for place in places], [samples.ids[place] for place in places]


def test_log_probs_are_sums_over_the_turns(model: CausalLM, folder: str) -> None:
    samples = sample_texts(model, TASK, EXAMPLES, Sampling(16, 2, seed=1))
    bare = AutoModelForCausalLM.from_pretrained(folder).eval()
    for row, found in enumerate(samples.log_probs(model)):
        expected = 0.0
        for prompt, ids in zip(*turns_of(samples, row), strict=True):
            with torch.no_grad():
                scores = bare(torch.tensor([prompt + ids])).logits[0].log_softmax(-1)
            expected += sum(float(scores[len(prompt) - 1 + place, token]) for place, token in enumerate(ids))
        assert found == pytest.approx(expected, abs=1e-4)
    assert len(samples.ids) > 3


def test_kl_of_conversations(model: CausalLM, folder: str) -> None:
    assert evaluate(model, questions(), reference=model).measures.values["kl"].tolist() == [0.0] * 3
    other = load_model(folder, "cpu")
    assert np.abs(evaluate(model, questions(), reference=other).measures.values["kl"]).max() < 1e-4
    with torch.no_grad():
        other.network.get_output_embeddings().weight.mul_(0)
    samples = sample_texts(model, TASK, EXAMPLES, questions().sampling)
    expected = samples.log_probs(model) + samples.lengths * np.log(len(WORDS))  # all tokens are equally likely
    assert evaluate(model, questions(), reference=other).measures.values["kl"] == pytest.approx(expected, abs=1e-4)


def test_conversations_are_kept_and_scored_again(model: CausalLM, tmp_path: Path) -> None:
    first = evaluate(model, questions(letters))
    run = RunFolder.create(str(tmp_path / "run"), "evaluate", {})
    write_texts(run, "after", questions(letters), first)
    again = read_texts(run, "after", questions(letters))
    assert again is not None
    assert again.episodes == first.episodes
    assert measure(TASK, again.episodes, letters).values["reward"].tolist() == first.measures.values["reward"].tolist()


def test_saved_conversations_are_rescored_with_their_state(model: CausalLM, tmp_path: Path) -> None:
    """Both sides were paid turn by turn for a number that only the state of the episode has."""
    first = evaluate(model, questions())
    run = RunFolder.create(str(tmp_path / "run"), "evaluate", {})
    write_texts(run, "after", questions(), first)
    expected = evaluate(model, questions(letters))
    again = rescore(read_episodes(run.path / "texts-after.jsonl", TASK), questions(letters))
    assert again.episodes == first.episodes
    assert list(again.measures.values) == list(expected.measures.values)
    for name, values in expected.measures.values.items():
        np.testing.assert_array_equal(again.measures.values[name], values)


def test_transcripts_say_who_speaks() -> None:
    said = (Message("assistant", "3"), Message("user", "higher"), Message("assistant", "5"))
    assert transcript(Episode(EXAMPLES[0], said)) == "Assistant: 3\nUser: higher\nAssistant: 5"
    assert transcript(Episode.of(EXAMPLES[0], "3")) == "3"


class Recorder:
    """A reward that reads conversations as messages, and keeps what it was shown."""

    name = "recorder"

    def __init__(self) -> None:
        self.shown: list[Shown] = []

    def score_conversations(
        self, prompts: Sequence[Shown], responses: Sequence[str], examples: Sequence[Example]
    ) -> Scores:
        self.shown += prompts
        return Scores(np.zeros(len(responses)), {})

    def __call__(self, prompts: Sequence[str], responses: Sequence[str], examples: Sequence[Example], /) -> FloatArray:
        raise AssertionError("asked by texts")


def test_rewards_are_shown_messages_by_environments_and_evaluation() -> None:
    asked, measured = Recorder(), Recorder()
    returns_of_environment(Halving(), 4, asked)
    evaluation = evaluate(Halving(), questions("none"))
    measure(TASK, evaluation.episodes, measured)
    expected = [
        (Message("user", f"{episode.example.text}\nAssistant:"), *episode.turns[:-1])
        if episode.turns[1:]
        else f"{episode.example.text}\nAssistant:"
        for episode in evaluation.episodes
    ]
    assert measured.shown == expected
    assert set(expected) <= set(asked.shown)


class Whole(Guessing):
    """Knows the true quality of whole conversations only."""

    def gold(self, episodes: Sequence[Episode]) -> FloatArray:
        return np.array([float(episode.text == str(episode.state["number"])) for episode in episodes])


def test_gold_of_whole_conversations() -> None:
    evaluation = evaluate(Halving(), make_evaluation_set(Whole("test"), "none", 3, 4))
    assert evaluation.measures.values["gold"].tolist() == [1.0] * 3
    assert silent_episode(Whole("test"), EXAMPLES[0]).text == ""


class Infinite(Guessing):
    def turn_reward(self, episode: Episode) -> float:
        return float("inf")


def test_wrong_rewards_of_turns_fail_before_anything_is_sampled() -> None:
    with pytest.raises(RewardError, match="expected a finite number from turn_reward of 'guessing', got inf"):
        make_evaluation_set(Infinite("test"), None, 3)


def test_the_context_holds_all_turns(model: CausalLM) -> None:
    require_context(model, TASK)  # 16 + 2 + 2 * (8 + 2) = 38
    with pytest.raises(ModelError, match="38"):
        require_context(model, TASK, max_new_tokens=3)
    with pytest.raises(ModelError, match="got 38; use max_prompt_tokens=16, or lower max_new_tokens"):
        require_context(model, TASK, max_prompt_tokens=17)  # 22 are left for the turns
