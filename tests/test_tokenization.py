from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from textgym.errors import CheckpointError, ModelError
from textgym.hub import resolve_folder
from textgym.stopping import build_stop_table
from textgym.tokenization import Tokenizer
from textgym.types import Prompt

TEXTS = st.text(max_size=60)


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


def test_special_tokens_in_user_text_are_text(tokenizer: Tokenizer) -> None:
    text = "The <eos> and <pad> tokens"
    for ids in (tokenizer.encode(text), tokenizer.encode_prompt("", text, "", 200).ids):
        assert not {0, 1} & set(ids)
        assert tokenizer.decode(ids) == text


@given(text=TEXTS)
def test_round_trip(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text)) == text.strip()
    assert tokenizer.decode(tokenizer.encode_response(text.strip())) == text.strip()


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
    for budget in range(after, after + len(tokenizer.encode(body))):
        ids, cut = tokenizer.encode_prompt("", body, "\n\nSummary:", budget)
        kept = tokenizer.decode(ids[: len(ids) - after])
        assert cut
        assert len(ids) <= budget
        assert tokenizer.decode(ids).endswith("Summary:")
        assert body.startswith(kept)
        assert kept == "" or body[len(kept)] == " " or " " not in body[: len(kept) + 1]


@given(body=TEXTS, room=st.integers(0, 30))
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


def test_shipped_tokenizer() -> None:
    tiny = Tokenizer.load("tiny")
    assert tiny.eos_ids
    assert tiny.pad_id not in tiny.eos_ids
    assert tiny.decode(tiny.encode_response("The council met: 東京 <eos> 🎉")) == "The council met: 東京 <eos> 🎉"
