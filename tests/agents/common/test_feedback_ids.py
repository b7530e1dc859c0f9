"""Feedback as ids: behind the prompts of environments, cut as these are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import pytest
import torch

import textgym
from textgym.agents.common.feedback_ids import (
    Answered,
    FeedbackEncoder,
    compared_by_reward,
    encode_labels,
    encode_preferences,
    pack_ids,
    unpack_ids,
)
from textgym.errors import CheckpointError
from textgym.evaluation.sampling import Sampling
from textgym.feedback.types import Comparison, Demonstration, Ranking, Rating
from textgym.models.loading import load_language_model
from textgym.models.text_model import TextModel
from textgym.tasks import TextTask
from textgym.tasks.base import prompt_text, shown_of
from textgym.types import Episode, Example, Message


@pytest.fixture
def model(model_folder: Path) -> TextModel:
    return load_language_model(model_folder, device="cpu")


class Framed(TextTask):
    """A task with text around its prompts, and a column in some."""

    name = "framed"
    prompt_template = "Read: {prompt}\n\nSummary:"
    max_prompt_tokens = 30
    max_new_tokens = 6


ROWS = [Example("a", "The council met."), Example("b", "word " * 90), Example("c", "A storm.", extra={"who": "Ann"})]


def ids_in_env(task: Any, folder: Path, key: str) -> list[int]:
    """The prompt as the environment shows it."""
    name = f"Test{task.__name__}"
    textgym.register_task(name, task)
    env: Any = gym.make(f"{name}-v0", data=ROWS, model=str(folder))
    observation, _ = env.reset(options={"task_key": key})
    ids: list[int] = observation["input_ids"][: observation["attention_mask"].sum()].tolist()
    return ids


@pytest.mark.parametrize("key", ["a", "b"])
def test_prompts_are_those_of_the_environment(key: str, model: TextModel, model_folder: Path) -> None:
    """Too long ones are cut in the middle, before the cue."""
    task = Framed(ROWS)
    example = task.dataset.find(key)
    encoder = FeedbackEncoder(task, model, 30)
    (found,) = encoder([Answered("other key", prompt_text(task, example), (" It met. ", ""))])
    assert found is not None
    assert found.prompt == ids_in_env(Framed, model_folder, key)
    tokenizer = model.tokenizer
    assert found.responses == [[*tokenizer.encode_response("It met."), 1], [1]]


def test_prompts_without_the_template_get_it(model: TextModel) -> None:
    task = Framed(ROWS)
    encoder = FeedbackEncoder(task, model, 30)
    with pytest.warns(UserWarning, match="1 of 2 prompts of the feedback do not have the text of the prompt template"):
        bare, framed = encoder(
            [Answered("x", "A storm.", ("Wind.",)), Answered("y", "Read: A storm.\n\nSummary:", ("Wind.",))]
        )
    assert bare == framed


class Columns(Framed):
    """Texts around prompts differ: the example has to be known."""

    prompt_template = "{who} reads: {prompt}\n\nSummary:"


class Written(Framed):
    """Writes prompts in a way of its own."""

    def prompt(self, example: Example) -> str:
        return f"[{example.key}] {example.prompt}"


@pytest.mark.parametrize("task", [Columns, Written])
def test_other_prompts_are_those_of_their_example(task: Any, model: TextModel, model_folder: Path) -> None:
    made = task(ROWS)
    encoder = FeedbackEncoder(made, model, 30)
    example = made.dataset.find("c")
    shown, raw = (
        encoder([Answered("c", prompt, ("Wind.",))])[0] for prompt in (prompt_text(made, example), "A storm.")
    )
    assert shown is not None
    assert shown == raw
    assert shown.prompt == ids_in_env(task, model_folder, "c")
    (unknown,) = encoder([Answered("nowhere", "Some text.", ("Wind.",))])
    assert unknown is not None
    assert unknown.prompt == model.tokenizer.encode("Some text.")


class Talk(TextTask):
    """Somebody answers once."""

    name = "talk"
    default_data: ClassVar = [Example(f"{row}", f"Hello {row}.") for row in range(9)]
    max_turns = 2
    max_new_tokens = 6

    def reply(self, episode: Episode, rng: np.random.Generator) -> Sequence[Message] | None:
        return [Message("user", "And then?")]


def test_a_turn_stands_behind_its_conversation(model: TextModel) -> None:
    task, tokenizer = Talk(), model.tokenizer
    turns = (Message("assistant", "Hi."), Message("user", "And then?"))
    example = task.dataset[0]
    shown = shown_of(task, example, turns)
    encoder = FeedbackEncoder(task, model, task.max_prompt_tokens)
    (found,) = encoder([Answered(example.key, shown, ("Bye.",))])
    assert found is not None
    said = tokenizer.encode_reply([turns[1]], task.max_reply_tokens, ended=True).ids
    assert found.prompt == [*tokenizer.encode(example.text), *tokenizer.encode_response("Hi."), 1, *said]


def test_what_does_not_fit_is_left_out_and_counted(make_network: Any, tokenizer_folder: Path, tmp_path: Path) -> None:
    import shutil

    make_network("gpt2").save_pretrained(tmp_path / "short")  # 64 positions
    for file in tokenizer_folder.iterdir():
        shutil.copy(file, tmp_path / "short" / file.name)
    task, short = Framed(ROWS), load_language_model(tmp_path / "short", device="cpu")
    long, middle = "The council met on Tuesday and voted. " * 8, "voted for the new library " * 4
    prompt = prompt_text(task, task.dataset.find("b"))
    encoder = FeedbackEncoder(task, short, 30)
    with pytest.warns(UserWarning, match="left out 1 of 2 responses or pairs of responses of the feedback"):
        first, second = encoder([Answered("b", prompt, ("It met.", long)), Answered("b", prompt, ("It met.", middle))])
    assert first is None
    assert second is not None
    assert len(second.prompt) + max(map(len, second.responses)) <= 64


def records() -> list[Any]:
    ask = "Read: The council met.\n\nSummary:"
    return [
        Comparison("a", ask, response_a="One.", response_b="Two.", choice="b"),
        Comparison("a", ask, response_a="One.", response_b="One. ", choice="a"),
        Comparison("a", ask, response_a="One.", response_b="Two.", choice="tie"),
        Ranking("a", ask, responses=("x", "y", "z"), ranks=(2, 1, 2)),
        Rating("a", ask, "Good.", 5, annotator="ann"),
        Rating("a", ask, "Bad.", 2, annotator="ann"),
        Rating("a", ask, "Middling.", 3, annotator="bob"),
        Demonstration("a", ask, "Better.", edited_from="Worse."),
    ]


def test_records_of_every_kind_become_pairs_and_labels(model: TextModel) -> None:
    task, tokenizer = Framed(ROWS), model.tokenizer

    def read(ids: Sequence[int]) -> str:
        assert ids[-1] == 1
        return tokenizer.decode(ids[:-1])

    encoder = FeedbackEncoder(task, model, 30)
    pairs = encode_preferences(records(), encoder)
    assert [(read(pair.chosen), read(pair.rejected)) for pair in pairs] == [
        ("Two.", "One."),
        ("y", "x"),
        ("y", "z"),
        ("Better.", "Worse."),
        ("Good.", "Bad."),
    ]
    assert {tuple(pair.prompt) for pair in pairs} == {tuple(tokenizer.encode("Read: The council met.\n\nSummary:"))}
    texts = encode_labels(records(), encoder)
    labels = [(read(text.response), text.desirable) for text in texts]
    assert labels == [
        *(("Two.", True), ("One.", False), ("One.", True), ("One.", False)),
        *(("x", False), ("y", True), ("z", False), ("Good.", True), ("Bad.", False), ("Better.", True)),
    ]


def test_a_reward_compares_samples(model: TextModel) -> None:
    task = Framed(ROWS)
    calls: list[int] = []

    def characters(prompts: Sequence[str], texts: Sequence[str], examples: Sequence[Example]) -> list[float]:
        calls.append(len(texts))
        assert prompts == [prompt_text(task, example) for example in examples]
        return [float(len(text)) for text in texts]

    found = compared_by_reward(model, task, characters, 5, Sampling(30, 6, seed=2))
    assert calls == [10]
    assert {record.task_key for record in found[:3]} == {"a", "b", "c"}  # none twice before all were asked about
    for record in found:
        lead = len(record.response_a) - len(record.response_b)
        assert record.choice == ("tie" if lead == 0 else "a" if lead > 0 else "b")
    again = compared_by_reward(model, task, characters, 5, Sampling(30, 6, seed=2))
    assert found == again
    assert found != compared_by_reward(model, task, characters, 5, Sampling(30, 6, seed=3))


def test_rows_of_ids_survive_packing() -> None:
    rows = [[[1, 2, 3], [4], [5, 6]], [[7], [], [8, 9, 10]]]
    packed = pack_ids(rows)
    assert packed["ids"].dtype == packed["lengths"].dtype == torch.int32
    assert unpack_ids(packed, 3, 11) == rows
    assert unpack_ids(pack_ids([]), 3, 11) == []
    for parts, vocabulary in ((3, 10), (4, 11)):
        with pytest.raises(CheckpointError, match="expected ids of the model as feedback"):
            unpack_ids(packed, parts, vocabulary)
    with pytest.raises(CheckpointError, match="expected the feedback of a run in a checkpoint, got none"):
        unpack_ids({"ids": packed["ids"]}, 3, 11)
