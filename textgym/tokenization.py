"""Text to token ids and back, without torch: the ``tokenizers`` library plus the facts a text environment needs."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import tokenizers

from textgym.errors import CheckpointError, MissingExtraError, ModelError
from textgym.foreign import LARGEST_TOKENIZER, read_json, require_regular, require_regular_files
from textgym.hub import resolve_folder
from textgym.stopping import StopTable, build_stop_table
from textgym.token_bytes import token_bytes

_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "generation_config.json",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
)
_SPACE = re.compile(r"[ \t\n\r]")  # what no tokenizer's normalizer removes
_MOST_CHARACTERS = 6  # per id, on average, of a text that is cut before it is encoded
# While the threads of a language model spin on all cores, to wake the tokenizer's takes longer than so little work.
_QUICK, _QUICK_CHARACTERS = 2**13, 2**15
_SENTINEL = "textgym\ue000user\ue001text"


class EncodedPrompt(NamedTuple):
    """The ids of one prompt, and whether its body had to be cut to fit."""

    ids: list[int]
    truncated: bool


@dataclass(frozen=True, slots=True)
class _Frame:
    """Ids that surround every prompt: a BOS, or the pieces of a chat template."""

    head: tuple[int, ...]
    tail: tuple[int, ...]


class Tokenizer:
    """A tokenizer as text environments use it.

    User text never turns into special tokens: a literal ``"<eos>"`` in a document is encoded as plain text. Nothing
    adds an EOS. A prompt starts with the tokenizer's own BOS where its post-processor adds one (Llama does, GPT-2 does
    not); a suffix of the post-processor (the EOS of T5) is not added.

    Attributes:
        name: The name it was loaded by.
        folder: Where its files are.
        vocab_size: Largest id + 1, added tokens included: the number of actions.
        eos_ids: Ids that end a text, sorted: those of ``generation_config.json``, ``config.json`` and
            ``tokenizer_config.json`` together.
        pad_id: Any valid id for masked positions. It may be an EOS id in foreign tokenizers; ends are found by EOS ids
            and lengths, never by this id.
    """

    def __init__(self, backend: tokenizers.Tokenizer, *, name: str, folder: Path) -> None:
        """Wrap ``backend``; most callers want :meth:`load`."""
        backend.no_padding()
        backend.no_truncation()
        backend.encode_special_tokens = True
        self.name = name
        self.folder = folder
        self._backend = backend
        # Kept in memory: the folder may be a checkpoint that is deleted while its model goes on training.
        self._files = {name: (folder / name).read_bytes() for name in _FILES if (folder / name).is_file()}
        self._config = _read_json(folder / "tokenizer_config.json")
        vocabulary = backend.get_vocab(with_added_tokens=True)
        self.vocab_size = max(vocabulary.values()) + 1
        self.eos_ids = self._find_eos_ids()
        self.pad_id = self._find_pad_id()

    @classmethod
    def load(cls, name: str | Path) -> Tokenizer:
        """Load the tokenizer of a model.

        Args:
            name: ``"tiny"``, a folder (a run folder that holds ``model/`` too), or an id on the Hugging Face Hub.

        Raises:
            CheckpointError: Nothing of that name is found, or it has no tokenizer.
        """
        folder = resolve_folder(name)
        file = folder / "tokenizer.json"
        stamp = file.stat().st_mtime_ns if file.is_file() else 0
        return _load(str(name), folder, stamp)

    def save(self, folder: str | Path) -> None:
        """Write the tokenizer's files into ``folder``; a ``generation_config.json`` that is there already stays."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in self._files.items():
            if name != "generation_config.json" or not (folder / name).exists():
                (folder / name).write_bytes(content)

    @cached_property
    def fingerprint(self) -> str:
        """First 16 hex digits of the SHA-256 of the canonical tokenizer JSON: vocabulary and all stages."""
        description = json.loads(self._backend.to_str())
        for state in ("version", "truncation", "padding"):
            description.pop(state, None)
        canonical = json.dumps(description, sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]

    @cached_property
    def token_bytes(self) -> tuple[bytes, ...]:
        """The bytes that each id adds to a text, ``b""`` for special tokens and unused ids; ``vocab_size`` of them."""
        return token_bytes(self._backend, self.vocab_size)

    def encode(self, text: str) -> list[int]:
        """Return the ids of ``text``, all of it plain text; no BOS, no EOS."""
        return list(self._backend.encode(text, add_special_tokens=False).ids)

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Return :meth:`encode` of every text, in one call."""
        return [list(item.ids) for item in self._backend.encode_batch(list(texts), add_special_tokens=False)]

    def encode_response(self, text: str) -> list[int]:
        """Return the ids of ``" " + text`` (of ``text`` where the tokenizer itself puts a space first); no EOS.

        An empty text has no ids.
        """
        return self.encode_response_batch([text])[0]

    def encode_response_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Return :meth:`encode_response` of every text, in one call."""
        space = "" if self._puts_space_first else " "
        return self.encode_batch([space + text if text else "" for text in texts])

    def encode_prompt(self, before: str, body: str, after: str, budget: int) -> EncodedPrompt:
        """Encode one prompt of at most ``budget`` ids; see :meth:`encode_prompts`."""
        return self.encode_prompts(before, [body], after, budget)[0]

    def encode_prompts(self, before: str, bodies: Sequence[str], after: str, budget: int) -> list[EncodedPrompt]:
        """Encode prompts ``before + body + after`` of at most ``budget`` ids each.

        The three pieces are tokenised apart and joined as ids. A body that does not fit loses its *end*: as many of its
        tokens are kept as fit, then everything after the last white space in them is dropped (nothing is, if there is
        none). ``before`` and ``after`` always stay. Where the model has a chat template, the three are the content of
        one user message and the template's generation prompt follows. A prompt without any id becomes one EOS id (else
        pad).

        Raises:
            ValueError: The budget is too small even for an empty body.
        """
        head, tail = [*self._frame.head, *self.encode(before)], [*self.encode(after), *self._frame.tail]
        room = budget - len(head) - len(tail)
        if room < 0:
            raise ValueError(
                f"expected a budget of at least {len(head) + len(tail)} tokens, for the text around the document, "
                f"got {budget}; raise max_prompt_tokens or shorten the prompt template"
            )
        encodings = self._encode_starts(bodies, room)
        fallback = [self.eos_ids[0] if self.eos_ids else self.pad_id]
        prompts = []
        for body, encoding in zip(bodies, encodings, strict=True):
            fits = len(encoding) <= room
            ids = encoding.ids if fits else encoding.ids[: _cut(body, encoding, room)]
            prompts.append(EncodedPrompt([*head, *ids, *tail] or fallback, not fits))
        return prompts

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of ``ids``: special tokens skipped, white space stripped from both ends."""
        return self.decode_batch([ids])[0]

    def decode_batch(self, batch: Iterable[Iterable[int]], *, strip: bool = True) -> list[str]:
        """Return the text of every sequence of ids; unstripped with ``strip=False``."""
        rows = [list(ids) for ids in batch]
        if sum(map(len, rows)) > _QUICK:
            texts = self._backend.decode_batch(rows, skip_special_tokens=True)
        else:
            texts = [self._backend.decode(ids, skip_special_tokens=True) for ids in rows]
        return [text.strip() for text in texts] if strip else texts

    def stop_table(self, stops: Sequence[str]) -> StopTable:
        """Return the automaton that finds the end of a text at any of ``stops`` token by token, without decoding."""
        return build_stop_table(stops, self.token_bytes)

    def require_eos(self) -> int:
        """Return the id that ends a text (the smallest, if there are several).

        Raises:
            ModelError: The tokenizer has none.
        """
        if not self.eos_ids:
            raise ModelError(
                f"expected a tokenizer with an end-of-text token, got none in {self.name!r}; set eos_token in its "
                "tokenizer_config.json or eos_token_id in generation_config.json"
            )
        return self.eos_ids[0]

    def __repr__(self) -> str:
        return f"Tokenizer({self.name!r}, vocab_size={self.vocab_size}, fingerprint={self.fingerprint!r})"

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._backend.encode_special_tokens = True  # pickling a tokenizers.Tokenizer forgets it

    def _encode_starts(self, bodies: Sequence[str], room: int) -> list[tokenizers.Encoding]:
        """Encode so much of each text that its first ``room`` ids, and whether it has more, are those of all of it."""
        starts = [_start(body, room * _MOST_CHARACTERS) for body in bodies]
        if sum(map(len, starts)) > _QUICK_CHARACTERS:
            encodings = list(self._backend.encode_batch(starts, add_special_tokens=False))
        else:
            encodings = [self._backend.encode(start, add_special_tokens=False) for start in starts]
        for place, (body, start) in enumerate(zip(bodies, starts, strict=True)):
            if len(start) < len(body) and len(encodings[place]) <= room:
                encodings[place] = self._backend.encode(body, add_special_tokens=False)
        return encodings

    @cached_property
    def _puts_space_first(self) -> bool:
        first = self.encode("x")
        return bool(first) and self.token_bytes[first[0]].startswith(b" ")

    @cached_property
    def _frame(self) -> _Frame:
        template = self._chat_template()
        if template is None:
            return _Frame(self._bos(), ())
        head, tail = self._render(template)
        special = tokenizers.Tokenizer.from_str(self._backend.to_str())
        special.encode_special_tokens = False
        pieces = special.encode_batch([head, tail], add_special_tokens=False)
        return _Frame(tuple(pieces[0].ids), tuple(pieces[1].ids))

    def _bos(self) -> tuple[int, ...]:
        """Return the ids that the tokenizer's own post-processor puts before a text."""
        encoding = self._backend.encode("x", add_special_tokens=True)
        mask = list(encoding.special_tokens_mask)
        return tuple(encoding.ids[: mask.index(0)]) if 0 in mask else ()

    def _chat_template(self) -> str | None:
        """Return the Jinja source of the model's default chat template, if it has one."""
        file = self.folder / "chat_template.jinja"
        if file.is_file():
            return file.read_text(encoding="utf-8")
        template = self._config.get("chat_template")
        if isinstance(template, list):
            named = {item.get("name"): item.get("template") for item in template}
            template = named.get("default")
        return template if isinstance(template, str) else None

    def _render(self, template: str) -> tuple[str, str]:
        """Return what the chat template writes before and after a user message."""
        from textgym.chat import render_user_message

        tokens = {key: self._token_text(key) for key in ("bos_token", "eos_token", "pad_token", "unk_token")}
        return render_user_message(template, _SENTINEL, tokens)

    def _token_text(self, key: str) -> str:
        """Return a special token's text as ``tokenizer_config.json`` gives it (a string or a dict), else ``""``."""
        value = self._config.get(key) or _read_json(self.folder / "special_tokens_map.json").get(key)
        value = value.get("content") if isinstance(value, dict) else value
        return value if isinstance(value, str) else ""

    def _find_eos_ids(self) -> tuple[int, ...]:
        found = set[int]()
        for name in ("generation_config.json", "config.json"):
            found.update(_as_ids(_read_json(self.folder / name).get("eos_token_id")))
        token = self._backend.token_to_id(self._token_text("eos_token"))
        found.update(_as_ids(token))
        return tuple(sorted(id_ for id_ in found if 0 <= id_ < self.vocab_size))

    def _find_pad_id(self) -> int:
        candidates = _as_ids(self._backend.token_to_id(self._token_text("pad_token")))
        for name in ("generation_config.json", "config.json"):
            candidates += _as_ids(_read_json(self.folder / name).get("pad_token_id"))
        candidates += [*self.eos_ids, 0]
        return next(id_ for id_ in candidates if 0 <= id_ < self.vocab_size)


