from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from textgym.errors import RewardError
from textgym.rewards import (
    Clip,
    Gate,
    GoldReward,
    LazyReward,
    Scores,
    WeightedSum,
    check_size,
    gold_scores,
    knows_gold,
    resolve_reward,
    score,
)
from textgym.rewards import lazy as rewards
from textgym.types import Episode, Example, FloatArray, Message, Shown, episodes_of

EXAMPLES = [Example("a", "The council met."), Example("b", "A storm.")]
PROMPTS = [example.prompt for example in EXAMPLES]
TEXTS = ["abc", "x" * 200]


def length(prompts: Sequence[str], responses: Sequence[str], examples: Sequence[Example]) -> list[float]:
    return [float(len(text)) for text in responses]


def ones(prompts: Sequence[str], responses: Sequence[str], examples: Sequence[Example]) -> FloatArray:
    return np.ones(len(responses))


class Halves:
    name = "halves"

    def __call__(self, prompts: Sequence[str], responses: Sequence[str], examples: Sequence[Example], /) -> FloatArray:
        return np.full(len(responses), 0.5)


def short(response: str, example: Example) -> bool:
    return len(response) < 10


def test_leaf_scores_under_its_name() -> None:
    scores = score(length, PROMPTS, TEXTS, EXAMPLES)
    assert scores.total.tolist() == [3.0, 200.0]
    assert list(scores.parts) == ["length"]
    assert list(score(Halves(), PROMPTS, TEXTS, EXAMPLES).parts) == ["halves"]
    assert list(score(lambda p, r, e: [1, 2], PROMPTS, TEXTS, EXAMPLES).parts) == ["custom"]


def test_weighted_sum_known_answer() -> None:
    scores = score(WeightedSum({"one": (2.0, ones), "len": (-0.01, length)}), PROMPTS, TEXTS, EXAMPLES)
    assert scores.total.tolist() == pytest.approx([1.97, 0.0])
    assert scores.parts["one"].tolist() == [1, 1]
    assert scores.parts["len"].tolist() == [3, 200]


def test_tree_names_its_parts() -> None:
    inner = WeightedSum({"one": (1.0, ones), "len": (1.0, length)})
    scores = score(Clip(WeightedSum({"in": (1.0, inner), "half": (1.0, Halves())}), 0, 10), PROMPTS, TEXTS, EXAMPLES)
    assert scores.total.tolist() == [4.5, 10.0]
    assert set(scores.parts) == {"in", "in/one", "in/len", "half"}


def test_gate_pays_the_constant_where_the_test_fails() -> None:
    scores = score(Gate(length, short, otherwise=-1.0), PROMPTS, TEXTS, EXAMPLES)
    assert scores.total.tolist() == [3.0, -1.0]
    assert scores.parts["gate"].tolist() == [1.0, 0.0]
    assert Gate(length, short)(PROMPTS, TEXTS, EXAMPLES).tolist() == [3.0, 0.0]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1.0], r"expected 2 numbers from the reward 'bad', got an array of shape \(1,\)"),
        ([[1.0], [2.0]], r"shape \(2, 1\)"),
        (3.0, r"expected 2 numbers from the reward .*, got one number, for 2 responses"),
        ([1.0, float("nan")], r"got nan for response 2 of 2: 'x{79}…'"),
        ([float("inf"), 1.0], r"got inf for response 1 of 2: 'abc'"),
        (["good", "bad"], "expected numbers"),
        (["1", "2"], "expected numbers from the reward '.*', got strings"),
        (None, "expected finite numbers|shape"),
        (None, "got None .* does it lack a return"),
        (
            [1.0, None],
            r"^expected finite numbers from the reward '\w+', got None for response 2 of 2: 'x{79}…'; return a number",
        ),
        (np.array([None, None]), "got None for response 1 of 2"),
        ([1.0, 1j], "expected numbers from the reward '.*', got complex numbers"),
        (np.array([1 + 0j, 2j]), "got complex numbers"),
        (np.array(["2020-01-01"] * 2, dtype="datetime64[D]"), "expected numbers"),
        ([10**400, 1], "expected numbers"),
    ],
)
def test_seam_refuses_what_is_not_one_finite_number_each(values: Any, message: str) -> None:
    def bad(prompts: Sequence[str], responses: Sequence[str], examples: Sequence[Example]) -> Any:
        return values

    with pytest.raises(RewardError, match=message):
        score(bad, PROMPTS, TEXTS, EXAMPLES)
    with pytest.raises(RewardError, match="part"):
        score(WeightedSum({"part": (1.0, bad), "ok": (1.0, ones)}), PROMPTS, TEXTS, EXAMPLES)


