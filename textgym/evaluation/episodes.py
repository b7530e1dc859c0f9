"""Episodes as they are shown and kept in files."""

from __future__ import annotations

from typing import NotRequired, TypedDict

from textgym.envs.conversations import Conversations
from textgym.envs.prompts import Root
from textgym.types import Episode, Example, FinishReason, JsonObject, Message, Task


class EpisodeRecord(TypedDict):
    """An episode without its example, as JSON; the fields of :class:`~textgym.types.Episode`."""

    text: str
    finish_reason: FinishReason
    turns: NotRequired[list[dict[str, str]]]
    state: NotRequired[dict[str, object]]
    turn_return: NotRequired[float]


def transcript(episode: Episode) -> str:
    r"""Return what was said in an episode; of several turns, each is a line that says who speaks.

    >>> transcript(Episode.of(Example("a", "Guess."), "Five."))
    'Five.'
    >>> said = (Message("assistant", "Five."), Message("user", "No."), Message("assistant", "Six."))
    >>> transcript(Episode(Example("a", "Guess."), said))
    'Assistant: Five.\nUser: No.\nAssistant: Six.'
    """
    if len(episode.turns) <= 1:
        return episode.text
    return "\n".join(f"{role.capitalize()}: {content.strip()}" for role, content in episode.turns)


def silent_episode(task: Task, example: Example) -> Episode:
    """Return the episode in which an agent says nothing, turn by turn: one that every task and reward can score.

    Raises:
        TypeError: The task keeps something else than JSON values in the state of the episode.
    """
    conversation = Conversations(task, 1)
    conversation.start([0], [example], [Root(0, 0)])
    while conversation.answer([0], [""], ["eos"]).replies[0]:
        pass
    conversation.get_state()  # raises
    return conversation.episode(0)


def episode_as_json(episode: Episode) -> EpisodeRecord:
    """Return an episode without its example, as JSON; :func:`episode_from_json` reads it."""
    record = EpisodeRecord(text=episode.text, finish_reason=episode.finish_reason)
    if len(episode.turns) > 1 or episode.state or episode.turn_return:
        record["turns"] = [message._asdict() for message in episode.turns]
        record["state"], record["turn_return"] = episode.state, episode.turn_return
    return record


def episode_from_json(example: Example, record: JsonObject) -> Episode:
    """Return the episode about an example of which :func:`episode_as_json` made a record."""
    reason = record.get("finish_reason", "eos")
    if "turns" not in record:
        return Episode.of(example, record["text"], reason)
    turns = tuple(Message(**message) for message in record["turns"])
    return Episode(example, turns, reason, dict(record["state"]), float(record["turn_return"]))
