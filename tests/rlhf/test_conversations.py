"""Feedback about tasks of several turns: the texts of a question are turns behind the conversation that it shows."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

import textgym
from tests.envs.guessing import NUMBERS, WORDS, Guessing, write_tokenizer
from textgym.data import InMemoryDataset
from textgym.envs.choice import EnvChoice
from textgym.errors import CheckpointError
from textgym.evaluation import sampling
from textgym.evaluation.loading import load_model
from textgym.feedback import FeedbackStore
from textgym.feedback.annotators.by_reward import annotator_reward
from textgym.feedback.types import Comparison, Question
from textgym.reward_models import new_reward_model
from textgym.rlhf.questions import REFERENCE, question_about, run_sample, run_simulate, write_texts
from textgym.rlhf.rounds import Loop, Round, choose_questions, sample_candidates
from textgym.rlhf.settings import RlhfSettings
from textgym.tasks import shown_of
from textgym.training.reward_feedback import reference_texts, simulate_comparisons, understand
from textgym.training.run_folder import RunFolder
from textgym.types import Example, Shown

IDS = textgym.register_task("TestTalking", Guessing)
TASK = Guessing("train")
EXAMPLES = [TASK.dataset[index] for index in range(3)]
OPENINGS = {example.key: shown_of(TASK, example) for example in EXAMPLES}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = write_tokenizer(tmp_path_factory.mktemp("words"))
    sizes = {"vocab_size": len(WORDS), "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 38}
    GPT2LMHeadModel(GPT2Config(**sizes, bos_token_id=None, eos_token_id=1)).save_pretrained(folder)
    return str(folder)


@pytest.fixture(autouse=True)
def counting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let models say how many turns the conversation in front of them has, their own included, then x or y."""

    def generate(_: Any, prompts: Sequence[list[int]], *, generator: torch.Generator, **__: Any) -> list[list[int]]:
        coins = torch.randint(2, (len(prompts),), generator=generator).tolist()
        turns = [prompt.count(WORDS.index("User")) for prompt in prompts]
        return [[WORDS.index(NUMBERS[turn]), WORDS.index("xy"[coin])] for turn, coin in zip(turns, coins, strict=True)]

    monkeypatch.setattr(sampling, "generate", generate)
    monkeypatch.chdir(tmp_path)


