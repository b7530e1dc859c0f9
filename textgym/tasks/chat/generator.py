"""Generator of users who want something, of the conversations that satisfy them, and of a hurried assistant's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from textgym.data.draws import Draws
from textgym.data.generated import GeneratedDataset, Item, draws_of, joined, name_of_level, owns
from textgym.tasks.chat.lexicon import ALL, IDLE, KINDS, Slot
from textgym.tasks.chat.user import MOST_TURNS, Needs, User
from textgym.types import Message, Split

NAME = "users"
ASKS, STATES_LAST, IS_POLITE, GUESSES, IDLES = 0.4, 0.4, 0.4, 0.2, 0.2
"""Shares of a hurried assistant's turns: that ask while something is hidden; of last words, that state the fact that
comes last; of all turns, that are polite; of values not known, that are guessed; and of what is no question, that are
idle.
"""
_KINDS = tuple(KINDS.values())
_VOICES = 4


class Level(NamedTuple):
    """Users of a level: numbers of facts that the opening leaves out and that come out by half first, and patience."""

    hidden: int
    vague: int
    patience: int


SIZES: Mapping[str, Level] = {"easy": Level(1, 0, 3), "medium": Level(2, 0, 2), "hard": Level(3, 1, 2)}
_LEVELS = tuple(SIZES.values())


def users(split: Split, *, difficulty: str = "medium") -> GeneratedDataset:
    """Return one split of the built-in users of a level; ``"mixed"`` has those of all levels."""
    levels = _LEVELS if difficulty == "mixed" else (SIZES[difficulty],)
    return GeneratedDataset(name_of_level(NAME, difficulty, "medium"), split, partial(make_item, levels))


def make_item(levels: Sequence[Level], seed: int, split: Split, position: int) -> Item:
    """Make up a user: the prompt is its opening; the references are last words that satisfy it."""
    draws = draws_of(seed, split, position)
    while True:
        kind = draws.pick(_KINDS)
        facts = {slot.label: draws.pick(tuple(slot.values)) for slot in kind.slots}
        identity = joined((kind.name, *facts.values()))
        if owns(split, identity):
            break
    level = draws.pick(levels)
    hidden = draws.sample(list(facts), level.hidden)
    told = [label for label in facts if label not in hidden]
    needs = Needs(kind.name, facts, told, hidden[: level.vague], level.patience, draws.whole(0, _VOICES - 1))
    parts = " ".join(slot.user.format(v=facts[slot.label]) for slot in kind.slots if slot.label in told)
    opening = draws.pick(kind.opening)
    end = "?" if opening.startswith("Can") else "."
    references = tuple(f"Thank you. {last_word(needs.kind, facts, form)}" for form in range(len(kind.closing)))
    return Item(identity, f"{opening} {parts}{end}", references, extra=needs._asdict())


def last_word(kind: str, facts: Mapping[str, str], form: int = 0) -> str:
    """Return the sentence with which an assistant settles the matter, stating these facts."""
    slots = [slot for slot in KINDS[kind].slots if slot.label in facts]
    before, after = KINDS[kind].closing[form]
    return before + " ".join(slot.assistant.format(v=facts[slot.label]) for slot in slots) + after


def model_conversation(needs: Needs) -> list[Message]:
    """Return the conversation with an assistant that asks for all that is hidden, politely, and settles it then."""

    def speak(missing: Sequence[Slot], known: Mapping[str, str], in_vain: bool) -> str:
        if missing:
            return f"{missing[0].questions[in_vain]}, please?"
        return f"Thank you. {last_word(needs.kind, known)}"

    return _conversation(needs, speak)


def hurried_conversation(needs: Needs, draws: Draws) -> list[Message]:
    """Return a conversation with an assistant that settles things too early, guesses, idles, and is curt."""

    def speak(missing: Sequence[Slot], known: Mapping[str, str], in_vain: bool) -> str:
        polite = draws.chance(IS_POLITE)
        if missing and draws.chance(ASKS):
            question = draws.pick(missing[0].questions)
            return f"{question}, please?" if polite else f"{question}?"
        if missing and draws.chance(IDLES):
            return f"Thank you. {draws.pick(IDLE)}" if polite else draws.pick(IDLE)
        last = list(known)[-1:] if draws.chance(1 - STATES_LAST) else []
        told = {label: value for label, value in known.items() if label not in last}
        guessed = {slot.label: draws.pick(tuple(slot.values)) for slot in missing if draws.chance(GUESSES)}
        ending = last_word(needs.kind, {**told, **guessed}, draws.whole(0, len(KINDS[needs.kind].closing) - 1))
        return f"Thank you. {ending}" if polite else ending

    return _conversation(needs, speak)


def _conversation(needs: Needs, speak: Callable[[Sequence[Slot], Mapping[str, str], bool], str]) -> list[Message]:
    """Let an assistant talk that is told which slots are missing, what is known, and whether it spoke in vain."""
    user, turns = User(needs), list[Message]()
    slots, in_vain = ALL[needs.kind], False
    while user.turns < MOST_TURNS:
        missing = [slot for label, slot in slots.items() if label not in user.known]
        known = {label: needs.facts[label] for label in slots if label in user.known}
        turns.append(Message("assistant", speak(missing, known, in_vain)))
        reply = user.listen(turns[-1].content)
        if reply is None:
            break
        turns.append(Message("user", reply))
        in_vain = len(user.known) == len(known)
    return turns
