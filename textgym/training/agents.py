"""Agents by name, or from the run folder they were trained in, for whatever evaluates them or watches them."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping
from typing import Any

import gymnasium as gym

from textgym.agents.common.vec_env import make_vec_env
from textgym.agents.facts import facts_of, grain_of
from textgym.agents.options import checked_options
from textgym.agents.registry import AGENTS, resolve_agent
from textgym.envs.choice import EnvChoice, id_of_grain
from textgym.errors import CheckpointError
from textgym.evaluation.core import text_model_of
from textgym.evaluation.loading import load_model
from textgym.files.disk import replacing_folder
from textgym.files.paths import user_path
from textgym.models.card import write_card
from textgym.models.text_model import TextModel
from textgym.security.consent import names_from, names_module
from textgym.training.run_folder import RunFolder
from textgym.training.train_settings import TrainSettings
from textgym.types import Agent, Split


def make_agent(
    name: str,
    choice: EnvChoice,
    split: Split,
    *,
    model: str = "tiny",
    seed: int = 0,
    device: str = "auto",
    options: Mapping[str, object] | None = None,
) -> Agent:
    """Make an untrained agent for the environment of its grain.

    Args:
        name: Of the agent, or ``module:Class``.
        choice: Environment of either grain, and data.
        split: Of the data.
        model: Language model of the agent, or whose tokens it writes.
        seed, device: Of the agent.
        options: Arguments of its constructor.
    """
    kind = resolve_agent(name)
    checked = checked_options(kind, options or {})
    grain, kwargs = grain_of(kind), {**choice.env_kwargs(), "split": split}
    env_id = id_of_grain(choice.env_id, grain)
    env: Any = make_vec_env(env_id, model=model, **kwargs) if grain == "token" else gym.make(env_id, **kwargs)
    return kind.create(env, model, seed=seed, device=device, **checked)


def find_agent(
    name: str, choice: EnvChoice, split: Split, *, model: str = "tiny", seed: int = 0, device: str = "auto"
) -> Agent | TextModel:
    """Return the agent of a run folder, or a new one by name; otherwise as :func:`make_agent`.

    Args:
        name: A run folder, the name of an agent, or ``module:Class``, with which the run in ``model`` may be loaded
            that names this class.
        choice, split, model, seed, device: As for :func:`make_agent`.

    Raises:
        CheckpointError: The folder holds no agent.
        ConsentError: A file in the folder names a class, which the user has not.
        ValueError: There is no such agent.
    """
    if name in AGENTS or not user_path(name).is_dir():
        run = RunFolder(model)
        if names_module(name) and run.path.joinpath("config.json").is_file() and not run.model.is_dir():
            return _of_run(run, choice, split, [name], seed=seed, device=device)
        return make_agent(name, choice, split, model=model, seed=seed, device=device)
    run = RunFolder(name)
    if run.model.is_dir():
        return load_model(name, device)
    return _of_run(run, choice, split, seed=seed, device=device)


def _of_run(
    run: RunFolder, choice: EnvChoice, split: Split, consent: Collection[str] = (), *, seed: int, device: str
) -> Agent:
    """The agent without a language model that a run left, or was about."""
    record = run.config().get("settings", {})
    if not isinstance(record, Mapping) or "agent" not in record:
        raise CheckpointError(f"expected a run with an agent, got {run.shown!r}, whose settings name none")
    with names_from(run.path, f"textgym evaluate --model {shlex.quote(run.shown)}", consent):
        settings = TrainSettings.from_json(record)
        if run.agent.is_dir():
            return resolve_agent(settings.agent, from_file=True).load(run.agent)
        return make_agent(
            settings.agent, choice, split, model=settings.model, seed=seed, device=device, options=settings.options
        )


def size_of(agent: Agent) -> str:
    """Return how many parameters the language model of an agent has, as words in brackets; nothing without one."""
    model = text_model_of(agent)
    if model is None:
        return ""
    return f" ({sum(parameter.numel() for parameter in model.parameters()) / 1e6:.1f} M parameters)"


def save_result(agent: Agent, run: RunFolder) -> None:
    """Write the language model of an agent as a Hugging Face folder, or else the agent itself."""
    model = text_model_of(agent)
    with replacing_folder(run.agent if model is None else run.model) as unfinished:
        if model is None:
            agent.save(unfinished)
            return
        model.save_pretrained(unfinished)
        start_model = model.source or "a model of your own"
        write_card(unfinished, method=facts_of(type(agent)).method, start_model=start_model)
