"""Settings of agents without weights: written, and read with checks."""

from __future__ import annotations

from pathlib import Path

import pytest

from textgym.agents.common.stored_agent import read_settings, write_settings
from textgym.errors import CheckpointError
from textgym.models.stored_values import integer


class Counter:
    """Counts."""


def test_settings_come_back(tmp_path: Path) -> None:
    write_settings(tmp_path / "agent", Counter(), {"n": 3})
    assert read_settings(tmp_path / "agent", Counter, {"n": integer}) == {"n": 3}
    with pytest.raises(CheckpointError, match="expected settings m in"):
        read_settings(tmp_path / "agent", Counter, {"m": integer})
    with pytest.raises(CheckpointError, match=r"expected a textgym\.Path in"):
        read_settings(tmp_path / "agent", Path, {"n": integer})
