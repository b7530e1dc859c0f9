"""A history is a list that also plots itself."""

from __future__ import annotations

import copy
import json
import math
import pickle
from pathlib import Path

import pytest

from textgym.history import History, courses_of, sparkline

pytestmark = pytest.mark.plots

RECORDS = [
    {"timesteps": 10.0, "reward": 0.25, "kl": 0.0},
    {"timesteps": 20.0, "reward": 0.75, "kl": math.nan},
    {"timesteps": 30.0, "reward": 0.5, "<b>": 1.0},
]


def test_it_is_the_list_that_it_was_made_of() -> None:
    history = History(RECORDS, "PPO")
    assert history == RECORDS
    assert json.loads(json.dumps(history[:1])) == RECORDS[:1]
    history.append({"timesteps": 40.0})
    assert len(history) == 4
    assert history[-1] == {"timesteps": 40.0}
    assert type(history[1:]) is list


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
def test_copies_keep_records_and_title(copied: object) -> None:
    again = copied(History([{"timesteps": 1.0}], "PPO"))  # type: ignore[operator]
    assert again == [{"timesteps": 1.0}]
    assert again.title == "PPO"


def test_courses_leave_out_what_is_not_finite() -> None:
    reward, kl = courses_of(RECORDS)
    assert reward.values == (0.25, 0.75, 0.5)
    assert reward.cells == ("reward", "0.250", "0.500", "0.250", "0.750", "▁█▅")
    assert kl.values == (0.0,)
    assert courses_of([]) == []


def test_sparklines_are_means_of_equal_parts() -> None:
    assert sparkline([0.0, 0.0, 1.0, 1.0], width=2) == "▁█"
    assert sparkline([3.0]) == "▁"
    assert len(sparkline([float(each) for each in range(1000)])) == 24


def test_the_plot_has_the_title_and_goes_to_a_file(tmp_path: Path) -> None:
    figure = History(RECORDS, "PPO").plot(tmp_path / "plot.png")
    assert figure.get_suptitle() == "PPO"
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_a_notebook_shows_courses_and_plots() -> None:
    shown = History(RECORDS)._repr_html_()
    assert "<table>" in shown
    assert "data:image/svg+xml;base64," in shown
    assert "<b>" not in shown
    assert History()._repr_html_() == "<p>No records yet.</p>"
