"""Text to token ids and back, without torch: the ``tokenizers`` library plus the facts a text environment needs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from functools import cached_property, lru_cache
from pathlib import Path

import tokenizers

from textgym.errors import CheckpointError, MissingExtraError, ModelError
from textgym.hub import is_encoder_decoder, resolve_folder, tokenizer_folder
from textgym.security.foreign import LARGEST_TOKENIZER, read_json, require_regular, require_regular_files
from textgym.text.chat import ChatTemplate
from textgym.text.encoding import TextEncoding
from textgym.text.prompts import EncodedPrompt, PromptEncoder
from textgym.text.replies import ReplyEncoder
from textgym.text.stopping import StopTable, build_stop_table
from textgym.text.token_bytes import token_bytes
from textgym.types import Message, Prompt
from textgym.values import as_list, as_object, as_text, attribute_of, is_whole

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
# While the threads of a language model spin on all cores, to wake the tokenizer's takes longer than so little work.
_QUICK = 2**13
_SPECIAL = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


class Tokenizer:
    """A tokenizer as text environments use it.

    User text never turns into special tokens: a literal ``"<eos>"`` in a document is encoded as plain text. Nothing
    adds an EOS. A prompt starts with the tokenizer's own BOS where its post-processor adds one (Llama does, GPT-2 does
    not). A suffix of the post-processor (the EOS of T5) is added where ``config.json`` says that the model is an
    encoder-decoder, whose encoder reads the prompt as a text of its own; a decoder goes on from a prompt without end.

    Attributes:
        encodes_prompts: Whether the model is an encoder-decoder.
        name: The name it was loaded by.
        folder: Where its files are.
        vocab_size: Largest id + 1, added tokens included: the number of actions.
        pad_id: A valid id for masked positions. It may be an EOS id in foreign tokenizers; ends are found by EOS ids
            and lengths, never by this id.
    """

    def __init__(self, backend: tokenizers.Tokenizer, *, name: str, folder: Path) -> None:
        """Wrap ``backend``; most callers want :meth:`load`."""
        backend.no_padding()
        backend.no_truncation()
        self.name = name
        self.folder = folder
        self._backend = backend
        self._encoding = TextEncoding(backend)
        # Kept in memory: the folder may be a checkpoint that is deleted while its model goes on training.
        self._files = {name: (folder / name).read_bytes() for name in _FILES if (folder / name).is_file()}
        if "tokenizer.json" not in self._files:  # it was converted
            self._files["tokenizer.json"] = backend.to_str(pretty=True).encode()
        self._config = _read_json(folder / "tokenizer_config.json")
        self._special_tokens_map = _read_json(folder / "special_tokens_map.json")
        vocabulary = backend.get_vocab(with_added_tokens=True)
        self.vocab_size = max(vocabulary.values()) + 1
        self.encodes_prompts = is_encoder_decoder(folder)
        self._config_eos = self._find_eos_ids()
        self.pad_id = self._find_pad_id()

    @classmethod
    def load(cls, name: str | Path) -> Tokenizer:
        """Load the tokenizer of a model.

        Args:
            name: ``"tiny"``, a folder (a run folder that holds ``model/`` too), or an id on the Hugging Face Hub.

        Raises:
            CheckpointError: Nothing of that name is found, or it has no tokenizer.
        """
        folder = tokenizer_folder(resolve_folder(name))
        files = [folder / file for file in ("tokenizer.json", "config.json")]
        return _load(str(name), folder, tuple(file.stat().st_mtime_ns if file.is_file() else 0 for file in files))

    def save(self, folder: str | Path) -> None:
        """Write the tokenizer's files into ``folder``; a ``generation_config.json`` that is there already stays."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in self._files.items():
            if name != "generation_config.json" or not (folder / name).exists():
                (folder / name).write_bytes(content)

    @cached_property
    def eos_ids(self) -> tuple[int, ...]:
        """Ids that end a text, sorted: those of ``generation_config.json``, ``config.json``, ``tokenizer_config.json``.

        The one that the model's chat template puts behind a turn of the assistant is among them.
        """
        return tuple(sorted({*self._config_eos, *self.response_end[-1:]}))

    @cached_property
    def fingerprint(self) -> str:
        """First 16 hex digits of the SHA-256 of the canonical tokenizer JSON: vocabulary and all stages.

        Where prompts are encoded by themselves, another one, since the same prompt has other ids then. A template that
        adds no token to a text is left out: transformers writes one where none was.
        """
        description = json.loads(self._backend.to_str())
        for state in ("version", "truncation", "padding"):
            description.pop(state, None)
        template = description.get("post_processor")
        if template is not None and template.get("single") == [{"Sequence": {"id": "A", "type_id": 0}}]:
            description["post_processor"] = None
        if self.encodes_prompts:
            description["encodes_prompts"] = True
        canonical = json.dumps(description, sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]

    @cached_property
    def token_bytes(self) -> tuple[bytes, ...]:
        """The bytes that each id adds to a text, ``b""`` for special tokens and unused ids; ``vocab_size`` of them."""
        return token_bytes(self._backend, self.vocab_size)

    @cached_property
    def response_end(self) -> tuple[int, ...]:
        """Ids behind a finished response: what the model's chat template writes up to its terminator, or one EOS.

        Without a template, it is the smallest of several EOS ids. The last of them is an EOS id. Empty where the
        tokenizer has none.
        """
        own = self._config_eos[:1]
        if self._template is None:
            return own
        turn, named = self._template.turn, self._backend.token_to_id(self._token_text("eos_token"))
        before, added = turn.opening + turn.lead + "x", self._backend.get_added_tokens_decoder()
        closing, following = (self._encoding.after(before, [text])[0] for text in (turn.closing, turn.next))
        for ids, ends in ((closing, {*self._config_eos, *added}), (following, {*self._config_eos})):
            place = next((place for place, id_ in enumerate(ids) if id_ in ends), None)
            if place is not None:
                return tuple(ids[: place + 1])
        return (named,) if named in self._config_eos else own

    @cached_property
    def bos_ids(self) -> tuple[int, ...]:
        """Ids that the tokenizer's own post-processor puts before a text; a chat template writes its own."""
        encoding = self._backend.encode("x", add_special_tokens=True)
        mask = list(encoding.special_tokens_mask)
        return tuple(encoding.ids[: mask.index(0)]) if 0 in mask else ()

    @cached_property
    def prompt_end(self) -> tuple[int, ...]:
        """Ids that the tokenizer's own post-processor puts behind the prompt of an encoder-decoder; else none."""
        encoding = self._backend.encode("x", add_special_tokens=True)
        mask = list(encoding.special_tokens_mask)
        if not self.encodes_prompts or self._template is not None or 0 not in mask:
            return ()
        return tuple(encoding.ids[len(mask) - mask[::-1].index(0) :])

    @property
    def has_chat_template(self) -> bool:
        """Return whether the model reads conversations by a chat template of its own."""
        return self._template is not None

    def accepted_messages(self, messages: Sequence[Message]) -> list[Message]:
        """Return a conversation as the model's chat template takes it, which may know no system; without one, as it is.

        Raises:
            CheckpointError: The template fails.
        """
        return list(messages) if self._template is None else self._template.accepted(messages)

    def encode(self, text: str) -> list[int]:
        """Return the ids of ``text``, all of it plain text; no BOS, no EOS."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Return :meth:`encode` of every text, in one call."""
        return [list(item.ids) for item in self._encoding.plain(texts)]

    def encode_words(self, text: str) -> list[int]:
        """Return the ids of words that follow others: of ``" " + text``, or of ``text`` where a space comes by itself.

        An empty text has no ids.
        """
        return self._encode_words([text])[0]

    def encode_response(self, text: str) -> list[int]:
        """Return the ids of ``text`` as the response to a prompt, without :attr:`response_end`.

        Where the model has a chat template, they are those that it gives the assistant's text: nothing comes between
        the two but what the template writes. Those of an encoder-decoder are :meth:`encode`: it is a text of its own.
        Otherwise they are :meth:`encode_words`.
        """
        return self.encode_response_batch([text])[0]

    def encode_response_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Return :meth:`encode_response` of every text, in one call."""
        if self._template is None:
            return self.encode_batch(texts) if self.encodes_prompts else self._encode_words(texts)
        turn = self._template.turn
        return self._encoding.after(turn.opening, [turn.lead + self._encoding.quote(text) for text in texts])

    def encode_prompt(self, prefix: str, body: str, suffix: str, budget: int) -> EncodedPrompt:
        """Encode the prompt ``prefix + body + suffix`` of at most ``budget`` ids; see :meth:`encode_prompts`."""
        return self.encode_prompts([Prompt(prefix, body, suffix)], budget)[0]

    def encode_prompts(self, prompts: Sequence[Prompt], budget: int) -> list[EncodedPrompt]:
        """Encode prompts of at most ``budget`` ids each.

        The ids are those of the whole text. Where the model has a chat template, that text is what the template makes
        of the conversation, with the beginning of the assistant's turn. A prompt without any id becomes one EOS id
        (else pad).

        What does not fit is cut as text before it is encoded. A conversation loses its oldest turns first, a question
        with its answer. Then the body loses its *end*, back to a word boundary (in scripts without spaces, and in very
        long words, to a whole character), and then the system's message. ``prefix`` and ``suffix`` always stay.

        Raises:
            ValueError: The budget is too small even for the beginning of the body.
        """
        return self._prompt_encoder(prompts, budget)

    def encode_reply(self, messages: Sequence[Message], budget: int, *, ended: bool) -> EncodedPrompt:
        r"""Encode what the other side says behind a turn of the agent, up to where the agent's next turn begins.

        With a chat template, that is what the template writes between two turns of the assistant (without the
        terminator, where the agent ``ended`` its turn by it); else lines: ``"\nUser: ...\nAssistant:"``, with
        :attr:`prompt_end` behind them. What does not fit ``budget`` ids is cut from the end of the last message.

        Raises:
            ValueError: The budget is too small even for an empty last message.
        """
        return self._reply_encoder(messages, budget, ended=ended)

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
        """Return the automaton that finds the end of a text at any of ``stops`` token by token, without decoding.

        Raises:
            ValueError: A stop string is empty, or not one that the tokenizer can write.
            TypeError: ``stops`` is one string instead of a sequence of them.
        """
        table = build_stop_table(stops, self.token_bytes)
        for stop in table.stops:
            (written,) = self.decode_batch([self.encode(f"x{stop}x")], strip=False)
            if stop not in written:
                raise ValueError(
                    f"expected stop strings that the tokenizer of {self.name!r} can write, got {stop!r}, of which it "
                    f"makes {written[1:-1]!r}; give a string that it keeps"
                )
        return table

    def require_eos(self) -> int:
        """Return the id that ends a response, the last of :attr:`response_end`.

        Raises:
            ModelError: The tokenizer has none.
        """
        if not self.response_end:
            raise ModelError(
                f"expected a tokenizer with an end-of-text token, got none in {self.name!r}; set eos_token in its "
                "tokenizer_config.json or eos_token_id in generation_config.json"
            )
        return self.response_end[-1]

    def __repr__(self) -> str:
        return f"Tokenizer({self.name!r}, vocab_size={self.vocab_size}, fingerprint={self.fingerprint!r})"

    @cached_property
    def _puts_space_first(self) -> bool:
        first = self.encode("x")
        return bool(first) and self.token_bytes[first[0]].startswith(b" ")

    def _encode_words(self, texts: Sequence[str]) -> list[list[int]]:
        space = "" if self._puts_space_first else " "
        return self.encode_batch([space + text if text else "" for text in texts])

    @cached_property
    def _prompt_encoder(self) -> PromptEncoder:
        fallback = self.eos_ids[0] if self.eos_ids else self.pad_id
        return PromptEncoder(self._encoding, self._template, self.bos_ids, fallback, self.prompt_end)

    @cached_property
    def _reply_encoder(self) -> ReplyEncoder:
        return ReplyEncoder(self._encoding, self._template, self.response_end, self.prompt_end)

    @cached_property
    def _template(self) -> ChatTemplate | None:
        """The model's default chat template, if it has one."""
        file = self._files.get("chat_template.jinja")
        source = self._config.get("chat_template") if file is None else file.decode("utf-8", errors="replace")
        if isinstance(source, list):
            named = {item.get("name"): item.get("template") for item in source if isinstance(item, dict)}
            if named and "default" not in named:
                raise CheckpointError(
                    f"expected a chat template called 'default' in {self.name!r}, got {', '.join(map(str, named))}; "
                    "put the one to use into chat_template.jinja"
                )
            source = named.get("default")
        if not isinstance(source, str):
            return None
        others = (name for name in self._named_tokens if name.endswith("_token") or name in self._own_tokens)
        names = dict.fromkeys((*_SPECIAL, *others))
        return ChatTemplate(source, {name: text for name in names if (text := self._token_text(name))})

    @cached_property
    def _own_tokens(self) -> dict[str, object]:
        """Tokens with names that models give themselves."""
        groups = (self._config.get(name) for name in ("model_specific_special_tokens", "extra_special_tokens"))
        return {name: token for group in groups for name, token in as_object(group).items()}

    @cached_property
    def _named_tokens(self) -> dict[str, object]:
        """Return all entries of the tokenizer's files, those about tokens among them, by name."""
        return (
            self._special_tokens_map | {name: value for name, value in self._config.items() if value} | self._own_tokens
        )

    def _token_text(self, key: str) -> str:
        """Return a special token's text as ``tokenizer_config.json`` gives it (a string or a dict), else ``""``."""
        value = self._named_tokens.get(key)
        return as_text(as_object(value).get("content", value))

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
        candidates += [*self._config_eos, 0]
        return next(id_ for id_ in candidates if 0 <= id_ < self.vocab_size)


