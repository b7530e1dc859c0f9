from __future__ import annotations

import functools
import json
import pickle
import re
from pathlib import Path

import pytest
import tokenizers
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import decoders, models, normalizers, pre_tokenizers

from tests.chat_templates import ENDS, build_tokenizer, write_chat_folder
from textgym.errors import CheckpointError, MissingExtraError, ModelError
from textgym.hub import resolve_folder
from textgym.tasks import Summarization
from textgym.text.prompts import cut_text
from textgym.text.stopping import build_stop_table
from textgym.text.tokenizer import Tokenizer
from textgym.types import Message, Prompt

TEXTS = st.text(max_size=60)
WORDS = st.text("ab T.\n今é", max_size=40)


@functools.cache
def _built(kind: str) -> tokenizers.Tokenizer:
    return build_tokenizer(kind)


@functools.cache
def _wrapped(kind: str) -> Tokenizer:
    """A tokenizer of a published kind, without files."""
    backend = tokenizers.Tokenizer.from_str(_built(kind).to_str())
    return Tokenizer(backend, name=kind, folder=Path("/nowhere"))


@pytest.fixture(scope="session")
def tokenizer(tokenizer_folder: Path) -> Tokenizer:
    return Tokenizer.load(tokenizer_folder)


def test_facts_of_a_folder(tokenizer: Tokenizer) -> None:
    assert (tokenizer.pad_id, tokenizer.eos_ids) == (0, (1,))
    vocabulary = json.loads((tokenizer.folder / "tokenizer.json").read_text())["model"]["vocab"]
    assert tokenizer.vocab_size == max(vocabulary.values()) + 1
    assert len(tokenizer.fingerprint) == 16


def test_pad_may_be_eos_and_hides_no_eos(foreign_folder: Path) -> None:
    foreign = Tokenizer.load(foreign_folder)
    assert foreign.pad_id == 1
    assert foreign.eos_ids == (0, 1)


def test_require_eos(tokenizer: Tokenizer, foreign_folder: Path, tmp_path: Path) -> None:
    assert tokenizer.require_eos() == 1
    assert Tokenizer.load(foreign_folder).require_eos() == 0
    (tmp_path / "tokenizer.json").write_bytes((tokenizer.folder / "tokenizer.json").read_bytes())
    without = Tokenizer.load(tmp_path)
    assert without.eos_ids == ()
    with pytest.raises(ModelError, match=r"end-of-text token, got none .* set eos_token"):
        without.require_eos()


def test_fingerprint_names_the_tokens_not_the_folder(
    tokenizer: Tokenizer, foreign_folder: Path, tmp_path: Path
) -> None:
    for file in tokenizer.folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    assert Tokenizer.load(tmp_path).fingerprint == tokenizer.fingerprint
    assert Tokenizer.load(foreign_folder).fingerprint != tokenizer.fingerprint


def test_fingerprint_stays_when_transformers_saves_again(tokenizer: Tokenizer, tmp_path: Path) -> None:
    """It writes a template that adds nothing to a text."""
    transformers.AutoTokenizer.from_pretrained(tokenizer.folder).save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "tokenizer.json").read_text(encoding="utf-8"))
    assert saved["post_processor"]["special_tokens"] == {}
    assert Tokenizer.load(tmp_path).fingerprint == tokenizer.fingerprint
    single = saved["post_processor"]["single"]
    (tmp_path / "tokenizer.json").write_text(
        json.dumps({**saved, "post_processor": {**saved["post_processor"], "single": single * 2}}), encoding="utf-8"
    )
    assert Tokenizer.load(tmp_path).fingerprint != tokenizer.fingerprint  # every text twice
    a_token = {"SpecialToken": {"id": "<eos>", "type_id": 0}}
    saved["post_processor"]["single"].insert(0, a_token)
    saved["post_processor"]["special_tokens"] = {"<eos>": {"id": "<eos>", "ids": [1], "tokens": ["<eos>"]}}
    (tmp_path / "tokenizer.json").write_text(json.dumps(saved), encoding="utf-8")
    assert Tokenizer.load(tmp_path).fingerprint != tokenizer.fingerprint


