"""Level 1: a subset of Python in Monty, an interpreter written in Rust without access to the machine.

Monty runs guests in worker processes of its own, children of this one.
"""

from __future__ import annotations

import datetime
import json
import time
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, Self

from textgym.sandbox.guest import describe, error_kind, same_error
from textgym.sandbox.limits import Limits, waiting_seconds
from textgym.sandbox.plain import Encoded, NotPlainError, decode, encode
from textgym.sandbox.programs import Reply, failure

_MOST_CALLS = 100_000
_CLOCK = datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC)
_GRACE = 2.0  # seconds until an interpreter that does not stop by itself is killed


class MontyGuests:
    """Interpreters of Python, two of them kept running.

    Args:
        limits: Limits of each program.
    """

    def __init__(self, limits: Limits) -> None:
        import pydantic_monty

        self._limits = limits
        self._pool = pydantic_monty.Monty(
            binary_path=_binary(),
            min_processes=2,
            max_processes=2,
            request_timeout=limits.seconds + _GRACE,
        )

    def __enter__(self) -> Self:
        """Start them."""
        self._pool.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        """End them."""
        self._pool.__exit__(None, None, None)

    def open(self) -> MontyGuest:
        """Return a fresh guest."""
        session = self._pool.checkout(
            script_name="program",
            limits={
                "max_feed_duration_secs": self._limits.seconds,
                "max_memory": self._limits.memory_mb * 2**20,
                "max_suspensions": _MOST_CALLS,
            },
            os_policy={"datetime": _CLOCK, "sleep": "zero", "random_start": {"seed": 0}},
        )
        return MontyGuest(session, self._limits)


class MontyGuest:
    """One session of an interpreter.

    Args:
        session: The session, not yet entered.
        limits: Limits of all requests together.
    """

    def __init__(self, session: Any, limits: Limits) -> None:
        self._session = session
        self._left = waiting_seconds(limits)
        self._most = limits.output_kb * 1024
        self._lost: Reply | None = None

    def __enter__(self) -> Self:
        """Begin the session."""
        self._session.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        """End it."""
        self._session.__exit__(None, None, None)

    def load(self, code: str) -> Reply:
        """Run the top level of a program."""
        reply = self._feed(code)
        return reply if "error" in reply else {"value": None}

    def call(self, name: str, args: Encoded, options: Encoded) -> Reply:
        """Call one of its functions."""
        inputs = {"_given_args": decode(args), "_given_options": decode(options)}
        return self._feed(f"{name}(*_given_args, **_given_options)", inputs=inputs)

    def run(self, code: str, names: Sequence[str], answer: Callable[[Encoded, Encoded], Reply]) -> Reply:
        """Run a statement of tests, in which ``names`` stand for a function that ``answer`` calls elsewhere."""

        def elsewhere(*args: object, **options: object) -> object:
            start = time.monotonic()
            reply = answer(encode(args)["tuple"], encode(options))
            self._left += time.monotonic() - start  # which is the other guest's
            if "error" in reply:
                raise same_error(reply["class"], reply["detail"])
            return decode(reply["value"])

        reply = self._feed(f"{code}\nNone", external_lookup=dict.fromkeys(names, elsewhere))
        return reply if "error" in reply else {"value": None}

    def _feed(self, code: str, **given: Any) -> Reply:
        """Run a snippet and return the value of its last expression."""
        import pydantic_monty

        if self._lost is None and self._left <= 0:
            self._lost = failure("timeout", "the program took too long")
        if self._lost is not None:
            return self._lost
        start = time.monotonic()
        try:
            return self._sized(encode(self._session.feed_run(code, print_callback=self._printed(), **given)))
        except NotPlainError as error:
            return failure("error", f"expected a plain value, got {error}", "TypeError")
        except pydantic_monty.MontyCrashedError as error:
            self._lost = failure("timeout" if error.timed_out else "crashed", str(error))
            return self._lost
        except pydantic_monty.MontyError as error:
            return _failure_of(error.exception())
        finally:
            self._left -= time.monotonic() - start

    def _printed(self) -> Any:
        import pydantic_monty

        return pydantic_monty.CollectString(self._most)

    def _sized(self, encoded: Encoded) -> Reply:
        if len(json.dumps(encoded)) > self._most:
            return failure("error", f"a value of more than {self._most:,} bytes")
        return {"value": encoded}


def _failure_of(error: BaseException) -> Reply:
    """Return the reply for an error within a guest; it may be one that the guest only pretends."""
    reason = "timeout" if isinstance(error, TimeoutError) else error_kind(error)
    return failure(reason, describe(error), type(error).__name__)


def _binary() -> str | None:
    """Return the interpreter that was installed with the package; ``None`` leaves the search to the package."""
    try:
        files = metadata.files("pydantic-monty-runtime") or []
    except metadata.PackageNotFoundError:
        return None
    found = [Path(str(each.locate())) for each in files if each.stem == "monty"]
    return next((str(path.resolve()) for path in found if path.is_file()), None)
