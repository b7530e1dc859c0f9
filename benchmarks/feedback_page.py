"""Somebody at the feedback page in a real browser: reads what it shows, decides, and presses the keys.

Nothing is sent to the server but what the page sends. Needs Playwright, which drives the browser, and Chromium.
"""

from __future__ import annotations

import importlib.util
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from textgym.errors import MissingExtraError
from textgym.feedback.types import Choice, Comparison, Demonstration, ImplicitFeedback, Mode, Ranking, Rating, Record

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Dialog, Locator, Page

_MODULES = {"playwright": "playwright", "fastapi": "textgym[feedback]", "uvicorn": "textgym[feedback]"}
_BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_PATIENCE_MILLISECONDS = 240_000  # of a machine that does other things as well
_SECONDS_BETWEEN_SIGNS = 10.0  # the page takes whoever does nothing for half a minute for gone
_MOST_WHEEL_TURNS = 100
_KEYS: Mapping[Choice, str] = {"a": "ArrowLeft", "b": "ArrowRight", "tie": "t", "both_bad": "b"}


class Shown(NamedTuple):
    """The content of a page: the prompt, and the texts from the first place to the last."""

    prompt: str
    texts: tuple[str, ...]


class Answer(NamedTuple):
    """The content of a page and the decision about it: records whose texts are in the order shown."""

    shown: Shown
    decided: tuple[Record, ...]


def find_chromium() -> str:
    """Return the path of the browser.

    Raises:
        MissingExtraError: It is not there, or what drives it or serves the page is not.
    """
    missing = {extra for module, extra in _MODULES.items() if importlib.util.find_spec(module) is None}
    if missing:
        raise MissingExtraError(
            f"expected a server of the page and a driver of the browser, got none; pip install "
            f"{' '.join(repr(extra) for extra in sorted(missing))}"
        )
    found = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if found is None:
        raise MissingExtraError(f"expected one of {', '.join(_BROWSERS)}, got none; apt-get install chromium")
    return found


@contextmanager
def open_browser() -> Iterator[Browser]:
    """Start Chromium without a window."""
    executable = find_chromium()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=executable, args=list(_FLAGS), timeout=_PATIENCE_MILLISECONDS)
        yield browser
        browser.close()


@contextmanager
def open_page(browser: Browser, url: str, *, clock_stands: bool = False, touch: bool = False) -> Iterator[Page]:
    """Open a page on which nothing may go wrong.

    Args:
        browser: Browser from :func:`open_browser`.
        url: Address of the page; requests to other addresses are errors.
        clock_stands: The page's clock stands, and time passes where ``run_for`` says so: reading takes no waiting.
        touch: The screen is touched.

    Raises:
        RuntimeError: A script failed, the security policy was violated, or something was requested from elsewhere.
    """
    context = browser.new_context(viewport={"width": 1200, "height": 900}, has_touch=touch)
    page = context.new_page()
    page.set_default_timeout(_PATIENCE_MILLISECONDS)
    problems: list[str] = []

    def note_dialog(dialog: Dialog) -> None:
        problems.append(f"dialog {dialog.message}")
        dialog.dismiss()

    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text) if message.type in ("error", "warning") else None)
    page.on("dialog", note_dialog)
    page.on("request", lambda request: None if request.url.startswith(url) else problems.append(request.url))
    if clock_stands:
        page.clock.install()
    page.goto(url)
    if clock_stands:
        page.clock.pause_at(time.time() + 60)  # it can be stopped in the future only
    yield page
    context.close()
    if problems:
        raise RuntimeError(f"expected a page without errors, got {problems}; fix it")


def answer_all(page: Page, mode: Mode, decide: Callable[[Shown], tuple[Record, ...]]) -> list[Answer]:
    """Answer question after question until the page has none left.

    Args:
        page: Page of a project that asks in this mode only.
        mode: Kind of answer that the page asks for.
        decide: Function from the content of a page to the records of the answer.
    """
    answers: list[Answer] = []
    if page.locator("text=I agree").count():
        press(page, "y")
    while (shown := read(page, mode)).texts:
        answers.append(Answer(shown, decide(shown)))
        _ACTIONS[mode](page, answers[-1].decided)
    return answers