@pytest.mark.parametrize("kind", ENDS)
def test_no_text_has_the_ids_of_special_tokens(kind: str, tmp_path: Path) -> None:
    """Neither by matching, nor because a unigram model has them among its pieces."""
    foreign = Tokenizer.load(write_chat_folder(tmp_path, None, kind))
    text = f"The {ENDS[kind]} and <|im_end|> in it"
    specials = {token["id"] for token in json.loads(foreign._backend.to_str())["added_tokens"] if token["special"]}
    for each in (foreign, pickle.loads(pickle.dumps(foreign))):
        assert not specials & {*each.encode(text), *each.encode_response(text)}
        assert each.encode_prompt("", text, "", 200).ids[len(each.bos_ids) :] == each.encode(text)
        assert each.decode(each.encode(text)) == text


@pytest.mark.parametrize("kind", ENDS)
@given(before=WORDS, body=WORDS, after=WORDS)
def test_uncut_prompts_are_what_the_tokenizer_makes_of_the_text(kind: str, before: str, body: str, after: str) -> None:
    """With no space at a joint that is not in the text, whatever a tokenizer puts before a text."""
    backend = _built(kind)
    tokenizer = _wrapped(kind)
    ids, cut = tokenizer.encode_prompt(before, body, after, 500)
    assert not cut
    assert ids == (backend.encode(before + body + after).ids or ids)


@pytest.mark.parametrize("kind", ENDS)
@given(body=WORDS, budget=st.integers(8, 40))
def test_cut_prompts_are_what_the_tokenizer_makes_of_the_shorter_text(kind: str, body: str, budget: int) -> None:
    tokenizer = _wrapped(kind)
    ids, cut = tokenizer.encode_prompt("Q ", body, "\nA", budget)
    assert len(ids) <= budget
    texts = ["Q " + body[:end] + "\nA" for end in range(len(body) + 1)]
    said = body.lstrip()  # where there is only room for the beginning of that
    texts[:0] = ["Q " + said[:end] + "\nA" for end in range(1, len(said) + 1)]
    assert ids in [_built(kind).encode(text).ids for text in texts]
    assert cut == (len(_built(kind).encode(texts[-1]).ids) > budget)


def test_special_tokens_in_user_text_are_text(tokenizer: Tokenizer) -> None:
    text = "The <eos> and <pad> tokens"
    for ids in (tokenizer.encode(text), tokenizer.encode_prompt("", text, "", 200).ids):
        assert not {0, 1} & set(ids)
        assert tokenizer.decode(ids) == text


@given(text=TEXTS)
def test_round_trip(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text)) == text.strip()
    assert tokenizer.decode(tokenizer.encode_response(text.strip())) == text.strip()


def test_halves_of_characters_are_no_error(tokenizer: Tokenizer, chat_folder: Path) -> None:
    assert tokenizer.decode(tokenizer.encode("a \ud83c b")) == "a ? b"
    for each in (tokenizer, Tokenizer.load(chat_folder)):
        assert "a ? <eos> b" in each.decode(each.encode_prompt("", "a \udc00 <eos> b", "", 99).ids)


