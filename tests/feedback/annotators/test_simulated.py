"""The simulated annotator."""

import math
from collections.abc import Sequence

import numpy as np
import pytest

from textgym.errors import RewardError
from textgym.feedback import BradleyTerryAnnotator, make_questions, reward_scorer
from textgym.feedback.annotators.simulated import SimulatedPerson, preference_probability, score_texts
from textgym.feedback.types import Question
from textgym.metrics import rouge1
from textgym.rewards import ScoredConversations, Scores
from textgym.types import Example, FloatArray, Message, Shown


def length(responses: Sequence[str], task_keys: Sequence[str]) -> FloatArray:
    return np.array([len(text) for text in responses], dtype=np.float64)


def questions(n: int, a: str = "long text", b: str = "short") -> list[Question]:
    return make_questions(["p"] * n, [f"k{i}" for i in range(n)], [a] * n, [b] * n)


def test_frequencies_follow_the_formula() -> None:
    # difference 4, temperature 4: sigmoid(1) = 0.731059
    annotator = BradleyTerryAnnotator(length, 4.0, np.random.default_rng(0))
    answers = annotator.compare(questions(20_000))
    assert np.mean([answer.choice == "a" for answer in answers]) == pytest.approx(0.731059, abs=0.01)


def test_probability_by_hand() -> None:
    assert preference_probability(np.array([math.log(3), 0.0, -1e6]), 1.0) == pytest.approx([0.75, 0.5, 0.0])
    assert preference_probability(np.array([0.1, 0.0, -0.1]), 0.0).tolist() == [1.0, 0.5, 0.0]


def test_records_repeat_their_questions() -> None:
    asked = questions(3)
    answers = BradleyTerryAnnotator(length, 0.0, np.random.default_rng(0), name="ruler").compare(asked)
    assert [(r.task_key, r.prompt, r.responses) for r in answers] == [
        (q.task_key, q.prompt, q.responses) for q in asked
    ]
    assert {(r.choice, r.annotator) for r in answers} == {("a", "ruler")}


def test_small_differences_are_ties() -> None:
    annotator = BradleyTerryAnnotator(length, 0.0, np.random.default_rng(0), tie_margin=1.5)
    assert annotator.compare(questions(1, "four", "three"))[0].choice == "tie"
    assert annotator.compare(questions(1, "four", "sixsix"))[0].choice == "b"


def test_equal_texts_are_a_coin_toss() -> None:
    answers = BradleyTerryAnnotator(length, 0.0, np.random.default_rng(0)).compare(questions(1000, "x", "y"))
    assert np.mean([answer.choice == "a" for answer in answers]) == pytest.approx(0.5, abs=0.06)


def test_seeds_reproduce_and_ties_leave_the_stream_alone() -> None:
    def run(margin: float) -> list[str]:
        annotator = BradleyTerryAnnotator(length, 4.0, np.random.default_rng(5), margin)
        return [answer.choice for answer in annotator.compare(questions(1, "x", "y") + questions(50))]

    assert run(0.0) == run(0.0)
    assert run(0.0)[1:] == run(0.5)[1:]


def test_no_questions_no_answers() -> None:
    assert BradleyTerryAnnotator(length, 1.0, np.random.default_rng(0)).compare([]) == []


def test_the_score_is_asked_once_with_the_keys() -> None:
    calls: list[tuple[list[str], list[str]]] = []

    def score(responses: Sequence[str], task_keys: Sequence[str]) -> FloatArray:
        calls.append((list(responses), list(task_keys)))
        return length(responses, task_keys)

    BradleyTerryAnnotator(score, 1.0, np.random.default_rng(0)).compare(questions(2))
    assert calls == [(["long text"] * 2 + ["short"] * 2, ["k0", "k1", "k0", "k1"])]


def test_any_reward_can_be_what_people_care_about() -> None:
    examples = {"k0": Example("k0", "doc", ("the council met",))}
    score = reward_scorer(rouge1, examples)
    annotator = BradleyTerryAnnotator(score, 0.0, np.random.default_rng(0))
    assert annotator.compare(questions(1, "nothing", "the council met"))[0].choice == "b"


def test_rewards_are_given_what_the_question_shows() -> None:
    """Not the raw text of the example: a reward reads the formatted prompt here as it does in environments."""
    seen: list[str] = []

    def reward(prompts: Sequence[str], responses: Sequence[str], examples: Sequence[Example]) -> list[int]:
        seen.extend(prompts)
        return [len(response) for response in responses]

    talk = (Message("user", "Guess."), Message("assistant", "Five."), Message("user", "No."))
    asked = [Question("k0", "Shorten: doc", ("long text", "short")), Question("k0", talk, ("6", "seven"))]
    score = reward_scorer(reward, {"k0": Example("k0", "doc")})
    records = BradleyTerryAnnotator(score, 0.0, np.random.default_rng(0)).compare(asked)
    assert seen == ["Shorten: doc", "User: Guess.\nAssistant: Five.\nUser: No."] * 2
    assert [record.choice for record in records] == ["a", "b"]
    SimulatedPerson(score, np.random.default_rng(0)).answer(asked[:1])
    assert seen[4:] == ["Shorten: doc"] * 2


def test_rewards_of_conversations_are_given_messages() -> None:
    class Turns(ScoredConversations):
        def score_conversations(
            self, prompts: Sequence[Shown], responses: Sequence[str], examples: Sequence[Example]
        ) -> Scores:
            return Scores(np.array([len(prompt) for prompt in prompts], dtype=np.float64), {})

    talk = (Message("user", "Guess."), Message("assistant", "Five."), Message("user", "No."))
    score = reward_scorer(Turns(), {"k0": Example("k0", "Guess.")})
    assert score_texts(score, [Question("k0", talk, ("6",), "rate")], ["6"], "ann").tolist() == [3.0]


def test_rewards_are_checked_as_in_environments() -> None:
    def reward(prompts: Sequence[str], responses: Sequence[str], examples: Sequence[Example]) -> list[None]:
        return [None] * len(responses)

    score = reward_scorer(reward, {"k0": Example("k0", "doc")})
    with pytest.raises(RewardError, match="finite numbers from the reward 'reward', got None for response 1"):
        BradleyTerryAnnotator(score, 0.0, np.random.default_rng(0)).compare(questions(1))


@pytest.mark.parametrize("scores", [[1.0], [1.0, math.nan], [[1.0], [2.0]]])
def test_bad_scores_are_refused(scores: list[float]) -> None:
    """Checklist 21: NaN or a wrong count is an error that names the scorer."""
    annotator = BradleyTerryAnnotator(lambda responses, keys: scores, 1.0, np.random.default_rng(0), name="nan-ny")
    with pytest.raises(RewardError, match="'nan-ny'"):
        annotator.compare(questions(1))


def test_negative_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="got -1"):
        BradleyTerryAnnotator(length, -1.0, np.random.default_rng(0))
