"""Behind a proxy that speaks HTTPS: cookies, links, and who calls."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from textgym.feedback import FeedbackStore
from textgym.feedback.server.serve import Address, serving

TOKEN = "the-owners-token"
NAME = "feedback.example.org"


def behind(store: FeedbackStore, https: bool) -> Iterator[Any]:
    """Serve a store; yields the owner's link, and what calls the server as the proxy does."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    address = Address(port=port, closed=True, token=TOKEN, names=(NAME,), https=https)
    with (
        serving(store, address, "me") as link,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", headers={"Host": NAME}, timeout=120) as proxy,
    ):
        yield link, proxy


@pytest.fixture
def proxied(store: FeedbackStore) -> Iterator[Any]:
    yield from behind(store, https=True)


@pytest.fixture
def direct(store: FeedbackStore) -> Iterator[Any]:
    yield from behind(store, https=False)


def guess(proxy: httpx.Client, forwarded: str) -> int:
    return proxy.get("/enter?token=wrong", headers={"X-Forwarded-For": forwarded}).status_code


def test_cookies_are_for_https_alone(proxied: Any) -> None:
    _, proxy = proxied
    (cookie,) = proxy.get(f"/enter?token={TOKEN}").headers.get_list("set-cookie")
    assert "; Secure" in cookie


def test_links_begin_with_https(proxied: Any) -> None:
    link, proxy = proxied
    assert link == f"https://{NAME}/enter?token={TOKEN}"
    cookie = proxy.get(f"/enter?token={TOKEN}").headers["set-cookie"].partition(";")[0]
    page = proxy.get("/people", headers={"Cookie": cookie})
    form = {"csrf": re.findall(r'name="csrf" value="([^"]*)"', page.text)[0]}
    headers = {"Cookie": cookie, "Origin": f"https://{NAME}"}
    assert f'value="https://{NAME}/join?invitation=' in proxy.post("/people", data=form, headers=headers).text


def test_who_guesses_locks_out_nobody_else(proxied: Any) -> None:
    _, proxy = proxied
    # The proxy adds the last entry; those before it are whatever the caller made up.
    found = [guess(proxy, f"10.0.0.{number}, 203.0.113.5") for number in range(12)]
    assert found == [403] * 10 + [429] * 2
    assert guess(proxy, "203.0.113.5, 203.0.113.6") == 403


def test_without_the_option_no_proxy_is_believed(direct: Any) -> None:
    link, proxy = direct
    assert link.startswith("http://127.0.0.1:")
    headers = {"X-Forwarded-Proto": "https"}
    assert "Secure" not in proxy.get(f"/enter?token={TOKEN}", headers=headers).headers["set-cookie"]
    assert [guess(proxy, f"203.0.113.{number}") for number in range(12)] == [403] * 10 + [429] * 2


def test_a_proxy_closes_the_site_and_needs_a_name() -> None:
    assert Address(names=(NAME,), https=True).is_closed
    assert not Address(names=(NAME,)).is_closed
    with pytest.raises(ValueError, match="give it as allow_host"):
        Address(https=True)


def test_a_token_of_any_characters_comes_in_by_the_printed_link(store: FeedbackStore) -> None:
    token = "a+b/c=d&e #f" * 2
    with serving(store, Address(port=0, closed=True, token=token), "me") as link:
        assert httpx.get(link).headers["location"] == "/"
