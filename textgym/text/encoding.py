"""Text to ids where some of it is anybody's and some of it is a template's: only the latter may hold special tokens."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import tokenizers

# While the threads of a language model spin on all cores, to wake the tokenizer's takes longer than so little work.
_QUICK_CHARACTERS = 2**15


class _Renamed(NamedTuple):
    """A tokenizer whose special tokens have names that nobody writes by chance."""

    backend: tokenizers.Tokenizer
    names: dict[str, str]  # by the token's own text


class TextEncoding:
    """The ways a tokenizer encodes text.

    ``plain``: all of it is text, a literal ``"<eos>"`` too. ``written``: a template wrote it, so its special tokens are
    special, save where :meth:`quote` hid those that stood in somebody's text.
    """

    def __init__(self, backend: tokenizers.Tokenizer) -> None:
        """Wrap ``backend``, which must have neither padding nor truncation."""
        backend.encode_special_tokens = True
        self._backend = backend
        self._nonce = "".join(str(byte) for byte in secrets.token_bytes(6))

    def plain(self, texts: Sequence[str]) -> list[tokenizers.Encoding]:
        """Encode texts as nothing but text; no BOS, no EOS."""
        return _encode(self._plain_backend, texts)

    def written(self, texts: Sequence[str]) -> list[list[int]]:
        """Encode texts of a template; no BOS or EOS but those it wrote."""
        marked = [text for text in texts if self._mark in text]
        if not marked:
            return [list(each.ids) for each in _encode(self._special_backend, texts)]
        return [self._unquoted(text) if self._mark in text else self.written([text])[0] for text in texts]

    def quote(self, text: str) -> str:
        """Return ``text`` with its special tokens hidden from :meth:`written`, which gives them back as text."""
        if self._specials is None:
            return text
        return self._specials.sub(lambda found: f"{self._mark}{self._ids[found[0]]}]", text)

    def after(self, start: str, texts: Sequence[str]) -> list[list[int]]:
        """Encode what follows ``start`` in texts of a template, as it is encoded behind ``start``.

        Where the two share a token, or the tokenizer reads on in another way, ``texts`` are encoded by themselves.
        """
        first = self.written([start])[0]
        whole = self.written([start + text for text in texts])
        alone = [row for row, ids in enumerate(whole) if ids[: len(first)] != first]
        result = [ids[len(first) :] for ids in whole]
        for row in alone:
            result[row] = self.written([texts[row]])[0]
        return result

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self._backend.encode_special_tokens = True  # pickling a tokenizers.Tokenizer forgets it

    def __getstate__(self) -> dict[str, object]:
        made = ("_plain_backend", "_special_backend", "_renamed")
        return {name: value for name, value in self.__dict__.items() if name not in made}

    @cached_property
    def _ids(self) -> dict[str, int]:
        """Ids of special tokens by their text."""
        added = self._backend.get_added_tokens_decoder()
        return {token.content: int(id_) for id_, token in added.items() if token.special and token.content}

    @cached_property
    def _specials(self) -> re.Pattern[str] | None:
        """Finds special tokens in a text, the longest where several begin."""
        texts = sorted(self._ids, key=len, reverse=True)
        return re.compile("|".join(map(re.escape, texts))) if texts else None

    @property
    def _mark(self) -> str:
        return f"[{self._nonce}:"  # the same in upper case, and in JSON

    @cached_property
    def _plain_backend(self) -> tokenizers.Tokenizer:
        """The tokenizer, unless its model finds special tokens in text all the same (unigram models do)."""
        texts = list(self._ids)
        found = self._backend.encode_batch(texts, add_special_tokens=False)
        leaks = any(self._ids[text] in encoding.ids for text, encoding in zip(texts, found, strict=True))
        return self._renamed.backend if leaks else self._backend

    @cached_property
    def _special_backend(self) -> tokenizers.Tokenizer:
        special = tokenizers.Tokenizer.from_str(self._backend.to_str())
        special.encode_special_tokens = False
        return special

    @cached_property
    def _renamed(self) -> _Renamed:
        names = {text: f"\ue002{self._nonce}:{id_}\ue003" for text, id_ in self._ids.items()}
        description = json.loads(self._backend.to_str())
        for token in description["added_tokens"]:
            if token["content"] in names:
                token |= {"content": names[token["content"]], "normalized": False}
        model = description["model"]
        match model.get("vocab"):
            case dict(vocabulary):
                model["vocab"] = {names.get(piece, piece): id_ for piece, id_ in vocabulary.items()}
            case list(pieces):
                model["vocab"] = [[names.get(piece, piece), *rest] for piece, *rest in pieces]
        if model.get("merges"):  # a merge that makes a special token out of text is one that text must not have
            model["merges"] = [pair for pair in model["merges"] if _merged(pair) not in names]
        if model.get("unk_token") in names:
            model["unk_token"] = names[model["unk_token"]]
        description["post_processor"] = None
        renamed = tokenizers.Tokenizer.from_str(json.dumps(description))
        renamed.encode_special_tokens = False
        return _Renamed(renamed, names)

    def _unquoted(self, text: str) -> list[int]:
        """Encode a template's text in which special tokens of somebody's text are hidden."""
        if self._specials is None:
            return self.written([text])[0]
        backend, names = self._renamed
        text = self._specials.sub(lambda found: names[found[0]], text)
        originals = {id_: content for content, id_ in self._ids.items()}
        text = re.sub(f"{re.escape(self._mark)}(\\d+)]", lambda found: originals[int(found[1])], text)
        return list(_encode(backend, [text])[0].ids)


def _merged(pair: str | Sequence[str]) -> str:
    """Return the piece that a merge makes; older files write the two with a space between them."""
    return "".join(pair.split(" ", 1) if isinstance(pair, str) else pair)


def _encode(backend: tokenizers.Tokenizer, texts: Sequence[str]) -> list[tokenizers.Encoding]:
    """Encode texts; halves of surrogate pairs, which Python's strings hold and no tokenizer takes, become ``?``."""
    texts = [text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8") for text in texts]
    if sum(map(len, texts)) > _QUICK_CHARACTERS:
        return list(backend.encode_batch(texts, add_special_tokens=False))
    return [backend.encode(text, add_special_tokens=False) for text in texts]
