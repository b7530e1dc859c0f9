"""Regular expressions out of files of others, tried before they are used: some take years for a name of 30 letters."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence

from textgym.errors import CheckpointError
from textgym.values import as_text, walk

MOST_SECONDS = 10.0
_CAN_BACKTRACK = re.compile(r"[*+?{|(]")
# Alone, and as parts of longer ones, the ways in which PEFT matches names of modules.
_TRY = r"""
import json, re, sys
patterns, names = json.load(sys.stdin)
for number, pattern in enumerate(patterns):
    print(number, flush=True)
    for form in ("{}", r"(.*\.)?({})$", r"(^|.*\.){}($|\..*)"):
        try:
            compiled = re.compile(form.replace("{}", pattern))
            for name in names:
                compiled.fullmatch(name), compiled.match(name)
        except (re.error, OverflowError, RecursionError):
            pass
"""


def require_quick_patterns(content: object, names: Sequence[str], where: str) -> None:
    """Check that every text in ``content`` is matched in moments against names, should it be used as a pattern.

    Python cannot stop a match that has begun, so a process of its own tries them.

    Args:
        content: Value as from JSON; all strings in it count, keys too.
        names: Names that the patterns are matched against.
        where: Where the content is from, for the error.

    Raises:
        CheckpointError: It takes longer than :data:`MOST_SECONDS`.
    """
    patterns = list(dict.fromkeys(text for text in _texts(content) if _CAN_BACKTRACK.search(text)))
    if not patterns:
        return
    command = [sys.executable, "-I", "-S", "-c", _TRY]
    given = json.dumps([patterns, list(names)]).encode()
    try:
        subprocess.run(command, input=given, capture_output=True, timeout=MOST_SECONDS, check=True)
    except subprocess.TimeoutExpired as error:
        number = int((error.stdout or b"0").split()[-1])
        raise CheckpointError(
            f"expected patterns in {where} that are matched against names of modules in moments, got one that takes "
            f"more than {MOST_SECONDS:g} s, {patterns[number][:200]!r}; write the names there instead"
        ) from error
    except (OSError, subprocess.CalledProcessError) as error:
        raise CheckpointError(
            f"expected patterns in {where} that can be tried in a process of their own, got {error}; write names of "
            "modules there instead"
        ) from error


def _texts(content: object) -> Iterator[str]:
    """All strings in what JSON holds, keys too."""
    for name, value in walk(content):
        yield from (name, as_text(value))
