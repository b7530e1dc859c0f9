"""Every page in both colour schemes, on a desk and on a telephone: contrast, names, structure, order of the focus.

What the standard (WCAG 2.2, A and AA) asks of a page and a program can compute is computed here. The same pages go
through axe-core, a wider check, where the environment variable ``TEXTGYM_AXE`` names its file ``axe.min.js``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from textgym.feedback import FeedbackStore
from textgym.feedback.annotators.simulated import simulated_people
from textgym.feedback.server.serve import Address, serving
from textgym.feedback.types import Question
from textgym.types import Message

pytestmark = pytest.mark.timeout(900)
SIZES = {"desk": (1100, 850), "telephone": (390, 844)}
LONG = "Nobody knows why, but there were a great many words here, and then some more. " * 8
TURNS = (Message("system", LONG), Message("user", LONG), Message("assistant", LONG), Message("user", "And why?"))
MODES = {"compare": 2, "rank": 4, "rate": 2, "edit": 2, "natural": 3}

FIND = r"""() => {
  const found = [];
  const name = (element) => `${element.tagName.toLowerCase()}.${element.getAttribute("class") ?? ""}`;
  const start = (element) => (element.textContent ?? "").trim().slice(0, 40);
  const note = (what, element) => found.push(`${what}: ${name(element)} "${start(element)}"`);
  const seen = (element) => element.checkVisibility({ opacityProperty: true, visibilityProperty: true });
  const all = (selector) => [...document.querySelectorAll(selector)].filter(seen);

  // Contrast of texts (1.4.3), opacity and translucent colours blended
  const parse = (colour) => {
    const [r, g, b, a = 1] = colour.match(/[\d.]+/g).map(Number);
    return [r, g, b, a];
  };
  const blend = ([r, g, b, a], under) => [...[r, g, b].map((value, i) => value * a + under[i] * (1 - a)), 1];
  const linear = (value) => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  const light = (colour) => {
    const [r, g, b] = colour.map((value) => linear(value / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    const layers = [];
    for (let each = element; each; each = each.parentElement) {
      layers.push(parse(getComputedStyle(each).backgroundColor));
    }
    return layers.reverse().reduce((under, layer) => blend(layer, under), [255, 255, 255, 1]);
  };
  const opacity = (element) => {
    let product = 1;
    for (let each = element; each; each = each.parentElement) product *= Number(getComputedStyle(each).opacity);
    return product;
  };
  const cellUnder = (text) => {
    const { x, y, width, height } = text.getBoundingClientRect();
    return [...document.querySelectorAll("svg .cell")].find((cell) => {
      const box = cell.getBoundingClientRect();
      return box.left <= x && box.right >= x + width && box.top <= y && box.bottom >= y + height;
    });
  };
  const holdsText = (element) => [...element.childNodes].some((each) => each.nodeType === 3 && each.textContent.trim());
  for (const element of all("body *")) {
    const style = getComputedStyle(element);
    if (!holdsText(element) || style.clipPath !== "none" || element.matches("option, title, noscript")) continue;
    let ground = behind(element);
    const cell = element.ownerSVGElement && cellUnder(element);
    if (cell) {
      const { fill, fillOpacity } = getComputedStyle(cell);
      ground = blend([...parse(fill).slice(0, 3), Number(fillOpacity)], ground);
    }
    const [r, g, b, a] = parse(element.ownerSVGElement ? style.fill : style.color);
    const pair = [blend([r, g, b, a * opacity(element)], ground), ground].map((colour) => light(colour.slice(0, 3)));
    const ratio = (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
    const large = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && style.fontWeight >= 700);
    if (ratio < (large ? 3 : 4.5)) note(`contrast ${ratio.toFixed(2)}`, element);
  }

  // Names (4.1.2, 1.1.1, 2.4.4) and labels (3.3.2)
  const says = (element) => {
    const shown = [...element.querySelectorAll("*")].filter((each) => !seen(each)).map((each) => each.textContent);
    return shown.reduce((text, hidden) => text.replace(hidden, ""), element.textContent).trim();
  };
  for (const element of all("button, a[href], summary, input:not([type=hidden]), select, textarea, svg, progress")) {
    const given = element.getAttribute("aria-label") ?? [...(element.labels ?? [])].map(says).join(" ");
    const own = element.matches("button, a, summary") ? says(element) : "";
    if (!(given.trim() || own)) note("no name", element);
  }
  for (const element of all("[tabindex]")) {
    if (element.tabIndex > 0) note("tab order set by hand", element);
    if (!(element.getAttribute("aria-label") || says(element))) note("no name", element);
  }

  // Structure (1.3.1, 2.4.2, 2.4.6, 3.1.1)
  if (!document.documentElement.lang) found.push("no language");
  if (!document.title.trim()) found.push("no title");
  for (const selector of ["main", "header", "h1"]) {
    const count = document.querySelectorAll(selector).length;
    if (count !== 1) found.push(`${count} × ${selector}`);
  }
  let level = 1;
  for (const heading of [...document.querySelectorAll("main h1, main h2, main h3")].filter(seen)) {
    const next = Number(heading.tagName[1]);
    if (next > level + 1 && !heading.closest(".prompt")) note(`heading after level ${level}`, heading);
    level = next;
  }
  const ids = [...document.querySelectorAll("[id]")].map((element) => element.id);
  for (const id of new Set(ids)) if (ids.filter((each) => each === id).length > 1) found.push(`twice the id ${id}`);
  for (const table of all("table")) if (!table.caption || !table.querySelector("th")) note("no caption or head", table);
  for (const set of all("fieldset")) if (!set.querySelector("legend")?.textContent.trim()) note("no legend", set);

  // Size of what is pressed (2.5.8); a box inside its label is as large as that
  for (const element of all("button, select, textarea, input:not([type=hidden])")) {
    const { width, height } = (element.closest("label") ?? element).getBoundingClientRect();
    if (width < 24 || height < 24) note(`${width.toFixed()} × ${height.toFixed()} pixels`, element);
  }

  // What scrolls can be scrolled by keyboard (2.1.1), and nothing scrolls sideways (1.4.10)
  for (const element of all("main *")) {
    const isLonger = element.scrollHeight > element.clientHeight + 1;
    const scrolls = isLonger && /auto|scroll/.test(getComputedStyle(element).overflowY);
    const reached = element.tabIndex >= 0 || element.querySelector("a[href], button, summary, [tabindex]");
    if (scrolls && !reached) note("scrolls", element);
  }
  if (document.documentElement.scrollWidth > innerWidth) found.push("scrolls sideways");
  return found;
}"""


class Lengths:
    """Scores texts by their length."""

    def __call__(self, responses: Any, task_keys: Any) -> Any:
        return np.array([len(text) / 50 for text in responses])


def project(folder: Path, name: str, *questions: Question, overlap: int = 1) -> FeedbackStore:
    store = FeedbackStore(folder / f"{name}.db")
    store.add(questions, overlap=overlap)
    store.update_setting("project", lambda _: {"title": "Summaries", "guidelines": LONG, "word_counts": True})
    return store


def every_mode(number: int) -> list[Question]:
    texts = (f"First of {number}. {LONG}", f"Second\u202e {number}", f"Third {number}", f"Fourth {number}")
    writers = ("one", "two", "three", "four")
    return [
        Question(f"{mode}{number}", LONG, texts[:count], mode, writers[:count], criteria=("faithful",))  # type: ignore[arg-type]
        for mode, count in MODES.items()
    ]


def answered(store: FeedbackStore, people: int) -> None:
    """Let simulated people answer everything, so that all charts have something to show."""
    for person in simulated_people(Lengths(), people, np.random.default_rng(0), start=0.0):
        while (asked := store.assign(person.name)) is not None:
            (records,) = person.answer([asked.question])
            store.vote(f"{person.name}-{asked.item}", person.name, asked.item, records)


def open_pages(page: Any, folder: Path) -> Iterator[str]:
    """Open one page after the other; yields what each is called."""
    store = project(folder, "open", *every_mode(0), *every_mode(1), overlap=4)
    answered(store, 3)
    with serving(store, Address(port=0), "ann") as url:
        for mode in MODES:
            page.goto(f"{url}?mode={mode}")
            yield "consent" if mode == "natural" else mode
        page.goto(f"{url}?mode=edit&better=first")
        yield "edit, the text"
        page.goto(f"{url}?mode=natural")
        press(page, "I agree")
        page.locator("#results summary").nth(1).click()
        yield "natural"
        press(page, "Stop recording")
        page.goto(f"{url}?mode=natural")
        yield "declined"
        page.goto(f"{url}dashboard")
        yield "dashboard"
        page.goto(f"{url}?mode=none")
        yield "problem"
    with serving(project(folder, "dialogue", Question("k", TURNS, ("a", "b"))), Address(port=0), "ann") as url:
        page.goto(url)
        yield "dialogue"
        press(page, "Equally good")
        yield "done"


def closed_pages(page: Any, other: Any, folder: Path) -> Iterator[tuple[str, Any]]:
    """Open the pages of accounts; yields what each is called, and who sees it: the owner, or somebody invited."""
    with serving(project(folder, "closed"), Address(port=0, closed=True), "ann") as url:
        home = url.split("/enter")[0]
        page.goto(f"{home}/login")
        yield "login", page
        page.goto(url)
        page.goto(f"{home}/people")
        press(page, "Invite people")
        yield "people", page
        other.goto(page.input_value("input.link"))
        yield "join", other
        other.fill("input[name=name]", "bob")
        other.fill("input[name=password]", "a long password")
        press(other, "Create account")
        yield "no questions", other
        page.goto(f"{home}/people")
        yield "people with accounts", page
        press(page, "New password")
        other.goto(page.input_value("input.link"))
        yield "password", other


def press(page: Any, text: str) -> None:
    with page.expect_navigation():
        page.get_by_role("button", name=text).first.click()


def axe(page: Any) -> list[str]:
    """Return what axe-core finds, if its file is named."""
    path = os.environ.get("TEXTGYM_AXE")
    if path is None:
        return []
    page.evaluate(Path(path).read_text(encoding="utf-8"))
    violations = page.evaluate("axe.run(document).then((found) => found.violations)")
    return [f"axe {each['impact']} {each['id']}: {each['nodes'][0]['html'][:120]}" for each in violations]


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_every_page_can_be_perceived_and_operated(browser: Any, tmp_path: Path, scheme: str, size: str) -> None:
    width, height = SIZES[size]
    contexts = [
        browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, bypass_csp=True, has_touch=width < 500
        )
        for _ in range(2)
    ]
    page, other = (context.new_page() for context in contexts)
    found, names = {}, []
    for name, seen in open_and_closed(page, other, tmp_path):
        names.append(name)
        problems = [*seen.evaluate(FIND), *axe(seen)]
        found.update({name: problems} if problems else {})
    for context in contexts:
        context.close()
    assert found == {}
    assert len(names) == len(set(names)) == 18


def open_and_closed(page: Any, other: Any, folder: Path) -> Iterator[tuple[str, Any]]:
    for name in open_pages(page, folder):
        yield name, page
    yield from closed_pages(page, other, folder)


ORDER = """() => {
  const operated = "a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex]";
  const all = [...document.querySelectorAll(operated)];
  const reached = all.filter((each) => each.checkVisibility({ visibilityProperty: true }) && each.tabIndex >= 0);
  return [reached.indexOf(document.activeElement), reached.length];
}"""


@pytest.mark.parametrize("mode", ["compare", "rank"])
def test_tab_goes_through_all_that_can_be_operated_in_the_order_of_the_page(
    browser: Any, tmp_path: Path, mode: str
) -> None:
    questions = [each for each in every_mode(0) if each.mode == mode]
    with serving(project(tmp_path, mode, *questions), Address(port=0), "ann") as url:
        context = browser.new_context()
        page = context.new_page()
        page.goto(url)
        page.evaluate("document.activeElement.blur()")
        page.evaluate("document.querySelector('a').focus()")
        _, count = page.evaluate(ORDER)
        places = []
        for _ in range(count):
            places.append(page.evaluate(ORDER)[0])
            page.keyboard.press("Tab")
        context.close()
    assert places == list(range(count))
    assert count > 8
