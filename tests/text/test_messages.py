"""Chat messages become text in one documented way."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from textgym.text.messages import (
    MessageError,
    is_chat,
    last_answer,
    parse_messages,
    split_chat,
    unflatten,
)
from textgym.types import Message, flatten


def chat(*turns: tuple[str, str]) -> list[Message]:
    return [Message(role, content) for role, content in turns]


def test_single_user_message_is_kept_as_it_is() -> None:
    assert flatten(chat(("user", "  Sum this up:\n\ntext \n"))) == "  Sum this up:\n\ntext \n"


def test_several_turns_become_lines_with_the_system_first() -> None:
    messages = chat(("user", "Hi"), ("system", "Be brief."), ("assistant", "Hello"), ("user", "Bye"))
    assert flatten(messages) == "System: Be brief.\nUser: Hi\nAssistant: Hello\nUser: Bye"


def test_last_assistant_turn_is_the_reference() -> None:
    messages = chat(("user", "Hi"), ("assistant", "Hello"), ("user", "How are you?"), ("assistant", "Fine."))
    prompt, reference = split_chat(messages)
    assert (flatten(prompt), reference) == ("User: Hi\nAssistant: Hello\nUser: How are you?", "Fine.")
    assert prompt == tuple(messages[:3])


def test_chat_that_ends_with_a_question_has_no_reference() -> None:
    assert split_chat(chat(("user", "Hi"))) == ((Message("user", "Hi"),), None)


@pytest.mark.parametrize("turns", [[], [("assistant", "Hello")], [("user", " "), ("assistant", "Hello")]])
def test_chat_without_a_question_is_an_error(turns: list[tuple[str, str]]) -> None:
    with pytest.raises(MessageError, match="turn with text"):
        split_chat(chat(*turns))


def test_completion_is_the_last_assistant_message() -> None:
    assert last_answer(chat(("assistant", "a"), ("tool", "t"), ("assistant", "b"))) == "b"
    with pytest.raises(MessageError, match="assistant"):
        last_answer(chat(("user", "a")))


def test_roles_are_compared_in_lower_case() -> None:
    assert parse_messages([{"role": " User", "content": "Hi"}]) == [Message("user", "Hi")]


def test_the_other_form_in_which_chats_are_published() -> None:
    value = [{"from": "system", "value": "S"}, {"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Yes"}]
    assert parse_messages(value) == chat(("system", "S"), ("user", "Hi"), ("assistant", "Yes"))


def test_contents_in_parts_are_their_texts() -> None:
    parts = [{"type": "text", "text": "a "}, {"type": "text", "text": "b"}]
    assert parse_messages([{"role": "user", "content": parts}]) == chat(("user", "a b"))


@pytest.mark.parametrize(
    ("value", "what"),
    [
        ("text", "list of messages, got str"),
        (["text"], "message 1: expected an object"),
        ([{"role": "user", "content": "a"}, {"role": "user"}], "message 2: expected a string as 'content'"),
        ([{"content": "a"}], "message 1: expected a string as 'role', got NoneType"),
        ([{"from": "human", "value": 3}], "message 1: expected a string as 'value', got int"),
        ([{"role": "user", "content": [{"type": "image"}]}], "message 1: expected a string as 'content', got list"),
        ([{"role": "assistant", "content": "", "tool_calls": [{}]}], "expected text only, got 'tool_calls'"),
    ],
)
def test_wrong_messages_say_which_and_why(value: object, what: str) -> None:
    with pytest.raises(MessageError, match=what):
        parse_messages(value)


def test_only_lists_of_objects_look_like_chats() -> None:
    assert is_chat([{"role": "user", "content": "a"}])
    assert not any(map(is_chat, ("text", [], ["a"], None, {"role": "user"})))


@given(st.lists(st.tuples(st.sampled_from(["user", "assistant", "system", "tool"]), st.text()), min_size=2))
def test_every_content_is_part_of_the_flat_text(turns: list[tuple[str, str]]) -> None:
    flat = flatten(chat(*turns))
    assert all(f"{role.capitalize()}: {content.strip()}" in flat for role, content in turns)


@pytest.mark.parametrize(
    "turns",
    [
        [("user", "Hi"), ("assistant", "Yes\nor\n\nno: maybe"), ("user", "So?\n\nSummary:")],
        [("system", "Be kind."), ("user", "Hi")],
        [("user", "Hi"), ("assistant", "")],
    ],
)
def test_flat_text_gives_its_messages_back(turns: list[tuple[str, str]]) -> None:
    assert unflatten(flatten(chat(*turns))) == tuple(chat(*turns))


def test_dialogues_are_messages() -> None:
    text = "\n\nHuman: Hi\n\nAssistant: Yes?\n\nHuman: Two\n\nparagraphs\n\nAssistant:"
    expected = chat(("user", "Hi"), ("assistant", "Yes?"), ("user", "Two\n\nparagraphs"))
    assert unflatten(text) == tuple(expected)


@pytest.mark.parametrize("text", ["", "Hi", "Dear User: hi", "\n\nHi", "Assistant: alone", "Human: hi", "\n\nUser: a"])
def test_other_texts_are_no_chat(text: str) -> None:
    assert unflatten(text) == ()
