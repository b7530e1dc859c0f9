"""What a run warns of: while it trains, at its end, and in summary.json; known answers."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from textgym.agents import PPO
from textgym.envs.choice import EnvChoice
from textgym.evaluation.core import Evaluation
from textgym.evaluation.measures import Measures
from textgym.training.interrupts import RunInterrupted
from textgym.training.run_warnings import few_prompts, loss_of_reward, many_cut, no_change, reference_rewards
from textgym.training.setup import make_env, make_run_evaluation
from textgym.training.train import run_resume, run_train
from textgym.training.train_settings import TrainSettings, train_settings
from textgym.types import Episode, Example, Interval


@pytest.fixture
def settings(lm: str, data: str) -> TrainSettings:
    return train_settings(
        EnvChoice(data=data, prompt_column="doc", reference_column="sum"),
        model=lm, reward="rouge", steps=6 * 48, n_envs=6, n_steps=8, batch_size=16, max_new_tokens=8, eval_prompts=4,
        save_every=2, out="run",
    )  # fmt: skip


def constant(prompts: Any, responses: Any, examples: Any) -> list[float]:
    return [0.25] * len(responses)


@pytest.mark.parametrize(("prompts", "reach"), [(1, "0.50"), (4, "0.49"), (29, "0.18"), (30, None), (300, None)])
def test_few_prompts(prompts: int, reach: str | None) -> None:
    text = few_prompts(prompts)
    assert (text is None) == (reach is None)
    if text is not None:
        assert f"only {prompts} test prompts" in text
        assert f"only {prompts} validation prompts" in str(few_prompts(prompts, "validation"))
        assert "add data to the validation split" in str(few_prompts(prompts, "validation"))
        assert f"reaches {reach} to both sides" in text


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (Interval(0.1, -0.1, 0.3), True),
        (Interval(0.1, 0.0, 0.2), True),
        (Interval(0.1, 0.01, 0.2), False),
        (Interval(-0.1, -0.2, -0.01), False),  # worse, and measurably so
        (Interval(0.5, float("-inf"), float("inf")), True),
    ],
)
def test_no_change(change: Interval, said: bool) -> None:
    assert (no_change(change, 50) is not None) == said


def test_the_sentence_has_the_numbers() -> None:
    assert str(no_change(Interval(0.1, -0.1, 0.3), 50)).startswith(
        "no measurable change: the reward changed by +0.100, and the 95 % interval [-0.100, +0.300] includes 0; train"
    )


def test_a_loss_of_reward_is_said_with_advice() -> None:
    lost = Interval(-0.077, -0.11, -0.04)
    said = str(loss_of_reward(lost, has_penalty=True))
    assert said.startswith("the model became worse: the reward changed by -0.077, with the 95 % interval [-0.110, -0.0")
    assert "lower learning_rate or a higher kl_coef" in said
    assert "kl_coef" not in str(loss_of_reward(lost, has_penalty=False))
    assert "nearly the largest reward" in str(loss_of_reward(lost, has_penalty=True, is_near_top=True))
    for kept in (Interval(-0.1, -0.2, 0.1), Interval(0.1, 0.01, 0.2), Interval(-0.1, float("-inf"), float("inf"))):
        assert loss_of_reward(kept, has_penalty=True) is None


def test_near_the_top_no_higher_learning_rate_is_advised() -> None:
    said = str(no_change(Interval(0.0, -0.1, 0.1), 50, is_near_top=True))
    assert "choose a reward that tells them apart" in said
    assert "learning_rate" not in said


@pytest.mark.parametrize(("cut", "length", "said"), [(24, 9, True), (15, 9, False), (24, 3, False)])
def test_texts_that_are_cut_are_said(cut: int, length: int, said: bool) -> None:
    example = Example("a", "Where is it?")
    episodes = [Episode.of(example, "text", "length" if row < cut else "eos") for row in range(30)]
    measures = Measures({"length": np.full(30, float(length))})
    text = many_cut(Evaluation(episodes, measures, 0.0), 48)
    assert (text is not None) == said
    if text is not None:
        assert text.startswith("80 % of the held-out texts are cut to max_new_tokens=48 before they end")
    assert many_cut(Evaluation(episodes[:8], Measures({}), 0.0), 48) is None  # too few to tell


def test_a_run_warns_while_it_trains_at_its_end_and_in_its_summary(
    settings: TrainSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    """A model of random weights: no text shares a word with its reference, and none ends."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run = run_train(settings)
    found = run.summary()["warnings"]
    kinds = ("only 4 test prompts", "all texts so far got the same reward, 0,", "fewer than 1 in 10")
    assert [any(kind in text for text in found) for kind in kinds] == [True] * 3
    assert not any("no measurable" in text for text in found)  # nothing can change where all rewards are equal
    assert "so the model writes nothing yet that this reward values; train with `sft` first" in " ".join(found)
    shown = " ".join(capsys.readouterr().err.split())
    before, _, during = shown.partition("before: 4 texts")
    assert "only 4 test prompts" in before  # before it trains
    end = during.partition("after: 4 texts")[2]
    for text in found:
        assert " ".join(text.split()) in end
    said = [str(item.message) for item in caught if str(item.message) in found]
    assert sorted(said) == sorted(text for text in found if "same reward" in text or "fewer than" in text)  # once each


def test_a_constant_reward_is_blamed_itself(settings: TrainSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("textgym.rewards.composition.no_reward", constant)
    run = run_train(replace(settings, reward="none"))
    (text,) = (text for text in run.summary()["warnings"] if "same reward" in text)
    assert "all texts so far got the same reward, 0.25" in text
    assert "the reward does not distinguish the texts" in text


def test_a_resumed_run_has_the_warnings_of_the_whole(settings: TrainSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run_train(replace(settings, out="whole"))
    train, calls = PPO.train, [0]

    def fails(self: PPO) -> None:
        calls[0] += 1
        if calls[0] == 5:
            raise KeyboardInterrupt
        train(self)

    with monkeypatch.context() as patch:
        patch.setattr(PPO, "train", fails)
        with pytest.raises((KeyboardInterrupt, RunInterrupted)):
            run_train(settings)
    assert run_resume("run").summary()["warnings"] == whole.summary()["warnings"]


def test_references_are_scored_without_a_trace(settings: TrainSettings) -> None:
    import torch

    eval_set = make_run_evaluation(settings, make_env(settings))
    state = torch.get_rng_state()
    assert reference_rewards(eval_set) == [1.0] * 4
    assert torch.equal(torch.get_rng_state(), state)
    assert reference_rewards(replace(eval_set, reward=None)) == []
    assert (
        reference_rewards(replace(eval_set, examples=[replace(each, references=()) for each in eval_set.examples]))
        == []
    )


def test_an_agent_without_texts_is_only_told_of_what_it_has(settings: TrainSettings) -> None:
    run = run_train(replace(settings, agent="sft", options={"log_every": 2, "batch_size": 2}, steps=4))
    assert [text.split(":")[0] for text in run.summary()["warnings"]] == ["only 4 test prompts", "no measurable change"]
