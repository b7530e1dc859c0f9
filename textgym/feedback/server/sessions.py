"""Sessions: who somebody is, in a cookie that only this server can write."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TypedDict

from textgym.feedback.store.project import FeedbackStore

LIFETIME_SECONDS = 30 * 86_400
_ENDED = "ended_sessions"
_MOST_ENDED = 50


class _Ended(TypedDict):
    """The sessions of a name that were ended: all that end until a time, and others by their keys."""

    until: int
    keys: dict[str, int]


@dataclass(frozen=True, slots=True)
class Session:
    """Somebody at a browser.

    Attributes:
        key: Drawn at random.
        name: Name of the annotator who answers.
        is_owner: Whether they may see everything, and invite others.
        until: When it ends, in seconds since 1970.
        mark: Mark of the account's password when the session began; it ends with that.
    """

    key: str
    name: str
    is_owner: bool
    until: int
    mark: str = ""

    @classmethod
    def begin(cls, name: str, is_owner: bool, now: float, mark: str = "") -> Session:
        """Make a new one."""
        return cls(secrets.token_urlsafe(16), name, is_owner, int(now) + LIFETIME_SECONDS, mark)

    def csrf(self, secret: bytes) -> str:
        """Return what the forms of this session prove with that they are this server's."""
        return _sign(secret, f"csrf:{self.key}")


class EndedSessions:
    """Sessions that were left, whose cookies are worth nothing any more, whoever has kept them.

    Only so many are remembered of a name; who leaves more often ends all older sessions of that name.

    Args:
        store: Keeps them.
    """

    def __init__(self, store: FeedbackStore) -> None:
        self._store = store

    def end(self, session: Session, now: float) -> None:
        """End a session."""
        self._store.update_setting(_ENDED, lambda known: _with_ended(known or {}, session, now))

    def has(self, session: Session) -> bool:
        """Return whether a session was ended."""
        known = self._store.setting(_ENDED, {}).get(session.name)
        return known is not None and (session.key in known["keys"] or session.until <= known["until"])


def _with_ended(known: Mapping[str, _Ended], session: Session, now: float) -> dict[str, _Ended]:
    own = known.get(session.name, {"until": 0, "keys": {}})
    keys = {key: until for key, until in own["keys"].items() if until > now} | {session.key: session.until}
    own = {"until": own["until"], "keys": keys}
    if len(keys) > _MOST_ENDED:
        own = {"until": max(keys.values()), "keys": {}}
    others = {name: each for name, each in known.items() if max([each["until"], *each["keys"].values()]) > now}
    return {**others, session.name: own}


def seal(session: Session, secret: bytes) -> str:
    """Return a session as the value of a cookie."""
    payload = base64.urlsafe_b64encode(json.dumps(asdict(session)).encode()).decode()
    return f"{payload}.{_sign(secret, payload)}"


def unseal(value: str, secret: bytes, now: float) -> Session | None:
    """Return the session in a cookie; ``None`` if it has ended, or another server wrote it."""
    payload, _, signature = value.rpartition(".")
    if not matches(signature, _sign(secret, payload)):
        return None
    session = Session(**json.loads(base64.urlsafe_b64decode(payload)))
    return session if session.until > now else None


def matches(given: str, expected: str) -> bool:
    """Compare two texts in a time that says nothing about where they differ."""
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), expected.encode())


def _sign(secret: bytes, text: str) -> str:
    return hmac.new(secret, text.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()
