"""Which questions to ask next."""

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest

from textgym.feedback.types import Question
from textgym.reward_models import disagreement, select_pairs
from textgym.types import FloatArray


class TwoMembers:
    """A text is "score of member 1, score of member 2"."""

    def raw_members(self, prompts: Sequence[str], responses: Sequence[str]) -> FloatArray:
        return np.array([[float(part) for part in text.split(",")] for text in responses]).reshape(-1, 2).T


def question(first: float, second: float, prompt: str = "p") -> Question:
    """Members think so much more of the first text."""
    return Question(prompt, prompt, (f"{first},{second}", "0,0"))


def test_disagreement_by_hand() -> None:
    """Probabilities 3/4 and 1/4: log 2 less the entropy of (3/4, 1/4). Where all agree it is 0, also in doubt."""
    entropy = -0.75 * math.log(0.75) - 0.25 * math.log(0.25)
    found = disagreement(TwoMembers(), [question(math.log(3), -math.log(3)), question(0, 0), question(5, 5)])
    assert found == pytest.approx([math.log(2) - entropy, 0, 0], abs=1e-9)


def test_the_most_disputed_question_comes_first() -> None:
    questions = [question(0, 0, "p"), question(3, -3, "q"), question(1, -1, "r"), question(9, 9, "s")]
    chosen = select_pairs(TwoMembers(), questions, 2, np.random.default_rng(0), coldness=math.inf)
    assert chosen == [questions[1], questions[2]]


def test_questions_are_spread_over_prompts() -> None:
    """One prompt holds the ten most disputed questions; half of each value is left after each."""
    questions = [question(4 + i / 100, -4, "disputed") for i in range(10)] + [
        question(1, -1, f"p{i}") for i in range(10)
    ]
    rng = np.random.default_rng(0)
    spread = select_pairs(TwoMembers(), questions, 10, rng, coldness=math.inf)
    assert Counter(each.prompt for each in spread)["disputed"] < 5
    greedy = select_pairs(TwoMembers(), questions, 10, rng, discount=1.0, coldness=math.inf)
    assert Counter(each.prompt for each in greedy)["disputed"] == 10
    for coldness in (1.0, math.inf):
        fair = select_pairs(TwoMembers(), questions, 11, rng, discount=0.0, coldness=coldness)
        assert set(Counter(each.prompt for each in fair).values()) == {1}
        more = select_pairs(TwoMembers(), questions, 13, rng, discount=0.0, coldness=coldness)
        assert Counter(each.prompt for each in more)["disputed"] == 3


def test_questions_are_drawn_in_proportion_to_their_disagreement() -> None:
    disputed, quiet = question(math.log(3), -math.log(3), "p"), question(0.5, -0.5, "q")
    values = disagreement(TwoMembers(), [disputed, quiet])
    rng = np.random.default_rng(0)
    drawn = [select_pairs(TwoMembers(), [quiet, disputed], 1, rng)[0].prompt for _ in range(2000)]
    assert drawn.count("p") / 2000 == pytest.approx(values[0] / values.sum(), abs=0.03)
    even = [select_pairs(TwoMembers(), [quiet, disputed], 1, rng, coldness=0.0)[0].prompt for _ in range(2000)]
    assert even.count("p") / 2000 == pytest.approx(0.5, abs=0.04)


def test_equal_values_are_chosen_at_random() -> None:
    questions = [question(1, 1, f"p{i}") for i in range(20)]
    chosen = [select_pairs(TwoMembers(), questions, 5, np.random.default_rng(seed)) for seed in (0, 0, 1)]
    assert chosen[0] == chosen[1] != chosen[2]


def test_pairs_of_equal_texts_are_never_asked_about() -> None:
    same = Question("p", "p", ("0,0", " 0,0"))
    assert select_pairs(TwoMembers(), [same, question(1, 2)], 5, np.random.default_rng(0)) == [question(1, 2)]
    assert select_pairs(TwoMembers(), [], 5, np.random.default_rng(0)) == []


def test_mistakes_are_errors() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match=r"got -1, 1\.0 and 0\.5"):
        select_pairs(TwoMembers(), [], -1, rng)
    with pytest.raises(ValueError, match="two responses"):
        disagreement(TwoMembers(), [Question("p", "p", ("x",), mode="rate")])

    class OneMember:
        def raw_members(self, prompts: Sequence[str], responses: Sequence[str]) -> FloatArray:
            return np.zeros((1, len(responses)))

    with pytest.raises(ValueError, match="got 1; fit with more replicas"):
        disagreement(OneMember(), [question(0, 1)])
