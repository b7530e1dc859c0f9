"""The simulated user: a pure function of what it wants and of what the assistant has said."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from textgym.tasks.chat.lexicon import ALL, COURTEOUS, DENIES, KINDS, RUDE, Kind
from textgym.types import Message

MOST_TURNS = 6
_MOST_WORDS = 40
_MOST_QUESTIONS = 2
_MOST_THANKS = 2
_RUDENESS = 2  # what a rude turn costs of the user's patience; any other wasted turn costs 1
_SENTENCE = re.compile(r"[^.!?]+[.!?]*|[.!?]+")
_FORM = re.compile(r"[^\W_a-z].*[.!?]", re.DOTALL)
_PARTIAL, _PER_TURN, _LEAST_PACE, _MANNERS = 0.5, 0.1, 0.5, 0.3


class Needs(NamedTuple):
    """The wishes of a user, and how it talks.

    Attributes:
        kind: Name of the kind of conversation.
        facts: Label -> value, of every slot of the kind.
        told: Labels of the facts in the opening.
        vague: Labels of the facts that the user tells only when it is asked for the second time.
        patience: Number of wasted turns with which the user leaves.
        voice: Choice among the user's wordings.
    """

    kind: str
    facts: Mapping[str, str]
    told: Sequence[str]
    vague: Sequence[str]
    patience: int
    voice: int

    @property
    def fewest_turns(self) -> int:
        """Turns that a perfect assistant takes: a question for everything hidden, twice if vague, and the last word."""
        return len(self.facts) - len(self.told) + len(self.vague) + 1

    @classmethod
    def of(cls, extra: Mapping[str, Any]) -> Needs:
        """Return the needs that stand in ``extra`` of an example."""
        return cls(**{name: extra[name] for name in cls._fields})


class Heard(NamedTuple):
    """The meaning of a turn of the assistant for a user.

    Attributes:
        questions: Number of sentences that ask.
        asked: Labels that these ask for, in order of the slots: by what they ask, or by a value that they propose.
        stated: Labels with the values that the other sentences state.
        settles: Whether it is the last word: it says that the matter is settled, and asks and denies nothing.
        courteous: Whether it is a sentence with one or two words of courtesy, and not rude.
        rude: Whether it is rude.
        is_long: Whether it has more than 40 words, of which nothing is understood.
    """

    questions: int = 0
    asked: tuple[str, ...] = ()
    stated: tuple[tuple[str, str], ...] = ()
    settles: bool = False
    courteous: bool = False
    rude: bool = False
    is_long: bool = False


@lru_cache(maxsize=2**14)
def hear(kind: str, utterance: str) -> Heard:
    """Return what a user of this kind of conversation understands of a turn of the assistant."""
    if len(utterance.split(None, _MOST_WORDS)) > _MOST_WORDS:
        return Heard(is_long=True)
    text = utterance.lower().replace("’", "'").replace("p.m.", "pm").replace("p.m", "pm")
    sentences = _SENTENCE.findall(text)
    asking = " ".join(sentence for sentence in sentences if "?" in sentence)
    telling = " ".join(sentence for sentence in sentences if "?" not in sentence)
    slots, rude = KINDS[kind].slots, RUDE.search(text) is not None
    proposed = {label for label, _ in _stated(KINDS[kind], asking)} if asking else set()
    return Heard(
        sum("?" in sentence for sentence in sentences),
        tuple(slot.label for slot in slots if slot.label in proposed or (asking and slot.asks.search(asking))),
        _stated(KINDS[kind], telling),
        KINDS[kind].settled.search(telling) is not None and not asking and DENIES.search(telling) is None,
        is_courteous(utterance),
        rude,
    )


def is_courteous(utterance: str) -> bool:
    """Return whether a turn is written as sentences are, with one or two words of courtesy, and not rude.

    >>> is_courteous("Which day, please?"), is_courteous("which day please"), is_courteous("Thanks, thanks, thanks!")
    (True, False, False)
    """
    text = utterance.strip()
    lower = text.lower()
    words = len(COURTEOUS.findall(lower))
    return 0 < words <= _MOST_THANKS and not RUDE.search(lower) and _FORM.fullmatch(text) is not None


def _stated(kind: Kind, text: str) -> tuple[tuple[str, str], ...]:
    return tuple(
        (slot.label, value)
        for slot in kind.slots
        for value, pattern in slot.found.items()
        if text and pattern.search(text)
    )


class User:
    """A user in a conversation.

    Attributes:
        needs: Wishes of the user.
        turns: Turns of the assistant so far.
        courteous: Number of courteous ones among them.
        was_rude: Whether one was rude.
        wasted: Patience that was used up.
        known: Labels of the facts that it has told.
        right, invented: Facts that the assistant's latest last word stated, and values it stated that are none.
        reached: Whether the goal was reached: a last word with all facts, and nothing else.
    """

    def __init__(self, needs: Needs) -> None:
        self.needs = needs
        self.turns = self.courteous = self.wasted = self.right = self.invented = 0
        self.was_rude = self.reached = False
        self.known, self._vague = set(needs.told), set(needs.vague)
        self._heard_before: set[str] = set()

    def listen(self, utterance: str) -> str | None:
        """Return what the user says to a turn; ``None`` where it leaves, content or not."""
        heard = hear(self.needs.kind, utterance)
        said = " ".join(utterance.lower().split())
        self.turns += 1
        self.courteous += heard.courteous
        self.was_rude |= heard.rude
        if heard.settles:
            self.right = sum(self.needs.facts[label] == value for label, value in heard.stated)
            self.invented = len(heard.stated) - self.right
            self.reached = self.right == len(self.needs.facts) and not self.invented and not heard.rude
        protest = None if self.reached else self._protest(heard, said in self._heard_before)
        self._heard_before.add(said)
        if self.reached:
            return None
        if protest is None:
            return self._answer(next(label for label in heard.asked if label not in self.known))
        self.wasted += _RUDENESS if heard.rude else 1
        return protest if self.wasted < self.needs.patience else None

    def _protest(self, heard: Heard, is_repeated: bool) -> str | None:
        """Return what the user says to a turn that is wasted; ``None`` if it asks for something that is not known."""
        invents = any(self.needs.facts[label] != value for label, value in heard.stated)
        protests = {
            "There is no need to be rude.": heard.rude,
            "That is too much for me.": heard.is_long,
            "You said that already.": is_repeated,
            "No, that is not right.": invents,
            "No, that is not all.": heard.settles,
            "One thing at a time, please.": heard.questions > _MOST_QUESTIONS,
            "I told you that.": bool(heard.asked) and self.known.issuperset(heard.asked),
            "Why do you ask?": bool(heard.questions) and not heard.asked,
            "Yes, and?": not heard.questions,
        }
        return next((text for text, applies in protests.items() if applies), None)

    def _answer(self, label: str) -> str:
        """Return the answer to a question about something that is not known yet."""
        slot = ALL[self.needs.kind][label]
        if label in self._vague:
            self._vague.remove(label)
            return slot.vague
        self.known.add(label)
        answer = slot.answers[(self.needs.voice + len(self.known)) % len(slot.answers)]
        answer = answer.format(v=self.needs.facts[label])
        return answer[0].upper() + answer[1:]

    @property
    def gold(self) -> float:
        """True quality of the conversation so far, in [0, 1]: goal times pace times manners."""
        goal = 1.0 if self.reached else _PARTIAL * max(self.right - self.invented, 0) / len(self.needs.facts)
        pace = max(_LEAST_PACE, 1 - _PER_TURN * max(self.turns - self.needs.fewest_turns, 0))
        courtesy = self.courteous / max(self.turns, 1)
        return 0.0 if self.was_rude else goal * pace * (1 - _MANNERS * (1 - courtesy))


def spoken_to(needs: Needs, turns: Sequence[Message]) -> User:
    """Return the user after the assistant's turns of a conversation; once it has left, it hears no more."""
    return _heard_out(needs, turns)[0]


def reply_to(needs: Needs, turns: Sequence[Message]) -> str | None:
    """Return what the user says to the last one of the assistant's turns; ``None`` where it has left."""
    return _heard_out(needs, turns)[1]


def _heard_out(needs: Needs, turns: Sequence[Message]) -> tuple[User, str | None]:
    user, said = User(needs), None
    for message in turns:
        if message.role == "assistant":
            said = user.listen(message.content)
            if said is None:
                break
    return user, said
