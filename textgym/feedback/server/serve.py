"""Running the application: on which address, for whom."""

from __future__ import annotations

import contextlib
import ipaddress
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import quote

import uvicorn

from textgym.errors import LockedError, ProjectInUseError, TextGymError
from textgym.feedback.server.app import create_app
from textgym.feedback.server.connections import Limits, Pool, Watched, connection_limit, protocol_of
from textgym.feedback.server.site import Site
from textgym.feedback.store.project import FeedbackStore
from textgym.files.locks import FileLock
from textgym.naming import argument

_SECONDS_TO_STOP = 5.0


class AddressError(TextGymError, OSError):
    """A server cannot listen where it should."""


@dataclass(frozen=True, slots=True)
class Address:
    """The address of a server: where it listens, and which clients it lets in.

    Attributes:
        host: Name or address. Anything that other machines reach is closed to whoever has neither token nor account.
        port: 0 takes a free one.
        closed: Close it on this machine's own address too, for instance behind a proxy.
        token: Makes its bearer the owner of a closed site; by default a random one.
        names: Other names that browsers may call it by.
        https: A proxy of this machine stands in front, speaks HTTPS to browsers, and is called by the first of the
            names. Then the site is closed, and what the proxy says of who calls is believed; otherwise nobody is.

    Raises:
        ValueError: A proxy without a name.
    """

    host: str = "127.0.0.1"
    port: int = 8765
    closed: bool = False
    token: str | None = None
    names: tuple[str, ...] = ()
    https: bool = False

    def __post_init__(self) -> None:
        if self.https and not self.names:
            raise ValueError(
                f"expected the name by which browsers call the proxy, got none; give it as {argument('allow_host')}"
            )

    @property
    def is_closed(self) -> bool:
        """Return whether it asks for a token or an account."""
        return self.closed or self.https or not is_loopback(self.host)


def serve(store: FeedbackStore, address: Address, name: str, on_start: Callable[[str], None]) -> None:
    """Serve a store until somebody interrupts it.

    Args:
        store: Questions and votes.
        address: Where.
        name: Name of the owner.
        on_start: Called with the owner's link when browsers can open it.

    Raises:
        AddressError: The address cannot be used.
        ProjectInUseError: The project is served already.
    """
    with _served_once(store), _listen(address) as listener:
        server, link = _make_server(store, address, name, listener)
        on_start(link)
        with contextlib.suppress(KeyboardInterrupt):
            server.run(sockets=[listener])


@contextlib.contextmanager
def serving(
    store: FeedbackStore,
    address: Address,
    name: str,
    limits: Limits | None = None,
    *,
    beside: bool = False,
    clock: Callable[[], float] = time.time,
) -> Iterator[str]:
    """Serve a store in a thread of its own while the block runs; otherwise as :func:`serve`.

    Args:
        store: Questions and votes.
        address: Where.
        name: Name of the owner.
        limits: Limits of its connections; by default those that are good for people.
        beside: The project may be served by :func:`serve` at the same time, for others than the user of this machine.
        clock: Returns seconds since 1970.

    Yields:
        The owner's link.
    """
    with contextlib.nullcontext() if beside else _served_once(store), _listen(address) as listener:
        server, link = _make_server(store, address, name, listener, limits, clock)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            yield link
        finally:
            server.should_exit = True
            thread.join(_SECONDS_TO_STOP)


@contextlib.contextmanager
def _served_once(store: FeedbackStore) -> Iterator[None]:
    """Keep others from serving the same project: each server would count wrong passwords of its own.

    Raises:
        ProjectInUseError: It is served already.
    """
    path = store.path.resolve()
    try:
        lock = FileLock(path.with_name(f"{path.name}.lock"), removed=True)
    except LockedError as error:
        raise ProjectInUseError(
            f"expected a project that is not served, got {str(store.path)!r}, which {error.holder} serves; use that "
            "page, or stop it first"
        ) from None
    try:
        yield
    finally:
        lock.release()


def _make_server(
    store: FeedbackStore,
    address: Address,
    name: str,
    listener: socket.socket,
    limits: Limits | None = None,
    clock: Callable[[], float] = time.time,
) -> tuple[uvicorn.Server, str]:
    """Return what serves a store, and the owner's link."""
    pool = Pool(limits or Limits(connections=connection_limit()))
    token = (address.token or secrets.token_urlsafe(24)) if address.is_closed else None
    site = Site(store, name, token, clock)
    app = create_app(site, hosts=(*address.names, *_own_names(address.host)), https=address.https)
    config = uvicorn.Config(
        Watched(app), http=protocol_of(pool), log_config=None, access_log=False, server_header=False, lifespan="off",
        proxy_headers=address.https, forwarded_allow_ips=["127.0.0.1", "::1"],
    )  # fmt: skip
    return uvicorn.Server(config), _link(address, listener.getsockname()[1], token)


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach an address."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return False
    return all(ipaddress.ip_address(address[4][0]).is_loopback for address in found)


def _listen(address: Address) -> socket.socket:
    try:
        family, _, _, _, place = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0]
        return socket.create_server((str(place[0]), int(place[1])), family=family)
    except OSError as error:
        raise AddressError(
            f"expected a free address of this machine, got {address.host} port {address.port} ({error.strerror}); "
            f"choose another {argument('port')}, or {argument('host')}"
        ) from error


def _own_names(host: str) -> Iterable[str]:
    return () if is_loopback(host) else (host, socket.gethostname())


def _link(address: Address, port: int, token: str | None) -> str:
    """Return the owner's link; a host that means all addresses is shown as one of them."""
    shown = {"0.0.0.0": socket.gethostname(), "::": socket.gethostname()}.get(address.host, address.host)
    place = f"http://[{shown}]:{port}" if ":" in shown else f"http://{shown}:{port}"
    place = f"https://{address.names[0]}" if address.https else place
    return f"{place}/" if token is None else f"{place}/enter?token={quote(token, safe='')}"
