"""Requirements of serving the page; imports nothing that an extra brings."""

from __future__ import annotations

import getpass
import importlib.util

from textgym.errors import MissingExtraError

_NEEDED = ("fastapi", "uvicorn", "jinja2", "python_multipart")


def require_page() -> None:
    """Raise :class:`~textgym.errors.MissingExtraError` unless what the page needs is installed."""
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingExtraError.of("the feedback page", ", ".join(missing), "feedback")


def user_name() -> str:
    """Return the name of the user of this machine."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # no such user, as in some containers
        return "me"
