"""The pages in a real browser: keys, dragging, reading time, hostile texts, small screens."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from benchmarks.feedback_page import answer_all, open_page, press
from textgym.feedback import FeedbackStore, shown_order
from textgym.feedback.server import site
from textgym.feedback.server.serve import Address, serving
from textgym.feedback.types import Comparison, Demonstration, ImplicitFeedback, Mode, Question, Ranking, Rating
from textgym.types import Message

pytestmark = pytest.mark.timeout(900)


class Command:
    """The command, serving a store."""

    def __init__(self, folder: Path) -> None:
        self.store = FeedbackStore(folder / "project.db")
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        code = "from textgym.cli.app import main; main()"
        arguments = ["feedback", "serve", str(self.store.path), "--port", str(self.port), "--name", "me"]
        self.started = time.perf_counter()
        self.process = subprocess.Popen([sys.executable, "-P", "-c", code, *arguments], stdout=subprocess.DEVNULL)

    def wait(self) -> float:
        """Return how many seconds after the command a page came."""
        while time.perf_counter() - self.started < 240:
            try:
                urllib.request.urlopen(self.url, timeout=60).read()
                return time.perf_counter() - self.started
            except OSError:
                time.sleep(0.02)
        raise TimeoutError("the server did not start")

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()
        self.store.close()


class Server(NamedTuple):
    """A page that is served, and its store, which the test looks into as well."""

    store: FeedbackStore
    url: str


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with FeedbackStore(tmp_path / "project.db") as store, serving(store, Address(port=0), "me") as url:
        yield Server(store, url.rstrip("/"))


@pytest.fixture
def page(browser: Any, server: Server) -> Iterator[Any]:
    with open_page(browser, server.url) as page:
        yield page


def fill(server: Server, place: Any, mode: str, responses: int, n: int = 2, **more: Any) -> None:
    server.store.add([place.question(number, mode, responses, **more) for number in range(n)])


@pytest.mark.parametrize(("key", "expected"), [("ArrowLeft", 0), ("ArrowRight", 1), ("1", 0), ("2", 1)])
def test_compare_by_keyboard(server: Server, page: Any, place: Any, key: str, expected: int) -> None:
    fill(server, place, "compare", 2)
    page.reload()
    shown = page.locator(".pair .text").all_inner_texts()
    press(page, key)
    (record,) = server.store.records()
    assert isinstance(record, Comparison)
    assert record.chosen == shown[expected]
    assert page.locator("text=Last answer").is_visible()


def test_tie_both_bad_skip_undo_and_differences(server: Server, page: Any, place: Any) -> None:
    fill(server, place, "compare", 2, 4)
    page.reload()
    background = "getComputedStyle(document.querySelector('mark')).backgroundColor"
    assert page.evaluate(background) == "rgba(0, 0, 0, 0)"
    page.keyboard.press("d")
    assert page.evaluate(background) != "rgba(0, 0, 0, 0)"
    press(page, "t")
    press(page, "b")
    press(page, "s")
    press(page, "u")
    records = [record for record in server.store.records() if isinstance(record, Comparison)]
    assert [record.choice for record in records] == ["tie", "both_bad"]
    assert len(server.store.votes()) == 2
    assert "prompt 2" in page.inner_text("main")


def test_shortcuts_are_visible_and_do_nothing_while_writing(server: Server, page: Any, place: Any) -> None:
    fill(server, place, "compare", 2)
    page.reload()
    assert {"←", "→", "T", "B", "S", "D"} <= set(page.locator("kbd:visible").all_inner_texts())
    page.click(".menu summary")
    page.fill(".menu input[name=name]", "stub")
    page.keyboard.press("t")
    page.keyboard.press("b")
    assert server.store.votes() == []
    with page.expect_navigation():
        page.click(".menu button")
    press(page, "t")
    assert server.store.votes()[0].annotator == "stubtb"


def test_25_comparisons_a_minute(server: Server, page: Any, place: Any) -> None:
    fill(server, place, "compare", 2, 26)
    page.reload()
    start = time.perf_counter()
    for number in range(25):
        press(page, "ArrowLeft" if number % 2 else "ArrowRight")
    elapsed = time.perf_counter() - start
    print(f"25 comparisons in {elapsed:.1f} s")
    assert len(server.store.records()) == 25
    assert elapsed < 60
    seconds = [record.seconds for record in server.store.records()]
    assert all(each is not None and 0 < each < 60 for each in seconds)


def ranks(server: Server) -> dict[str, int]:
    (record,) = server.store.records()
    assert isinstance(record, Ranking)
    return dict(zip(record.responses, record.ranks, strict=True))


def test_rank_by_keyboard(server: Server, page: Any, place: Any) -> None:
    fill(server, place, "rank", 4)
    page.reload()
    shown = page.locator("#ranking .text").all_inner_texts()
    # The first goes down by one; then the last, two places up, ties with the one above it.
    press(page, "Shift+ArrowDown", "ArrowDown", "ArrowDown", "Shift+ArrowUp", "Shift+ArrowUp", "=", "Enter")
    assert ranks(server) == {shown[1]: 1, shown[3]: 1, shown[0]: 3, shown[2]: 4}


def test_enter_on_an_untouched_order_leaves_the_keys_alive(server: Server, page: Any, place: Any) -> None:
    fill(server, place, "rank", 3, 3)
    page.reload()
    shown = page.locator("#ranking .text").all_inner_texts()
    page.keyboard.press("Enter")
    page.get_by_role("alert").wait_for()
    assert "Move a text, or tick" in page.get_by_role("alert").inner_text()
    assert server.store.records() == []
    press(page, "Shift+ArrowDown", "Enter")
    assert ranks(server) == {shown[1]: 1, shown[0]: 2, shown[2]: 3}
    page.click("text=Done")  # the focus is on a button then
    page.get_by_role("alert").wait_for()
    press(page, "o", "Enter")
    page.focus("#as-shown")
    press(page, "=", "ArrowDown", "=", "Enter")
    assert [sorted(record.ranks) for record in server.store.records()[1:]] == [[1, 2, 3], [1, 1, 3]]


@pytest.mark.parametrize("by", ["mouse", "keyboard"])
def test_ties_by_button(server: Server, page: Any, place: Any, by: str) -> None:
    fill(server, place, "rank", 4)
    page.reload()
    shown = page.locator("#ranking .text").all_inner_texts()
    buttons = page.get_by_role("button", name="As good as the one above")
    assert buttons.count() == 3  # there is none above the first
    for place_, button in enumerate(buttons.all()):
        if by == "mouse":
            button.click()
        else:
            button.focus()
            page.keyboard.press("Enter")
        if place_ == 1:  # once more takes it back
            button.click()
        assert button.get_attribute("aria-pressed") == ("false" if place_ == 1 else "true")
    with page.expect_navigation():
        page.click("text=Done")
    assert ranks(server) == {shown[0]: 1, shown[1]: 1, shown[2]: 3, shown[3]: 3}


def test_rank_by_dragging(server: Server, page: Any, place: Any) -> None:
    fill(server, place, "rank", 3)
    page.reload()
    shown = page.locator("#ranking .text").all_inner_texts()
    last = page.locator("#ranking li").nth(2).locator(".grip")
    top = page.locator("#ranking li").nth(0).bounding_box()
    box = last.bounding_box()
    page.mouse.move(box["x"] + 5, box["y"] + 5)
    page.mouse.down()
    page.mouse.move(box["x"] + 5, top["y"] + 2, steps=8)
    page.mouse.up()
    assert page.locator("#ranking .text").all_inner_texts() == [shown[2], shown[0], shown[1]]
    with page.expect_navigation():
        page.click("text=Done")
    assert ranks(server) == {shown[2]: 1, shown[0]: 2, shown[1]: 3}


@pytest.mark.parametrize("by", ["mouse", "touch", "keyboard"])
def test_rank_by_buttons_that_say_every_move(browser: Any, server: Server, place: Any, by: str) -> None:
    fill(server, place, "rank", 4)
    with open_page(browser, server.url, touch=by == "touch") as page:
        shown = page.locator("#ranking .text").all_inner_texts()
        status = page.get_by_role("status")
        for name, said in (
            ("Move Text B up", "Text B is now 1st of 4"),
            ("Move Text B up", "Text B is already 1st of 4"),
            ("Move Text A down", "Text A is now 3rd of 4"),
            ("Move Text A down", "Text A is now 4th of 4"),
            ("Text D: as good as the one above", "Text D is now tied for 2nd of 4"),
            ("Text D: as good as the one above", "Text D is now 3rd of 4"),
            ("Text A: as good as the one above", "Text A is now tied for 3rd of 4"),
        ):
            button = page.get_by_role("button", name=name)
            if by == "keyboard":
                button.focus()
                page.keyboard.press("Enter")
                assert button.evaluate("each => each === document.activeElement"), name
            else:
                (button.tap if by == "touch" else button.click)(force=True)  # also where it cannot move
            assert status.inner_text() == said
        assert page.locator("#ranking li").last.get_attribute("aria-label") == "Text A, tied for 3rd of 4"
        with page.expect_navigation():
            page.click("text=Done")
    assert ranks(server) == {shown[1]: 1, shown[2]: 2, shown[3]: 3, shown[0]: 3}


@pytest.mark.parametrize("drag", [False, True])
def test_an_order_that_nobody_touched_is_no_answer(server: Server, page: Any, place: Any, drag: bool) -> None:
    fill(server, place, "rank", 3)
    page.reload()
    shown = page.locator("#ranking .text").all_inner_texts()
    if drag:  # and put down where it was
        box = page.locator("#ranking .grip").first.bounding_box()
        page.mouse.move(box["x"] + 5, box["y"] + 5)
        page.mouse.down()
        page.mouse.up()
    page.keyboard.press("Enter")
    box = page.get_by_role("checkbox", name="The order as shown is my answer")
    page.get_by_role("alert").wait_for()  # says what is missing
    assert page.evaluate("document.activeElement.matches('#ranking li')")  # where the keys work
    assert "Move a text, or tick this" in box.evaluate("each => each.validationMessage")
    assert page.evaluate("[...document.querySelectorAll('select')].map((each) => each.value).join()") == ",,"
    page.click("text=Done")
    assert server.store.votes() == []
    press(page, "o", "Enter")
    assert ranks(server) == {text: place for place, text in enumerate(shown, 1)}


def test_an_order_that_was_changed_and_changed_back_is_an_answer(server: Server, page: Any, place: Any) -> None:
    fill(server, place, "rank", 3)
    page.reload()
    shown = page.locator("#ranking .text").all_inner_texts()
    press(page, "Shift+ArrowDown", "Shift+ArrowUp", "Enter")
    assert ranks(server) == {text: place for place, text in enumerate(shown, 1)}


@pytest.mark.parametrize("ranks", [(1, 2, 3), (1, 1, 3), (3, 1, 2)])
def test_a_scripted_user_ranks_as_decided(server: Server, page: Any, place: Any, ranks: tuple[int, ...]) -> None:
    """Also where the order shown is the answer."""
    fill(server, place, "rank", 3, 1)
    page.reload()
    (answer,) = answer_all(page, "rank", lambda shown: (Ranking("k", shown.prompt, shown.texts, ranks),))
    assert ranks_of(server, answer.shown.texts) == ranks


def ranks_of(server: Server, texts: tuple[str, ...]) -> tuple[int, ...]:
    found = ranks(server)
    return tuple(found[text] for text in texts)


def test_a_question_is_skipped_without_an_order(server: Server, page: Any, place: Any) -> None:
    fill(server, place, "rank", 3)
    page.reload()
    press(page, "s")
    assert server.store.votes()[0].skipped


DIALOGUE = (
    Message("system", "You help people to plan trips. " * 8),
    Message("user", "I want to go on Saturday. " * 20),
    Message("assistant", "There are trains at 8:10, 9:40 and 11:10. " * 20),
    Message("user", "Which of them takes bicycles? " * 3),
)


@pytest.mark.parametrize("mode", ["compare", "rank", "rate", "edit", "natural"])
def test_a_dialogue_on_a_telephone_shows_the_last_question(server: Server, page: Any, mode: Mode) -> None:
    server.store.add([Question("k", DIALOGUE, ("One.", "Two."), mode)])
    server.store.update_setting("consents", lambda _: ["me"])
    page.set_viewport_size({"width": 390, "height": 844})
    page.reload()
    last = page.locator(".prompt .turn").last
    assert "takes bicycles" in last.inner_text()
    seen, box = last.bounding_box(), page.locator(".prompt").bounding_box()
    assert page.evaluate("scrollY") == 0
    assert box["y"] <= seen["y"] < seen["y"] + seen["height"] <= box["y"] + box["height"] + 1 < 844
    earlier = page.locator(".prompt .turn").first  # one scroll away
    earlier.scroll_into_view_if_needed()
    assert earlier.bounding_box()["y"] >= box["y"]


def tied(page: Any) -> list[str]:
    return [card.locator(".text").inner_text() for card in page.locator("#ranking li.tied").all()]


@pytest.mark.parametrize(("moved", "keys"), [(1, "Shift+ArrowUp"), (0, "Shift+ArrowDown"), (3, "Shift+ArrowUp")])
def test_no_tie_passes_to_a_card_that_was_not_tied(
    server: Server, page: Any, place: Any, moved: int, keys: str
) -> None:
    fill(server, place, "rank", 4)
    page.reload()
    cards = page.locator("#ranking li")
    shown = page.locator("#ranking .text").all_inner_texts()
    cards.nth(2).focus()
    page.keyboard.press("=")
    assert tied(page) == [shown[2]]
    cards.nth(moved).focus()
    page.keyboard.press(keys)
    assert tied(page) == []  # only with the one above was it tied, which has gone, or is not above any more


@pytest.mark.parametrize(("height", "left"), [(0, True), (-1000, False)])
def test_ties_of_a_card_that_is_dragged(server: Server, page: Any, place: Any, height: int, left: bool) -> None:
    fill(server, place, "rank", 4)
    page.reload()
    shown = page.locator("#ranking .text").all_inner_texts()
    for number in (2, 3):
        page.locator("#ranking li").nth(number).locator(".tie").click()
    box = page.locator("#ranking li").nth(1).locator(".grip").bounding_box()
    page.mouse.move(box["x"] + 5, box["y"] + 5)
    page.mouse.down()
    page.mouse.move(box["x"] + 5, max(box["y"] + 5 + height, 1), steps=4)
    page.mouse.up()
    assert tied(page) == (shown[2:] if left else shown[3:])


def test_a_long_list_scrolls_while_a_card_is_dragged(server: Server, page: Any) -> None:
    texts = tuple(f"text {number} " + "with many words " * 30 for number in range(8))
    server.store.add([Question("k", "p", texts, "rank")])
    page.reload()
    last = page.locator("#ranking li").last
    label = last.locator(".text").inner_text()
    last.scroll_into_view_if_needed()
    box = last.locator(".grip").bounding_box()
    page.mouse.move(box["x"] + 5, box["y"] + 5)
    page.mouse.down()
    page.mouse.move(box["x"] + 5, 10, steps=8)
    for _ in range(2400):  # two minutes at most; the page's policy forbids what Playwright waits with
        if page.evaluate("scrollY") == 0:
            break
        time.sleep(0.05)
    page.mouse.up()
    assert page.locator("#ranking .text").first.inner_text() == label
    time.sleep(0.1)
    assert page.evaluate("scrollY") == 0
    with page.expect_navigation():
        page.click("text=Done")
    assert ranks(server)[texts[int(label.split()[1])]] == 1


def test_rate_by_keyboard(server: Server, page: Any, place: Any) -> None:
    fill(server, place, "rate", 2, criteria=("short",))
    page.reload()
    shown = page.locator("article .text").all_inner_texts()
    press(page, "5", "4", "1", "2", "ArrowUp", "3", "Enter")
    records = {record.response: record for record in server.store.records() if isinstance(record, Rating)}
    assert (records[shown[0]].rating, records[shown[0]].criteria) == (5, {"short": 4})
    assert (records[shown[1]].rating, records[shown[1]].criteria) == (3, {"short": 2})


def test_half_a_rating_is_not_sent(server: Server, page: Any, place: Any) -> None:
    fill(server, place, "rate", 2)
    page.reload()
    page.keyboard.press("5")
    page.keyboard.press("Enter")
    time.sleep(0.5)
    assert server.store.votes() == []


def test_edit_the_better_one(server: Server, page: Any, place: Any) -> None:
    fill(server, place, "edit", 2)
    page.reload()
    shown = page.locator(".pair .text").all_inner_texts()
    press(page, "ArrowRight")
    assert page.input_value("textarea") == shown[1]
    page.fill("textarea", "stub text, better")
    press(page, "Control+Enter")
    comparison, demonstration = server.store.records()
    assert isinstance(comparison, Comparison)
    assert isinstance(demonstration, Demonstration)
    assert comparison.chosen == demonstration.edited_from == shown[1]
    assert demonstration.response == "stub text, better"


def test_what_is_being_written_is_kept(server: Server, page: Any, place: Any) -> None:
    server.store.add([place.question(number, "edit") for number in range(2)], overlap=2)
    page.reload()
    press(page, "ArrowRight")
    page.fill("textarea", "half a text")
    page.reload()
    assert page.input_value("textarea") == "half a text"
    page.fill("textarea", "the whole text")
    press(page, "Control+Enter")
    press(page, "u")
    press(page, "ArrowRight")
    assert page.input_value("textarea") == "the whole text"
    go_on_as(page, "eve")
    assert page.locator(".prompt").inner_text().endswith("prompt 0")
    for key in ("ArrowLeft", "ArrowRight"):
        press(page, key)
        assert page.input_value("textarea").startswith("response")  # nothing of somebody else
        assert page.evaluate("sessionStorage.length") == 0
        page.goto(server.url)


@pytest.mark.parametrize("responses", [1, 2])
def test_every_question_begins_with_its_own_text(server: Server, page: Any, place: Any, responses: int) -> None:
    fill(server, place, "edit", responses)
    page.goto(f"{server.url}/?mode=edit")
    written = []
    for number in range(2):
        if responses == 2:
            press(page, "1")
        own = page.locator(".pair .text").all_inner_texts()[0]
        assert own.endswith(f"to {number}")
        assert page.input_value("textarea") == own
        written.append(f"better: {own}")
        page.fill("textarea", written[-1])
        press(page, "Control+Enter")
    texts = [record.response for record in server.store.records() if isinstance(record, Demonstration)]
    assert texts == written


def test_no_script_reads_a_field_as_a_property() -> None:
    """A field may be called as a method of the collection is: ``elements.item`` is one."""
    scripts = sorted((Path(site.__file__).parent / "static").glob("*.js"))
    assert scripts
    for script in scripts:
        assert re.findall(r".*\.elements\b(?!\.namedItem\().*", script.read_text("utf-8")) == [], script.name


def test_a_blank_text_is_not_sent(server: Server, page: Any, place: Any) -> None:
    fill(server, place, "edit", 1)
    page.reload()
    page.fill("textarea", "  ")
    page.keyboard.press("Control+Enter")
    time.sleep(0.5)
    assert page.locator("textarea").is_visible()
    assert server.store.votes() == []


def go_on_as(page: Any, name: str) -> None:
    """Go on as somebody else."""
    page.click(".menu summary")
    page.fill(".menu input[name=name]", name)
    with page.expect_navigation():
        page.click(".menu button")


def test_natural_use_counts_what_is_read(server: Server, page: Any, place: Any) -> None:
    fill(server, place, "natural", 3)
    page.reload()
    assert server.store.votes() == []
    press(page, "y")
    page.keyboard.press("2")
    page.mouse.move(300, 300)
    time.sleep(2.0)
    page.evaluate("Object.defineProperty(document, 'visibilityState', {value: 'hidden', configurable: true})")
    time.sleep(2.0)  # does not count: the page is hidden
    page.evaluate("delete document.visibilityState")
    page.evaluate("document.querySelectorAll('#results .text')[1].dispatchEvent(new Event('copy', {bubbles: true}))")
    press(page, "n")
    time.sleep(0.5)  # the next question is shown, and not answered by that
    assert {record.prompt for record in server.store.records()} == {"prompt 0"}
    found = {r.position: r for r in server.store.records() if isinstance(r, ImplicitFeedback)}
    assert [found[place].clicked for place in range(3)] == [False, True, False]
    assert 1.0 < found[1].dwell_seconds < 3.5
    assert found[0].dwell_seconds == found[2].dwell_seconds == 0
    assert found[1].scrolled == 1.0
    assert [found[place].copied for place in range(3)] == [False, True, False]
    order = shown_order(3, found[1].order_seed)
    assert found[1].response == place.question(0, "natural", 3).responses[order[1]]


def test_who_reads_fast_is_seen(server: Server, page: Any, place: Any) -> None:
    fill(server, place, "natural", 3, 8)
    server.store.update_setting("consents", lambda _: ["me"])
    page.reload()
    for _ in range(7):
        press(page, "3", "n")
    found = [r for r in server.store.records() if isinstance(r, ImplicitFeedback)]
    assert [(r.prompt, r.position) for r in found if r.clicked] == [(f"prompt {n}", 2) for n in range(7)]
    assert len(found) == 21


def test_what_is_closed_before_the_clock_ticks_was_seen(browser: Any, server: Server, place: Any) -> None:
    fill(server, place, "natural", 3)
    server.store.update_setting("consents", lambda _: ["me"])
    with open_page(browser, server.url, clock_stands=True) as page:
        page.keyboard.press("2")
        page.wait_for_function("document.querySelectorAll('#results details')[1].open")
        page.keyboard.press("2")
        press(page, "n")
    found = {r.position: r for r in server.store.records() if isinstance(r, ImplicitFeedback)}
    assert [(found[place].dwell_seconds, found[place].scrolled) for place in range(3)] == [(0, 0), (0, 1), (0, 0)]


def test_idle_time_does_not_count(server: Server, page: Any, place: Any) -> None:
    fill(server, place, "natural", 2)
    page.reload()
    press(page, "y")
    page.keyboard.press("1")
    time.sleep(0.6)
    page.evaluate("(() => { const now = performance.now.bind(performance); performance.now = () => now() + 40000; })()")
    time.sleep(1.5)  # half a minute and more since the last sign of life
    with page.expect_response("**/report"):
        page.evaluate(
            "document.querySelectorAll('#results .text')[0].dispatchEvent(new Event('copy', {bubbles: true}))"
        )
    found = {r.position: r for r in server.store.records() if isinstance(r, ImplicitFeedback)}
    assert 0.2 < found[0].dwell_seconds < 1.5


@pytest.mark.parametrize("mode", ["compare", "rate"])
def test_without_scripts(browser: Any, server: Server, place: Any, mode: str) -> None:
    fill(server, place, mode, 2)
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.set_default_timeout(120_000)
    page.goto(server.url)
    if mode == "compare":
        page.click("text=A is better")
    else:
        for number in range(2):
            page.check(f"input[name=rating-{number}][value='4']")
        page.click("text=Done")
    page.wait_for_selector("text=Last answer")
    assert isinstance(server.store.records()[0], Comparison if mode == "compare" else Rating)
    context.close()


def test_hostile_texts_in_a_browser(server: Server, page: Any, place: Any) -> None:
    source = Path(__file__).with_name("test_safety.py").read_text(encoding="utf-8")
    hostile = eval(re.search(r"^HOSTILE = (\[.*?^\])", source, re.DOTALL | re.MULTILINE)[1])  # type: ignore[index]
    assert len(hostile) >= 50
    every = "\n".join(text for text in hostile if "\ud800" not in text)
    twice = type(place.question(0))
    for mode, count in (("compare", 2), ("rank", 3), ("rate", 2), ("edit", 1), ("natural", 2)):
        texts = tuple(f"{every}\n{number}" for number in range(count))
        names = tuple(f"{every} {number}" for number in range(count))
        criteria = (every,) if mode == "rate" else ()
        server.store.add([twice(f"k{n}", f"{every}{n}", texts, mode, names, criteria=criteria) for n in range(2)])
    server.store.update_setting("project", lambda _: {"title": every, "guidelines": every, "anchors": [every] * 5})
    server.store.update_setting("consents", lambda _: ["me"])
    for mode in ("compare", "rank", "rate", "edit", "natural"):
        page.goto(f"{server.url}/?mode={mode}")
        shown = page.locator(".text").last.text_content()
        assert "<script>alert(1)</script>" in shown
        assert "U+202E" in shown
        page.locator("details:not(.menu)").evaluate_all("all => all.forEach((each) => { each.open = true; })")
    page.goto(f"{server.url}/?mode=compare")
    press(page, "ArrowLeft")
    page.goto(f"{server.url}/dashboard")
    assert page.evaluate("document.querySelectorAll('script, iframe, object, embed, base').length") == 0
    assert page.url.startswith(server.url)


@pytest.mark.parametrize("width", [320, 390])
@pytest.mark.parametrize(("mode", "responses"), [("compare", 2), ("rank", 4), ("rate", 2), ("edit", 2), ("natural", 3)])
def test_small_screens_do_not_scroll_sideways(
    server: Server, page: Any, mode: Mode, responses: int, width: int
) -> None:
    texts = ("many words " * 100, "W" * 400, "short", "")[:responses]
    server.store.add([Question("k", texts[-1], texts, mode, criteria=("a long criterion " * 5,))])
    server.store.update_setting("consents", lambda _: ["me"])
    server.store.update_setting("project", lambda _: {"title": "A long title " * 20})
    page.set_viewport_size({"width": width, "height": 700})
    for path in ("/", "/dashboard"):
        page.goto(server.url + path)
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_small_screens_show_every_action_and_labels_that_can_be_read(server: Server, page: Any, place: Any) -> None:
    fill(server, place, "compare", 2)
    page.reload()
    press(page, "ArrowLeft")
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(f"{server.url}/dashboard")
    for action in page.locator(".decisions summary").all():
        box = action.bounding_box()
        assert 0 <= box["x"] <= box["x"] + box["width"] <= 390
    heights = page.eval_on_selector_all("svg text", "all => all.map((each) => each.getBoundingClientRect().height)")
    assert min(height for height in heights if height) >= 10  # of a line: letters are a little smaller


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_in_both_schemes(server: Server, page: Any, place: Any, scheme: str) -> None:
    fill(server, place, "compare", 2)
    server.store.update_setting("project", lambda _: {"word_counts": True})
    page.emulate_media(color_scheme=scheme)
    page.reload()
    for selector in (".text", ".main", ".quiet", "small", ".card h2"):
        assert page.evaluate(CONTRAST, selector) >= 4.5, selector


CONTRAST = """(selector) => {
  const parts = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const linear = (value) => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  const light = (colour) => {
    const [r, g, b] = parts(colour).slice(0, 3).map((value) => linear(value / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const element = document.querySelector(selector);
  let behind = element;
  while (behind && (parts(getComputedStyle(behind).backgroundColor)[3] ?? 1) === 0) behind = behind.parentElement;
  const pair = [getComputedStyle(element).color, getComputedStyle(behind ?? document.body).backgroundColor].map(light);
  return (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
}"""


def test_a_vote_is_possible_within_seconds_of_the_command(tmp_path: Path) -> None:
    """3 seconds where nothing else runs; the bound here leaves room for a busy machine."""
    times = []
    for number in range(3):
        server = Command(tmp_path / str(number))
        try:
            times.append(server.wait())
        finally:
            server.stop()
    print(f"first page after {', '.join(f'{each:.2f}' for each in times)} s")
    assert min(times) < 6


def test_the_server_says_where_it_is_and_stops(tmp_path: Path) -> None:
    code = "from textgym.cli.app import main; main()"
    command = [sys.executable, "-P", "-c", code, "feedback", "serve", str(tmp_path / "p.db"), "--port", "0", "--closed"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        link = re.search(r"http://\S+", line)
        assert link is not None
        assert "/enter?token=" in link[0]
        page = urllib.request.urlopen(link[0].split("/enter")[0] + "/login", timeout=60).read().decode()
        assert "Sign in" in page
        process.send_signal(2)
        rest = process.stdout.read()
        assert process.wait() == 0
    assert "Stopped" in rest
