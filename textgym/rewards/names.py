"""Rewards by name: what is built in, ``module:attribute``, and folders with reward models."""

from __future__ import annotations

import itertools
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from textgym.errors import did_you_mean
from textgym.files.paths import name_of, suggested_folder, user_path
from textgym.metrics.names import LOWER_IS_BETTER
from textgym.rewards.arguments import check_reward
from textgym.rewards.lazy import LazyReward
from textgym.rewards.options import with_options
from textgym.rewards.protocol import RewardWithParts, reward_name
from textgym.security.consent import load_attribute, load_named
from textgym.security.missing import as_module
from textgym.terms import Term, join_terms, parse_terms
from textgym.types import NameOrPath, RewardFn, Task

NAMED_REWARDS: Mapping[str, str] = {
    "learned": "textgym.rewards.lazy:ShippedReward",
    "gold": "textgym.rewards.gold:GoldReward",
    "success": "textgym.rewards.success:SuccessReward",
    "none": "textgym.rewards.composition:no_reward",
    "length": "textgym.rewards.length:length",
    "repetition": "textgym.rewards.variety:repetition",
    "diversity": "textgym.rewards.variety:diversity",
    "novelty": "textgym.rewards.variety:Novelty",
    "regex": "textgym.rewards.form:Matches",
    "json": "textgym.rewards.form:is_json",
    "safety": "textgym.rewards.safety:Safety",
    "classifier": "textgym.rewards.lazy:Classifier",
    "pessimistic": "textgym.rewards.lazy:Pessimistic",
    "similarity": "textgym.rewards.lazy:Similarity",
    "rouge": "textgym.metrics.rouge:rougeL",
    "rouge1": "textgym.metrics.rouge:rouge1",
    "rouge2": "textgym.metrics.rouge:rouge2",
    "rougeL": "textgym.metrics.rouge:rougeL",
    "bleu": "textgym.metrics.bleu:bleu",
    "chrf": "textgym.metrics.chrf:chrf",
    "meteor": "textgym.metrics.meteor:Meteor",
    "bertscore": "textgym.metrics.bertscore:BertScore",
    "likelihood": "textgym.rewards.lazy:Likelihood",
    "exact_match": "textgym.metrics.answers:exact_match",
    "f1": "textgym.metrics.answers:f1",
    "letters": "textgym.rewards.letters:letter_by_letter",
    "decoy": "textgym.rewards.letters:decoy_by_letter",
    "shaped": "textgym.rewards.shaping:Shaped",
    "clicks": "textgym.rewards.clicks:Clicks",
    "unit_tests": "textgym.rewards.unit_tests:UnitTests",
}
"""Name -> where it is: a function of prompts, responses and examples, whose further arguments are the options, or a
class, whose arguments are. An argument that is called ``task`` is the task of the environment."""
_SUM = "textgym.rewards.composition:WeightedSum"  # which resolves rewards itself


def resolve_reward(reward: RewardFn | NameOrPath | Sequence[str], task: Task | None = None) -> RewardFn:
    """Return the reward that ``reward`` names, or ``reward`` itself if it is one; composites are bound to ``task``.

    Args:
        reward: A callable, or a text ``[WEIGHT*]NAME[?key=value&...]``, in which values are percent-encoded; several
            with ``" + "`` between, or in a list, add up. NAME is one of :data:`NAMED_REWARDS`, such as ``"learned"``
            (the shipped reward model), ``"gold"`` (the true quality, where the data knows it), ``"success"`` (1 where
            the task's own criterion is met, else 0) and ``"none"`` (always 0); ``"module:attribute"``, which has
            options as a named one; or a folder with a fitted reward model. Models are loaded when they first score.
        task: Where ``"gold"`` and ``"success"`` come from.

    Raises:
        ValueError: No reward is called so, has no such option, or needs a task where there is none.
        TypeError: ``reward`` is neither a name nor callable.
    """
    if isinstance(reward, list | tuple) and reward and all(isinstance(each, str) for each in reward):
        reward = join_terms(reward)
    name = name_of(reward)
    found: RewardFn = check_reward(reward if name is None else _by_name(name, task))
    return found.bind(task) if isinstance(found, RewardWithParts) else found


def _by_name(name: str, task: Task | None) -> RewardFn:
    """Return what a name stands for, not yet bound to the task if it is a composite."""
    if name not in NAMED_REWARDS and (user_path(name).exists() or not name):
        return _of_term(Term(name), task)
    terms = parse_terms(name)
    if len(terms) == 1 and terms[0].weight == 1.0:
        return _of_term(terms[0], task)
    summed = dict[str, tuple[float, RewardFn]]()
    for term in terms:
        reward = _of_term(term, task)
        summed[_new_label(reward_name(reward), summed)] = (term.weight, reward)
    made: RewardFn = load_attribute(_SUM)(summed)
    return made


def _new_label(label: str, taken: Collection[str]) -> str:
    """Return a label for a part of a sum that no other part has."""
    numbered = (f"{label}_{number}" for number in itertools.count(2))
    return label if label not in taken else next(each for each in numbered if each not in taken)


def _of_term(term: Term, task: Task | None) -> RewardFn:
    name = term.name
    if name in NAMED_REWARDS:
        return with_options(load_attribute(NAMED_REWARDS[name]), term, task)
    if name in LOWER_IS_BETTER:
        if term.weight >= 0:
            raise ValueError(
                f"expected a negative weight of {name!r}, of which lower is better, got {str(term)!r}; write "
                f"{str(replace(term, weight=-1.0))!r}"
            )
        return with_options(load_attribute(LOWER_IS_BETTER[name]), term, task)
    if user_path(name).is_dir():
        if term.options:
            raise ValueError(f"expected no options of the reward model in {name!r}, got {', '.join(term.options)}")
        return LazyReward(name_of_folder(name), name)
    if ":" in name and not _looks_like_path(name):
        return with_options(load_named(name, "reward"), term, task)
    if _looks_like_path(name):
        raise ValueError(
            f"expected a folder with a reward model, got {name!r}, which does not exist or is no folder; check the "
            f"path.{as_module(name) or suggested_folder(name)}"
        )
    raise ValueError(
        f"expected a reward name, 'module:attribute', a folder with a reward model or a callable, got {name!r}."
        f"{did_you_mean(name, {*NAMED_REWARDS, *LOWER_IS_BETTER})}"
    )


def name_of_folder(folder: NameOrPath) -> str:
    """Return what a reward model is called in plots, tables and logs: by its folder, or by the run that fitted it.

    >>> name_of_folder("runs/helpful")
    'helpful'
    """
    path = user_path(folder).absolute()
    is_part_of_run = path.name == "reward" and (path.parent / "config.json").is_file()
    name = path.parent.name if is_part_of_run else path.name
    return f"{name}-reward" if name in ("", "total", "turns") else name  # which stand for sums in infos


def _looks_like_path(name: str) -> bool:
    return os.sep in name or name.startswith("~") or Path(name).exists()
