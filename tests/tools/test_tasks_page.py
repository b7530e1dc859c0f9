"""docs/tasks.md and the registry: every task, option, metric and reward is in the page, with scores."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import tasks_page

import textgym
from benchmarks.tasks import GREEDY, RANDOM, REFERENCE, START, TaskScores, built_in_ids
from textgym.envs.choice import EnvChoice
from textgym.evaluation import Evaluation, Measures
from textgym.rewards import reward_name
from textgym.security.consent import load_attribute
from textgym.tasks.base import exemplary
from textgym.types import Example, episodes_of

PAGE = tasks_page.PAGE.read_text(encoding="utf-8")
IDS = [env_id for env_id in textgym.registered_ids() if str(gym.registry[env_id].kwargs["task"]).startswith("textgym.")]
REWRITE = "run: python -P tools/tasks_page.py"


def named(table: str, *names: str) -> list[str]:
    """Return the names that a table does not have."""
    return [name for name in names if f"`{name}`" not in table]


@pytest.mark.parametrize("env_id", IDS)
def test_the_page_names_what_the_registry_has(env_id: str) -> None:
    table = tasks_page.part_of(PAGE, tasks_page.TASKS)
    task = EnvChoice(env_id).make("test")
    assert named(table, env_id) == [], REWRITE
    (row,) = [line for line in table.splitlines() if line.startswith("| `") and f"`{env_id}`" in line.split(" | ")[0]][
        :1
    ]
    assert named(row, *task.metrics, reward_name(task.reward), task.model, task.dataset.name) == [], REWRITE
    options = load_attribute(gym.registry[env_id].kwargs["task"]).options
    listed = [line for line in table.splitlines() if line.startswith(f"| `{env_id}` | `")]
    if "Episode" not in env_id:
        assert [line.split(" | ")[1] for line in listed] == [f"`{name}`" for name in options], REWRITE
        assert [named(line, *options[name]) for line, name in zip(listed, options, strict=True)] == [[]] * len(listed)


def test_the_table_is_that_of_the_registry() -> None:
    assert tasks_page.part_of(PAGE, tasks_page.TASKS) == tasks_page.table_of_tasks(), REWRITE


def test_every_task_has_scores() -> None:
    sections = tasks_page.sections_of(tasks_page.part_of(PAGE, tasks_page.SCORES))
    assert list(sections) == built_in_ids(), f"{REWRITE} --measure ID"
    for env_id, section in sections.items():
        task = EnvChoice(env_id).make("test")
        writers = [RANDOM, START, GREEDY, *([REFERENCE] if exemplary(task, task.dataset[0]) else [])]
        assert [writer for writer in writers if f"| {writer} |" not in section] == [], env_id
        assert f"reward `{reward_name(task.reward)}`" in section, env_id


def test_every_task_that_knows_gold_says_what_it_is() -> None:
    table = tasks_page.part_of(PAGE, tasks_page.TASKS)
    assert "| known |" not in table, "set gold_meaning in the task, and run: python -P tools/tasks_page.py"


def test_both_grains_of_built_in_tasks_are_found() -> None:
    assert sorted(built_in_ids() + [env_id.replace("-v", "Episode-v") for env_id in built_in_ids()]) == IDS


def test_a_lacking_task_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    table = tasks_page.table_of_tasks()
    monkeypatch.setattr("benchmarks.tasks.built_in_ids", lambda: built_in_ids()[1:])
    assert tasks_page.table_of_tasks() != table


def scores(**means: float) -> TaskScores:
    """Return evaluations of three texts each, with these means of gold, and twice the same as the reward."""
    examples = [Example(str(n), f"question {n}", ("yes",)) for n in range(3)]

    def evaluation(mean: float) -> Evaluation:
        values = mean + np.array([-0.01, 0.0, 0.01])
        measures = Measures({"gold": values, "reward": 2 * values}, ["a", "b", "c"])
        return Evaluation(episodes_of(examples, ["a"] * 3), measures, 0.0)

    names = {"random": RANDOM, "start": START, "greedy": GREEDY, "reference": REFERENCE}
    return TaskScores("TextQA-v0", {names[name]: evaluation(mean) for name, mean in means.items()}, "f1", [])


def test_scores_are_rendered_with_differences_and_doubts() -> None:
    text = tasks_page.table_of_scores(scores(random=0.25, start=0.25, greedy=0.5, reference=1.0), "2030-01-01")
    assert text.startswith("3 test examples, 2030-01-01.\n\n| writer | gold | reward `f1` |\n")
    assert "| reference minus start model, temperature 0 | 0.500 (0.500 to 0.500) | 1.000 (1.000 to 1.000) |" in text
    doubts = [line for line in text.splitlines() if line.startswith("* ")]
    assert doubts == [
        "* Start model not clearly above random tokens in gold: 0.000 [0.000, 0.000].",
        "* Start model not clearly above random tokens in the default reward, f1: 0.000 [0.000, 0.000].",
    ]


def test_scores_of_other_tasks_stay() -> None:
    first, second = built_in_ids()[:2]
    before = tasks_page.with_scores("", {second: "old", first: "first", "Gone-v0": "x"})
    assert before == f"### {first}\n\nfirst\n\n### {second}\n\nold"
    after = tasks_page.with_scores(before, {second: "new"})
    assert tasks_page.sections_of(after) == {first: "first", second: "new"}
    page = tasks_page.with_part("a\n<!-- scores -->\n<!-- /scores -->\nb\n", "scores", after)
    assert page == f"a\n<!-- scores -->\n{after}\n<!-- /scores -->\nb\n"
    assert tasks_page.part_of(page, "scores") == after
    with pytest.raises(ValueError, match="expected <!-- tasks -->"):
        tasks_page.part_of(page, "tasks")
