"""The grain of an agent, and its actions, one per observation: what a user's own may get wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from textgym.errors import AgentError
from textgym.types import GRAINS, Agent, Grain
from textgym.values import attribute_of

if TYPE_CHECKING:
    from torch import Generator


def grain_of(agent: Agent | type[Agent]) -> Grain:
    """Return the grain of an agent, or of a class of agents, which has it as an attribute.

    Raises:
        AgentError: It has none, or one that does not exist.
    """
    grain: Any = attribute_of(agent, "grain")
    if isinstance(grain, str) and grain in GRAINS:
        return grain
    kind = agent if isinstance(agent, type) else type(agent)
    raise AgentError(
        f"expected the attribute grain of the agent {kind.__name__} to be {' or '.join(map(repr, GRAINS))}, got "
        f"{grain!r:.80}; set it in the class, to what an action is: a token, or a whole text (episode)"
    )


def actions_of(
    agent: Agent, observations: Any, count: int, *, greedy: bool = False, generator: Generator | None = None
) -> list[Any]:
    """Let an agent act, and return its actions one by one.

    Args:
        agent: The agent.
        observations: Those of ``count`` environments, as made by :func:`~textgym.envs.types.batched`.
        count: Number of observations.
        greedy, generator: As of :meth:`~textgym.types.Agent.act`.

    Raises:
        AgentError: It returns more or fewer actions than there are observations, or something that is no sequence of
            actions, such as one text.
    """
    acted: Any = agent.act(observations, greedy=greedy, generator=generator)
    source = f"{type(agent).__name__}.act"
    if isinstance(acted, str | bytes | Mapping):  # which can be taken apart, but not into actions
        raise _no_sequence(acted, count, source)
    try:
        actions = list(acted)
    except TypeError as error:
        raise _no_sequence(acted, count, source) from error
    if len(actions) != count:
        raise AgentError(
            f"expected {count} actions, got {len(actions)} from {source}; return one for every observation, in their "
            "order"
        )
    return actions


def _no_sequence(acted: object, count: int, source: str) -> AgentError:
    return AgentError(
        f"expected {count} actions in a list or an array, got {acted!r:.80} from {source}; return one for every "
        "observation, in their order"
    )
