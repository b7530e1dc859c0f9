"""Frames of an episode: as plain text, as text with coloured tokens, and as an image."""

from __future__ import annotations

import functools
import itertools
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from textgym.envs.types import Info
from textgym.errors import did_you_mean
from textgym.pages import escaped
from textgym.security.escaping import printable

RENDER_MODES = ("ansi", "human", "rgb_array")
MARK = ">>> "
"""What stands before a response where it is rendered."""
_COLUMNS, _ROWS = 80, 32  # of an image, which has one size, so that frames make a video
_CELL = (9, 18)  # pixels of a character
_FONT_SIZE = 14
_INK, _PAPER, _QUIET = (30, 30, 30), (255, 255, 255), (110, 110, 110)
_LOW, _HIGH = (86, 180, 233), (230, 159, 0)  # Okabe and Ito's sky blue and orange, told apart by the colour-blind
_Colour = tuple[int, int, int]


class RenderedText(str):
    """A text that a notebook shows as it is, in lines and with colours, as the last line of a cell.

    Args:
        text: The text.
        page: The same in HTML.
    """

    page: str

    def __new__(cls, text: str, page: str = "") -> Self:
        """Make the text."""
        made = super().__new__(cls, text)
        made.page = page
        return made

    def __getnewargs__(self) -> tuple[str, str]:  # type: ignore[override]  # a text has only itself
        """Return what a copy is made of, as for an environment in another process."""
        return str(self), self.page

    def _repr_html_(self) -> str:
        """Return it in HTML; IPython asks for it."""
        return self.page