def test_a_reward_may_change_the_lists_that_it_gets() -> None:
    def greedy(prompts: Any, responses: Any, examples: Any) -> list[float]:
        numbers = [float(len(responses.pop())) for _ in range(len(responses))][::-1]
        prompts.clear()
        examples.reverse()
        return numbers

    prompts, texts, examples = list(PROMPTS), list(TEXTS), list(EXAMPLES)
    lengths = [float(len(text)) for text in TEXTS]
    both = WeightedSum({"first": (1.0, greedy), "second": (1.0, greedy)})
    assert score(both, prompts, texts, examples).total.tolist() == [2 * length for length in lengths]
    assert (prompts, texts, examples) == (list(PROMPTS), list(TEXTS), list(EXAMPLES))


def test_complex_tensors_are_refused() -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(RewardError, match="got complex numbers"):
        score(lambda p, r, e: torch.tensor([1j, 2j]), PROMPTS, TEXTS, EXAMPLES)


def test_exact_numbers_of_other_kinds_are_numbers() -> None:
    scores = score(lambda p, r, e: [Fraction(1, 2), Decimal("0.25")], PROMPTS, TEXTS, EXAMPLES)
    assert scores.total.tolist() == [0.5, 0.25]
    assert score(lambda p, r, e: [True, np.bool_(False)], PROMPTS, TEXTS, EXAMPLES).total.tolist() == [1, 0]


def test_scores_of_a_reward_with_parts_must_be_scores() -> None:
    class Loose:
        name = "loose"

        def bind(self, task: Any) -> Any:
            return self

        def score(self, prompts: Any, responses: Any, examples: Any) -> Any:
            return [1.0, 2.0]

        def __call__(self, prompts: Any, responses: Any, examples: Any, /) -> Any:
            return [1.0, 2.0]

    with pytest.raises(RewardError, match=r"expected Scores\(total, parts\) from .* 'loose', got list"):
        score(Loose(), PROMPTS, TEXTS, EXAMPLES)


CONVERSATION = (Message("user", "Guess."), Message("assistant", "Five."), Message("user", "No."))


class Messages:
    """A reward of the last message."""

    name = "messages"

    def score_conversations(
        self, prompts: Sequence[Shown], responses: Sequence[str], examples: Sequence[Example]
    ) -> Scores:
        totals = np.array([0.0 if isinstance(prompt, str) else len(prompt) for prompt in prompts])
        return Scores(totals, {"messages": totals})

    def __call__(self, prompts: Sequence[str], responses: Sequence[str], examples: Sequence[Example], /) -> FloatArray:
        raise AssertionError("asked by texts")


def test_conversations_stay_messages_where_a_reward_reads_them() -> None:
    """Through every composition; a plain function gets the same conversation as one text."""
    texts: list[str] = []

    def plain(prompts: Sequence[str], responses: Sequence[str], examples: Sequence[Example]) -> FloatArray:
        texts.extend(prompts)
        return np.zeros(len(responses))

    tree = Clip(WeightedSum({"m": (2.0, Gate(Messages(), short)), "plain": (1.0, plain)}), 0.0, 5.0)
    scores = score(tree, ["Hi", CONVERSATION], ["a", "b"], EXAMPLES)
    assert scores.total.tolist() == [0.0, 5.0]
    assert scores.parts["m/messages"].tolist() == [0.0, 3.0]
    assert texts == ["Hi", "User: Guess.\nAssistant: Five.\nUser: No."]
    assert score(Messages(), [CONVERSATION[:1]], ["a"], EXAMPLES[:1]).total.tolist() == [1.0]


