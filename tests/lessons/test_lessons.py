"""Every lesson has its parts, its exercises know right from wrong, and its losses are those of the library."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from tests.lessons.answers import ANSWERS
from textgym.teaching import Lesson, lessons_in, read_cells, read_lesson

ROOT = Path(__file__).resolve().parents[2]
LESSONS = {path.stem: path for path in lessons_in(ROOT / "lessons")}
EXERCISES = [(name, number) for name, answers in ANSWERS.items() for number in answers]
MAX_CORE_LINES = 60
MAX_SECONDS, MAX_CLAIM_SECONDS = 60, 180
PARTS = (
    "**The question.**",
    "## What do you expect?",
    "## A failure on purpose",
    "**The repair**",
    "## What to remember",
    "## The claims, measured",
    "## Exercises",
    "## Further reading",
)
pytestmark = pytest.mark.skipif(not LESSONS, reason="needs the checkout")


@pytest.fixture(scope="module", autouse=True)
def forgotten() -> Iterator[None]:
    yield
    for name in LESSONS:
        sys.modules.pop(f"lesson_{name}", None)


def namespace(name: str) -> dict[str, Any]:
    return dict(read_lesson(LESSONS[name]).namespace)


def test_every_lesson_has_answers() -> None:
    assert list(ANSWERS) == list(LESSONS)


@pytest.mark.parametrize("name", LESSONS)
def test_a_lesson_has_its_parts_in_order(name: str) -> None:
    cells = read_cells(LESSONS[name].read_text(encoding="utf-8"))
    prose = "\n".join(cell.source for cell in cells if not cell.is_code)
    places = [prose.find(part) for part in PARTS]
    assert [part for part, place in zip(PARTS, places, strict=True) if place < 0] == []
    assert places == sorted(places)
    assert re.search(rf"^# # {int(name[:2])}\. ", prose, re.MULTILINE)
    assert sorted(int(each) for each in re.findall(r"\*\*Exercise (\d)\.\*\*", prose)) == [1, 2, 3]
    core = [line for cell in cells if "core" in cell.tags for line in cell.source.splitlines() if line.strip()]
    assert 0 < len(core) <= MAX_CORE_LINES


@pytest.mark.parametrize("name", LESSONS)
def test_exercises_are_handed_out_unanswered(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    lesson = read_lesson(LESSONS[name])
    assert lesson.exercises == list(ANSWERS[name])
    assert [number for number in lesson.exercises if lesson.check_answer(number).right] == []
    assert capsys.readouterr().out.count("not answered yet") == len(lesson.exercises)


@pytest.mark.parametrize(("name", "number"), EXERCISES)
def test_exercises_know_right_from_wrong(name: str, number: int) -> None:
    defined, answers = namespace(name), ANSWERS[name][number]
    verdict = Lesson(name, {**defined, f"answer_{number}": answers.right}).check_answer(number)
    assert verdict.right, verdict
    assert len(verdict.text) > len("right. ")
    assert answers.wrong
    for wrong in answers.wrong:
        verdict = Lesson(name, {**defined, f"answer_{number}": wrong}).check_answer(number)
        assert not verdict.right, verdict
        assert "not yet" in verdict.text


def test_the_loss_of_lesson_2_is_that_of_the_library() -> None:
    from textgym.agents.common.losses import sums_of_texts

    log_probs = torch.randn(3, 5, generator=torch.Generator().manual_seed(0)).requires_grad_()
    returns = torch.arange(5.0)
    loss = namespace("02_reinforce")["reinforce_loss"](log_probs, returns)
    tokens, texts = -(log_probs * returns).flatten(), torch.arange(5).repeat(3)
    library = sums_of_texts(tokens, texts, 5).mean()
    assert torch.allclose(loss, library, atol=1e-6)
    assert torch.allclose(*(torch.autograd.grad(each, log_probs)[0] for each in (loss, library)), atol=1e-6)


def test_the_losses_of_lesson_3_are_those_of_the_library() -> None:
    from textgym.agents.common.group_advantages import leave_one_out_advantages
    from textgym.agents.common.losses import clipped_policy_loss, clipped_value_loss, sums_of_texts

    defined, random = namespace("03_baselines"), torch.Generator().manual_seed(0)
    returns = torch.rand(12, generator=random)
    advantages = returns - defined["leave_one_out"](returns)
    library = leave_one_out_advantages(returns.view(3, 4).double().numpy()).flatten()
    assert torch.allclose(advantages.double(), torch.from_numpy(library), atol=1e-6)
    log_probs = torch.randn(3, 12, generator=random).requires_grad_()
    of_texts = sums_of_texts(log_probs.flatten(), torch.arange(12).repeat(3), 12)
    losses = (
        defined["policy_loss"](log_probs, advantages),
        clipped_policy_loss(of_texts, of_texts.detach(), advantages, 0.2).mean(),  # RLOO's, in its first step
    )
    assert torch.allclose(*(torch.autograd.grad(each, log_probs)[0] for each in losses), atol=1e-6)
    values = torch.rand(12, generator=random)
    assert torch.allclose(
        defined["value_loss"](values, returns), clipped_value_loss(values, values, returns, None).mean(), atol=1e-6
    )


def test_the_losses_and_values_of_lesson_4_are_those_of_the_library() -> None:
    from textgym.agents.common import losses
    from textgym.agents.common.value_losses import lambda_returns

    defined, random = namespace("04_credit"), torch.Generator().manual_seed(0)
    rewards, values, log_probs = torch.randn(3, 3, 5, generator=random)
    dones = torch.tensor([0.0, 0.0, 1.0])[:, None].expand(3, 5)
    for gamma, lam in ((1.0, 0.95), (0.9, 0.0), (0.7, 1.0)):
        advantages = defined["generalized_advantages"](rewards, values, gamma, lam)
        arrays = (each.double().numpy() for each in (rewards, values, dones))
        library = losses.generalized_advantages(*arrays, torch.zeros(5).double().numpy(), gamma, lam)
        assert torch.allclose(advantages.double(), torch.from_numpy(library), atol=1e-6)
    to_go = defined["rewards_to_go"](rewards, 0.9)[:, 0]
    assert torch.allclose(to_go, lambda_returns(rewards[:, 0], values[:, 0], dones[:, 0] > 0, 0.9, 1.0), atol=1e-6)
    log_probs.requires_grad_()
    tokens = losses.clipped_policy_loss(log_probs.flatten(), log_probs.detach().flatten(), advantages.flatten(), 0.2)
    both = (
        defined["policy_loss"](log_probs, advantages),
        losses.sums_of_texts(tokens, torch.arange(5).repeat(3), 5).mean(),
    )
    assert torch.allclose(*(torch.autograd.grad(each, log_probs)[0] for each in both), atol=1e-6)


def test_the_tree_of_lesson_4_has_the_optimal_values(monkeypatch: pytest.MonkeyPatch) -> None:
    defined = namespace("04_credit")
    tree = defined["tree_of"](defined["DENSE"])
    best = (tree.rewards == tree.rewards.max(dim=1, keepdim=True).values).double()  # every right letter
    greedy = torch.distributions.Categorical(probs=best)
    monkeypatch.setitem(defined["exact_values"].__globals__, "policy", lambda model, ids: greedy)
    values = defined["exact_values"](None, tree, gamma=0.9)[1]
    optimal = gym.make("TextSpell-v0").unwrapped.optimal_values(gamma=0.9)
    assert torch.allclose(values.double(), torch.tensor([optimal[state] for state in optimal]).double(), atol=1e-6)


def test_the_updates_of_lesson_7_are_those_of_the_library() -> None:
    from textgym.agents import SARSA, QLearning
    from textgym.agents.common import exploration
    from textgym.agents.common.value_losses import td_targets

    defined = namespace("07_values")
    rows = np.array([[0.0, 0.9, 0.3], [0.5, 0.5, -1.0], [0.0, 0.0, 0.0]])
    for row in rows:
        for rate in (0.3, 1.0):
            for name in ("epsilon_greedy", "softmax"):
                library = getattr(exploration, name)(row[None], rate)[0]
                np.testing.assert_allclose(defined[name](row, rate), library, atol=1e-12)
    rewards, letters, probabilities = np.array([1.0, 0.0, 0.5]), np.array([2, 1, 0]), np.full((3, 3), 1 / 3)
    for rule, agent in (("q", QLearning()), ("sarsa", SARSA())):
        following = torch.from_numpy(agent.values_after(rows, letters, probabilities))
        library = td_targets(torch.from_numpy(rewards), following, 0.9).numpy()
        found = [defined["target"](rule, *each, False) for each in zip(rewards, rows, letters, strict=True)]
        np.testing.assert_allclose(found, library, atol=1e-12)
        assert defined["target"](rule, 1.0, rows[0], 0, True) == 1.0


@pytest.mark.slow
@pytest.mark.parametrize("name", LESSONS)
def test_a_lesson_runs_and_its_claims_hold(name: str, tmp_path: Path) -> None:
    for options, seconds in (((), MAX_SECONDS), (("--claims",), MAX_CLAIM_SECONDS)):
        command = [sys.executable, str(LESSONS[name]), *options]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=10 * seconds, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    assert list((tmp_path / "runs" / "lessons").glob(f"{name[:2]}-*.png"))