@lru_cache(maxsize=8)
def _load(name: str, folder: Path, stamp: int) -> Tokenizer:
    """Load a tokenizer once per name, folder and time of change (``stamp``)."""
    file = folder / "tokenizer.json"
    if not file.is_file():
        return Tokenizer(_load_slow(folder), name=name, folder=folder)
    try:
        require_regular(file, LARGEST_TOKENIZER)
        backend = tokenizers.Tokenizer.from_file(str(file))
    except Exception as error:  # the tokenizers library raises bare Exception
        raise CheckpointError(f"expected a readable tokenizer in {file}, got: {error}; fetch it again") from error
    return Tokenizer(backend, name=name, folder=folder)


def _load_slow(folder: Path) -> tokenizers.Tokenizer:
    """Let transformers convert a tokenizer that has no ``tokenizer.json`` (this imports transformers)."""
    try:
        from transformers import AutoTokenizer
    except ImportError as error:
        raise MissingExtraError(f"{folder} has no tokenizer.json; pip install transformers to convert it") from error
    try:
        require_regular_files(folder)
        backend = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False).backend_tokenizer
    except Exception as error:
        raise CheckpointError(
            f"expected a tokenizer in {folder}, got none that can be read ({type(error).__name__}); "
            "put a tokenizer.json there (AutoTokenizer.from_pretrained(...).save_pretrained(...) writes one)"
        ) from error
    assert isinstance(backend, tokenizers.Tokenizer)
    return backend


