"""The bytes that each token adds to a text, for the kinds of decoders that published tokenizers have."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any

import tokenizers

_BYTE_PIECE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


def token_bytes(backend: tokenizers.Tokenizer, vocab_size: int) -> tuple[bytes, ...]:
    """Return the bytes of every id ``0 .. vocab_size - 1``.

    Byte-level pieces, SentencePiece pieces with a ``▁`` for a space and ``<0x0A>`` for a byte, and WordPiece's ``##``
    continuations are understood; a decoder of another kind is taken to join pieces as they are. Special tokens and ids
    that name nothing get ``b""``.
    """
    description = json.loads(backend.to_str())
    kinds = _decoder_kinds(description.get("decoder"))
    special = {token["id"] for token in description["added_tokens"] if token["special"]}
    result = [b""] * vocab_size
    for piece, id_ in backend.get_vocab(with_added_tokens=True).items():
        if id_ not in special:
            result[id_] = _piece_bytes(piece, kinds)
    return tuple(result)


def _decoder_kinds(decoder: dict[str, Any] | None) -> frozenset[str]:
    """Return the types of the stages of a decoder."""
    if decoder is None:
        return frozenset()
    if decoder["type"] == "Sequence":
        return frozenset().union(*(_decoder_kinds(stage) for stage in decoder["decoders"]))
    if decoder["type"] == "Replace" and decoder.get("pattern") == {"String": "▁"}:
        return frozenset({"Metaspace"})
    return frozenset({str(decoder["type"])})


def _piece_bytes(piece: str, kinds: frozenset[str]) -> bytes:
    """Return the bytes that one piece stands for in the middle of a text."""
    if "ByteLevel" in kinds:
        table = _byte_level_alphabet()
        return bytes(table[char] for char in piece) if all(char in table for char in piece) else piece.encode()
    match = _BYTE_PIECE.fullmatch(piece) if "ByteFallback" in kinds else None
    if match:
        return bytes([int(match[1], 16)])
    if "Metaspace" in kinds:
        return piece.replace("▁", " ").encode()
    if "WordPiece" in kinds:
        return piece[2:].encode() if piece.startswith("##") else (" " + piece).encode()
    return piece.encode()


@cache
def _byte_level_alphabet() -> dict[str, int]:
    """Return which byte each character of a byte-level vocabulary stands for.

    Printable Latin-1 characters stand for themselves, the other bytes for U+0100 onwards in order (the byte-level BPE
    of GPT-2, Radford et al. 2019).
    """
    own = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in own]
    return {chr(byte): byte for byte in own} | {chr(256 + rank): byte for rank, byte in enumerate(others)}