def read(page: Page, mode: Mode) -> Shown:
    """Read a page; in natural use, of every text what can be seen before it is opened."""
    texts = page.locator(".snippet" if mode == "natural" else ".card:not(.prompt) .text").all_inner_texts()
    return Shown("".join(page.locator(".prompt .text").all_inner_texts()), tuple(texts))


def press(page: Page, *keys: str) -> None:
    """Press keys; the page that comes after the last one is there when this returns."""
    for key in keys[:-1]:
        page.keyboard.press(key)
    with page.expect_navigation():
        page.keyboard.press(keys[-1])


# --------------------------------------------------------------------------- modes
def compare(page: Page, decided: Sequence[Record]) -> None:
    """Press the arrow to the better text."""
    (comparison,) = decided
    assert isinstance(comparison, Comparison)
    press(page, _KEYS[comparison.choice])


def rank(page: Page, decided: Sequence[Record]) -> None:
    """Bring the cards in order, or say that the order shown is the answer."""
    (ranking,) = decided
    assert isinstance(ranking, Ranking)
    keys = rank_keys(ranking.ranks)
    moves = any(key == "=" or key.startswith("Shift") for key in keys)
    press(page, *(keys if moves else [*keys, "o"]), "Enter")


def rank_keys(ranks: Sequence[int]) -> list[str]:
    """Keys that fetch one card after the other up to its place, the best first.

    Args:
        ranks: Rank of each card in the order shown, 1 for the best.

    >>> rank_keys([2, 3, 1])
    ['ArrowDown', 'ArrowDown', 'Shift+ArrowUp', 'Shift+ArrowUp', 'ArrowDown', 'ArrowDown']
    """
    cards, keys, focus = list(range(len(ranks))), [], 0
    for place, card in enumerate(sorted(cards, key=lambda card: ranks[card])):
        now = cards.index(card)
        keys += ["ArrowDown"] * (now - focus) + ["Shift+ArrowUp"] * (now - place)
        cards.insert(place, cards.pop(now))
        if place and ranks[card] == ranks[cards[place - 1]]:
            keys.append("=")
        focus = place
    return keys


def rate(page: Page, decided: Sequence[Record]) -> None:
    """Press one digit per text."""
    press(page, *(str(record.rating) for record in decided if isinstance(record, Rating)), "Enter")


def edit(page: Page, decided: Sequence[Record]) -> None:
    """Choose the better text, and write a better one over it."""
    comparison, demonstration = decided
    assert isinstance(demonstration, Demonstration)
    compare(page, [comparison])
    page.locator("textarea").press("Control+a")
    page.keyboard.insert_text(demonstration.response)
    press(page, "Control+Enter")


def use(page: Page, decided: Sequence[Record]) -> None:
    """Open some texts, read them, perhaps copy one, and go on."""
    for record in decided:
        assert isinstance(record, ImplicitFeedback)
        if record.clicked:
            key = str(record.position + 1)
            page.keyboard.press(key)
            _dwell(page, page.locator("#results .text").nth(record.position), record)
            page.keyboard.press(key)  # closes it
    press(page, "n")


def _dwell(page: Page, text: Locator, record: ImplicitFeedback) -> None:
    """Look at a text as long, and scroll through as much of it, as was decided."""
    _scroll_to(page, text, record.scrolled)
    left = record.dwell_seconds
    while left > 0:
        page.mouse.move(300 + left % 2, 300)  # still there
        page.clock.run_for(round(1000 * min(left, _SECONDS_BETWEEN_SIGNS)))
        left -= _SECONDS_BETWEEN_SIGNS
    if record.copied:
        text.click(click_count=3)
        page.keyboard.press("Control+c")


def _scroll_to(page: Page, text: Locator, share: float) -> None:
    """Turn the wheel until that share of a text is above the lower edge of the window."""
    for _ in range(_MOST_WHEEL_TURNS):
        box, window = text.bounding_box(), page.viewport_size
        assert box is not None
        assert window is not None
        below = box["y"] + share * box["height"] - window["height"]
        if below <= 0:
            return
        page.mouse.wheel(0, below + 1)
    raise RuntimeError("expected a page that scrolls, got one that does not; fix it")


_ACTIONS: Mapping[Mode, Callable[[Page, Sequence[Record]], None]] = {
    "compare": compare,
    "rank": rank,
    "rate": rate,
    "edit": edit,
    "natural": use,
}
