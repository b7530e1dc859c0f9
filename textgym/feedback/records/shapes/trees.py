"""Trees of messages, whole or one message a row: the ranked replies to every message are read as rankings."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from textgym.feedback.records.shapes.cells import Cells, label, number, structure
from textgym.feedback.records.shapes.lists import places
from textgym.feedback.types import Ranking
from textgym.types import Message, as_shown
from textgym.values import as_list, as_object, as_text

_ROLES = {"prompter": "user", "assistant": "assistant"}
Path = tuple[Message, ...]


def whole_trees(rows: Sequence[Cells]) -> list[tuple[Cells, Ranking]]:
    """Read rows that hold a tree each: ``prompt`` is its first message, with ``replies``."""
    return [(cells, ranking) for cells in rows for ranking in _of_tree(cells)]


def _of_tree(cells: Cells) -> Iterator[Ranking]:
    root = as_object(structure(cells.get("prompt")))
    waiting: list[tuple[Path, Mapping[str, Any]]] = [((), root)]
    while waiting:
        before, node = waiting.pop()
        path = (*before, _message(cells, node))
        replies = [as_object(reply) for reply in as_list(node.get("replies"))]
        yield from _ranked(cells, path, replies)
        waiting += [(path, reply) for reply in reversed(replies)]


def message_rows(rows: Sequence[Cells]) -> list[tuple[Cells, Ranking]]:
    """Read rows of one message each, which name the message that they reply to."""
    known = {as_text(cells.get("message_id")): cells for cells in rows}
    replies: dict[str, list[Cells]] = defaultdict(list)
    for cells in rows:
        cells.get("parent_id", "text", "role")
        if as_text(cells.row.get("parent_id")):
            replies[as_text(cells.row["parent_id"])].append(cells)
    found = []
    for parent, group in replies.items():
        path = _path(known, parent)
        if not path:
            group[0].tally.left_out["messages whose conversation is not in the file"] += len(group)
            continue
        rankings = _ranked(group[0], path, [cells.row for cells in group])
        found += [(group[0], ranking) for ranking in rankings]
    return found


def _path(known: Mapping[str, Cells], last: str) -> Path:
    """Return the conversation up to a message; nothing where a part of it is missing, or it comes back to itself."""
    path: list[Message] = []
    seen: set[str] = set()
    while last in known and last not in seen:
        seen.add(last)
        cells = known[last]
        path.append(_message(cells, cells.row))
        if not as_text(cells.row.get("parent_id")):
            return tuple(reversed(path))
        last = as_text(cells.row["parent_id"])
    return ()


def _message(cells: Cells, node: Mapping[str, Any]) -> Message:
    role, text = as_text(node.get("role")), node.get("text")
    if role not in _ROLES or not isinstance(text, str):
        raise cells.error(f"expected 'text' and 'role', {' or '.join(_ROLES)}, of a message, got {', '.join(node)}")
    cells.tally.used.update(cells.row.keys() & {"text", "role", "parent_id", "rank", "deleted"})
    return Message(_ROLES[role], text)


def _ranked(cells: Cells, path: Path, replies: Sequence[Mapping[str, Any]]) -> list[Ranking]:
    """Return the ranking of the assistant's replies to a conversation, if two or more have a rank."""
    ranked = [
        (as_text(reply.get("text")), -rank)
        for reply in replies
        if reply.get("role") == "assistant" and not label(reply.get("deleted"))
        if (rank := number(reply.get("rank"))) is not None
    ]
    if len(ranked) < 2:
        return []
    responses, scores = zip(*ranked, strict=True)
    return [Ranking(*cells.about(as_shown(path)), responses, places(scores))]