def _start(text: str, length: int) -> str:
    """Return the words of ``text`` that begin within its first ``length`` characters, or a little more."""
    space = _SPACE.search(text, length)
    return text[: space.start()] if space else text


def _cut(body: str, encoding: tokenizers.Encoding, room: int) -> int:
    """Return how many ids of ``body`` to keep, at most ``room``, so that it ends at a word boundary."""
    if room == 0:
        return 0
    end = _end(encoding, room)
    kept = body[:end]
    if not body[end : end + 1].isspace():
        words = kept.rsplit(maxsplit=1)
        kept = kept[: len(kept) - len(words[-1])] if len(words) == 2 and not kept[-1].isspace() else kept
    stop = len(kept.rstrip())
    while _end(encoding, room) > stop:
        room -= 1
    return room


def _end(encoding: tokenizers.Encoding, count: int) -> int:
    """Return where the first ``count`` ids end in their text, in characters."""
    span = encoding.token_to_chars(count - 1) if count else None
    return 0 if span is None else span[1]


def _read_json(file: Path) -> dict[str, Any]:
    """Return the object in a JSON file, ``{}`` where there is no file."""
    if not file.is_file():
        return {}
    try:
        content = read_json(file)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"expected JSON in {file}, got: {error}; fetch it again") from error
    return content if isinstance(content, dict) else {}


def _as_ids(value: object) -> list[int]:
    """Return the ids in a config value that is an int, a list of ints or nothing."""
    values = value if isinstance(value, list) else [value]
    return [item for item in values if isinstance(item, int) and not isinstance(item, bool)]
