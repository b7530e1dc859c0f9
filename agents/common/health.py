"""Signs that training goes wrong: gradients that are no numbers, a policy that drifted off or froze, equal rewards."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import torch
from torch import Tensor

from textgym.naming import argument

Record = Mapping[str, float | None]
"""The record of an iteration: name -> number; ``None`` for one that was not finite when it was stored."""
HUGE_REWARD = 1e4
"""Rewards beyond this are taken for a mistake of scale: values and losses follow them, and little else is learnt."""
_FAR_PER_TEXT, _FAR_PER_TOKEN, _SOMEWHAT_PER_TEXT = 100.0, 1.0, 20.0  # nats
_BELOW_0, _MANY = -1.0, 16  # nats per text, and texts: a mean over fewer may be below 0 by chance
_FROZEN = 1e-3  # nats per token
_ENOUGH = 32  # texts: if all are alike, more than 1 in 10 is not likely to differ (3 / 32, the rule of three)
_TEXTS = 12.0  # of an iteration that does not say how many it had
_RECENT = 20  # iterations: earlier ones say little of the texts of today
_FEW_END = 0.1  # share of texts that end by themselves; the others are judged by where the budget cut them
_SHORT = 4.0  # tokens: where one choice of a list is to be written, its budget is where it ends
_SAME = 1e-6  # rewards that differ by less, in parts of their size, are one reward that was rounded
_NEW, _STATES = 0.9, 1000  # share of states that are new, and how many there have to be before it counts
_LARGE_ERROR = 30.0  # of the values, on average: at it the policy moves about half as far as with rewards of order 1
_DRIFTED = (
    "the policy is {:.0f} nats per text away from its reference: it most likely writes what no reader would take for "
    "text, to please the reward; raise {kl_coef}, set {kl_target}, or lower {learning_rate}"
)
_FROZE = (
    "the policy's entropy is almost 0 ({:.1g} nats per token): it always writes the same, and learns no more; "
    "lower {learning_rate}, raise {kl_coef} "
    "or {ent_coef}, and start a new run"
)
_NEGATIVE = "the KL to the reference is negative ({:.2f} nats per text): sampled and scored distributions differ"
_CUT = (
    "fewer than 1 in 10 texts end before the token budget cuts them: rewards score texts that break off; raise "
    "{max_new_tokens}, penalize it with {missing_eos_penalty}, or train with `sft` first on texts that end"
)
_TEXTS_FAIL = (
    "references get up to {:.4g}, so the model writes nothing yet that this reward values; train with `sft` first "
    "(textgym sft), and start from that model ({model})"
)
_REWARD_FAILS = (
    "the reward does not distinguish the texts, and references get the same; choose another {reward}, or let "
    "this one tell better texts from worse ones"
)
_TEXTS_ARE_GOOD = "no reference gets more than {:.4g}, so this reward has nothing left to teach; use a harder one"
_SOME_REASON = (
    "either the model writes nothing yet that this reward values (train with `sft` first), or all texts are as good as "
    "it can tell, or it does not distinguish texts (use another one)"
)
_UNSEEN = (
    "almost every text so far is new to the table, which has {:,.0f} of them: it never sees what it has learned; use a "
    "task of few tokens and short texts, such as TextSpell-v0, or an agent with a language model, such as dqn"
)
_SCALE = (
    "expected rewards of order 1, got some that are {:.1e} off their predicted values: the value loss then fills the "
    "gradient, which is clipped as a whole, and the policy hardly moves; divide the reward, or set {scaled}"
)
_ARGUMENTS = (
    *("kl_coef", "kl_target", "learning_rate", "ent_coef"),
    *("max_new_tokens", "missing_eos_penalty", "model", "reward"),
)


def _said(sentence: str, *values: float) -> str:
    """Return a sentence with its numbers, and the arguments that it names as the user writes them."""
    named = {name: argument(name) for name in _ARGUMENTS}
    return sentence.format(*values, **named, scaled=argument("scale_rewards", True))


def clip_gradients(parameters: Iterable[Tensor], max_norm: float, largest_reward: float = 0.0) -> float:
    """Scale gradients down to a norm of at most ``max_norm``; call it before the optimizer's step.

    Args:
        parameters: Parameters whose gradients are clipped.
        max_norm: The largest norm.
        largest_reward: Largest absolute reward they come from, for the error.

    Returns:
        The norm before.

    Raises:
        FloatingPointError: It is no finite number. The weights are those of the step before.
    """
    norm = float(torch.nn.utils.clip_grad_norm_(parameters, max_norm))
    require_finite("gradient", norm, largest_reward)
    return norm


def require_finite(what: str, value: float, largest_reward: float = 0.0) -> None:
    """Check a loss or a gradient norm before it reaches the weights.

    Raises:
        FloatingPointError: It is no finite number; the message says what to change.
    """
    if not math.isfinite(value):
        raise FloatingPointError(f"expected a finite {what}, got {value}; {_remedy(largest_reward)}")


def _remedy(largest_reward: float) -> str:
    if largest_reward <= HUGE_REWARD:
        return f"lower {argument('learning_rate')}, or use {argument('precision', 'fp32')} if it is bf16"
    return (
        f"the rewards are huge (up to {largest_reward:.3g}): divide them, or use {argument('scale_rewards')} or "
        f"{argument('clip_reward')}"
    )


def refuse_bad_steps(optimizer: torch.optim.Optimizer) -> None:
    """Let an optimizer, whoever calls it, raise ``FloatingPointError`` instead of stepping along a bad gradient."""
    optimizer.register_step_pre_hook(_check_step)


def _check_step(optimizer: torch.optim.Optimizer, args: object, kwargs: object) -> None:
    gradients = [
        parameter.grad
        for group in optimizer.param_groups
        for parameter in group["params"]
        if parameter.grad is not None
    ]
    require_finite("gradient", float(torch.nn.utils.get_total_norm(gradients)))


class Concerns:
    """Warns of each sign once.

    Args:
        references: Returns the rewards of texts known to be good, as far as there are any; called once, where all
            rewards of training are equal, to tell why.
    """

    def __init__(self, references: Callable[[], Sequence[float]] | None = None) -> None:
        self._seen: set[str] = set()
        self._references = references

    def check(self, history: Sequence[Record]) -> None:
        """Check the iterations so far; call it after each."""
        for sign, text in concerns(history, None if "reward" in self._seen else self._references):
            if sign not in self._seen:
                self._seen.add(sign)
                warnings.warn(text, stacklevel=3)


def concerns(
    history: Sequence[Record], references: Callable[[], Sequence[float]] | None = None
) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with the last iteration, as a name and a sentence that says what to do.

    Args:
        history: Records of all iterations so far, of any agent; keys that it does not have are not looked at. ``kl`` in
            nats per text, ``entropy`` in nats per token, ``value_error`` the root mean square error of the values,
            ``cut`` the share of texts that the token budget cut, ``reward_std`` the standard deviation of the rewards
            of an iteration; ``states`` in a table of action values, and which share ``new_states`` of an iteration's
            were not there before.
        references: As in :class:`Concerns`.
    """
    last: Record = history[-1] if history else {}
    kl, length = _value(last, "kl", 0.0), max(1.0, _value(last, "length", 1.0))
    if kl > _FAR_PER_TEXT or (kl > _SOMEWHAT_PER_TEXT and kl / length > _FAR_PER_TOKEN):
        yield "kl", _said(_DRIFTED, kl)
    if kl < _BELOW_0 and _value(last, "texts", 0.0) >= _MANY:
        yield "negative kl", _said(_NEGATIVE, kl)
    if _value(last, "entropy", 1.0) < _FROZEN:
        yield "entropy", _said(_FROZE, _value(last, "entropy", 0.0))
    if _value(last, "value_error", 0.0) > _LARGE_ERROR:
        yield "scale", _said(_SCALE, _value(last, "value_error", 0.0))
    if _value(last, "new_states", 0.0) > _NEW and _value(last, "states", 0.0) > _STATES:
        yield "states", _said(_UNSEEN, _value(last, "states", 0.0))
    if _hardly_any_ends(history):
        yield "cut", _said(_CUT)
    constant = constant_reward(history)
    if constant is not None:
        yield "reward", equal_rewards(constant, references() if references is not None else ())


