"""Libraries that keep quiet: a command shows its own lines, and each warning once."""

from __future__ import annotations

import logging
import warnings

from textgym import console

_NOISY_LOGGERS = ("transformers", "datasets", "huggingface_hub", "matplotlib", "absl")


def quiet_libraries() -> None:
    """Send warnings and remarks through the console, each once, and silence the chatter of libraries."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    for name in _NOISY_LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    logger = logging.getLogger("textgym")
    if not any(isinstance(handler, _RemarkHandler) for handler in logger.handlers):
        logger.addHandler(_RemarkHandler())
        logger.propagate = False
    warnings.showwarning = _WarnOnce()


class _RemarkHandler(logging.Handler):
    """Shows what the package logs as remarks."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record."""
        console.remark(record.getMessage())


class _WarnOnce:
    """Stands in for ``warnings.showwarning``: one line per message; other people's deprecations are not shown."""

    def __init__(self) -> None:
        self._seen: set[str] = set()

    def __call__(
        self,
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: object = None,
        line: str | None = None,
    ) -> None:
        text = str(message)
        if text not in self._seen and not issubclass(category, DeprecationWarning | FutureWarning):
            self._seen.add(text)
            console.warn(text)
