"""The files of TensorBoard in a run folder: settings as text, and what a resumed run has to forget in them."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Mapping
from pathlib import Path

from textgym import console
from textgym.files.disk import replacing
from textgym.security.escaping import markdown_cell


def truncate_events(folder: Path, last: float) -> None:
    """Remove what was logged after a step; files that are left without anything go, and folders too.

    Args:
        folder: Folder of the files, with folders in it; it need not exist.
        last: The last step to keep; below 0 for none.
    """
    if not folder.is_dir():
        return
    if last < 0:
        shutil.rmtree(folder)
    elif importlib.util.find_spec("tensorboard") is not None:
        for file in sorted(folder.rglob("events.out.tfevents.*")):
            try:
                _truncate(file, last)
            except Exception as error:  # whatever is wrong with it, a log stops nothing
                console.warn(f"{file} could not be shortened ({error}); it shows some points of this run twice")


def _truncate(file: Path, last: float) -> None:
    # Loaded here: the extra need not be installed.
    from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.summary.writer.record_writer import RecordWriter

    records = list(RawEventFileLoader(str(file)).Load())
    kept = [record for record in records if Event.FromString(record).step <= last]
    if len(kept) == len(records):
        return
    with replacing(file) as unfinished, open(unfinished, "wb") as opened:
        writer = RecordWriter(opened)
        for record in kept:
            writer.write(record)
        writer.flush()


def settings_table(settings: Mapping[str, object]) -> str:
    """Return settings as a table in Markdown, which TensorBoard shows."""
    flat: dict[str, object] = {}
    for name, value in settings.items():
        match value:
            case Mapping():
                flat |= {f"{name}.{inner}": item for inner, item in value.items()}
            case _:
                flat[name] = value
    rows = [f"| {markdown_cell(name)} | {markdown_cell(str(value))} |" for name, value in flat.items()]
    return "\n".join(["| setting | value |", "|---|---|", *rows])
