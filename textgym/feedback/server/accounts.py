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

from textgym.errors import TextGymError, did_you_mean
from textgym.feedback.server.names import check_name, clean_name
from textgym.feedback.server.sessions import matches
from textgym.feedback.store.project import FeedbackStore

INVITATION_SECONDS = 14 * 86_400
SHORTEST_PASSWORD = 10
_LONGEST_PASSWORD = 200
_ID_LENGTH = 10  # of the digest of a link
_COSTS = {"n": 2**15, "r": 8, "p": 3, "maxmem": 2**26}  # 32 MiB
_ONE_AT_A_TIME = threading.Lock()  # so that many tries at once cannot take all memory
_MOST_WAITING = 8
_PLACES = threading.BoundedSemaphore(_MOST_WAITING)  # so that they cannot keep all threads of the server waiting


class BusyError(TextGymError, TimeoutError):
    """More passwords are being checked than can be."""


class Account(NamedTuple):
    """Somebody who may answer.

    Attributes:
        name: Name as stored.
        mark: Tells this password of theirs from any other; no secret.
    """

    name: str
    mark: str


class OpenLink(NamedTuple):
    """A link that was made and not used yet.

    Attributes:
        id: Tells it from others; nobody can make the link from it.
        name: Name of the account whose password it changes; empty for an invitation.
        made: When, in seconds since 1970.
    """

    id: str
    name: str
    made: float

    @property
    def purpose(self) -> str:
        """Purpose, in words."""
        return f"a new password of {self.name}" if self.name else "an invitation"


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
        """Return the account if the password is right; as slow for names that nobody has.

        Raises:
            BusyError: Too many passwords are being checked.
        """
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
        check_name(name)
        _add(self._rows(), name, {})  # before the code is spent
        check_name(name, self._store.annotators())
        if self._store.votes(name, excluded=True):  # those that were imported are somebody else's, too
            raise ValueError(f"There are answers of the name {name!r} already; choose another.")
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
        if name in self._store.moderation.blocked():
            return False
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

    # Links

    def open_links(self, now: float) -> list[OpenLink]:
        """Return the links that still work, the oldest first."""
        named = {"": self._store.setting("invitations", {}), **self._store.setting("renewals", {})}
        links = [
            OpenLink(digest[:_ID_LENGTH], name, made)
            for name, known in named.items()
            for digest, made in known.items()
            if made > now - INVITATION_SECONDS
        ]
        return sorted(links, key=lambda link: link.made)

    def void(self, link_id: str, owner: str, reason: str, now: float) -> str:
        """Make a link void, record who did, and return what it was for.

        Raises:
            ValueError: There is no such link.
        """
        found = next((link for link in self.open_links(now) if link.id == link_id), None)
        if found is None:
            raise ValueError(
                f"expected the id of an open link, got {link_id[:40]!r}; no open link has it: it is mistyped, or was "
                f"used or revoked before.{did_you_mean(link_id, [link.id for link in self.open_links(now)])}"
            )

        def without(known: dict[str, float]) -> dict[str, float]:
            return {digest: made for digest, made in known.items() if digest[:_ID_LENGTH] != link_id}

        self._store.update_setting("invitations", lambda known: without(known or {}))
        self._store.update_setting(
            "renewals", lambda known: {name: without(links) for name, links in (known or {}).items()}
        )
        self._store.moderation.record("void", f"{found.purpose} ({found.id})", owner, reason)
        return found.purpose

    def _rows(self) -> dict[str, dict[str, str]]:
        return dict(self._store.setting("accounts", {}))


def _account(name: str, row: dict[str, str]) -> Account:
    return Account(name, row["salt"])  # drawn again for every password


def _check_password(password: str) -> None:
    if not SHORTEST_PASSWORD <= len(password) <= _LONGEST_PASSWORD:
        raise ValueError(
            f"The password needs {SHORTEST_PASSWORD} to {_LONGEST_PASSWORD} characters; this one has {len(password)}."
        )


def _hashed(password: str) -> dict[str, str]:
    salt = secrets.token_bytes(16)
    return {"salt": salt.hex(), "hash": _scrypt(password, salt)}


def _scrypt(password: str, salt: bytes) -> str:
    secret = unicodedata.normalize("NFKC", password).encode("utf-8", "surrogatepass")
    if not _PLACES.acquire(blocking=False):
        raise BusyError("Too many people are signing in right now; wait a moment and try again.")
    try:
        with _ONE_AT_A_TIME:
            return hashlib.scrypt(secret, salt=salt, **_COSTS).hex()
    finally:
        _PLACES.release()


def _add(known: dict[str, dict[str, str]], name: str, row: dict[str, str]) -> dict[str, dict[str, str]]:
    if name.casefold() in {other.casefold() for other in known}:
        raise ValueError(f"The name {name!r} is taken; choose another.")
    return {**known, name: row}


def _digest(code: str) -> str:
    return hashlib.sha256(code.encode("utf-8", "surrogatepass")).hexdigest()


def _is_open(known: dict[str, float], code: str, now: float) -> bool:
    return known.get(_digest(code), -INVITATION_SECONDS) > now - INVITATION_SECONDS


def _spend(known: dict[str, float], code: str, now: float) -> dict[str, float]:
    if not _is_open(known, code, now):
        raise ValueError("This link was used already or revoked; ask for a new one.")
    return {digest: made for digest, made in known.items() if digest != _digest(code)}
