"""Connections: how long a client may take, and how many there may be, so that nobody who sends slowly shuts others out.

Uvicorn ends connections that are idle between two requests, and has no limit for a request that never becomes whole
("Slowloris"). A connection here has a deadline at every moment: for the request line and headers, for the body, and for
the reply. Where all places are taken, the connection that has waited longest for a whole request makes room.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol, cast

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

_MOST_CONNECTIONS = 500


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a server.

    Attributes:
        head_seconds: Time for request line and headers, from the connection or the reply before.
        body_seconds: Time for the body of a request; the largest one passes in it at half a megabit per second.
        reply_seconds: Time for a reply; the figures of a large project take a minute.
        connections: Connections at once.
    """

    head_seconds: float = 20.0
    body_seconds: float = 60.0
    reply_seconds: float = 600.0
    connections: int = _MOST_CONNECTIONS


class _Timer(Protocol):
    def cancel(self) -> None: ...


_CallLater = Callable[[float, Callable[[], None]], _Timer]


class Pool:
    """The open connections of a server.

    Args:
        limits: How long each may take, and how many there may be.
        call_later: Calls back after some seconds; by default the running event loop does.
    """

    def __init__(self, limits: Limits, call_later: _CallLater | None = None) -> None:
        self.limits = limits
        self._call_later = call_later
        self._open: set[Watch] = set()
        self._waiting: dict[Watch, None] = {}  # for a whole request, the longest first

    def __len__(self) -> int:
        """Return how many connections are open."""
        return len(self._open)

    def add(self, transport: asyncio.Transport) -> Watch:
        """Watch a new connection; where there is no place, one that waits is cut off, or else the new one."""
        watch = Watch(self, transport)
        if len(self._open) >= self.limits.connections:
            next(iter(self._waiting), watch).abort()
        if not transport.is_closing():
            self._open.add(watch)
            watch.wait()
        return watch

    def call_later(self, seconds: float, call: Callable[[], None]) -> _Timer:
        """Call back after some seconds."""
        later = self._call_later or asyncio.get_running_loop().call_later
        return later(seconds, call)

    def note(self, watch: Watch, *, waits: bool) -> None:
        """Note whether a connection waits for a whole request; who begins to wait comes last."""
        if not waits:
            self._waiting.pop(watch, None)
        elif watch in self._open:
            self._waiting.setdefault(watch)

    def remove(self, watch: Watch) -> None:
        """Forget a connection."""
        self._open.discard(watch)
        self._waiting.pop(watch, None)


class Watch:
    """One connection, with the deadline of what it does now.

    Args:
        pool: Connections that it is one of.
        transport: Transport of the connection.
    """

    def __init__(self, pool: Pool, transport: asyncio.Transport) -> None:
        self._pool = pool
        self._transport = transport
        self._timer: _Timer | None = None
        self._requests = 0
        self._unsent = 0

    def wait(self) -> None:
        """Begin to wait for request line and headers."""
        self._pool.note(self, waits=True)
        self._unsent = self._transport.get_write_buffer_size()
        self._restart(self._pool.limits.head_seconds)

    def began(self, *, has_body: bool) -> None:
        """Note that request line and headers are there."""
        self._requests += 1
        if has_body:
            self._restart(self._pool.limits.body_seconds)
        else:
            self.received()

    def received(self) -> None:
        """Note that a request is there as a whole."""
        self._pool.note(self, waits=False)
        self._restart(self._pool.limits.reply_seconds)

    def ended(self) -> None:
        """Note that a request was answered."""
        self._requests -= 1
        if not self._requests and not self._transport.is_closing():
            self.wait()

    def abort(self) -> None:
        """Cut the connection off."""
        self.close()
        self._transport.abort()

    def close(self) -> None:
        """Stop watching."""
        self._pool.remove(self)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _restart(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._pool.call_later(seconds, self._expire)

    def _expire(self) -> None:
        """Cut the connection off, unless it still takes in a large reply."""
        unsent = self._transport.get_write_buffer_size()
        if not self._requests and 0 < unsent < self._unsent:
            self.wait()
        else:
            self.abort()


_CURRENT: ContextVar[Watch] = ContextVar("connection")


class WatchedProtocol(H11Protocol):
    """Uvicorn's protocol; the requests of a connection know its watch.

    Attributes:
        pool: Open connections of the server.
    """

    pool: Pool

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Watch the connection."""
        self._watch = self.pool.add(transport)
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Begin requests within the context of this connection."""
        token = _CURRENT.set(self._watch)
        try:
            super().data_received(data)
        finally:
            _CURRENT.reset(token)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop watching."""
        self._watch.close()
        super().connection_lost(exc)


def protocol_of(pool: Pool) -> type[asyncio.Protocol]:
    """Return the protocol of a server with these connections: uvicorn takes a class, and makes one per connection."""
    return cast(type[asyncio.Protocol], type("ServedProtocol", (WatchedProtocol,), {"pool": pool}))


class Watched:
    """Wraps an application: tells the watch of a connection how far its request is.

    Args:
        app: Application behind it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; a client that has gone meanwhile is no error."""
        watch = _CURRENT.get(None)
        if watch is None or scope["type"] != "http":
            return await self._app(scope, receive, send)

        async def receive_watched() -> Message:
            message = await receive()
            if not message.get("more_body"):
                watch.received()
            return message

        watch.began(has_body=_has_body(dict(scope["headers"])))
        try:
            with contextlib.suppress(ClientDisconnect):
                await self._app(scope, receive_watched, send)
        finally:
            watch.ended()
        return None


def _has_body(headers: dict[bytes, Any]) -> bool:
    return b"transfer-encoding" in headers or headers.get(b"content-length", b"0") != b"0"


def connection_limit() -> int:
    """Return how many connections leave this process enough files for everything else."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return _MOST_CONNECTIONS
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MOST_CONNECTIONS if files == resource.RLIM_INFINITY else max(1, min(_MOST_CONNECTIONS, files // 2))
