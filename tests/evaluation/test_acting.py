"""Agents that are no language models are stepped through the environment; language models are sampled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from textgym.agents import resolve_agent
from textgym.data.dataset import prompt_digest, split_of
from textgym.errors import AgentError
from textgym.evaluation import EvaluationSet, evaluate, make_evaluation_set
from textgym.models.loading import load_language_model
from textgym.tasks import Summarization
from textgym.types import Split

TASK = Summarization(split="test")


def test_an_evaluation_set_of_own_data() -> None:
    rows = [{"prompt": f"Name {n} birds.", "reference": "A wren."} for n in range(2, 30)]
    data = make_evaluation_set("TextGen-v0", "rouge", prompts=3, data=rows, max_new_tokens=16)
    assert "up to 16 new tokens" in repr(data)
    assert all(str(example.prompt).startswith("Name ") for example in data.examples)
    data = make_evaluation_set(
        "TextGen-v0", None, data=rows, prompt_column="reference", reference_column="prompt", split=split_of_wren()
    )
    assert [example.prompt for example in data.examples] == ["A wren."]
    with pytest.raises(TypeError, match=r"expected data beside the id of an environment, got a .*; give the id"):
        make_evaluation_set(TASK, data=rows)


def split_of_wren() -> Split:
    return split_of(prompt_digest("A wren."))


@pytest.fixture
def questions() -> EvaluationSet:
    return make_evaluation_set(TASK, "rouge", prompts=5, max_prompt_tokens=64, max_new_tokens=6, temperature=0)


def test_references_have_the_best_score_there_is(questions: EvaluationSet) -> None:
    evaluation = evaluate(resolve_agent("scripted")("reference", TASK), questions)
    assert evaluation.texts == [example.references[0] for example in questions.examples]
    assert evaluation.measures.values["reward"].tolist() == [1.0] * 5
    assert evaluation.measures.values["eos"].tolist() == [1.0] * 5
    assert not {"kl", "length"} & set(evaluation.measures.values)


def test_stepping_gives_the_texts_that_sampling_gives(questions: EvaluationSet, lm: str) -> None:
    model = load_language_model(lm)
    sampled = evaluate(model, questions)
    stepped = evaluate(resolve_agent("greedy")(model), questions, tokenizer=lm)
    assert stepped.texts == sampled.texts
    for name in ("length", "eos", "rougeL"):
        np.testing.assert_array_equal(stepped.measures.values[name], sampled.measures.values[name])


def test_an_agent_with_a_language_model_is_sampled_from(questions: EvaluationSet, lm: str) -> None:
    class Writer:
        grain = "token"
        text_model = load_language_model(lm)

        def act(self, observations: Any, **_: Any) -> Any:
            raise AssertionError("the model was there to sample from")

    evaluation = evaluate(Writer(), questions, reference=Writer.text_model)  # type: ignore[arg-type]
    assert evaluation.texts == evaluate(Writer.text_model, questions).texts
    assert evaluation.measures.values["kl"].tolist() == [0.0] * 5


def test_random_agents_draw_from_the_seed_of_the_evaluation(lm: str) -> None:
    agent = resolve_agent("random")(len(load_language_model(lm).tokenizer.token_bytes))

    def texts(seed: int) -> Sequence[str]:
        questions = make_evaluation_set(TASK, None, 3, seed, max_prompt_tokens=64, max_new_tokens=6)
        return evaluate(agent, questions, tokenizer=lm).texts

    assert texts(0) == texts(0) != texts(1)


class Own:
    """Answers several prompts with what it is told to, right or wrong."""

    grain: Any = "episode"

    def __init__(self, actions: Any) -> None:
        self.actions = actions

    def act(self, observations: Any, **_: Any) -> Any:
        return self.actions


def test_arrays_and_tuples_are_sequences_of_actions(questions: EvaluationSet) -> None:
    texts = ["a", "b", "c", "d", "e"]
    for actions in (texts, tuple(texts), np.array(texts, dtype=object), iter(texts)):
        assert evaluate(Own(actions), questions).texts == texts  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("actions", "got"),
    [
        (["a"], "expected 5 actions, got 1 from Own.act"),
        ([], "expected 5 actions, got 0 from Own.act"),
        (["a"] * 6, "expected 5 actions, got 6 from Own.act"),
        (None, "expected 5 actions in a list or an array, got None from Own.act"),
        (np.array(3), r"expected 5 actions in a list or an array, got array\(3\) from Own.act"),
        ("five!", "expected 5 actions in a list or an array, got 'five!' from Own.act"),
        (dict.fromkeys("abcde", 1), "expected 5 actions in a list or an array, got {'a': 1"),
    ],
)
def test_another_number_of_actions_is_the_agents_fault(actions: Any, got: str, questions: EvaluationSet) -> None:
    with pytest.raises(AgentError, match=f"^{got}.*; return one for every observation, in their order$"):
        evaluate(Own(actions), questions)  # type: ignore[arg-type]


@pytest.mark.parametrize("grain", ["word", None, 3])
def test_a_grain_that_does_not_exist_is_an_error(grain: Any, questions: EvaluationSet) -> None:
    agent: Any = Own(["a"] * 5)
    agent.grain = grain
    told = f"expected the attribute grain of the agent Own to be 'token' or 'episode', got {grain!r}; set it"
    with pytest.raises(AgentError, match=told):
        evaluate(agent, questions)
