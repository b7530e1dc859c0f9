"""The file of an agent that has settings and nothing else to save."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from textgym.errors import CheckpointError
from textgym.files.disk import replace_text
from textgym.models.stored_values import Check, fields
from textgym.security.foreign import read_object
from textgym.types import JsonObject

_FILE = "agent.json"


def write_settings(folder: str | Path, agent: object, settings: Mapping[str, Any]) -> None:
    """Write the class of an agent and its settings."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    record = {"kind": f"textgym.{type(agent).__name__}", "settings": dict(settings)}
    replace_text(Path(folder) / _FILE, json.dumps(record, indent=1))


def read_settings(folder: str | Path, agent: type[Any], settings: Mapping[str, Check]) -> JsonObject:
    """Return the settings that :func:`write_settings` wrote, each of which must pass its check.

    Raises:
        CheckpointError: The file is missing or damaged, or of another agent.
    """
    path = Path(folder) / _FILE
    try:
        record = read_object(path)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"expected an agent in {folder}, got none that can be read: {error}") from error
    if record.get("kind") != f"textgym.{agent.__name__}":
        raise CheckpointError(f"expected a textgym.{agent.__name__} in {path}, got {record.get('kind')!r}")
    stored: Any = record.get("settings")
    if not fields(settings)(stored):
        raise CheckpointError(f"expected settings {', '.join(settings) or 'none'} in {path}, got {stored!r:.80}")
    found: JsonObject = stored
    return found
