"""Mistakes in the settings of a comparison, found before its folder is made."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from textgym.agents.facts import facts_of
from textgym.agents.registry import can_learn, resolve_agent
from textgym.envs.acting import grain_of
from textgym.envs.choice import token_level_id
from textgym.errors import TextGymError
from textgym.evaluation.core import DEFAULT, make_evaluation_set
from textgym.hub import resolve_folder
from textgym.models.device import pick_device, release_memory
from textgym.models.probing.noise import random_states_kept
from textgym.naming import argument
from textgym.training.comparison.settings import ComparisonSettings
from textgym.training.evaluate import make_without_training
from textgym.training.preparation import make_parts
from textgym.training.stored_settings import located
from textgym.training.train_settings import TrainSettings
from textgym.types import Task


def check_comparison(settings: ComparisonSettings, begun: Collection[str] = ()) -> list[Task]:
    """Find mistakes before anything is begun, and return the task on every split that is used.

    Args:
        settings: Settings of the comparison.
        begun: Labels of agents that have made runs with these settings, and are not made to be checked.

    Raises:
        TextGymError, OSError, TypeError, ValueError: There is one.
    """
    of_runs = {label: settings.of_run(label, settings.seed, Path("training")) for label in settings.agents}
    for label in settings.agents:
        if grain_of(settings.kind_of(label)) == "token":
            token_level_id(settings.choice.env_id)
    resolve_folder(settings.model)
    tasks = [settings.choice.make("train"), settings.choice.make(settings.split)]
    make_evaluation_set(tasks[1], DEFAULT if settings.reward is None else settings.reward, 1)
    for label, own in of_runs.items():
        if label in begun:
            continue
        try:
            _check_run(located(own))
        except (TextGymError, OSError, TypeError, ValueError) as error:
            error.add_note(f"This is about {label!r}, whose options are {argument('option')} {label}:NAME=VALUE.")
            raise
    return tasks


def _check_run(settings: TrainSettings) -> None:
    """Make the parts of a run, and leave them to themselves.

    The agent is made on the CPU, so that a GPU is free for the run. One that would first make the data it learns from
    is left out, since that can take as long as its training.
    """
    pick_device(settings.device)
    kind = resolve_agent(settings.agent)
    facts = facts_of(kind)
    if not facts.samples and facts.data_option and settings.options.get(facts.data_option) is None:
        return
    make = make_parts if can_learn(kind) else make_without_training
    with random_states_kept():
        make(replace(settings, device="cpu"))
    release_memory()
