"""Start and resumption of runs of many parts: reward fits, and rounds of learning from feedback."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager

from textgym.training.recovery import advising, check_data, describe_splits, say_other_versions
from textgym.training.run_folder import RunFolder
from textgym.types import Task


@contextmanager
def new_run(
    out: str | None, command: str, settings: Mapping[str, object], tasks: Iterable[Task], beginnings: Collection[str]
) -> Iterator[RunFolder]:
    """Make the folder of a run, hold it, and advise whoever stops the run, which can always go on.

    Args:
        out: The folder; ``None`` makes one in ``runs/``.
        command: Name of the command that the run belongs to.
        settings: Settings that a resumed run reads, as JSON.
        tasks: The task on every split that the run uses; their data is compared when the run is resumed.
        beginnings: Names of early files, as for :meth:`~textgym.training.run_folder.RunFolder.create`.
    """
    run = RunFolder.create(out, command, settings, beginnings)
    with run, advising(run, command, can_go_on=True):
        run.write_config({**run.config(), "splits": describe_splits(tasks)})
        yield run


def check_resumed(run: RunFolder, tasks: Iterable[Task], accept_changed_data: bool) -> None:
    """Compare a run with what it began with: versions, and the data of its tasks.

    Raises:
        DataError: The data has changed, and that is not accepted.
    """
    say_other_versions(run)
    tasks = list(tasks)
    splits = describe_splits(tasks)
    check_data(run, splits, tasks[0].dataset.name, accept_changed_data)
    run.write_config({**run.config(), "splits": splits})
