"""Rewards that are paid token by token: the difference that each token makes to a potential."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np

from textgym.rewards.arguments import check_number, check_reward
from textgym.rewards.names import resolve_reward
from textgym.rewards.protocol import ScoredConversations, Scores, reward_name, score
from textgym.types import Example, FloatArray, NameOrPath, RewardFn, Shown, Task
from textgym.values import attribute_of


class Shaping(NamedTuple):
    """The potential of unfinished texts, and the discount with which its differences are paid.

    Attributes:
        potential: Scores texts as a reward does; it is asked about every text after every token.
        gamma: Discount of the agent that is to learn from it.
    """

    potential: RewardFn
    gamma: float

    def potentials(self, shown: Sequence[Shown], texts: Sequence[str], examples: Sequence[Example]) -> FloatArray:
        """Return the potentials of ``n`` unfinished texts, shape ``(n,)``, finite."""
        name = f"potential {reward_name(self.potential)}"
        return score(self.potential, shown, texts, examples, name=name).total


class Shaped(ScoredConversations):
    r"""A reward of which a part is paid at every token, without changing which texts are best.

    A token that leads from the text ``s`` to the text ``s'`` is paid ``gamma * F(s') - F(s)``, where ``F(s)`` is the
    potential of ``s`` minus that of the empty text, and ``F = 0`` for a finished text, which gets the reward itself in
    addition. For an agent that discounts by ``gamma`` the value of every token in a state ``s`` is lower by ``F(s)``
    than without shaping, the same for all tokens: what is best stays best. With ``gamma=1`` what is paid adds up to the
    reward of the text, so a text is worth the same token by token and as a whole.

    Dense rewards are the case in which the reward is its own potential: every token is paid what it adds. Where whole
    texts are actions, there is nothing to pay in between, and this is the reward alone.

    Example:
        >>> def letters(prompts, responses, examples):
        ...     return [len(response) / 10 for response in responses]
        >>> dense, guided = Shaped(letters), Shaped("success", letters, gamma=0.99)

    By name it is ``"shaped?reward=success&potential=my_rewards%3Aletters&gamma=0.99"``.

    Args:
        reward: Reward of finished texts: a callable, or a name.
        potential: Potential of unfinished texts, a callable or a name; ``None``: the reward itself.
        gamma: Discount of the agent, in (0, 1].

    Raises:
        TypeError: Reward or potential is none, or ``gamma`` is no number.
        ValueError: ``gamma`` is not in (0, 1].

    References:
        Ng, Harada and Russell, "Policy invariance under reward transformations" (1999), theorem 1.
    """

    def __init__(
        self,
        reward: RewardFn | NameOrPath = "success",
        potential: RewardFn | NameOrPath | None = None,
        gamma: float = 1.0,
    ) -> None:
        self._reward = check_reward(reward)
        self._potential = self._reward if potential is None else check_reward(potential)
        self._gamma = check_number("gamma", gamma)
        if not 0 < self._gamma <= 1:
            raise ValueError(f"expected gamma in (0, 1], got {gamma}; give the discount of the agent")
        self.name = reward_name(self._reward) if callable(self._reward) else str(self._reward)

    @property
    def parts(self) -> tuple[object, ...]:
        """The reward, and the potential if it is another one."""
        return (self._reward,) if self._potential is self._reward else (self._reward, self._potential)

    def bind(self, task: Task | None) -> Shaped:
        """Return a copy whose reward and potential, if given by name, are resolved for ``task``."""
        reward = resolve_reward(self._reward, task)
        is_own = self._potential is self._reward
        return Shaped(reward, reward if is_own else resolve_reward(self._potential, task), self._gamma)

    @cached_property
    def shaping(self) -> Shaping:
        """The potential, resolved, and the discount."""
        return Shaping(resolve_reward(self._potential), self._gamma)

    def score_conversations(
        self, prompts: Sequence[Shown], responses: Sequence[str], examples: Sequence[Example]
    ) -> Scores:
        """Score ``n`` finished texts by the reward."""
        return score(resolve_reward(self._reward), prompts, responses, examples, name=self.name)


class _SumOfPotentials:
    """The sum of potentials, each times a weight."""

    name = "sum"

    def __init__(self, terms: Sequence[tuple[float, Shaping]]) -> None:
        self._terms = terms

    def __call__(self, prompts: Sequence[str], responses: Sequence[str], examples: Sequence[Example], /) -> FloatArray:
        """Score ``n`` texts; shape ``(n,)``."""
        total = np.zeros(len(responses))
        for weight, shaping in self._terms:
            total += weight * shaping.potentials(prompts, responses, examples)
        return total


def sum_of_shapings(terms: Sequence[tuple[float, RewardFn]]) -> Shaping | None:
    """Return the shaping of a weighted sum of rewards; ``None`` where none of them is shaped.

    Raises:
        ValueError: They are shaped for different discounts.
    """
    shaped = [(weight, found) for weight, reward in terms if (found := shaping_of(reward)) is not None]
    gammas = sorted({shaping.gamma for _, shaping in shaped})
    if len(gammas) > 1:
        raise ValueError(f"expected one gamma in all shaped rewards of a sum, got {gammas}; give them the same")
    return Shaping(_SumOfPotentials(shaped), gammas[0]) if shaped else None


def shaping_of(reward: object) -> Shaping | None:
    """Return how a resolved reward is paid token by token; ``None`` for one that comes at the end.

    Raises:
        ValueError: Something shaped is inside a reward that cannot pass it on.
    """
    found = attribute_of(reward, "shaping")
    if isinstance(found, Shaping):
        return found
    if any(shaping_of(part) is not None for part in attribute_of(reward, "parts") or ()):
        name = attribute_of(reward, "name") or type(reward).__name__
        raise ValueError(
            f"expected Shaped outside of {name!r}, got it inside, where it would pay at the end only; write "
            "Shaped(reward, potential) around the whole reward"
        )
    return None