class RenderedTexts(tuple[RenderedText, ...]):
    """The texts of several copies, which a notebook shows below each other."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        """Return them in HTML; IPython asks for it."""
        return "<hr>".join(text.page for text in self)


class Frame(NamedTuple):
    """An episode up to now, as it is shown.

    Attributes:
        prompt: Text that the agent was shown before its turn.
        response: Its turn so far.
        pieces: The same in pieces, one per token; none where there are no tokens.
        values: A number per piece, from the first on, by which it is coloured; may be shorter.
        result: Worth of the episode, once it has ended; else empty.
    """

    prompt: str
    response: str
    pieces: tuple[str, ...] = ()
    values: tuple[float, ...] = ()
    result: str = ""

    @property
    def lines(self) -> tuple[str, str, str]:
        """The frame for a terminal: prompt, response and result, the last one empty before the end.

        The response has coloured tokens where the agent gave values for them, and control characters then have
        stand-ins; without values it is the plain text.
        """
        written = "".join(_painted(*each) for each in self.coloured()) if self.values else self.response
        return self.prompt, f"{MARK}{written}", f"= {self.result}" if self.result else ""

    @property
    def text(self) -> str:
        """The lines as one text."""
        return "\n".join(filter(None, self.lines))

    @property
    def rendered(self) -> RenderedText:
        """The text, which notebooks show with its colours."""
        prompt, _, result = self.lines
        pieces = "".join(_in_html(*each) for each in self.coloured())
        lines = (escaped(prompt), f"<b>{escaped(MARK)}</b>{pieces}", escaped(result))
        shown = "\n".join(filter(None, lines))
        return RenderedText(self.text, f'<pre style="white-space: pre-wrap">{shown}</pre>')

    def coloured(self) -> Iterator[tuple[str, _Colour | None]]:
        """Yield the response in pieces, each with the colour of its value."""
        if not self.values:
            yield self.response, None
            return
        largest = max(map(abs, self.values)) or 1.0
        for piece, value in itertools.zip_longest(self.pieces, self.values[: len(self.pieces)]):
            yield piece, None if value is None else _colour_of(value / largest)


def _painted(piece: str, colour: _Colour | None) -> str:
    """Return a piece of text with its colour behind it, in the codes of ECMA-48 with 24 bits."""
    shown = printable(piece)
    return shown if colour is None else f"\x1b[48;2;{';'.join(map(str, colour))};30m{shown}\x1b[0m"


def _in_html(piece: str, colour: _Colour | None) -> str:
    """Return a piece of text with its colour behind it."""
    if colour is None:
        return escaped(piece)
    return f'<span style="background: rgb{colour}; color: black">{escaped(piece)}</span>'


def _colour_of(share: float) -> _Colour:
    """Return the colour of a value between -1 (blue) and 1 (orange); white is 0."""
    end = _HIGH if share > 0 else _LOW
    red, green, blue = (round(255 + (channel - 255) * abs(share)) for channel in end)
    return red, green, blue


def result_of(info: Info) -> str:
    """Return what an episode was worth, in one line, from its last info.

    >>> result_of({"rewards": {"rouge": 0.5, "total": 0.5}, "is_success": False, "finish_reason": "eos"})
    'reward 0.500, no success, ended by eos'
    """
    rewards: Mapping[str, float] = info["rewards"]
    parts = ", ".join(f"{name} {value:.3f}" for name, value in rewards.items() if name != "total")
    shown = [f"reward {rewards['total']:.3f}" + (f" ({parts})" if len(rewards) > 2 else "")]
    shown += [f"gold {info['gold']:.3f}"] if "gold" in info else []
    success = "success" if info["is_success"] else "no success"
    return ", ".join([*shown, success, f"ended by {info['finish_reason']}"])


def check_values(values: Sequence[float]) -> tuple[float, ...]:
    """Return the values that tokens are coloured by.

    Raises:
        ValueError: They are no row of finite numbers.
    """
    try:
        found = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"expected a number per token as token_values, got {values!r:.80}") from error
    if found.ndim != 1 or not np.isfinite(found).all():
        raise ValueError(f"expected a row of finite numbers as token_values, got {values!r:.80}")
    return tuple(found.tolist())


def check_render_mode(render_mode: str | None) -> None:
    """Raise ``TypeError`` for an unknown way of rendering; Stable-Baselines3 then tries again without one."""
    if render_mode is not None and render_mode not in RENDER_MODES:
        raise TypeError(
            f"expected render_mode None, 'ansi', 'human' or 'rgb_array', got {render_mode!r}."
            f"{did_you_mean(render_mode, RENDER_MODES)}"
        )


def print_frames(frames: Iterable[Frame]) -> None:
    """Print what is rendered, as ``render_mode="human"`` does: a blank line between two frames."""
    write("\n\n".join(shown_text(frame) for frame in frames))


def shown_text(frame: Frame) -> str:
    """Return the text of a frame so that a terminal shows all of it, and obeys nothing but the colours of tokens."""
    return "\n".join(filter(None, safe_lines(frame)))


def safe_lines(frame: Frame) -> tuple[str, str, str]:
    """Return the lines of a frame with stand-ins for control characters."""
    prompt, response, result = frame.lines
    return printable(prompt), response if frame.values else printable(response), printable(result)


def write(text: str) -> None:
    """Write a text and a line end to the terminal."""
    sys.stdout.write(f"{text}\n")


def image(frame: Frame) -> npt.NDArray[np.uint8]:
    """Draw a frame as an image, always of one size; of what is too long the beginning is left out.

    Letters are those of DejaVu Sans Mono, which has no Chinese, Japanese or Korean ones.

    Returns:
        Shape (576, 720, 3).
    """
    from PIL import Image, ImageDraw

    width, height = _CELL
    drawn = Image.new("RGB", (_COLUMNS * width, _ROWS * height), _PAPER)
    draw: Any = ImageDraw.Draw(drawn)
    for row, line in enumerate(_lines(frame)):
        for column, (letter, ink, paper) in enumerate(line):
            corner = (column * width, row * height)
            if paper is not None:
                draw.rectangle((*corner, corner[0] + width - 1, corner[1] + height - 1), fill=paper)
            draw.text(corner, letter, fill=ink, font=_font())
    return np.asarray(drawn, dtype=np.uint8)


_Cell = tuple[str, _Colour, _Colour | None]


def _lines(frame: Frame) -> list[list[_Cell]]:
    """Return the last lines of a frame as cells: letter, colour of it, and colour behind it."""
    prompt, _, result = frame.lines
    runs: list[tuple[str, _Colour, _Colour | None]] = [(f"{prompt}\n{MARK}", _QUIET, None)]
    runs += [(piece, _INK, colour) for piece, colour in frame.coloured()]
    runs += [(f"\n{result}", _QUIET, None)] if result else []
    lines: list[list[_Cell]] = [[]]
    for text, ink, paper in runs:
        for letter in printable(text).expandtabs(4):
            if letter == "\n" or len(lines[-1]) == _COLUMNS:
                lines.append([])
            if letter != "\n":
                lines[-1].append((letter, ink, paper))
    return lines[-_ROWS:]


@functools.cache
def _font() -> Any:
    import matplotlib
    from PIL import ImageFont

    return ImageFont.truetype(
        str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSansMono.ttf"), _FONT_SIZE
    )
