"""Questions as forms name them: by a code that says nothing about the question, such as whether it is a check."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

_BYTES = 8


def seal_item(item: int, annotator: str, secret: bytes) -> str:
    """Return the code of a question for one annotator, the same every time.

    Numbers grow in the order in which questions were added: they would tell attention checks from others.

    >>> code = seal_item(7, "ann", b"secret")
    >>> open_item(code, "ann", b"secret"), open_item(code, "bob", b"secret")
    (7, None)
    """
    plain = item.to_bytes(_BYTES, "big")
    tag = _digest(secret, b"tag", annotator, plain)
    return base64.urlsafe_b64encode(tag + _mask(plain, secret, annotator, tag)).decode().rstrip("=")


def open_item(code: str, annotator: str, secret: bytes) -> int | None:
    """Return the number of the question that a code of this annotator stands for; ``None`` for anything else."""
    try:
        sealed = base64.b64decode(code.encode() + b"==", b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    if len(sealed) != 2 * _BYTES:
        return None
    tag, plain = sealed[:_BYTES], _mask(sealed[_BYTES:], secret, annotator, sealed[:_BYTES])
    return int.from_bytes(plain, "big") if hmac.compare_digest(tag, _digest(secret, b"tag", annotator, plain)) else None


def _mask(text: bytes, secret: bytes, annotator: str, tag: bytes) -> bytes:
    key = _digest(secret, b"mask", annotator, tag)
    return bytes(one ^ other for one, other in zip(text, key, strict=True))


def _digest(secret: bytes, use: bytes, annotator: str, content: bytes) -> bytes:
    name = annotator.encode("utf-8", "surrogatepass")
    text = b"item:" + use + b":" + content + name  # the content has a fixed length
    return hmac.new(secret, text, hashlib.sha256).digest()[:_BYTES]
