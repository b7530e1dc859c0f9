"""What event files of TensorBoard hold, read record by record: nothing is merged, and nothing left out."""

from __future__ import annotations

from pathlib import Path

from tensorboard.backend.event_processing.event_file_loader import EventFileLoader


def scalar_points(folder: Path) -> list[tuple[str, int, float]]:
    """Tag, step and value of every number, sorted."""
    return sorted(
        (value.tag, event.step, value.tensor.float_val[0])
        for event in _events(folder)
        for value in event.summary.value
        if value.metadata.plugin_data.plugin_name == "scalars"
    )


def text_points(folder: Path) -> dict[tuple[str, int], list[str]]:
    """Texts by tag and step."""
    found: dict[tuple[str, int], list[str]] = {}
    for event in _events(folder):
        for value in event.summary.value:
            if value.metadata.plugin_data.plugin_name == "text":
                text = value.tensor.string_val[0].decode()
                found.setdefault((value.tag.removesuffix("/text_summary"), event.step), []).append(text)
    return found


def _events(folder: Path) -> list[object]:
    files = sorted(folder.rglob("events.out.tfevents.*"))
    return [event for file in files for event in EventFileLoader(str(file)).Load()]
