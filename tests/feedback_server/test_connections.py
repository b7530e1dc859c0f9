"""Clients that send slowly, or nothing: every connection has a deadline, and there is always a place for a new one."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from textgym.feedback import FeedbackStore
from textgym.feedback.server import connections
from textgym.feedback.server.connections import Limits, Pool, Watch, connection_limit
from textgym.feedback.server.serve import Address, serving

LIMITS = Limits(head_seconds=20.0, body_seconds=60.0, reply_seconds=600.0, connections=3)
HALF = {
    "nothing": b"",
    "line": b"GET / HT",
    "headers": b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ",
    "body": b"POST /name HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    b"Content-Length: 1000\r\n\r\nname=",
}


class Time:
    """A clock that is put forward."""

    def __init__(self) -> None:
        self.now = 0.0
        self._timers: list[Timer] = []

    def call_later(self, seconds: float, call: Callable[[], None]) -> Timer:
        self._timers.append(Timer(self.now + seconds, call))
        return self._timers[-1]

    def put_forward(self, seconds: float) -> None:
        """Put the clock forward, and call whoever wanted to be called meanwhile."""
        self.now += seconds
        due = [timer for timer in self._timers if timer.at <= self.now]
        self._timers = [timer for timer in self._timers if timer.at > self.now]
        for timer in due:
            timer.run()


class Timer:
    def __init__(self, at: float, call: Callable[[], None]) -> None:
        self.at, self._call, self._is_cancelled = at, call, False

    def cancel(self) -> None:
        self._is_cancelled = True

    def run(self) -> None:
        if not self._is_cancelled:
            self._call()


class Transport:
    """A connection that only counts."""

    def __init__(self) -> None:
        self.is_open, self.unsent = True, 0

    def abort(self) -> None:
        self.is_open = False

    def is_closing(self) -> bool:
        return not self.is_open

    def get_write_buffer_size(self) -> int:
        return self.unsent


class Bench:
    """Connections beside a clock."""

    def __init__(self) -> None:
        self.time = Time()
        self.pool = Pool(LIMITS, self.time.call_later)

    def connect(self) -> tuple[Watch, Transport]:
        transport = Transport()
        return self.pool.add(transport), transport  # type: ignore[arg-type]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_headers_have_a_deadline(bench: Bench) -> None:
    _, transport = bench.connect()
    bench.time.put_forward(19.9)
    assert transport.is_open
    bench.time.put_forward(0.2)
    assert not transport.is_open
    assert len(bench.pool) == 0


def test_a_body_has_a_deadline_that_its_bytes_do_not_move(bench: Bench) -> None:
    watch, transport = bench.connect()
    bench.time.put_forward(19.0)
    watch.began(has_body=True)
    bench.time.put_forward(59.0)
    assert transport.is_open
    bench.time.put_forward(2.0)
    assert not transport.is_open


def test_a_whole_request_has_time_to_be_answered(bench: Bench) -> None:
    watch, transport = bench.connect()
    watch.began(has_body=True)
    bench.time.put_forward(30.0)
    watch.received()
    bench.time.put_forward(590.0)
    assert transport.is_open
    watch.ended()
    bench.time.put_forward(19.0)
    watch.began(has_body=False)  # the next one over the same connection
    bench.time.put_forward(599.0)
    assert transport.is_open
    bench.time.put_forward(2.0)
    assert not transport.is_open


def test_a_second_request_that_came_early_is_not_cut_off(bench: Bench) -> None:
    watch, transport = bench.connect()
    for _ in range(2):
        watch.began(has_body=False)
    watch.ended()
    bench.time.put_forward(300.0)
    assert transport.is_open


def test_who_takes_a_large_reply_in_is_not_cut_off_and_who_does_not_is(bench: Bench) -> None:
    (reading, first), (idle, second) = bench.connect(), bench.connect()
    for watch, transport in ((reading, first), (idle, second)):
        watch.began(has_body=False)
        transport.unsent = 1000
        watch.ended()
    for unsent in (600, 200, 1):
        first.unsent = unsent
        bench.time.put_forward(20.1)
        assert first.is_open
        assert not second.is_open


def test_where_all_places_are_taken_who_has_waited_longest_makes_room(bench: Bench) -> None:
    made = [bench.connect() for _ in range(3)]
    made[0][0].began(has_body=False)
    newest = bench.connect()
    assert [transport.is_open for _, transport in made] == [True, False, True]
    assert newest[1].is_open
    made[0][0].ended()  # waits again, but not for as long as the others
    made[2][0].began(has_body=True)  # of a body the rest is still to come
    bench.connect()
    assert [transport.is_open for _, transport in made] == [True, False, False]
    assert len(bench.pool) == 3


def test_where_everybody_is_served_a_new_connection_is_refused(bench: Bench) -> None:
    made = [bench.connect() for _ in range(3)]
    for watch, _ in made:
        watch.began(has_body=False)
    assert not bench.connect()[1].is_open
    assert all(transport.is_open for _, transport in made)
    made[0][0].close()  # the client went
    assert bench.connect()[1].is_open


def test_there_are_files_left_for_everything_else(monkeypatch: pytest.MonkeyPatch) -> None:
    resource = pytest.importorskip("resource", reason="no such limits here")
    for files, expected in ((20_000, 500), (256, 128), (1, 1), (resource.RLIM_INFINITY, 500)):
        monkeypatch.setattr(resource, "getrlimit", lambda _, files=files: (files, files))
        assert connection_limit() == expected


# Over real connections


@contextlib.contextmanager
def served(store: FeedbackStore, limits: Limits | None = None) -> Iterator[tuple[str, int]]:
    with serving(store, Address(port=0), "me", limits) as link:
        yield link, httpx.URL(link).port or 0


def half_open(port: int, kind: str) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=30)
    connection.sendall(HALF[kind])
    return connection


def is_cut_off(connection: socket.socket) -> bool:
    """Wait until the other side has closed."""
    try:
        return connection.recv(1000) == b""
    except ConnectionResetError:
        return True


def is_answered(link: str) -> bool:
    """Ask until there is an answer: on a busy machine whole requests, too, may miss a deadline of 50 ms."""
    while True:
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(link).status_code == 200


@pytest.mark.parametrize("kind", HALF)
def test_a_half_open_connection_is_cut_off(store: FeedbackStore, kind: str) -> None:
    with served(store, Limits(head_seconds=0.05, body_seconds=0.05)) as (link, port):
        with half_open(port, kind) as connection:
            assert is_cut_off(connection)
        assert is_answered(link)


def test_half_open_connections_take_no_place_away(store: FeedbackStore, place: Any) -> None:
    """Of 110 connections, most of them in the middle of a request, the server keeps 30, and answers between them."""
    store.add([place.question()])
    with served(store, Limits(connections=30)) as (link, port), contextlib.ExitStack() as held:
        kinds = [list(HALF)[number % len(HALF)] for number in range(110)]
        made = [held.enter_context(half_open(port, kind)) for kind in kinds]
        assert "prompt 0" in httpx.get(link).text
        assert all(map(is_cut_off, made[:80]))
        with httpx.Client(base_url=link) as browser:  # which keeps its connection
            assert browser.get("/").status_code == 200
            made += [held.enter_context(half_open(port, "headers")) for _ in range(20)]
            assert "prompt 0" in browser.get("/").text


def test_a_client_that_goes_in_the_middle_of_its_request_is_no_error(
    store: FeedbackStore, caplog: pytest.LogCaptureFixture
) -> None:
    with served(store, Limits(body_seconds=0.05)) as (link, port):
        with half_open(port, "body") as connection:
            assert is_cut_off(connection)
        half_open(port, "body").close()
        assert httpx.get(link).status_code == 200
    assert "Exception in ASGI application" not in caplog.text


def test_the_pool_forgets_what_is_closed(store: FeedbackStore, monkeypatch: pytest.MonkeyPatch) -> None:
    pools: list[Pool] = []
    monkeypatch.setattr(
        "textgym.feedback.server.serve.Pool", lambda limits: pools.append(connections.Pool(limits)) or pools[-1]
    )
    with served(store) as (link, port):
        for _ in range(3):
            assert httpx.get(link).status_code == 200
        half_open(port, "headers").close()
    assert [len(pool) for pool in pools] == [0]