def test_decode_skips_special_tokens(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("The council")
    assert tokenizer.decode([0, *ids[:1], 1, *ids[1:], 1]) == "The council"
    assert tokenizer.decode_batch([ids, []]) == ["The council", ""]


def test_response_starts_with_exactly_one_space(tokenizer: Tokenizer, metaspace_folder: Path) -> None:
    metaspace = Tokenizer.load(metaspace_folder)
    for each in (tokenizer, metaspace):
        raw = b"".join(each.token_bytes[id_] for id_ in each.encode_response("The council"))
        assert raw == b" The council"
        assert each.encode_response("") == []


def test_prompt_is_encoded_as_one_text(tokenizer: Tokenizer) -> None:
    prompt = tokenizer.encode_prompt("Text: ", "The council met", "\n\nSummary:", 100)
    assert prompt == (tokenizer.encode("Text: The council met\n\nSummary:"), False)


def test_prompt_cut_at_a_word_keeps_the_frame(tokenizer: Tokenizer) -> None:
    body = "The council met on Tuesday and voted for the new library"
    after = len(tokenizer.encode("\n\nSummary:"))
    for budget in range(after + 1, after + len(tokenizer.encode(body))):
        ids, cut = tokenizer.encode_prompt("", body, "\n\nSummary:", budget)
        kept = tokenizer.decode(ids[: len(ids) - after])
        assert cut
        assert len(ids) <= budget
        assert tokenizer.decode(ids).endswith("Summary:")
        assert body.startswith(kept)
        assert kept
        assert body[len(kept)] == " " or " " not in body[: len(kept) + 1]


@given(body=TEXTS, room=st.integers(6, 30))
def test_prompt_never_exceeds_its_budget(tokenizer: Tokenizer, body: str, room: int) -> None:
    budget = room + len(tokenizer.encode("\n\nSummary:"))
    ids, cut = tokenizer.encode_prompt("", body, "\n\nSummary:", budget)
    whole = tokenizer.encode(body + "\n\nSummary:")
    assert len(ids) <= budget
    assert tokenizer.decode_batch([ids], strip=False)[0].endswith("\n\nSummary:")
    assert cut == (len(whole) > budget)
    assert cut or ids == whole


@pytest.mark.parametrize("letters", ["ab ", "abcdefghijk", "東京 ", "a\n\n  "])
def test_long_texts_are_cut_as_if_all_of_them_was_encoded(tokenizer: Tokenizer, letters: str) -> None:
    """Also where most of a text is white space, or ids have many characters, so that its start has too few ids."""
    for length in range(1, 400, 7):
        body = (letters * length)[: 6 * length]
        ids = tokenizer.encode("a" + body)
        prompt = tokenizer.encode_prompt("a", body, "", 13)
        assert prompt.truncated == (len(ids) > 13)
        assert len(prompt.ids) <= 13
        kept = tokenizer.decode_batch([prompt.ids], strip=False)[0]
        assert ("a" + body).startswith(kept)
        assert prompt.ids == tokenizer.encode(kept)


@pytest.mark.parametrize(
    "body",
    [
        "今天天气很好。" * 400,
        "北京 " + "今天天气很好。" * 400,
        "วันนี้อากาศดีมาก" * 200,
        "Zm9vYmFyYmF6cXV4" * 300,
        "see Zm9vYmFyYmF6cXV4" + "Zm9vYmFyYmF6cXV4" * 300,
        "🎉" * 900,
        "e\u0301" * 900,
    ],
)
@pytest.mark.parametrize("kind", ENDS)
def test_texts_without_spaces_are_cut_near_the_budget_at_a_character(kind: str, body: str) -> None:
    tokenizer = _wrapped(kind)
    for budget in (40, 512):
        ids, cut = tokenizer.encode_prompt("", body, "\n\nSummary:", budget)
        kept = tokenizer._encoding.plain([body])[0]  # the unigram model gives unknown characters one id
        assert cut == (len(tokenizer.encode_prompt("", body, "\n\nSummary:", 10**6).ids) > budget)
        if cut:
            assert budget - 9 <= len(ids) <= budget, kept
        if kind != "unigram" and cut:
            text = tokenizer.decode(ids)
            assert text.endswith("\n\nSummary:")
            shown = text.removesuffix("\n\nSummary:")
            assert "�" not in shown
            assert body.startswith(shown)


@pytest.mark.parametrize(
    ("text", "end", "kept"),
    [
        ("The council met", 15, "The council met"),
        ("The council met", 14, "The council"),
        ("The council met", 11, "The council"),
        ("The council met", 12, "The council"),
        ("The council met", 4, "The"),
        ("Thecouncilmet", 4, "Thec"),
        ("a " + "b" * 100, 60, "a " + "b" * 58),
        ("今天天气很好", 4, "今天天气"),
        ("今天 天气很好", 5, "今天 天气"),
        ("今天ABCDEF", 5, "今天"),
        ("a " + "b" * 100, 9, "a " + "b" * 7),
        ("a " + "b" * 48, 9, "a"),
        ("ab e\u0301x", 4, "ab"),
        ("abe\u0301x", 3, "ab"),
        ("  ", 1, ""),
        ("", 0, ""),
    ],
)
def test_where_a_text_is_cut(text: str, end: int, kept: str) -> None:
    assert cut_text(text, end) == kept


def test_conversations_lose_their_oldest_turns_first(chat_folder: Path) -> None:
    chat = Tokenizer.load(chat_folder)
    system = Message("system", "Be kind.")
    turns = [Message(role, f"{role} {k}") for k in range(4) for role in ("user", "assistant")]
    asked = Prompt("Sum up: ", "The council met on Tuesday", "!", (system, *turns))

    def text(*earlier: Message, body: str = "The council met on Tuesday", first: str = "Be kind.") -> str:
        messages = [Message("system", first), *earlier, Message("user", f"Sum up: {body}!")]
        return "".join(f"<|start|>{role}\n{content}<eos>\n" for role, content in messages) + "<|start|>assistant\n"

    def kept(budget: int) -> str:
        ids, cut = chat.encode_prompts([asked], budget)[0]
        assert cut
        assert len(ids) <= budget
        return str(chat._backend.decode(ids, skip_special_tokens=False))

    size = [len(chat.encode_prompts([asked], 999)[0].ids)]
    for dropped in (2, 4, 6, 8):
        assert kept(size[-1] - 1) == text(*turns[dropped:])
        size.append(len(chat._encoding.written([text(*turns[dropped:])])[0]))
    assert kept(size[-1] - 1) == text(body="The council met on")
    least = chat._encoding.plain(["The"])[0].offsets[0][1]  # of the document, its first token stays
    first = {"body": "The"[:least]}
    size.append(len(chat._encoding.written([text(**first)])[0]))
    assert kept(size[-1]) == text(**first)
    assert kept(size[-1] - 1) == text(**first, first="Be")
    assert kept(len(chat._encoding.written([text(**first, first="")])[0])) == text(**first, first="")
    with pytest.raises(ValueError, match=r"at least .* got 5; raise max_prompt_tokens"):
        chat.encode_prompts([asked], 5)


def test_conversations_lose_their_oldest_turns_first_without_a_template_too(tokenizer: Tokenizer) -> None:
    turns = [Message(role, f"{role} {k}") for k in range(3) for role in ("user", "assistant")]
    asked = Prompt("", "The council met on Tuesday", "\nAssistant:", tuple(turns))

    def text(*earlier: Message, body: str = "The council met on Tuesday") -> str:
        lines = [f"{role.capitalize()}: {content}" for role, content in earlier]
        return "\n".join([*lines, f"User: {body}" if lines else body]) + "\nAssistant:"

    size = len(tokenizer.encode(text(*turns)))
    assert tokenizer.encode_prompts([asked], size)[0] == (tokenizer.encode(text(*turns)), False)
    for dropped in (2, 4, 6):
        left = tokenizer.encode(text(*turns[dropped:]))
        assert tokenizer.encode_prompts([asked], size - 1)[0] == (left, True)
        size = len(left)
    ids, _ = tokenizer.encode_prompts([asked], size - 1)[0]
    assert tokenizer.decode(ids) == text(body="The council met on")


def test_many_texts_are_decoded_like_few(tokenizer: Tokenizer) -> None:
    ids = [tokenizer.encode("The council met 東京 🎉"), [], [1, 5, 0]]
    assert tokenizer.decode_batch(ids * 3000) == tokenizer.decode_batch(ids) * 3000
    assert tokenizer.decode_batch(ids * 3000, strip=False) == tokenizer.decode_batch(ids, strip=False) * 3000


def test_prompts_in_a_batch_equal_single_ones(tokenizer: Tokenizer) -> None:
    bodies = ["The council met", "", "東京 🎉 " * 20]
    singles = [tokenizer.encode_prompt("a", body, "z", 20) for body in bodies]
    assert tokenizer.encode_prompts([Prompt("a", body, "z") for body in bodies], 20) == singles


def test_too_small_a_budget_says_what_is_needed(tokenizer: Tokenizer) -> None:
    with pytest.raises(ValueError, match=r"at least .* got 1"):
        tokenizer.encode_prompt("", "The council", "\n\nSummary: of it", 1)


@pytest.mark.parametrize("body", ["The council met", "  \n The council met", "Über den Rat", "The " * 5000])
def test_a_budget_that_leaves_nothing_of_a_document_is_an_error(
    body: str, tokenizer: Tokenizer, chat_folder: Path
) -> None:
    """The number that the message asks for is just enough."""
    for each in (tokenizer, Tokenizer.load(chat_folder)):
        frame = len(each.encode_prompts([Prompt("Say: ", "", "!")], 99)[0].ids)
        with pytest.raises(
            ValueError, match=rf"at least \d+ tokens, .* got {frame}; raise max_prompt_tokens"
        ) as caught:
            each.encode_prompts([Prompt("Say: ", body, "!")], frame)
        needed = int(re.findall(r"\d+", str(caught.value))[0])
        ids, cut = each.encode_prompts([Prompt("Say: ", body, "!")], needed)[0]
        assert cut
        assert len(ids) == needed
        assert f"Say: {body.lstrip()[0]}" in each._backend.decode(ids)
        assert each.encode_prompts([Prompt("Say: ", "", "!")], frame)[0] == (ids_of(each, "Say: !"), False)


def ids_of(tokenizer: Tokenizer, text: str) -> list[int]:
    return tokenizer.encode_prompts([Prompt("", text, "")], 99)[0].ids


def test_wholly_empty_prompt_has_one_id(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode_prompt("", "", "", 5).ids == [1]


def test_bos_of_the_post_processor_starts_prompts_only(metaspace_folder: Path) -> None:
    metaspace = Tokenizer.load(metaspace_folder)
    assert metaspace.encode_prompt("", "The council", "", 20).ids[0] == 1
    assert 1 not in metaspace.encode("The council")
    assert metaspace.decode(metaspace.encode("The council met 東")) == "The council met 東"


def test_chat_template_frames_the_text_and_stays_special(chat_folder: Path) -> None:
    chat = Tokenizer.load(chat_folder)
    ids = chat.encode_prompt("Sum up: ", "a <eos> b", "!", 60).ids
    expected = [2, *chat.encode("user\nSum up: a <eos> b!"), 1]
    assert ids[: len(expected)] == expected
    assert ids[len(expected) :] == [*chat.encode("\n"), 2, *chat.encode("assistant\n")]


def test_chat_template_runs_in_a_sandbox(chat_folder: Path, tmp_path: Path) -> None:
    for file in chat_folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "chat_template.jinja").write_text("{{ messages.__class__.__mro__[1].__subclasses__() }}")
    with pytest.raises(CheckpointError, match="chat template"):
        Tokenizer.load(tmp_path).encode_prompt("", "x", "", 50)


def test_pickles(tokenizer: Tokenizer) -> None:
    twin = pickle.loads(pickle.dumps(tokenizer))
    assert twin.fingerprint == tokenizer.fingerprint
    assert twin.encode("The <eos>") == tokenizer.encode("The <eos>")


def test_run_folder_holds_a_model(tokenizer_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    for file in tokenizer_folder.iterdir():
        (tmp_path / "model" / file.name).write_bytes(file.read_bytes())
    assert resolve_folder(tmp_path) == tmp_path / "model"
    assert Tokenizer.load(str(tmp_path)).vocab_size == Tokenizer.load(tokenizer_folder).vocab_size


@pytest.mark.parametrize("name", ["./no/such/folder", "/nowhere"])
def test_missing_folder_is_named(name: str) -> None:
    with pytest.raises(CheckpointError, match="does not exist"):
        resolve_folder(name)


def test_unknown_name_offline_suggests_the_shipped_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError, match="Did you mean 'tiny'"):
        resolve_folder("tinny")


def test_stop_strings_that_begin_with_a_space_do_not_meet_the_first_ones() -> None:
    """The space that joins a response to its prompt is no part of it; nor are others before the first word."""
    stop = build_stop_table([" END", "\n "], [b" ", b"END", b" END", b"x", b"\n", b" E", b""])
    assert _ends(stop, [2, 3]) == [False, False]
    assert _ends(stop, [0, 6, 0, 1, 3, 2]) == [False] * 5 + [True]
    assert _ends(stop, [5, 1, 5, 1]) == [False] * 4
    assert _ends(stop, [3, 0, 1]) == [False, False, True]
    assert _ends(stop, [0, 4, 0]) == [False, False, True]
    assert stop.cut("  END x END") == "  END x"
    assert stop.cut(" END") == " END"


@settings(max_examples=300)
@given(
    tokens=st.lists(st.text("a \n", max_size=3), min_size=1, max_size=12),
    stops=st.lists(st.text("a \n", min_size=1, max_size=4), max_size=3),
)
def test_stop_automaton_equals_a_search_behind_the_first_spaces(tokens: list[str], stops: list[str]) -> None:
    stop = build_stop_table(stops, [token.encode() for token in tokens])
    texts = ["".join(tokens[: count + 1]) for count in range(len(tokens))]
    assert _ends(stop, list(range(len(tokens)))) == [stop.cut(text) != text for text in texts]


def test_stop_strings_that_cannot_be_written(tmp_path: Path) -> None:
    pieces = ["[UNK]", "[PAD]", "x", "##x", "end", "a", ".", "##a"]
    vocabulary = {piece: place for place, piece in enumerate(pieces)}
    backend = tokenizers.Tokenizer(models.WordPiece(vocab=vocabulary, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    backend.save(str(tmp_path / "tokenizer.json"))
    tokenizer = Tokenizer.load(tmp_path)
    assert tokenizer.stop_table(["a", "."]).stops == ("a", ".")
    for stop, made in ((" .", "."), ("\n\n", " "), ("END", "")):
        with pytest.raises(ValueError, match=r"expected stop strings that the tokenizer of .* can write") as error:
            tokenizer.stop_table([stop])
        assert repr(stop) in str(error.value)
        assert made in str(error.value)


def test_stop_automaton_known_answer() -> None:
    tokens = [b"", b"a", b"b", b"ab", b"\n", b"\n\n", b"b\n"]
    stop = build_stop_table(["\n\n", "abb"], tokens)
    assert _ends(stop, [4, 1, 4]) == [False, False, False]
    assert _ends(stop, [4, 0, 4]) == [False, False, True]
    assert _ends(stop, [1, 3, 2]) == [False, False, True]
    assert _ends(stop, [6, 4, 1]) == [False, True, True]
    assert stop.cut("xabby\n\n") == "x"
    assert stop.cut("plain") == "plain"


def _ends(stop: object, ids: list[int]) -> list[bool]:
    state, seen = 0, []
    for id_ in ids:
        state = stop.table[state, id_]  # type: ignore[attr-defined]
        seen.append(bool(stop.hit[state]))  # type: ignore[attr-defined]
    return seen


@settings(max_examples=200)
@given(
    tokens=st.lists(st.text("ab\n", max_size=3), min_size=1, max_size=12),
    stops=st.lists(st.text("ab\n", min_size=1, max_size=4), max_size=3),
)
def test_stop_automaton_equals_a_search_in_the_text(tokens: list[str], stops: list[str]) -> None:
    stop = build_stop_table(stops, [token.encode() for token in tokens])
    text, expected = "", []
    for token in tokens:
        text += token
        expected.append(any(s in text for s in stops))
    assert _ends(stop, list(range(len(tokens)))) == expected


@pytest.mark.parametrize("folder", ["tokenizer_folder", "metaspace_folder"])
def test_token_bytes_join_to_the_text(folder: str, request: pytest.FixtureRequest) -> None:
    each = Tokenizer.load(request.getfixturevalue(folder))
    ids = each.encode_response("The council met: 東京\n🎉")
    assert b"".join(each.token_bytes[id_] for id_ in ids).decode() == " The council met: 東京\n🎉"


def test_bad_stop_strings_are_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(ValueError, match="non-empty"):
        tokenizer.stop_table([""])
    with pytest.raises(TypeError, match="sequence"):
        tokenizer.stop_table("\n")


def test_folder_without_tokenizer_json_is_converted(tokenizer: Tokenizer, tmp_path: Path) -> None:
    model = json.loads((tokenizer.folder / "tokenizer.json").read_text())["model"]
    (tmp_path / "vocab.json").write_text(json.dumps(model["vocab"]))
    (tmp_path / "merges.txt").write_text("\n".join(["#version: 0.2", *(" ".join(pair) for pair in model["merges"])]))
    config = {"tokenizer_class": "GPT2Tokenizer", "eos_token": "<eos>", "pad_token": "<pad>"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    converted = Tokenizer.load(tmp_path)
    assert (converted.eos_ids, converted.pad_id) == ((1,), 0)
    assert converted.encode("The council") == tokenizer.encode("The council")
    assert 1 not in converted.encode("<eos>")


def test_a_converted_tokenizer_is_saved_with_all_its_tokens(tokenizer: Tokenizer, tmp_path: Path) -> None:
    """In one file, whatever files it was made of."""
    folder = tmp_path / "slow"
    folder.mkdir()
    model = json.loads((tokenizer.folder / "tokenizer.json").read_text())["model"]
    (folder / "vocab.json").write_text(json.dumps(model["vocab"]))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *(" ".join(pair) for pair in model["merges"])]))
    extra = len(model["vocab"])
    (folder / "added_tokens.json").write_text(json.dumps({"<tool>": extra}))
    config = {"tokenizer_class": "GPT2Tokenizer", "eos_token": "<eos>", "pad_token": "<pad>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    (folder / "config.json").write_text('{"model_type": "gpt2"}')
    converted = Tokenizer.load(folder)
    assert converted.encode("a<tool>b")[1] == extra
    converted.save(tmp_path / "saved")
    saved = Tokenizer.load(tmp_path / "saved")
    assert saved.encode("a<tool>b") == converted.encode("a<tool>b")
    assert (saved.fingerprint, saved.eos_ids) == (converted.fingerprint, converted.eos_ids)


def test_a_folder_whose_tokenizer_cannot_be_converted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "ByT5Tokenizer"}')
    (tmp_path / "config.json").write_text('{"model_type": "byt5"}')
    with pytest.raises(CheckpointError, match=r"got none that can be read .*; put a tokenizer.json there"):
        Tokenizer.load(tmp_path)

    def missing(*_: object, **__: object) -> None:
        raise ImportError("LlamaConverter requires the protobuf library")

    monkeypatch.setattr("transformers.AutoTokenizer.from_pretrained", missing)
    with pytest.raises(MissingExtraError, match="a package is missing: LlamaConverter requires the protobuf library"):
        Tokenizer.load(tmp_path)


def test_the_shipped_tokenizer_reads_built_in_prompts_as_it_reads_their_pieces() -> None:
    """So that seeded rollouts stay what they were: no token crosses the joint of a report and what follows it."""
    tiny, task = Tokenizer.load("tiny"), Summarization(split="validation")
    for example in (task.dataset[place] for place in range(300)):
        prompt = tiny.encode_prompts([Prompt("", example.prompt, "\n\nSummary:")], 512)[0]
        assert prompt == ([*tiny.encode(example.prompt), *tiny.encode("\n\nSummary:")], False)


def test_shipped_tokenizer() -> None:
    tiny = Tokenizer.load("tiny")
    assert tiny.eos_ids
    assert tiny.pad_id not in tiny.eos_ids
    assert tiny.decode(tiny.encode_response("The council met: 東京 <eos> 🎉")) == "The council met: 東京 <eos> 🎉"