def turn_of(key: str, prompt: Shown, responses: Sequence[str]) -> int:
    """Check that responses belong to a prompt; returns which turn of the conversation they are."""
    opening = OPENINGS[key]
    assert isinstance(opening, str)
    messages = (prompt,) if isinstance(prompt, str) else tuple(message.content for message in prompt)
    assert messages[0] == opening
    assert [text[0] for text in messages[1::2]] == list(NUMBERS[: len(messages) // 2])
    assert set(messages[2::2]) <= {"higher", "lower"}
    turn = len(messages) // 2 + 1
    assert {text[0] for text in responses} == {str(turn)}
    return turn


def turns_of(questions: Sequence[Question | Comparison]) -> set[int]:
    return {turn_of(question.task_key, question.prompt, question.responses) for question in questions}


def test_questions_of_a_project_show_what_their_texts_answer(folder: str) -> None:
    found = set()
    for seed in range(8):
        run_sample(f"{seed}.db", EnvChoice(IDS[1]), [folder], prompts=3, seed=seed)
        with FeedbackStore(f"{seed}.db") as store:
            found |= turns_of(list(store.questions().values()))
    assert found == {1, 2, 3}
    assert run_simulate("0.db", annotators=1, by="length") > 0


def test_two_models_go_on_with_one_conversation(folder: str, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.symlink_to(folder)
    writers = [[folder, str(other)], [str(other), folder]] * 6
    written = write_texts([folder, str(other)], TASK, EXAMPLES * 4, writers)
    asked = [question_about(TASK, each, names) for each, names in zip(written, writers, strict=True)]
    assert turns_of([question for question in asked if question is not None]) == {1, 2, 3}


def test_a_reference_answers_the_prompt(folder: str) -> None:
    examples = [Example(example.key, example.prompt, ("1 right",), extra=example.extra) for example in EXAMPLES * 4]
    writers = [[folder, REFERENCE]] * len(examples)
    written = write_texts([folder], TASK, examples, writers)
    asked = [question_about(TASK, each, names) for each, names in zip(written, writers, strict=True)]
    assert turns_of([question for question in asked if question is not None]) == {1}


def test_simulated_comparisons_are_of_turns_behind_one_conversation(folder: str) -> None:
    prompts: list[str] = []

    def reward(shown: Sequence[str], responses: Sequence[str], examples: Sequence[Example]) -> list[float]:
        prompts.extend(shown)
        return [float(text.endswith("x")) for text in responses]

    by = annotator_reward(TASK, reward)
    prompts.clear()
    records = simulate_comparisons(TASK, load_model(folder, "cpu"), 30, by, noise=0.0)
    assert turns_of(records) == {1, 2, 3}
    assert all(record.chosen.endswith("x") for record in records if len(set(record.responses)) == 2)
    asked = [prompt.count("\nAssistant: ") + 1 for prompt in prompts[:30]]
    assert asked == [turn_of(record.task_key, record.prompt, record.responses) for record in records]


class Known(Guessing):
    """The same, with an answer to every prompt."""

    def __init__(self) -> None:
        super().__init__("train")
        examples = [Example(example.key, example.prompt, ("ref",), extra=example.extra) for example in EXAMPLES]
        self.dataset = InMemoryDataset("known", "train", examples)


def test_references_and_the_zero_of_a_reward_leave_conversations_alone(folder: str) -> None:
    task = Known()
    by = annotator_reward(task, lambda prompts, responses, examples: [float(text.endswith("x")) for text in responses])
    records = simulate_comparisons(task, load_model(folder, "cpu"), 60, by, noise=0.0)
    assert turns_of([record for record in records if not isinstance(record.prompt, str)]) == {2, 3}
    assert any("ref" in record.responses for record in records if isinstance(record.prompt, str))
    known = {(record.prompt, record.chosen) for record in records}
    texts = reference_texts(task, records, understand(records, None, 0.0, 0).split)
    assert {(text.prompt, text.response) for text in texts} <= known
    assert any(not isinstance(text.prompt, str) for text in texts)


def test_the_questions_of_a_round_show_what_their_texts_answer(folder: str, tmp_path: Path) -> None:
    """Also once they are read from the round's files."""
    settings = RlhfSettings(EnvChoice(IDS[1]), model=folder, labels=24, device="cpu")
    run = RunFolder(tmp_path / "run")
    with FeedbackStore("f.db") as store:
        first = Round(Loop(run, settings, TASK, store), 1)
        first.folder.path.mkdir(parents=True)
        asked = sample_candidates(first)
        assert turns_of(asked) == {1, 2, 3}
        assert sample_candidates(first) == asked
        assert turns_of(choose_questions(first)) == turns_of(choose_questions(first)) <= {1, 2, 3}


def test_a_reward_that_is_no_committee_cannot_choose_questions(folder: str, tmp_path: Path) -> None:
    settings = RlhfSettings(EnvChoice(IDS[1]), model=folder, labels=24, device="cpu", members=2, select="disagreement")
    run = RunFolder(tmp_path / "run")
    earlier = run.path / "round-1"
    shutil.copytree(folder, earlier / "model")
    new_reward_model("tiny").save(earlier / "reward")
    with FeedbackStore("f.db") as store:
        second = Round(Loop(run, settings, TASK, store), 2)
        second.folder.path.mkdir(parents=True)
        with pytest.raises(CheckpointError, match="expected a reward whose members can disagree"):
            choose_questions(second)
