"""The gate of all requests and replies: allowed hosts, origins and sizes, and security headers.

References:
    OWASP, "HTTP Security Response Headers", "Cross-Site Request Forgery Prevention" (cheatsheetseries.owasp.org).
"""

from __future__ import annotations

import ipaddress
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY_BYTES = 4_000_000
_MOST_DRAINED = 25 * MAX_BODY_BYTES
_MOST_CALLERS = 10_000
_SAFE_METHODS = ("GET", "HEAD")
_LIFETIME = "max-age=600"  # of scripts and styles: keys work at once on the next page
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


class Gate:
    """Wraps an application.

    Args:
        app: Application behind the gate.
        hosts: Names it may be called by, beside ``localhost`` and bare addresses, which no foreign page can point here.
        https: Whether browsers speak HTTPS to it. Then cookies and links are made for that, whatever the proxy speaks.
    """

    def __init__(self, app: ASGIApp, hosts: Iterable[str] = (), *, https: bool = False) -> None:
        self._app = app
        self._https = https
        self._hosts = frozenset({"localhost", *(host.lower() for host in hosts)})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] == "lifespan":
            return await self._app(scope, receive, send)
        if scope["type"] != "http":
            return None  # there are no web sockets here

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", _LIFETIME if scope["path"].startswith("/static/") else "no-store")
            await send(message)

        if self._https:
            scope["scheme"] = "https"
        refusal = self._refusal(scope["method"], Headers(scope=scope))
        app = self._app if refusal is None else PlainTextResponse(refusal[1], refusal[0])
        if refusal is not None and refusal[0] == 413:
            await _drain(receive)  # a browser that is still sending would show a broken connection, and no reply
        await app(scope, receive, send_with_headers)

    def _refusal(self, method: str, headers: Headers) -> tuple[int, str] | None:
        """Return status and words if a request is refused."""
        host = headers.get("host", "")
        if len(headers.getlist("host")) != 1 or not self._is_known(host):
            return (
                421,
                f"Expected a known host, got {host[:80]!r}; start with --allow-host to be called by another name.",
            )
        if method in _SAFE_METHODS:
            return None
        origin = headers.get("origin")
        if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none") or (
            origin is not None and urlsplit(origin).netloc.lower() != host.lower()
        ):
            return 403, "Expected a request from this site's own pages, got one from another; open the page itself."
        length = headers.get("content-length", "" if "transfer-encoding" in headers else "0")
        if not length.isdecimal():
            return 411, "Expected a Content-Length, got none; send one."
        if int(length) > MAX_BODY_BYTES:
            return 413, f"Expected at most {MAX_BODY_BYTES} bytes, got {length}; send less at once."
        return None

    def _is_known(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        return name in self._hosts or _is_address(name)


async def _drain(receive: Receive) -> None:
    """Read a body, of which nothing is kept, to its end or up to a limit."""
    read, is_going_on = 0, True
    while is_going_on and read < _MOST_DRAINED:
        message = await receive()
        read += len(message.get("body", b""))
        is_going_on = message["type"] == "http.request" and message.get("more_body", False)


class RateLimit:
    """A limit on one caller's mistakes within a time window; safe to use from several threads.

    A try counts as a mistake before it is checked (:meth:`take`), and not any more once it was right
    (:meth:`give_back`): however many tries come at once, no more are checked than may be wrong.

    Args:
        mistakes: How many.
        seconds: Within which time.
        clock: Returns seconds.
    """

    def __init__(self, mistakes: int = 10, seconds: float = 300.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._mistakes, self._seconds, self._clock = mistakes, seconds, clock
        self._times: dict[str, deque[float]] = {}  # the caller who was noted last comes last
        self._lock = threading.Lock()

    def wait(self, caller: str) -> float:
        """Return for how many seconds a caller may not try again; 0 if they may."""
        with self._lock:
            return self._wait(caller)

    def note(self, caller: str) -> None:
        """Count a mistake."""
        with self._lock:
            self._note(caller)

    def take(self, caller: str) -> float:
        """Count a try as a mistake, and return 0; or return for how many seconds the caller may not try."""
        with self._lock:
            wait = self._wait(caller)
            if not wait:
                self._note(caller)
            return wait

    def give_back(self, caller: str) -> None:
        """Forget a try that :meth:`take` has counted, since it was no mistake."""
        with self._lock:
            times = self._times.get(caller)
            if times:
                times.pop()

    def _wait(self, caller: str) -> float:
        times = self._times.get(caller, deque())
        while times and times[0] <= self._clock() - self._seconds:
            times.popleft()
        return times[0] + self._seconds - self._clock() if len(times) >= self._mistakes else 0.0

    def _note(self, caller: str) -> None:
        times = self._times.pop(caller, deque())
        times.append(self._clock())
        self._times[caller] = times
        if len(self._times) > _MOST_CALLERS:  # who has not made a mistake for longest may begin again
            del self._times[next(iter(self._times))]


def network_of(address: str) -> str:
    """Return what stands for a caller: an address, or of IPv6 the network, in which one caller has all addresses.

    >>> network_of("192.0.2.7"), network_of("2001:db8:1:2:3:4:5:6"), network_of("::ffff:192.0.2.7")
    ('192.0.2.7', '2001:db8:1:2::/64', '192.0.2.7')
    """
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    return str(found.ipv4_mapped or ipaddress.IPv6Network((found, 64), strict=False))


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
