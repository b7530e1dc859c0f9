"""TextCode: small functions, their hidden tests, and what texts are worth, by hand-worked numbers."""

from __future__ import annotations

import json
import sys
from collections import Counter
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from textgym.data.draws import Draws
from textgym.errors import DataError, SandboxUnavailableError
from textgym.sandbox import LEVELS, Level, Pair, Suite, close_shared_sandboxes, run_tests, running
from textgym.tasks import Coding
from textgym.tasks.coding import generator
from textgym.tasks.coding.generator import COUNTS, SLIPS, SWAPS, TESTS, Part, code_of, prompt_for, value_of
from textgym.tasks.coding.steps import STEPS
from textgym.types import SPLITS, Episode, Example, FloatArray, Split

ABOVE, FIRST = (next(step for step in STEPS if step.says.startswith(says)) for says in ("keep the numbers ab", "take"))
TASK = Coding(split="validation")


def gold(episodes: list[Episode]) -> FloatArray:
    found = TASK.gold(episodes)
    assert found is not None
    return found


PROMPT = prompt_for([Part(ABOVE, 3), Part(FIRST, 2)], [1, 5, 3, 4, 7], [5, 4])
CASES: list[list[list[int]]] = [
    [[], []],
    [[1, 5, 3, 4, 7], [5, 4]],
    [[4, 9, 3], [4, 9]],
    [[3, 8], [8]],
    [[9, 6, 5], [9, 6]],
    [[0, 5, 7], [5, 7]],
]
EXAMPLE = Example("a", PROMPT, extra={"entry_point": "f", "tests": [[[value], result] for value, result in CASES]})


def test_a_prompt_is_the_beginning_of_a_function() -> None:
    assert PROMPT == (
        'def f(x):\n    """Keep the numbers above 3, then take the first 2 numbers.\n\n    >>> f([1, 5, 3, 4, 7])\n'
        '    [5, 4]\n    """'
    )


@pytest.mark.parametrize(
    ("text", "passed"),
    [
        ("x = [n for n in x if n > 3]\n    return x[:2]", 6),
        ("    x = [n for n in x if n > 3]\n    return x[:2]", 6),
        ("return [n for n in x if n > 3][:2]", 6),
        ("```python\ndef f(x):\n    return [n for n in x if n > 3][:2]\n```", 6),
        ("x = [n for n in x if n >= 3]\n    return x[:2]", 4),  # not [5, 3] and [3, 8]
        ("x = [n for n in x if n > 3]\n    return x[:1]", 2),  # [] and [8]
        ("x = x[:2]\n    return [n for n in x if n > 3]", 4),  # [5] and [5] for the two that begin with a low number
        ("return [x[1]]", 1),  # [8] of [3, 8]; the empty list is an error
        ("return []", 1),
        ("return [5, 4]", 1),
        ("return x", 1),
        ("", 0),
        ("return", 0),
        ("return [n for n in x if n > 3", 0),
        ("I would keep the numbers above 3.", 0),
        (PROMPT, 0),
    ],
)
def test_gold_is_the_share_of_tests_passed(text: str, passed: int) -> None:
    episode = Episode.of(EXAMPLE, text)
    assert gold([episode]) == [passed / 6]
    assert TASK.is_success(episode) == (passed == 6)


def test_metrics() -> None:
    episodes = [Episode.of(EXAMPLE, "return [n for n in x if n > 3][:2]"), Episode.of(EXAMPLE, "return [x[0]]")]
    assert TASK.metrics["pass_at_1"](episodes).tolist() == [0.5, 0.5]  # of the two texts for this prompt
    assert TASK.metrics["answered"](episodes).tolist() == [1.0, 5 / 6]


@pytest.mark.parametrize("difficulty", COUNTS)
def test_solutions_pass_and_drafts_do_not(difficulty: str) -> None:
    dataset = Coding(difficulty=difficulty).dataset
    examples = [dataset[place] for place in range(300)]
    solutions = [Episode.of(example, example.references[0]) for example in examples]
    assert np.all(gold(solutions) == 1.0)
    lowest, highest = COUNTS[difficulty]
    counts = Counter(solution.text.count("\n") + 1 for solution in solutions)
    assert counts.keys() == set(range(lowest, highest + 1))
    drafts = gold([Episode.of(example, example.demonstrations[0]) for example in examples[:100]])
    assert 0.3 < np.mean(drafts) < 0.6
    assert 0.1 < np.mean(drafts == 1.0) < 0.45


def test_tests_tell_what_a_function_does() -> None:
    for place in range(200):
        example = TASK.dataset[place]
        tests = json.loads(json.dumps(example.extra["tests"]))
        assert tests == example.extra["tests"]
        values = [repr(value) for _, value in tests]
        assert len(tests) == TESTS == len(set(values))  # a constant passes one at most
        assert sum(not argument for (argument,), _ in tests) == 1
        assert all(argument != value for (argument,), value in tests if argument)
        assert f"\n    {tests[1][1]!r}\n" not in example.text  # the example is no test