def all_concerns(history: Sequence[Record], references: Callable[[], Sequence[float]] | None = None) -> dict[str, str]:
    """Return the first sentence of every sign in a whole log, by name, in the order in which they came.

    Rewards that were equal only at first are left out: they have differed since.
    """
    found: dict[str, str] = {}
    for end in range(1, len(history) + 1):
        for sign, text in concerns(history[:end], None if "reward" in found else references):
            found.setdefault(sign, text)
    if constant_reward(history) is None:
        found.pop("reward", None)
    return found


def constant_reward(history: Sequence[Record]) -> float | None:
    """Return the reward that all texts so far got; ``None`` if there were two, or too few texts to tell.

    A reward that was different once is none: texts may all be equally good after training.
    """
    first, texts = None, 0.0
    for record in history:
        reward = record.get("reward")
        if reward is None:
            continue
        first = reward if first is None else first
        if max(abs(reward - first), _value(record, "reward_std", 0.0)) > _SAME * max(1.0, abs(first)):
            return None
        texts += _value(record, "texts", _TEXTS)
    return first if texts >= _ENOUGH else None


def equal_rewards(reward: float, references: Sequence[float]) -> str:
    """Return the sentence about a reward that all texts got, and whether it or the texts are to blame.

    Args:
        reward: The reward of all texts.
        references: Rewards of texts known to be good; empty if there are none.
    """
    slack = _SAME * max(1.0, abs(reward))
    if not references:
        why = _SOME_REASON
    elif max(references) > reward + slack:
        why = _said(_TEXTS_FAIL, max(references))
    elif min(references) < reward - slack:
        why = _said(_TEXTS_ARE_GOOD, max(references))
    else:
        why = _said(_REWARD_FAILS)
    return f"all texts so far got the same reward, {reward:.4g}, from which nothing can be learnt: {why}"


def _hardly_any_ends(history: Sequence[Record]) -> bool:
    """Return whether nearly all of the last texts were cut by the token budget, and are more than a word or two."""
    texts = cut = 0.0
    if history and _value(history[-1], "length", math.inf) <= _SHORT:
        return False
    for record in reversed(history[-_RECENT:]):
        count = _value(record, "texts", _TEXTS) if record.get("cut") is not None else 0.0
        texts, cut = texts + count, cut + count * _value(record, "cut", 0.0)
        if texts >= _ENOUGH:
            return 1 - cut / texts < _FEW_END
    return False


def _value(record: Record, name: str, default: float) -> float:
    """Return a number of a record; ``default`` where it has none, or one that was not finite when it was stored."""
    value = record.get(name)
    return default if value is None else value
