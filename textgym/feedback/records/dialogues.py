r"""Dialogues that files hold as one text: the one place that reads them.

Data about dialogues are published as ``"\n\nHuman: ...\n\nAssistant: ..."``; a prompt ends with what the assistant's
turn begins with. Records made before conversations were kept as messages hold lines ``"User: ..."``: these become
messages where files are read, and nowhere else, as a document may begin like that.
"""

from __future__ import annotations

from textgym.text.messages import unflatten
from textgym.types import Message, Shown, as_shown, flatten, shown_messages, shown_text

ASSISTANT_TURN = "\n\nAssistant:"
"""What the assistant's turn begins with; the prompt of a dialogue ends with it."""
DIALOGUE_START = "\n\nHuman:"
"""What a dialogue begins with."""
_TURN = "\n\n"


def as_conversation(shown: Shown) -> Shown:
    """Return the messages of a published dialogue that is held as one text; whatever else was shown stays as it is."""
    text = "" if shown_messages(shown) else shown_text(shown)
    messages = unflatten(text) if text.startswith(_TURN) else ()
    return as_shown(messages) if messages else shown


def flattened_messages(text: str) -> tuple[Message, ...]:
    r"""Return the messages of a conversation of which earlier versions kept this text alone; none of any other text.

    They wrote what :func:`~textgym.types.flatten` makes of several messages.

    >>> flattened_messages("User: Hi\nAssistant: Yes?\nUser: Go on")[1]
    Message(role='assistant', content='Yes?')
    >>> flattened_messages("User: a document that begins like that")
    ()
    """
    messages = unflatten(text)
    return messages if len(messages) > 1 and flatten(messages) == text else ()


def is_dialogue(shown: Shown) -> bool:
    """Return whether it is a dialogue, of which the last turns matter most, and not a document."""
    messages = shown_messages(shown)
    spoken = any(message.role == "assistant" for message in messages)
    return spoken if messages else shown_text(shown).rstrip().endswith(ASSISTANT_TURN)
