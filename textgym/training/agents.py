"""Agents by name, or from the run folder they were trained in, for whatever evaluates them or watches them."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from textgym.agents.common.prompt_format import format_in
from textgym.agents.facts import facts_of
from textgym.agents.options import OptionValue, agent_options
from textgym.agents.registry import AGENTS, can_learn, resolve_agent
from textgym.envs.choice import EnvChoice
from textgym.errors import CheckpointError
from textgym.evaluation.core import DEFAULT, EvaluationSet, make_evaluation_set, text_model_of
from textgym.evaluation.loading import load_model
from textgym.files.disk import replacing_folder
from textgym.files.paths import folders_in, user_path
from textgym.hub import AGENT, resolve_folder
from textgym.models.card import write_card
from textgym.models.checkpoint import is_checkpoint
from textgym.models.device import pick_device
from textgym.models.prompt_format import format_of_model, write_format
from textgym.models.text_model import TextModel
from textgym.naming import argument
from textgym.security.consent import names_from, names_module
from textgym.training.from_run import run_of
from textgym.training.run_folder import RunFolder, value_of
from textgym.training.setup import make_actor
from textgym.training.train_settings import TrainSettings, train_settings
from textgym.types import Agent, Split
from textgym.values import attribute_of


@dataclass(frozen=True, slots=True, kw_only=True)
class ActorSettings:
    """The settings that say which agent acts, and in what: those that evaluating, watching and generating share.

    Attributes:
        choice: Environment and data that it acts in.
        model: A language model, whose tokens an agent writes that has none, or the run of ``module:Class``; ``None`` is
            the start model of the task.
        agent: Instead of the language model: the name of an agent, ``module:Class``, or a run folder.
        agent_options: Arguments of the agent's constructor, where they are not the default, or the run's.
        split: The split of the data.
        max_prompt_tokens: Budget of a prompt; ``None`` is the run's, or else the task's.
        max_new_tokens: Budget of a turn; ``None`` is the run's, or else the task's.
        seed: Seed of everything that is drawn.
        device: Device of its language model.
    """

    choice: EnvChoice = field(kw_only=False)
    model: str | None = None
    agent: str | None = None
    agent_options: Mapping[str, OptionValue] = field(default_factory=dict)
    split: Split = "test"
    max_prompt_tokens: int | None = None
    max_new_tokens: int | None = None
    seed: int = 0
    device: str = "auto"


@dataclass(frozen=True, slots=True)
class FoundAgent:
    """An agent that was found, and what its episodes need.

    Attributes:
        load: Loads or makes it.
        tokenizer: Name of the model whose tokens it writes, unless it has a language model of its own.
        max_prompt_tokens, max_new_tokens: Budgets; ``None`` is the task's.
        language_model: Name or folder of the language model that it is; ``None`` if it is another agent.
        stop: Strings that end its texts, as the model's ``textgym.json`` says.
    """

    load: Callable[[], Agent | TextModel]
    tokenizer: str
    max_prompt_tokens: int | None
    max_new_tokens: int | None
    language_model: str | None = None
    stop: tuple[str, ...] = ()


def find_agent(wanted: ActorSettings) -> FoundAgent:
    """Find the agent of a run folder, or of the ``agent/`` in it, a new one by name, or a language model.

    Raises:
        CheckpointError: The folder holds no agent, or is part of a run that has to be given whole.
        ConsentError: A file in the folder names a class, which the user has not.
        ValueError: There is no such agent.
    """
    name, model = wanted.agent, wanted.choice.start_model() if wanted.model is None else wanted.model
    if name is None:
        return _language_model(wanted, model)
    if not is_agent_name(name):
        run = _run_around(name)
        _refuse_parts(run, name)
        return _language_model(wanted, name) if run.model.is_dir() else _agent_of_run(wanted, run)
    run = _run_around(model)
    if names_module(name) and run.path.joinpath("config.json").is_file() and not run.model.is_dir():
        return _agent_of_run(wanted, run, [name])
    settings = train_settings(wanted.choice, name, model=model, options=wanted.agent_options, **_overrides(wanted))
    return _found(settings, partial(make_actor, settings, wanted.split))


def is_agent_name(name: str) -> bool:
    """Return whether an agent is called by the name of its class, and is not what a run left in its folder."""
    return name in AGENTS or not user_path(name).is_dir()


def options_for(agent: str, options: Mapping[str, OptionValue]) -> dict[str, OptionValue]:
    """Return those of some options that an agent has, called by the name of its class; none for a run folder."""
    known = agent_options(resolve_agent(agent)) if options and is_agent_name(agent) else []
    return {option.name: options[option.name] for option in known if option.name in options}


def _run_around(name: str) -> RunFolder:
    """Return the run that a folder is, or whose model or agent it holds, and else the folder as it is."""
    return run_of(name) or RunFolder(name)


def _refuse_parts(run: RunFolder, name: str) -> None:
    """Raise for a folder that is no run, as a checkpoint or a copied agent: a run's settings say what to make of it."""
    if (run.path / "config.json").is_file() or (run.model.is_dir() and not is_checkpoint(run.path)):
        return
    around = next((found.shown for each in run.path.parents if (found := run_of(str(each))) is not None), None)
    runs = folders_in(user_path(name), lambda each: run_of(str(each)) is not None)
    if around is not None:
        what = f"a part of the run {around!r}; give {argument('agent', around)}"
    elif runs:
        what = f"which holds runs; name one of them: {runs}"
    else:
        what = "which has no config.json of a run; give the run folder that it is of"
    raise CheckpointError(f"expected a run folder, or {AGENT}/ in one, got {name!r}, {what}")