def test_shares_of_the_faults() -> None:
    draws = Draws(np.random.default_rng(0))
    slips, swaps = [], []
    for _ in range(3000):
        parts = [Part(ABOVE, 3), Part(FIRST, 2)]
        draft = generator.draw_draft(draws, parts)
        slips += [part.slips for part in draft]
        swaps.append(draft[0].step is FIRST)
    assert np.mean(slips) == pytest.approx(SLIPS, abs=0.03)
    assert np.mean(swaps) == pytest.approx(SWAPS, abs=0.03)
    both = [Part(ABOVE, 3, slips=True), Part(FIRST, 2, slips=True)]
    assert code_of(both) == "x = [n for n in x if n >= 3]\n    return x[:1]"
    assert value_of(both, [1, 3, 5]) == [3]


def test_steps_that_have_no_order_stay_as_they_are() -> None:
    total = next(step for step in STEPS if step.code == "sum(x)")
    assert generator.first_exchangeable([Part(ABOVE, 3), Part(total, 0)]) == 2
    assert generator.first_exchangeable([Part(ABOVE, 3), Part(FIRST, 2), Part(total, 0)]) == 0


@pytest.mark.parametrize("difficulty", COUNTS)
def test_no_two_splits_share_a_function(difficulty: str) -> None:
    def functions(split: Split) -> set[str]:
        dataset = Coding(split=split, difficulty=difficulty).dataset
        texts = [dataset[place].text for place in range(150)]
        single = [text.split(">>>")[0] for text in texts if ", then " in text]
        return {*single, *(text for text in texts if ", then " not in text)}

    found = {split: functions(split) for split in SPLITS}
    assert all(found[one].isdisjoint(found[other]) for one in SPLITS for other in SPLITS if one < other)
    assert len(found["train"]) > 120


@pytest.mark.parametrize("level", LEVELS)
def test_both_levels_of_the_sandbox_run_every_step_alike(level: Level) -> None:
    """One program with all steps, right and by habit, as a sandbox of full Python takes its time for each program."""
    arguments: dict[str, Any] = {
        "numbers": [4, 7, 4, 1, 6],
        "number": 7,
        "text": "a banana split",
        "words": ["ab", "c"],
    }
    parts = [Part(step, step.range[1], slips) for step in STEPS for slips in (False, True) if step.habit or not slips]
    branches = [f"    if name == {row}:\n        return {part.code}" for row, part in enumerate(parts)]
    pairs = [
        Pair((row, arguments[part.step.takes]), value_of([part], arguments[part.step.takes]))
        for row, part in enumerate(parts)
    ]
    program = "\n".join(("def f(name, x):", *branches))
    try:
        outcomes = run_tests(program, Suite("f", tuple(pairs)), level=level)
    except SandboxUnavailableError as error:
        if level == "monty":
            raise
        pytest.skip(str(error))
    assert [parts[row].code for row, outcome in enumerate(outcomes) if not outcome.passed] == []


def test_an_environment_rewards_the_share_of_tests_passed() -> None:
    env: Any = gym.make("TextCodeEpisode-v0", difficulty="hard")
    example = env.unwrapped.task.dataset.find(env.reset(seed=1)[1]["task_key"])
    *_, info = env.step(example.references[0])
    assert (info["gold"], info["is_success"], info["rewards"]) == (1.0, True, {"unit_tests": 1.0, "total": 1.0})
    env.reset(seed=1)
    *_, info = env.step("return 'no such value'")
    assert (info["gold"], info["is_success"], info["rewards"]["total"]) == (0.0, False, 0.0)


def test_without_a_sandbox_environments_are_made_and_scoring_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    close_shared_sandboxes()
    monkeypatch.setattr(running, "_REMEMBERED", type(running._REMEMBERED)())
    env = gym.make("TextCodeEpisode-v0")
    env.reset(seed=0)
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(SandboxUnavailableError, match="pip install pydantic-monty"):
        env.step("return 1")


def row(number: int, **other: str) -> dict[str, str]:
    """A row in the shape of HumanEval."""
    return {
        "task_id": f"Own/{number}",
        "prompt": f'def add_{number}(n: int) -> int:\n    """Add {number} to n.\n    >>> add_{number}(1)\n    """\n',
        "entry_point": f"add_{number}",
        "canonical_solution": f"    total = n + {number}\n    return total\n",
        "test": f"def check(f):\n    assert f(1) == {number + 1}\n    assert f(-9) == {number - 9}\n",
        **other,
    }


def test_own_functions() -> None:
    env: Any = gym.make("TextCodeEpisode-v0", data=[row(number) for number in range(40)])
    task = env.unwrapped.task
    assert (task.reward, task.max_prompt_tokens, task.max_new_tokens) == ("unit_tests", 512, 256)
    example = task.dataset.find(env.reset(seed=0)[1]["task_key"])
    name = example.extra["entry_point"]
    assert example.references == (f"total = n + {name[4:]}\n    return total",)
    assert task.gold([Episode.of(example, "")]) is None
    for text, reward in ((example.references[0], 1.0), (f"return {int(name[4:]) + 1}", 0.5), ("", 0.0)):
        env.reset(seed=0)
        *_, info = env.step(text)
        assert (info["rewards"]["total"], info["is_success"], "gold" in info) == (reward, reward == 1.0, False)


def test_own_data_needs_tests() -> None:
    rows = [row(number) for number in range(40)]
    with pytest.raises(DataError, match=r"expected tests.*'entry_point'"):
        Coding([{"prompt": each["prompt"], "canonical_solution": each["canonical_solution"]} for each in rows])
    with pytest.raises(DataError, match=r"check\(candidate\)"):
        Coding([{**each, "test": "assert True"} for each in rows])
