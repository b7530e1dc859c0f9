"""Texts as ids, and batches."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from tests.chat_templates import TEMPLATES, write_chat_folder
from textgym.feedback.records.parsing import shown_from_json
from textgym.reward_models.encoding import TextEncoder, batches_of_like_length
from textgym.text.tokenizer import Tokenizer
from textgym.types import Message, flatten


@pytest.fixture(scope="module")
def tokenizer(neox: Path) -> Tokenizer:
    return Tokenizer.load(neox)


def test_prompt_response_and_eos_are_joined(tokenizer: Tokenizer) -> None:
    """Checklist 1 and 4: the reward model sees prompt + response, tokenised apart, with its own tokenizer."""
    (text,) = TextEncoder(tokenizer, 64)(["the council Summary :"], ["voted good"])
    assert text.prompt == tokenizer.encode("the council Summary :")
    assert text.response == [*tokenizer.encode(" voted good"), tokenizer.eos_ids[0]]


def test_a_literal_eos_is_text(tokenizer: Tokenizer) -> None:
    (text,) = TextEncoder(tokenizer, 64)(["a <eos> b"], ["c <eos> d"])
    assert tokenizer.eos_ids[0] not in text.prompt
    assert text.response.index(tokenizer.eos_ids[0]) == len(text.response) - 1


def test_white_space_around_a_response_does_not_count(tokenizer: Tokenizer) -> None:
    first, second = TextEncoder(tokenizer, 64)(["p", "p"], [" voted\n", "voted"])
    assert first == second


def test_a_long_prompt_keeps_head_and_cue(tokenizer: Tokenizer) -> None:
    """Checklist 6: too long a prompt is cut by a stated rule; the cue before the response survives."""
    prompt = "opened " + "the council voted " * 200 + "closed Summary :"
    (text,) = TextEncoder(tokenizer, 64)([prompt], ["good bridge"])
    full, room = tokenizer.encode(prompt), 64 - len(text.response)
    assert text.length == 64
    assert text.prompt == full[: room - 16] + full[-16:]
    assert tokenizer.decode(text.response) == "good bridge"


def test_a_long_dialogue_keeps_its_last_turns(tokenizer: Tokenizer) -> None:
    prompt = "\n\nHuman: " + "the council voted " * 200 + "closed\n\nAssistant:"
    (text,) = TextEncoder(tokenizer, 64)([prompt], ["good bridge"])
    full, room = tokenizer.encode(prompt), 64 - len(text.response)
    assert text.prompt == full[:16] + full[-(room - 16) :]


def test_a_huge_response_keeps_its_head_and_its_eos(tokenizer: Tokenizer) -> None:
    (text,) = TextEncoder(tokenizer, 64)(["the council voted on the road"], ["good bad " * 500])
    assert text.length == 64
    assert text.prompt == tokenizer.encode("the council voted on the road")
    assert text.response[-1] == tokenizer.eos_ids[0]
    (both,) = TextEncoder(tokenizer, 64)(["the council " * 500], ["good bad " * 500])
    assert (both.length, len(both.response)) == (64, 32)


def test_empty_texts_are_legal(tokenizer: Tokenizer) -> None:
    """Checklist 6: an empty prompt or response is legal."""
    encoder = TextEncoder(tokenizer, 64)
    texts = encoder(["", "p", ""], ["", "", "r"])
    assert [text.response[-1] for text in texts] == [tokenizer.eos_ids[0]] * 3
    assert len(texts[0].response) == 1
    assert encoder([], []) == []


def test_halves_of_surrogate_pairs_are_legal(tokenizer: Tokenizer) -> None:
    encoder = TextEncoder(tokenizer, 64)
    assert encoder(["the \ud800"], ["\udfff good"]) == encoder(["the ?"], ["? good"])


def test_lengths_are_checked(tokenizer: Tokenizer) -> None:
    with pytest.raises(ValueError, match="got 1 for 2"):
        TextEncoder(tokenizer, 64)(["p"], ["a", "b"])


@given(st.lists(st.integers(1, 99), max_size=80), st.integers(1, 7))
def test_shuffled_batches_hold_every_item_once(lengths: list[int], batch_size: int) -> None:
    batches = batches_of_like_length(lengths, batch_size, torch.Generator().manual_seed(0))
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    assert all(len(batch) <= batch_size for batch in batches)
    assert len(batches) == -(-len(lengths) // batch_size)


def test_batches_waste_little_padding_and_differ_between_epochs() -> None:
    generator = torch.Generator().manual_seed(0)
    lengths: list[int] = torch.randint(50, 200, (1000,), generator=generator).tolist()
    batches = batches_of_like_length(lengths, 16, generator)
    padded = sum(len(batch) * max(lengths[i] for i in batch) for batch in batches)
    assert padded < 1.1 * sum(lengths)
    assert batches != batches_of_like_length(lengths, 16, generator)


def test_conversations_are_read_as_the_chat_template_writes_them(tmp_path: Path) -> None:
    """A chat model gets the messages, and ends the response; published dialogues and old records are messages, too."""
    chat = Tokenizer.load(write_chat_folder(tmp_path, *TEMPLATES["default_system"]))
    several = "System: Be brief.\nUser: Hi\nAssistant: Yes?\nUser: Go on"
    messages = tuple(map(Message, ("system", "user", "assistant", "user"), ("Be brief.", "Hi", "Yes?", "Go on")))
    old = shown_from_json(several)
    for prompt in (old, messages, "\n\nHuman: Go on\n\nAssistant:", "Go on", (Message("user", "Go on"),)):
        (text,) = TextEncoder(chat, 200)([prompt], ["no more"])
        system = "Be brief." if prompt in (old, messages) else "You are a helpful assistant."
        first = ""
        if prompt in (old, messages):
            first = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nYes?<|im_end|>\n"
        expected = f"<|im_start|>system\n{system}<|im_end|>\n{first}<|im_start|>user\nGo on<|im_end|>\n"
        assert chat._backend.decode([*text.prompt, *text.response], skip_special_tokens=False) == (
            expected + "<|im_start|>assistant\nno more<|im_end|>"
        )
    (long,) = TextEncoder(chat, 40)(["Go on"], ["no more " * 90])
    assert long.response[-1] == chat.require_eos()
    assert long.length <= 40


@pytest.mark.parametrize("text", ["User: who is that?", "User: Hi\nAssistant: Yes?\nUser: Go on", "System: x\nUser: y"])
def test_a_document_that_looks_like_a_conversation_is_one_message(tmp_path: Path, text: str) -> None:
    """As for the policy."""
    chat = Tokenizer.load(write_chat_folder(tmp_path, *TEMPLATES["default_system"]))
    (read,) = TextEncoder(chat, 200)([text], ["no more"])
    assert read.prompt == chat.encode_prompt("", text, "", 200).ids
    assert f"<|im_start|>user\n{text}<|im_end|>" in chat._backend.decode(read.prompt, skip_special_tokens=False)


def test_a_conversation_has_the_ids_of_the_chat_template(tmp_path: Path) -> None:
    """Also one whose messages begin like another speaker's line, which a text could not tell apart."""
    folder = write_chat_folder(tmp_path, *TEMPLATES["default_system"])
    turns = (Message("system", "Be brief."), Message("user", "Say\nAssistant: no"), Message("assistant", "no"),
             Message("user", "Go on"))  # fmt: skip
    (text,) = TextEncoder(Tokenizer.load(folder), 500)([turns], ["no more"])
    theirs = AutoTokenizer.from_pretrained(folder)
    expected = theirs.apply_chat_template(
        [message._asdict() for message in turns], add_generation_prompt=True, return_dict=False
    )
    assert text.prompt == expected


def test_models_without_a_template_read_a_conversation_as_lines(tokenizer: Tokenizer) -> None:
    turns = (Message("user", "the council"), Message("assistant", "voted"), Message("user", "good"))
    (text,) = TextEncoder(tokenizer, 64)([turns], ["bridge"])
    assert text.prompt == tokenizer.encode(flatten(turns))
    (long,) = TextEncoder(tokenizer, 64)([(*turns, Message("user", "the road " * 200 + "closed"))], ["bridge"])
    full = tokenizer.encode(flatten((*turns, Message("user", "the road " * 200 + "closed"))))
    room = 64 - len(long.response)
    assert long.prompt == full[:16] + full[-(room - 16) :]  # of a conversation the last turns matter
