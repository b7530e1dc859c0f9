"""Figures that notebooks show. Importing this module imports matplotlib; :mod:`textgym.plots` does so when it draws."""

from __future__ import annotations

import io

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


class NotebookFigure(Figure):
    """A figure that a notebook shows as the last line of a cell, whether pyplot is loaded or not."""

    def _repr_png_(self) -> bytes:
        """Return the figure as a PNG image; IPython asks for it."""
        written = io.BytesIO()
        FigureCanvasAgg(self).print_png(written)
        return written.getvalue()
