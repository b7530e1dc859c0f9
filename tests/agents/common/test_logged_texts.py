"""Logged episodes as ids: prompts of the environment, ends of responses, and transitions in order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
import torch

from textgym.agents.common.logged_texts import (
    LoggedTurn,
    encode_log,
    logged_batch,
    pack_episodes,
    unpack_episodes,
)
from textgym.data.logs import LoggedStep
from textgym.errors import CheckpointError
from textgym.models.causal_lm import CausalLM
from textgym.tasks import TextTask
from textgym.text.tokenizer import Tokenizer
from textgym.types import Example, Message

EOS = 1


@pytest.fixture
def tokenizer(tokenizer_folder: Path) -> Tokenizer:
    return Tokenizer.load(tokenizer_folder)


def new(state: str) -> Example:
    return Example("log/1", state)


def test_a_prompt_with_its_response(tokenizer: Tokenizer) -> None:
    (episode,) = encode_log([(LoggedStep(new("Hello?"), "Hi.", 0.5),)], tokenizer)
    assert episode == (LoggedTurn(tokenizer.encode("Hello?"), [*tokenizer.encode_response("Hi."), EOS], 0.5),)


def test_a_response_that_a_budget_ended_has_no_end(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode_response("A storm.")
    steps = [LoggedStep(new("a"), "A storm.", 1.0, False)], [LoggedStep(new("a"), "A storm.", 1.0)]
    first, second = encode_log([tuple(each) for each in steps], tokenizer, max_new_tokens=len(ids))
    assert first[0].response == second[0].response == ids
    (longer,) = encode_log([(steps[1][0],)], tokenizer, max_new_tokens=len(ids) + 1)
    assert longer[0].response == [*ids, EOS]


@pytest.mark.parametrize("state", ["The council met.", "Read: The council met.\n\nSummary:"])
def test_states_are_asked_as_the_task_asks(state: str, tokenizer: Tokenizer) -> None:
    """With the template once, whether the log has it already or not."""
    task = TextTask([f"Document {number}." for number in range(20)], prompt_template="Read: {prompt}\n\nSummary:")
    (episode,) = encode_log([(LoggedStep(new(state), "x", 1.0),)], tokenizer, task)
    assert tokenizer.decode(episode[0].prompt) == "Read: The council met.\n\nSummary:"


def test_a_text_that_goes_on_letter_by_letter(tokenizer: Tokenizer) -> None:
    steps = (LoggedStep(new("q="), "a", 0.0, False), LoggedStep("", "b", 1.0))
    (episode,) = encode_log([steps], tokenizer)
    prompt, b = (tokenizer.encode(text) for text in ("q=", "b"))
    a = tokenizer.encode_response("a")  # it begins a response
    assert episode == (LoggedTurn(prompt, a, 0.0), LoggedTurn([*prompt, *a], [*b, EOS], 1.0))
    (full,) = encode_log([steps], tokenizer, max_new_tokens=2)
    assert full[1].response == b


def test_what_the_other_side_says_stands_before_the_next_turn(tokenizer: Tokenizer) -> None:
    said = (Message("user", "No."),)
    prompt, five, six = (
        tokenizer.encode("Guess."),
        tokenizer.encode_response("Five."),
        tokenizer.encode_response("Six."),
    )
    for given, between in (
        (said, tokenizer.encode_reply(said, 2**20, ended=True).ids),
        (" Again?", tokenizer.encode(" Again?")),
    ):
        steps = (LoggedStep(new("Guess."), "Five.", 0.0), LoggedStep(given, "Six.", 1.0))
        (episode,) = encode_log([steps], tokenizer)
        assert episode[0] == LoggedTurn(prompt, [*five, EOS], 0.0)
        assert episode[1] == LoggedTurn([*prompt, *five, EOS, *between], [*six, EOS], 1.0)


def test_conversations_are_those_of_the_environment() -> None:
    """The same ids as the observations of an environment in which the same was said."""
    env: Any = gym.make("TextChat-v0", difficulty="easy")
    observed, info = env.reset(seed=0)
    tokenizer, task = env.unwrapped.tokenizer, env.unwrapped.task
    example = task.dataset.find(info["task_key"])
    texts, prompts, ended = ["Good morning.", "What can I do?"], [], False
    for text in texts:
        prompts.append(observed["input_ids"][: observed["attention_mask"].sum()].tolist())
        for token in [*tokenizer.encode_response(text), tokenizer.response_end[0]]:
            observed, _, ended, _, _ = env.step(token)
    turns = env.unwrapped.episode.turns
    assert not ended
    said = [LoggedStep(example, texts[0], 0.0), LoggedStep((turns[1],), texts[1], 1.0)]
    budgets = {"max_prompt_tokens": env.unwrapped.max_prompt_tokens, "max_new_tokens": env.unwrapped.max_new_tokens}
    (episode,) = encode_log([tuple(said)], tokenizer, task, **budgets)
    assert [turn.prompt for turn in episode] == prompts


def test_what_does_not_fit_is_cut_or_left_out(tokenizer: Tokenizer) -> None:
    long = LoggedStep(new("word " * 40), "A storm.", 1.0)
    behind = len(tokenizer.encode_response("A storm.")) + 1
    (episode,) = encode_log([(long,)], tokenizer, room=lambda response: 20 - response)
    assert len(episode[0].prompt) <= 20 - behind
    short = LoggedStep(new("a"), "b", 1.0)
    with pytest.warns(UserWarning, match="left out 1 of 2 logged episodes: they are longer than the context"):
        kept = encode_log([(long,), (short,)], tokenizer, room=lambda response: 4 - response)
    assert [turn.reward for episode in kept for turn in episode] == [1.0]
    with pytest.warns(UserWarning, match="or one of their actions is empty"):
        assert encode_log([(short._replace(action="", ended=False),)], tokenizer) == []


EPISODES = [
    (LoggedTurn([5, 6], [7, 8, 1], 0.5),),
    (LoggedTurn([5], [9], 0.0), LoggedTurn([5, 9, 4], [3, 1], 1.0)),
]


def test_transitions_of_a_batch(make_network: Any) -> None:
    batch = logged_batch(CausalLM(make_network()), EPISODES)
    assert batch.actions.tolist() == [7, 8, 1, 9, 3, 1]
    assert batch.rewards.tolist() == [0, 0, 0.5, 0, 0, 1.0]
    assert batch.ended.tolist() == [False, False, True, False, False, True]
    read = [
        batch.texts.input_ids[row, : at + 1].tolist()
        for row, at in zip(batch.texts.rows.tolist(), batch.texts.positions.tolist(), strict=True)
    ]
    assert read == [[5, 6], [5, 6, 7], [5, 6, 7, 8], [5], [5, 9, 4], [5, 9, 4, 3]]


def test_episodes_survive_a_checkpoint() -> None:
    packed = pack_episodes(EPISODES)
    assert unpack_episodes(packed, 10) == EPISODES
    assert unpack_episodes(pack_episodes([]), 10) == []
    for change in (
        {"rewards": torch.zeros(2)},
        {"turns": torch.tensor([3, 0])},
        {"turns": torch.tensor([1])},
        {"ids": torch.full((14,), 10, dtype=torch.int32)},
        {"lengths": torch.tensor([[0, 5], [1, 1], [5, 2]], dtype=torch.int32)},
    ):
        with pytest.raises(CheckpointError):
            unpack_episodes({**packed, **change}, 10)
    with pytest.raises(CheckpointError):
        unpack_episodes({}, 10)