@lru_cache(maxsize=8)
def _load(name: str, folder: Path, stamp: tuple[int, ...]) -> Tokenizer:
    """Load a tokenizer once per name, folder and times of changes (``stamp``)."""
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
        converted = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False)
    except ImportError as error:
        raise MissingExtraError(f"to convert the tokenizer in {folder}, a package is missing: {error}") from error
    except Exception as error:
        raise _no_tokenizer(folder, type(error).__name__) from error
    backend = attribute_of(converted, "backend_tokenizer")
    if not isinstance(backend, tokenizers.Tokenizer):
        raise _no_tokenizer(folder, f"{type(converted).__name__} has no fast form")
    added = backend.get_added_tokens_decoder()
    pieces = [piece for piece, id_ in backend.get_vocab(with_added_tokens=False).items() if id_ not in added]
    if not any(letter.isalnum() for piece in pieces for letter in piece):
        # Transformers makes one up where files are missing.
        raise _no_tokenizer(folder, "there are no tokens that letters could be made of")
    return backend


def _no_tokenizer(folder: Path, reason: str) -> CheckpointError:
    return CheckpointError(
        f"expected a tokenizer in {folder}, got none that can be read ({reason}); put a tokenizer.json there "
        "(AutoTokenizer.from_pretrained(...).save_pretrained(...) writes one)"
    )


def _read_json(file: Path) -> dict[str, object]:
    """Return the object in a JSON file, ``{}`` where there is no file."""
    if not file.is_file():
        return {}
    try:
        content = read_json(file)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"expected JSON in {file}, got: {error}; fetch it again") from error
    return as_object(content)


def _as_ids(value: object) -> list[int]:
    """Return the ids in a config value that is an int, a list of ints or nothing."""
    return [item for item in (value, *as_list(value)) if is_whole(item)]