def _language_model(wanted: ActorSettings, name: str) -> FoundAgent:
    if wanted.agent_options:
        raise ValueError(
            f"expected no options with the language model {name!r}, got {', '.join(wanted.agent_options)}; name the "
            f"agent that has them with {argument('agent')}"
        )
    resolve_folder(name)  # a mistyped name is an error before anything is said about it
    load, asked = partial(load_model, name, wanted.device), format_of_model(name)
    stop = () if asked is None else asked.stop
    return FoundAgent(load, name, wanted.max_prompt_tokens, wanted.max_new_tokens, language_model=name, stop=stop)


def _agent_of_run(wanted: ActorSettings, run: RunFolder, consent: Collection[str] = ()) -> FoundAgent:
    """The agent without a language model that a run left, or was about, with the tokenizer and budgets of the run."""
    record = run.stored("settings", dict[str, object]())
    if "agent" not in record:
        raise CheckpointError(f"expected a run with an agent, got {run.shown!r}, whose settings name none")
    consented = partial(names_from, run.path, f"textgym evaluate --model {shlex.quote(run.shown)}", consent)
    with consented():
        given = {name: value for name, value in _overrides(wanted).items() if value is not None}
        settings = replace(TrainSettings.from_json(record), choice=wanted.choice, **given)
        settings = settings.with_options(**wanted.agent_options)

    def load() -> Agent:
        with consented():
            kind = resolve_agent(settings.agent, from_file=True)
            if can_learn(kind) and run.agent.is_dir():
                return kind.load(run.agent, device=pick_device(settings.device), **wanted.agent_options)
            return make_actor(settings, wanted.split)  # it is made of its options

    return _found(settings, load)


def _overrides(wanted: ActorSettings) -> dict[str, Any]:
    """Return the settings of a command that apply to every agent: seed, device and token budgets."""
    budgets = {"max_prompt_tokens": wanted.max_prompt_tokens, "max_new_tokens": wanted.max_new_tokens}
    return {"seed": wanted.seed, "device": wanted.device, **budgets}


def _found(settings: TrainSettings, load: Callable[[], Agent]) -> FoundAgent:
    return FoundAgent(load, settings.model, settings.max_prompt_tokens, settings.max_new_tokens)


def evaluation_of(
    wanted: ActorSettings,
    found: FoundAgent,
    reward: str | None,
    prompts: int,
    *,
    temperature: float = 1.0,
    metrics: Sequence[str] = (),
) -> EvaluationSet:
    """Return the evaluation set of a found agent, with the token budgets that it has.

    Args:
        wanted: Settings that the agent was found by: task, split and seed.
        found: The agent.
        reward: Name, ``module:attribute`` or folder of the reward, which is guarded; ``None`` is the task's own.
        prompts: Number of prompts of the split.
        temperature: Sampling temperature.
        metrics: Names of measures beside those of the task.
    """
    return make_evaluation_set(
        wanted.choice.make(wanted.split),
        DEFAULT if reward is None else reward,
        prompts,
        wanted.seed,
        temperature=temperature,
        max_prompt_tokens=found.max_prompt_tokens,
        max_new_tokens=found.max_new_tokens,
        stop=found.stop,
        metrics=metrics,
    )


def _env_id_of(run: RunFolder) -> str | None:
    """Return the environment that the settings of a run name, if they name one."""
    config = run.config()
    settings = value_of(config, "train", value_of(config, "settings", dict[str, object]()))
    return value_of(value_of(settings, "choice", dict[str, object]()), "env_id", "") or None


def size_of(agent: Agent) -> str:
    """Return how many parameters the language model of an agent has, as words in brackets; nothing without one."""
    model = text_model_of(agent)
    if model is None:
        return ""
    return f" ({sum(parameter.numel() for parameter in model.parameters()) / 1e6:.1f} M parameters)"


def save_result(agent: Agent, run: RunFolder) -> None:
    """Write the language model of an agent as a Hugging Face folder, or else the agent itself.

    Beside the model stands how it was asked, where the agent has its environment as ``env``.
    """
    model = text_model_of(agent)
    with replacing_folder(run.agent if model is None else run.model) as unfinished:
        if model is None:
            agent.save(unfinished)
            return
        model.save_pretrained(unfinished)
        env, acted_at = attribute_of(agent, "env"), attribute_of(agent, "temperature") or 1.0
        asked = format_in(env, model.tokenizer, env_id=_env_id_of(run), temperature=float(acted_at))
        if asked is not None:
            write_format(unfinished, asked)
        start_model = model.source or "a model of your own"
        write_card(unfinished, method=facts_of(type(agent)).method, start_model=start_model)
