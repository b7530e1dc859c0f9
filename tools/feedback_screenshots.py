"""Take the screenshots of the feedback page: ``python -P tools/feedback_screenshots.py [FOLDER]`` (docs by default).

Needs what the tests in a browser need: Playwright and Chromium. Texts and answers are those of the built-in reports.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.append(str(Path(__file__).resolve().parents[1]))  # benchmarks are not installed

from PIL import Image

from benchmarks.feedback_page import open_browser
from textgym.envs.choice import EnvChoice
from textgym.feedback import FeedbackStore
from textgym.feedback.server.serve import Address, serving
from textgym.feedback.types import Mode, Question
from textgym.rlhf.attention_checks import REFERENCE, Source, make_checks
from textgym.rlhf.questions import run_simulate
from textgym.tasks import Summarization, prompt_text

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

WRITERS = (REFERENCE, "summarizer-v1", "summarizer-v2", "summarizer-v3")
PROJECT = {
    "title": "Report summaries",
    "guidelines": "Prefer the summary that says what happened, to whom and where, and nothing else.",
}
Size = tuple[int, int]
_COLOURS = 64


def questions(mode: Mode, count: int, texts: int, first: int = 0) -> list[Question]:
    """Return questions about a reference, a padded one, and the beginning of the report or another reference."""
    task = Summarization("reports")
    criteria = ("faithful", "brief") if mode == "rate" else ()
    found = []
    for number in range(first, first + count):
        example = task.dataset[number]
        good, other = example.references[:2]
        beginning = str(example.prompt).split(". ")[0] + "."
        written = (good, f"{other} All in all, it has been a strange week.", beginning, f"{good[: len(good) // 2]} ...")
        prompt = prompt_text(task, example)
        found.append(Question(example.key, prompt, written[:texts], mode, WRITERS[:texts], criteria=criteria))
    return found


def project(path: Path) -> FeedbackStore:
    """Make a project with a title and guidelines."""
    store = FeedbackStore(path)
    store.update_setting("project", lambda _: dict(PROJECT))
    return store


def answered_project(path: Path) -> FeedbackStore:
    """Make a project that five simulated annotators have answered, the last of whom does not read."""
    store = project(path)
    compared, ranked = questions("rank", 100, 3), questions("rank", 50, 3, first=100)
    pairs = [
        Question(
            each.task_key, each.prompt, (each.responses[a], each.responses[b]), "compare", (WRITERS[a], WRITERS[b])
        )
        for number, each in enumerate(compared)
        for a, b in (((0, 1), (0, 2), (1, 2))[number % 3],)
    ]
    store.add([*pairs, *ranked], overlap=3)
    known = [Source(each.task_key, each.prompt, each.responses[0]) for each in questions("compare", 6, 2, first=150)]
    store.add_checks(*make_checks(known, 6))
    store.update_setting("task", lambda _: {**asdict(EnvChoice().located()), "split": "train"})
    run_simulate(str(path), annotators=5, spammers=0.2)
    return store


def take(page: Page, folder: Path, name: str, *, whole: bool = False) -> None:
    """Write what a page shows to a file of few colours, which is small."""
    path = folder / f"feedback-{name}.png"
    page.screenshot(path=path, full_page=whole)
    with Image.open(path) as image:
        few = image.convert("RGB").quantize(_COLOURS)
    few.save(path, optimize=True)


def open_page(browser: Browser, size: Size, *, dark: bool = False, touch: bool = False) -> Page:
    """Open an empty page."""
    width, height = size
    return browser.new_page(
        viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light", has_touch=touch
    )


def ask(browser: Browser, work: Path, folder: Path) -> None:
    """Take a screenshot of each kind of question."""
    store = project(work / "asked.db")
    for mode, texts in (("compare", 2), ("rank", 3), ("rate", 2), ("edit", 2), ("natural", 4)):
        store.add(questions(mode, 4, texts))  # type: ignore[arg-type]
    with serving(store, Address(port=0), "ann") as url:
        page = open_page(browser, (1100, 900))
        page.goto(f"{url}?mode=rank")
        page.get_by_role("button", name="Move Text C up").click()
        page.get_by_role("button", name="Text C: as good as the one above").click()
        take(page, folder, "rank")
        page = open_page(browser, (1100, 900))
        page.goto(f"{url}?mode=rate")
        for key in "545313":
            page.keyboard.press(key)
        take(page, folder, "rate", whole=True)
        page.goto(f"{url}?mode=edit&better=second")
        take(page, folder, "edit", whole=True)
        page = open_page(browser, (1100, 760))
        page.goto(f"{url}?mode=natural")
        page.get_by_role("button", name="I agree").click()
        page.locator("#results summary").nth(1).click()
        take(page, folder, "natural")
        for name, dark in (("compare", False), ("dark", True)):
            page = open_page(browser, (1100, 760), dark=dark)
            page.goto(f"{url}?mode=compare")
            page.keyboard.press("d")
            take(page, folder, name)
        page = open_page(browser, (390, 844), touch=True)
        page.goto(f"{url}?mode=compare")
        take(page, folder, "small")


def manage(browser: Browser, work: Path, folder: Path) -> None:
    """Take screenshots of the dashboard, and of the pages of accounts."""
    with serving(answered_project(work / "answered.db"), Address(port=0), "ann") as url:
        page = open_page(browser, (1100, 900))
        page.goto(f"{url}dashboard")
        take(page, folder, "dashboard", whole=True)
    with serving(project(work / "closed.db"), Address(port=0, closed=True), "ann") as url:
        page, guest = open_page(browser, (1000, 480)), open_page(browser, (1000, 480))
        page.goto(url)
        home = url.split("/enter")[0]
        for name in ("bob", "eve"):
            page.goto(f"{home}/people")
            page.get_by_role("button", name="Invite people").click()
            guest.context.clear_cookies()
            guest.goto(page.input_value("input.link"))
            guest.fill("input[name=name]", name)
            guest.fill("input[name=password]", f"the password of {name}")
            guest.get_by_role("button", name="Create account").click()
        page.goto(f"{home}/people")
        page.get_by_role("button", name="Invite people").click()
        take(page, folder, "people")
        guest.context.clear_cookies()
        guest.goto(f"{home}/login")
        take(guest, folder, "enter")


def main(folder: str = "docs") -> None:
    """Take all screenshots."""
    with tempfile.TemporaryDirectory() as work, open_browser() as browser:
        ask(browser, Path(work), Path(folder))
        manage(browser, Path(work), Path(folder))


if __name__ == "__main__":
    main(*sys.argv[1:2])