def test_scores_of_a_conversation_reward_must_be_scores() -> None:
    class Loose(Messages):
        def score_conversations(self, prompts: Any, responses: Any, examples: Any) -> Any:
            return [1.0]

    with pytest.raises(
        RewardError, match=r"expected Scores\(total, parts\) from score_conversations\(\) of .* got list"
    ):
        score(Loose(), ["p"], ["r"], EXAMPLES[:1])


def test_huge_rewards_are_named_with_what_to_do() -> None:
    with pytest.warns(UserWarning, match=r"some of 100000 and more from 'length'.*\{\"length\": \(1e-3, reward\)\}"):
        check_size(length, np.array([0.0, -5e6]))
    with pytest.raises(RewardError, match=r"fit 32 bits from the reward 'length', got 1e\+39"):
        check_size(length, np.array([1e39]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_size(length, np.array([0.0, 999.0]))
        check_size(length, np.array([]))


def test_names_resolve() -> None:
    assert resolve_reward(length) is length
    assert isinstance(resolve_reward("learned"), LazyReward)
    assert resolve_reward("rouge") is resolve_reward("rougeL")


def test_module_attribute_resolves_and_classes_are_made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    source = """
class R:
    def __call__(self, p, r, e): return [7.0] * len(r)
def f(p, r, e): return [1.0] * len(r)
X = 3
"""
    (tmp_path / "my_rewards.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    assert score(resolve_reward("my_rewards:R"), PROMPTS, TEXTS, EXAMPLES).total.tolist() == [7, 7]
    assert score(resolve_reward("my_rewards:f"), PROMPTS, TEXTS, EXAMPLES).total.tolist() == [1, 1]
    with pytest.raises(ValueError, match=r"Did you mean 'f'|Known"):
        resolve_reward("my_rewards:ff")
    with pytest.raises(TypeError, match="callable"):
        resolve_reward("my_rewards:X")


@pytest.mark.parametrize("name", ["rouje", "no_such_module:x", "gold"])
def test_unknown_names_say_what_to_do(name: str) -> None:
    with pytest.raises(ValueError, match=r"expected .* got"):
        resolve_reward(name)
    with pytest.raises(TypeError, match="callable"):
        resolve_reward(3)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["runs/gone", "./gone", "/gone/a:b", "a-file"])
def test_a_reward_folder_that_is_gone_is_said(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a-file").touch()
    with pytest.raises(ValueError, match=f"expected a folder with a reward model, got '{name}', which does not exist"):
        resolve_reward(name)


class GoldTask:
    """The part of a task that the gold reward asks."""

    name = "gold task"
    dataset = EXAMPLES
    max_turns = 1

    def gold(self, episodes: Sequence[Episode]) -> FloatArray | None:
        return np.array([0.25] * len(episodes))


def test_names_inside_a_tree_are_bound_to_the_task() -> None:
    tree = Clip(WeightedSum({"gold": (2.0, "gold"), "gated": (1.0, Gate("gold", short))}), 0.0, 1.0)
    bound = resolve_reward(tree, GoldTask())  # type: ignore[arg-type]
    assert score(bound, PROMPTS, TEXTS, EXAMPLES).total.tolist() == [0.75, 0.5]


def test_composites_at_a_module_attribute_are_bound_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    source = """
from textgym.rewards import Clip, WeightedSum
SUM = WeightedSum({"gold": (2.0, "gold"), "learned": (1.0, "learned")})
OUTER = Clip("composites:SUM", 0.0, 2.0)
"""
    (tmp_path / "composites.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    reward = resolve_reward("composites:OUTER", GoldTask())  # type: ignore[arg-type]
    loads: list[str] = []
    monkeypatch.setattr(rewards, "load_attribute", lambda path: lambda source: loads.append(source) or ones)
    for _ in range(3):
        assert score(reward, PROMPTS, TEXTS, EXAMPLES).parts["gold"].tolist() == [0.25, 0.25]
    assert loads == ["tiny-reward"]


def test_gold_without_a_task_says_what_is_missing() -> None:
    for reward in ("gold", WeightedSum({"g": (1.0, "gold")})):
        with pytest.raises(ValueError, match="expected a task for the reward 'gold'"):
            resolve_reward(reward)


def test_folders_are_named_by_paths_too(tmp_path: Path) -> None:
    reward = resolve_reward(tmp_path)
    assert isinstance(reward, LazyReward)
    assert reward.source == str(tmp_path)
    with pytest.raises(ValueError, match=r"got '.*nowhere'"):
        resolve_reward(tmp_path / "nowhere")


def test_tensors_of_every_kind_are_numbers() -> None:
    torch = pytest.importorskip("torch")
    with_gradient = torch.tensor([0.5, -2.0], requires_grad=True)
    halves = with_gradient.to(torch.bfloat16)
    for values in (with_gradient, halves, list(with_gradient), tuple(halves), [0.5, halves[1]]):
        scores = score(lambda p, r, e, values=values: values, PROMPTS, TEXTS, EXAMPLES)  # type: ignore[misc]
        assert scores.total.tolist() == [0.5, -2.0]


def test_learned_reward_loads_at_the_first_score(monkeypatch: pytest.MonkeyPatch) -> None:
    loads: list[str] = []

    def load(source: str) -> Any:
        loads.append(source)
        return ones

    monkeypatch.setattr(rewards, "load_attribute", lambda path: load)
    reward = resolve_reward("learned")
    assert loads == []
    for _ in range(2):
        assert score(reward, PROMPTS, TEXTS, EXAMPLES).parts["learned"].tolist() == [1, 1]
    assert loads == ["tiny-reward"]


def test_mistakes_in_trees() -> None:
    with pytest.raises(ValueError, match="at least one"):
        WeightedSum({})
    with pytest.raises(ValueError, match="total"):
        WeightedSum({"total": (1.0, ones)})
    with pytest.raises(ValueError, match="swap"):
        Clip(ones, 2, 1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: WeightedSum({"a": 1.0}), r"expected \(weight, reward\) for 'a', got 1.0 \(float\); write WeightedSum"),
        (lambda: WeightedSum({"a": "rouge"}), r"for 'a', got 'rouge' \(str\); write"),
        (lambda: WeightedSum({"a": ones}), r"expected \(weight, reward\) for 'a'"),
        (lambda: WeightedSum({"a": (1.0,)}), r"expected \(weight, reward\) for 'a', got \(1.0,\)"),
        (lambda: WeightedSum({"a": ("rouge", 1.0)}), "got the reward first; swap them"),
        (lambda: WeightedSum({"a": ("1.0", "rouge")}), "expected a number as the weight of 'a', got '1.0'"),
        (lambda: WeightedSum({"a": (True, "rouge")}), "expected a number as the weight of 'a', got True"),
        (lambda: WeightedSum({"a": (float("nan"), ones)}), "expected a finite number as the weight of 'a', got nan"),
        (lambda: WeightedSum({"a": (1.0, 2.0)}), r"expected a reward name, .* got 2.0 \(float\); give a name"),
        (lambda: WeightedSum({"a": (1.0, Halves)}), r"got the class Halves; make one: Halves\(\.\.\.\)"),
        (lambda: WeightedSum({3: (1.0, ones)}), "expected a name for every reward, got 3"),
        (lambda: WeightedSum([("a", 1.0)]), "expected a dict of terms, got"),
        (lambda: WeightedSum(ones), "expected a dict of terms, got"),
        (lambda: Gate(ones, "short"), "expected a test passes"),
        (lambda: Gate(3, short), "expected a reward name"),
        (lambda: Gate(ones, short, otherwise=None), "expected a number as otherwise, got None"),
        (lambda: Gate(ones, short, float("inf")), "expected a finite number as otherwise, got inf"),
        (lambda: Clip(ones, None, 1), "expected a number as low, got None"),
        (lambda: Clip(ones, float("nan"), 1), "expected a finite number as low, got nan"),
        (lambda: Clip([ones], 0, 1), "expected a reward name"),
        (lambda: GoldReward(None), "expected a task with a method gold, got None"),
        (lambda: LazyReward("learned", None), "expected the name or folder of a reward model, got None"),
        (lambda: resolve_reward(Halves), "got the class Halves"),
        (lambda: resolve_reward(None), "expected a reward name"),
    ],
)
def test_wrong_arguments_say_what_to_write(make: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        make()


@pytest.mark.parametrize("values", [[1.0], [1.0, float("nan")], [1.0, None], [[1.0], [2.0]]])
def test_gold_is_checked_like_a_reward(values: Any) -> None:
    class Task(GoldTask):
        def gold(self, episodes: Sequence[Episode]) -> Any:
            return values

    episodes = episodes_of(EXAMPLES, TEXTS)
    for ask in (lambda: gold_scores(Task(), episodes), lambda: GoldReward(Task())(PROMPTS, TEXTS, EXAMPLES)):  # type: ignore[arg-type]
        with pytest.raises(RewardError, match="from the reward 'gold of gold task'"):
            ask()


def test_whether_gold_is_known_is_found_by_asking_the_task() -> None:
    class Unknowing(GoldTask):
        def gold(self, episodes: Sequence[Episode]) -> FloatArray | None:
            return None

    class Empty(GoldTask):
        dataset: list[Example] = []  # noqa: RUF012

    class Wrong(GoldTask):
        def gold(self, episodes: Sequence[Episode]) -> FloatArray | None:
            return np.array([np.inf])

    assert [knows_gold(task()) for task in (GoldTask, Unknowing, Empty)] == [True, False, False]  # type: ignore[arg-type]
    with pytest.raises(RewardError, match="expected finite numbers from the reward 'gold of gold task'"):
        knows_gold(Wrong())  # type: ignore[arg-type]


def test_parts_are_counted_too() -> None:
    class Short(Halves):
        def bind(self, task: Any) -> Any:
            return self

        def score(self, prompts: Any, responses: Any, examples: Any) -> Scores:
            return Scores(np.zeros(len(responses)), {"piece": np.zeros(1)})

    with pytest.raises(RewardError, match="expected 2 numbers from the reward 'halves/piece'"):
        score(Short(), PROMPTS, TEXTS, EXAMPLES)


def test_bounds_may_be_infinite() -> None:
    assert score(Clip(ones, float("-inf"), 0.5), PROMPTS, TEXTS, EXAMPLES).total.tolist() == [0.5, 0.5]


def test_a_reward_that_raises_is_named_with_its_line() -> None:
    def customers(prompts: Any, responses: Any, examples: Any) -> Any:
        return [each.extra["client"] for each in examples]

    with pytest.raises(KeyError, match="client") as caught:
        score(customers, ["a"], ["b"], [Example("k", "a")])
    (note,) = caught.value.__notes__
    assert re.fullmatch(r"The error is from the reward 'customers' \(test_rewards.py, line \d+, in .*\).", note)


@pytest.mark.parametrize("wrong", [lambda prompt, response: 1.0, lambda prompts, completions, **others: [1.0]])
def test_a_reward_with_other_arguments_is_told_the_right_ones(wrong: Any) -> None:
    with pytest.raises(RewardError, match=r"called as reward\(prompts, responses, examples\).*positional argument"):
        score(wrong, ["a"], ["b"], [Example("k", "a")])


def test_a_column_that_is_missing_is_told_with_those_that_there_are() -> None:
    def asks(prompts: Sequence[str], responses: Sequence[str], examples: Sequence[Example]) -> list[float]:
        return [float(len(example.extra["custmer"])) for example in examples]

    example = Example("a", "Where is it?", extra={"customer": "Ann", "topic": "parcel"})
    with pytest.raises(KeyError) as caught:
        score(WeightedSum({"asks": (1.0, asks)}), ["p"], ["r"], [example])
    assert [note for note in caught.value.__notes__ if "columns" in note] == [
        "example.extra has these columns: customer, topic; the prompt is example.text."
    ]
