"""Pages in HTML that are one file, read no other and run no script; texts of models in them are shown letter by letter.

Reports of runs and of comparisons are such pages, and notebooks show parts of them.
"""

from __future__ import annotations

import base64
import difflib
import html
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from textgym.security.escaping import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EMPTY = "(empty)"
"""What stands for a text without letters."""
# Nothing but the file is read, and no script is run, whatever the texts of models hold.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_STYLE = """
:root { color-scheme: light dark; --ink: #1d1f23; --soft: #5d6370; --paper: #fff; --line: #d9dce3; --card: #f5f6f9;
  --mark: #ffe08a; --warn: #8a3b00; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8eaee; --soft: #a5abb8; --paper: #16181c; --line: #363a44; --card: #20232a; --mark: #6b5200;
    --warn: #ffb37a; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 76rem; padding: 1.2rem clamp(.8rem, 3vw, 2.4rem) 4rem; color: var(--ink);
  background: var(--paper); font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: .4rem 0 .2rem; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2.4rem 0 .6rem; }
h3 { font-size: 1rem; margin: 1.4rem 0 .3rem; }
p { max-width: 48rem; margin: .4rem 0; overflow-wrap: anywhere; }
.soft { color: var(--soft); font-size: .92rem; }
.lead { font-size: 1.1rem; }
.warn { color: var(--warn); }
.plots { display: grid; gap: .8rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); }
.plots img, .wide img { width: 100%; height: auto; display: block; background: #fff; border: 1px solid var(--line);
  border-radius: 8px; padding: .3rem; }
.plots img { max-width: 40rem; }
.wide { overflow-x: auto; }
.wide img { min-width: 34rem; max-width: 64rem; }
.scroll { overflow-x: auto; border: 1px solid var(--line); border-radius: 8px; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: .92rem; }
th, td { padding: .4rem .7rem; text-align: left; white-space: nowrap; border-bottom: 1px solid var(--line); }
tr:last-child td, tr:last-child th { border-bottom: 0; }
thead th { background: var(--card); }
tbody th { position: sticky; left: 0; background: var(--paper); font-weight: 600; }
.texts { display: grid; gap: .6rem; margin-top: .6rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 15rem), 1fr)); }
.text { background: var(--card); border-radius: 8px; padding: .6rem .8rem; overflow-wrap: anywhere; }
.text b { display: block; font-size: .85rem; }
.text p, .prompt { white-space: pre-wrap; margin: .2rem 0 0; }
.prompt { color: var(--soft); border-left: 3px solid var(--line); padding-left: .8rem; overflow-wrap: anywhere; }
mark { background: var(--mark); color: inherit; border-bottom: 2px solid currentColor; }
pre { background: var(--card); border-radius: 8px; padding: .6rem .8rem; overflow-x: auto; font-size: .9rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; font-size: .92rem; }
dt { color: var(--soft); }
dd { margin: 0; overflow-wrap: anywhere; }
@media (max-width: 30rem) { dl { grid-template-columns: 1fr; gap: 0; } dd { margin: 0 0 .4rem; } }
"""
_WORD = re.compile(r"\s*\S+|\s+$")


def page(title: str, body: Iterable[str]) -> str:
    """Return a page.

    Args:
        title: Title of the page, any text.
        body: The rest of the page, in HTML.
    """
    parts = "\n".join(body)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        f"<title>{escaped(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{escaped(title)}</h1>\n"
        f"{parts}\n</body>\n</html>\n"
    )


def escaped(text: str) -> str:
    """Return a text as a page shows it, whatever is in it.

    >>> escaped("<b>1 & 2</b>")
    '&lt;b&gt;1 &amp; 2&lt;/b&gt;'
    """
    return html.escape(printable(text))


def note(text: str, kind: str = "soft") -> str:
    """Return a paragraph of a kind: ``"soft"``, ``"lead"`` or ``"warn"``."""
    return f'<p class="{kind}">{escaped(text)}</p>'


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of texts, whose first column names the rows."""
    body = "".join(f'<tr><th scope="row">{escaped(first)}</th>{_cells(others, "td")}</tr>' for first, *others in rows)
    head = f"<thead><tr>{_cells(header, 'th')}</tr></thead>"
    return f'<div class="scroll"><table>{head}<tbody>{body}</tbody></table></div>'


def definitions(values: Mapping[str, str]) -> str:
    """Return names with what they stand for."""
    inner = "".join(f"<dt>{escaped(name)}</dt><dd>{escaped(value)}</dd>" for name, value in values.items())
    return f"<dl>{inner}</dl>"


def code(text: str) -> str:
    """Return lines to copy."""
    return f"<pre><code>{escaped(text)}</code></pre>"


def card(title: str, body: str, remark: str = "") -> str:
    """Return a text with its title.

    Args:
        title: Title of the text.
        body: The text, in HTML, as :func:`shown` and :func:`with_changes` return it.
        remark: Remark beside the title.
    """
    beside = f' <span class="soft">{escaped(remark)}</span>' if remark else ""
    return f'<div class="text"><b>{escaped(title)}{beside}</b><p>{body}</p></div>'


def prompt(text: str, most: int = 600) -> str:
    """Return a prompt, of which so many characters are shown."""
    return f'<div class="prompt">{shown(text if len(text) <= most else f"{text[:most]} …")}</div>'


def shown(text: str) -> str:
    """Return a text of a model."""
    return escaped(text or EMPTY)


def with_changes(text: str, before: str | None) -> str:
    """Return a text of a model in which words are marked that an earlier text does not have there.

    Args:
        text: The text.
        before: The earlier text; ``None`` marks nothing.

    >>> with_changes("the old bridge fell", "the bridge fell")
    'the <mark>old</mark> bridge fell'
    """
    if before is None or not text:
        return shown(text)
    pieces = _WORD.findall(text)  # each word with the space before it
    words, others = ([piece.strip() for piece in each] for each in (pieces, _WORD.findall(before)))
    parts = []
    for kind, _, _, start, end in difflib.SequenceMatcher(None, others, words, autojunk=False).get_opcodes():
        piece = "".join(pieces[start:end])
        word = piece.lstrip()
        space = escaped(piece[: len(piece) - len(word)])
        parts.append(space + (escaped(word) if kind == "equal" or not word else f"<mark>{escaped(word)}</mark>"))
    return "".join(parts)


def image(svg: str, meaning: str) -> str:
    """Return a plot in SVG, with words for those who do not see it."""
    return _image("svg+xml", svg.encode("utf-8"), meaning)


def png_image(png: bytes, meaning: str) -> str:
    """Return a plot in PNG, with words for those who do not see it."""
    return _image("png", png, meaning)


def svg_of(figure: Figure) -> str:
    """Return a figure as SVG, whose letters are drawn and need no font."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    written = io.StringIO()
    with rc_context({"svg.hashsalt": "textgym", "svg.fonttype": "path"}):  # the same figure gives the same text
        FigureCanvasSVG(figure).print_svg(written, metadata={"Date": None})
    return written.getvalue()


def _image(kind: str, content: bytes, meaning: str) -> str:
    data = base64.b64encode(content).decode("ascii")
    return f'<img alt="{escaped(meaning)}" src="data:image/{kind};base64,{data}">'


def _cells(cells: Sequence[str], tag: str) -> str:
    return "".join(f"<{tag}>{escaped(cell)}</{tag}>" for cell in cells)
