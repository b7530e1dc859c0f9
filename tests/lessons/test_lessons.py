"""Every lesson has its parts, its exercises know right from wrong, and its losses are those of the library."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
import torch

import textgym  # noqa: F401  # registers the environments
from tests.lessons.answers import ANSWERS
from textgym.models import load_language_model
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


def test_the_losses_of_lesson_5_are_those_of_the_library() -> None:
    from textgym.agents.common.losses import clipped_policy_loss, normalize_advantages

    random, defined = torch.Generator().manual_seed(0), namespace("05_ppo")
    old, new, advantages = (torch.randn(20, generator=random) for _ in range(3))
    new.requires_grad_()
    for loss, clip_range in ((defined["clipped_loss"], 0.2), (defined["ratio_loss"], float("inf"))):
        pair = loss(new, old, advantages), clipped_policy_loss(new, old, advantages, clip_range)
        assert torch.allclose(*pair, atol=1e-6)
        assert torch.allclose(*(torch.autograd.grad(each.mean(), new)[0] for each in pair), atol=1e-6)
    envs = gym.make_vec("TextSpell-v0", 8, model="letters")
    rollout, _ = defined["write"](load_language_model("letters"), envs, envs.reset(seed=0)[0])
    assert rollout.tokens.shape == rollout.log_probs.shape == rollout.advantages.shape == (24,)
    of_texts = rollout.advantages[:8]
    assert torch.allclose(rollout.advantages, of_texts.repeat(3))
    assert torch.allclose(of_texts, normalize_advantages(of_texts), atol=0.02)  # the same twice, but for the constant


@pytest.mark.slow
@pytest.mark.parametrize("name", LESSONS)
def test_a_lesson_runs_and_its_claims_hold(name: str, tmp_path: Path) -> None:
    for options, seconds in (((), MAX_SECONDS), (("--claims",), MAX_CLAIM_SECONDS)):
        command = [sys.executable, str(LESSONS[name]), *options]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=10 * seconds, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    assert list((tmp_path / "runs" / "lessons").glob(f"{name[:2]}-*.png"))
