r"""Dialogues that files hold as one text: the one place that reads them.

Data about dialogues are published as ``"\n\nHuman: ...\n\nAssistant: ..."``; a prompt ends with what the assistant's
turn begins with. Records made before conversations were kept as messages hold lines ``"User: ..."``.
"""

from __future__ import annotations

from textgym.text.messages import unflatten
from textgym.types import Shown, as_shown

ASSISTANT_TURN = "\n\nAssistant:"
"""What the assistant's turn begins with; the prompt of a dialogue ends with it."""


def as_conversation(shown: Shown) -> Shown:
    """Return the messages of a dialogue that is held as one text; whatever else was shown stays as it is."""
    messages = unflatten(shown) if isinstance(shown, str) else ()
    return as_shown(messages) if messages else shown


def is_dialogue(shown: Shown) -> bool:
    """Return whether it is a dialogue, of which the last turns matter most, and not a document."""
    if isinstance(shown, str):
        return shown.rstrip().endswith(ASSISTANT_TURN)
    return any(message.role == "assistant" for message in shown)
