"""Accounts: names and passwords, made and renewed through links that work once.

References:
    Percival and Josefsson, "The scrypt Password-Based Key Derivation Function", RFC 7914; OWASP, "Password Storage
    Cheat Sheet", for its costs.
"""

from __future__ import annotations

import hashlib
import json
import math
import secrets
import threading
import unicodedata
from typing import Any

from textgym.feedback.server.sessions import matches
from textgym.feedback.store import FeedbackStore

INVITATION_SECONDS = 14 * 86_400
SHORTEST_PASSWORD = 10
_LONGEST_PASSWORD = 200
_COSTS = {"n": 2**15, "r": 8, "p": 3, "maxmem": 2**26}  # 32 MiB
_ONE_AT_A_TIME = threading.Lock()  # so that many tries at once cannot take all memory


class Accounts:
    """Accounts and invitations in a store.

    Args:
        store: Keeps them: no password, and no invitation, can be read from it.
    """

    def __init__(self, store: FeedbackStore) -> None:
        self._store = store

    def names(self) -> list[str]:
        """Return who has an account."""
        return sorted(self._all())

    def has(self, name: str, at: float = math.inf) -> bool:
        """Whether somebody has an account, and the same password as at a time, in seconds since 1970."""
        row = self._all().get(name)
        return row is not None and row.get("since", 0) <= at

    def invite(self, now: float, name: str = "") -> str:
        """Return a new code, with which one person can make an account, or whoever has the name a new password."""
        code = secrets.token_urlsafe(18)
        self._store.update_setting("invitations", lambda known: {**(known or {}), _digest(code, name): now})
        return code

    def is_invited(self, code: str, now: float, name: str = "") -> bool:
        """Whether a code still makes an account, or a new password for a name."""
        return _is_open(self._store.setting("invitations", {}), _digest(code, name), now)

    def join(self, code: str, name: str, password: str, now: float) -> str:
        """Make an account; the code is spent.

        Returns:
            The name as it is kept.

        Raises:
            ValueError: The code is not valid, the name is taken or no name, or the password too short.
        """
        name = unicodedata.normalize("NFKC", name).strip()
        _check_password(password)
        if not name or len(name) > 80 or not name.isprintable():
            raise ValueError(f"expected a name of 1 to 80 visible characters, got {name[:40]!r}; choose another one")
        _add(self._all(), name, {})  # before the code is spent
        if self._store.votes(name):  # those that were imported are somebody else's, too
            raise ValueError(f"expected a name that no answers are from yet, got {name!r}; choose another one")
        row = _hashed(password)
        self._store.update_setting("invitations", lambda known: _spend(known or {}, _digest(code), now))
        self._store.update_setting("accounts", lambda known: _add(known or {}, name, row))
        return name

    def renew(self, code: str, name: str, password: str, now: float) -> None:
        """Change the password of an account; the code is spent, and whoever came in by the old password is out.

        Raises:
            ValueError: The code is not valid for that name, or the password too short.
        """
        _check_password(password)
        row = {**_hashed(password), "since": int(now)}
        self._store.update_setting("invitations", lambda known: _spend(known or {}, _digest(code, name), now))
        self._store.update_setting("accounts", lambda known: {**known, name: row})

    def check(self, name: str, password: str) -> str | None:
        """Return the name as it is kept if the password is right; as slow for names that nobody has."""
        name = unicodedata.normalize("NFKC", name).strip()
        row = self._all().get(name, {"salt": "00", "hash": ""})
        digest = _scrypt(password[:_LONGEST_PASSWORD], bytes.fromhex(row["salt"]))
        return name if matches(digest, row["hash"]) else None

    def _all(self) -> dict[str, dict[str, Any]]:
        return dict(self._store.setting("accounts", {}))


def _check_password(password: str) -> None:
    if not SHORTEST_PASSWORD <= len(password) <= _LONGEST_PASSWORD:
        raise ValueError(
            f"expected a password of {SHORTEST_PASSWORD} to {_LONGEST_PASSWORD} characters, got {len(password)}; "
            "choose another one"
        )


def _hashed(password: str) -> dict[str, Any]:
    salt = secrets.token_bytes(16)
    return {"salt": salt.hex(), "hash": _scrypt(password, salt)}


def _scrypt(password: str, salt: bytes) -> str:
    secret = unicodedata.normalize("NFKC", password).encode("utf-8", "surrogatepass")
    with _ONE_AT_A_TIME:
        return hashlib.scrypt(secret, salt=salt, **_COSTS).hex()


def _add(known: dict[str, Any], name: str, row: dict[str, str]) -> dict[str, Any]:
    if name.casefold() in {other.casefold() for other in known}:
        raise ValueError(f"expected a name that nobody else has, got {name!r}; choose another one")
    return {**known, name: row}


def _digest(code: str, name: str = "") -> str:
    """Return what is kept of a code, so that one for a name is no use under another."""
    return hashlib.sha256(json.dumps([code, name]).encode()).hexdigest()


def _is_open(known: dict[str, float], digest: str, now: float) -> bool:
    return known.get(digest, -INVITATION_SECONDS) > now - INVITATION_SECONDS


def _spend(known: dict[str, float], digest: str, now: float) -> dict[str, float]:
    if not _is_open(known, digest, now):
        raise ValueError("expected an invitation that was not used, got another; ask for a new link")
    return {other: made for other, made in known.items() if other != digest}
