"""Logging that never stops training: what a log cannot write is said once, and tried again with the next record."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager

from stable_baselines3.common import utils
from stable_baselines3.common.logger import KVWriter, Logger

from textgym import console
from textgym.errors import is_out_of_memory


class Tolerance:
    """Remembers what was warned about."""

    def __init__(self) -> None:
        self._reported: set[str] = set()

    @contextmanager
    def of(self, what: str, so: str = "training continues; this is reported once") -> Iterator[None]:
        """Turn any error inside the block into one warning; memory that ran out is no error of a log.

        Args:
            what: Name of the output that is written inside the block.
            so: Consequence of its absence, for the warning.
        """
        try:
            yield
        except Exception as error:
            if is_out_of_memory(error):
                raise
            if what not in self._reported:
                self._reported.add(what)
                reason = str(error) or type(error).__name__
                console.warn(f"{what} could not be written ({reason}); {so}")


class _TolerantWriter(KVWriter):
    """One of Stable-Baselines3's outputs, such as TensorBoard's files."""

    def __init__(self, writer: KVWriter, tolerance: Tolerance) -> None:
        self._writer, self._tolerance = writer, tolerance

    def write(self, key_values: dict[str, object], key_excluded: dict[str, tuple[str, ...]], step: int = 0) -> None:
        """Write what can be written."""
        with self._tolerance.of(_name(self._writer)):
            self._writer.write(key_values, key_excluded, step)

    def close(self) -> None:
        """Close what can be closed."""
        with self._tolerance.of(_name(self._writer)):
            self._writer.close()


def _name(writer: KVWriter) -> str:
    return {"TensorBoardOutputFormat": "the log of TensorBoard"}.get(type(writer).__name__, "a log")


def tolerant_logger(folder: str | None, tolerance: Tolerance, *, name: str, resumed: bool) -> Logger:
    """Return a logger for Stable-Baselines3 in which writing cannot fail; without TensorBoard where that fails now.

    Args:
        folder: Folder of TensorBoard's files; ``None`` for none.
        tolerance: Handler of failures to write.
        name: Name of the curves.
        resumed: Append to the curves of the resumed run.
    """
    logger = Logger(None, [])
    if folder is not None and importlib.util.find_spec("tensorboard") is None:
        console.remark("No curves for TensorBoard, which is not installed: pip install 'textgym[tensorboard]'")
        return logger
    with tolerance.of("the log of TensorBoard"):
        logger = utils.configure_logger(0, folder, name, reset_num_timesteps=not resumed)
    logger.output_formats = [_TolerantWriter(writer, tolerance) for writer in logger.output_formats]
    return logger
