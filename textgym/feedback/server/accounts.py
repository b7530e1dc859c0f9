"""Accounts: names and passwords, made and renewed through links that work once.

References:
    Percival and Josefsson, "The scrypt Password-Based Key Derivation Function", RFC 7914; OWASP, "Password Storage
    Cheat Sheet", for its costs.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
import unicodedata
from typing import NamedTuple

from textgym.feedback.server.sessions import matches
from textgym.feedback.store.project import FeedbackStore

INVITATION_SECONDS = 14 * 86_400
SHORTEST_PASSWORD = 10
_LONGEST_PASSWORD = 200
_COSTS = {"n": 2**15, "r": 8, "p": 3, "maxmem": 2**26}  # 32 MiB
_ONE_AT_A_TIME = threading.Lock()  # so that many tries at once cannot take all memory


class Account(NamedTuple):
    """Somebody who may answer.

    Attributes:
        name: Name as stored.
        mark: Tells this password of theirs from any other; no secret.
    """

    name: str
    mark: str


class Accounts:
    """Accounts, and the links by which they are made and renewed, in a store.

    Args:
        store: Keeps them: no password, and no link, can be read from it.
    """

    def __init__(self, store: FeedbackStore) -> None:
        self._store = store

    def all(self) -> dict[str, Account]:
        """Return the accounts by name."""
        return {name: _account(name, row) for name, row in sorted(self._rows().items())}

    def check(self, name: str, password: str) -> Account | None:
        """Return the account if the password is right; as slow for names that nobody has."""
        name = clean_name(name)
        row = self._rows().get(name, {"salt": "00", "hash": ""})
        digest = _scrypt(password[:_LONGEST_PASSWORD], bytes.fromhex(row["salt"]))
        return _account(name, row) if matches(digest, row["hash"]) else None

    # New accounts

    def invite(self, now: float) -> str:
        """Return a new code, with which one person can make an account."""
        code = secrets.token_urlsafe(18)
        self._store.update_setting("invitations", lambda known: {**(known or {}), _digest(code): now})
        return code

    def is_invited(self, code: str, now: float) -> bool:
        """Return whether a code still makes an account."""
        return _is_open(self._store.setting("invitations", {}), code, now)

    def join(self, code: str, name: str, password: str, now: float) -> Account:
        """Make an account; the code is spent.

        Raises:
            ValueError: The code is not valid, the name is taken or no name, or the password too short.
        """
        name = clean_name(name)
        _check_password(password)
        if not name or len(name) > 80 or not name.isprintable():
            raise ValueError(f"expected a name of 1 to 80 visible characters, got {name[:40]!r}; choose another one")
        _add(self._rows(), name, {})  # before the code is spent
        if self._store.votes(name):  # those that were imported are somebody else's, too
            raise ValueError(f"expected a name that no answers are from yet, got {name!r}; choose another one")
        row = _hashed(password)
        self._store.update_setting("invitations", lambda known: _spend(known or {}, code, now))
        self._store.update_setting("accounts", lambda known: _add(known or {}, name, row))
        return _account(name, row)

    # New passwords

    def offer_password(self, name: str, now: float) -> str:
        """Return a new code, with which whoever has an account can change its password; older ones are void."""
        code = secrets.token_urlsafe(18)
        self._store.update_setting("renewals", lambda known: {**(known or {}), name: {_digest(code): now}})
        return code

    def may_renew(self, code: str, name: str, now: float) -> bool:
        """Return whether a code still changes the password of an account."""
        return _is_open(self._store.setting("renewals", {}).get(name, {}), code, now)

    def renew(self, code: str, name: str, password: str, now: float) -> Account:
        """Change the password of an account; the code is spent, and sessions under the old password end.

        Raises:
            ValueError: The code is not valid for that name, or the password too short.
        """
        _check_password(password)
        row = _hashed(password)
        self._store.update_setting(
            "renewals", lambda known: {**(known or {}), name: _spend((known or {}).get(name, {}), code, now)}
        )
        self._store.update_setting("accounts", lambda known: {**known, name: row})
        return _account(name, row)

    def _rows(self) -> dict[str, dict[str, str]]:
        return dict(self._store.setting("accounts", {}))


def clean_name(name: str) -> str:
    """Return a name as it is kept: look-alikes such as full-width letters are one."""
    return unicodedata.normalize("NFKC", name).strip()


def _account(name: str, row: dict[str, str]) -> Account:
    return Account(name, row["salt"])  # drawn again for every password


def _check_password(password: str) -> None:
    if not SHORTEST_PASSWORD <= len(password) <= _LONGEST_PASSWORD:
        raise ValueError(
            f"expected a password of {SHORTEST_PASSWORD} to {_LONGEST_PASSWORD} characters, got {len(password)}; "
            "choose another one"
        )


def _hashed(password: str) -> dict[str, str]:
    salt = secrets.token_bytes(16)
    return {"salt": salt.hex(), "hash": _scrypt(password, salt)}


def _scrypt(password: str, salt: bytes) -> str:
    secret = unicodedata.normalize("NFKC", password).encode("utf-8", "surrogatepass")
    with _ONE_AT_A_TIME:
        return hashlib.scrypt(secret, salt=salt, **_COSTS).hex()


def _add(known: dict[str, dict[str, str]], name: str, row: dict[str, str]) -> dict[str, dict[str, str]]:
    if name.casefold() in {other.casefold() for other in known}:
        raise ValueError(f"expected a name that nobody else has, got {name!r}; choose another one")
    return {**known, name: row}


def _digest(code: str) -> str:
    return hashlib.sha256(code.encode("utf-8", "surrogatepass")).hexdigest()


def _is_open(known: dict[str, float], code: str, now: float) -> bool:
    return known.get(_digest(code), -INVITATION_SECONDS) > now - INVITATION_SECONDS


def _spend(known: dict[str, float], code: str, now: float) -> dict[str, float]:
    if not _is_open(known, code, now):
        raise ValueError("expected a link that was not used, got another; ask for a new link")
    return {digest: made for digest, made in known.items() if digest != _digest(code)}
