"""Files that somebody else may have made: refused where reading them would hang, fill the memory, or lead elsewhere."""

from __future__ import annotations

import gzip
import io
import json
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

LARGEST_JSON = 64 * 2**20
"""Bytes of a JSON file that describes something; the largest index of published weights has about 10 MiB."""
LARGEST_TOKENIZER = 256 * 2**20
"""Bytes of a ``tokenizer.json``; the largest published ones have about 35 MiB."""
LARGEST_STATE = 2**30
"""Bytes of JSON that grows with a run: its log, the texts that were being written."""
LONGEST_LINE = 2**26
"""Characters of one row of data."""
LONGEST_TAIL = 2**18
"""Bytes at the end of a log that tell what was logged last."""
DEEPEST_JSON = 100
"""Levels of lists and objects within each other. The recursion of Python's own functions ends at about 1,000."""
UNPACKED_FREELY = 2**24
"""Bytes that any archive may unpack to."""
LARGEST_RATIO = 300
"""Of unpacked to packed bytes beyond that: texts are packed to a third or a tenth, a bomb to a thousandth."""
ROWS_FREELY = 10**6
"""Rows that any file may have; beyond them, not more than bytes."""


def require_regular(file: Path, limit: int | None = None) -> None:
    """Check that opening a file cannot wait for ever, as with a pipe, or never end, as with a device.

    Raises:
        OSError: It is not there, or no regular file.
        ValueError: It has more than ``limit`` bytes.
    """
    status = file.stat()
    if not stat.S_ISREG(status.st_mode):
        raise OSError(f"expected a regular file, got {str(file)!r}, a folder, pipe or device; copy its content to one")
    if limit is not None and status.st_size > limit:
        raise ValueError(f"expected at most {limit:,} bytes in {str(file)!r}, got more; check what it is")


def require_regular_files(folder: Path) -> None:
    """Check that whoever opens any file right in a folder need not wait for ever; links to nowhere are no files.

    Raises:
        OSError: One is a pipe or a device.
    """
    for file in folder.iterdir():
        if file.exists() and not file.is_dir():
            require_regular(file)


def read_text(file: Path, limit: int = LARGEST_JSON) -> str:
    """Return a UTF-8 text of at most ``limit`` bytes; half surrogate pairs are kept.

    Raises:
        OSError: There is no such file, or it is no regular one.
        ValueError: It is larger, or not UTF-8.
    """
    require_regular(file, limit)
    return file.read_bytes().decode("utf-8", "surrogatepass")


def read_tail(file: Path, limit: int = LONGEST_TAIL) -> str:
    """Return the last ``limit`` bytes of a text, however long it is; half a letter at the cut has a stand-in.

    Raises:
        OSError: As :func:`read_text`.
    """
    require_regular(file)
    with file.open("rb") as opened:
        opened.seek(max(0, opened.seek(0, os.SEEK_END) - limit))
        return opened.read(limit).decode("utf-8", "replace")


def read_json(file: Path, limit: int = LARGEST_JSON) -> object:
    """Return what a JSON file says.

    Raises:
        OSError: As :func:`read_text`.
        ValueError: It is too large, nested too deep, or no JSON.
    """
    return parse_json(read_text(file, limit))


def parse_json(text: str | bytes) -> Any:
    """Return what JSON says; otherwise as :func:`read_json`."""
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    except ValueError as error:
        raise ValueError(f"not a valid JSON text: {error}") from error
    if _depth_exceeds(value, DEEPEST_JSON):
        raise ValueError(_TOO_DEEP)
    return value


def read_object(file: Path, limit: int = LARGEST_JSON) -> dict[str, Any]:
    """Return the object in a JSON file; anything else is a ``ValueError``."""
    value = read_json(file, limit)
    if not isinstance(value, dict):
        raise ValueError(f"expected a JSON object in {str(file)!r}, got {type(value).__name__}; check what it is")
    return value


class Unpacked(io.RawIOBase):
    """Bytes that come out of a gzip archive, for as long as they are in proportion to what went in so far.

    Args:
        file: The archive.
    """

    def __init__(self, file: Path) -> None:
        self._packed = file.open("rb")
        self._source = gzip.GzipFile(fileobj=self._packed)
        self._count = 0

    def readable(self) -> bool:
        """Return True: the archive can be read."""
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Fill a buffer.

        Raises:
            OSError: The archive unpacks to much more than texts do.
        """
        count = self._source.readinto(buffer)
        self._count += count
        if self._count > max(UNPACKED_FREELY, self._packed.tell() * LARGEST_RATIO):
            raise OSError(f"it unpacks to more than {LARGEST_RATIO} times its size")
        return count

    def close(self) -> None:
        """Close the archive too."""
        self._source.close()
        self._packed.close()
        super().close()


def refuse_links(folder: Path) -> None:
    """Check that nothing in a folder leads out of it, or is no file: what goes on there writes and deletes.

    The folder itself may be a link.

    Raises:
        ValueError: Something is or does.
    """
    root = folder.resolve()
    for path in _entries(root):
        if path.is_symlink() and not path.resolve().is_relative_to(root):
            raise ValueError(
                f"expected a folder without links to other places, got {str(path)!r} -> {str(path.resolve())!r}; put a "
                "copy there, or move the whole folder and link that"
            )
        if not path.is_symlink() and not stat.S_ISREG(mode := path.lstat().st_mode) and not stat.S_ISDIR(mode):
            raise ValueError(f"expected files and folders, got {str(path)!r}, a pipe or device; remove it")


def _entries(root: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(root):
        yield from (Path(place, name) for name in (*folders, *files))


def _depth_exceeds(value: object, limit: int) -> bool:
    """Look level by level: recursion is what is to be avoided."""
    level = [value]
    for _ in range(limit):
        level = [child for item in level for child in _items_of(item) if isinstance(child, dict | list)]
        if not level:
            return False
    return True


def _items_of(value: object) -> Iterable[object]:
    """Return what stands in an object or a list; in anything else, nothing does."""
    match value:
        case dict():
            return value.values()
        case list():
            return value
    return ()


_TOO_DEEP = f"expected JSON of at most {DEEPEST_JSON} levels, got deeper ones; check what it is"
