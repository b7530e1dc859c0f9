"""The parts of a training run, made from its settings: environment, agent, what it is measured on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gymnasium as gym

from textgym.agents.common.distributed import current
from textgym.agents.common.vec_env import env_attribute, make_vec_env
from textgym.agents.facts import facts_of, processes_of
from textgym.agents.options import agent_options, checked_options
from textgym.agents.registry import resolve_agent
from textgym.envs.acting import grain_of
from textgym.envs.arguments import without_remark_on_reward
from textgym.envs.choice import id_of_grain, token_level_id, with_budgets
from textgym.evaluation.core import EvaluationSet, make_evaluation_set, text_model_of
from textgym.evaluation.loading import require_context
from textgym.evaluation.measures import fixed_examples
from textgym.evaluation.reward_guard import guarded
from textgym.evaluation.sampling import Sampling
from textgym.naming import argument
from textgym.training.callbacks import SampleSheet
from textgym.training.train_settings import TrainSettings
from textgym.types import Agent, Split, Trainable

_SAMPLED_PROMPTS = 4


def make_env(settings: TrainSettings, split: Split = "train") -> Any:
    """Make the vector environment of the agent's grain, on one split of the data."""
    if not facts_of(resolve_agent(settings.agent)).samples:
        with without_remark_on_reward():
            return _make_env(settings, split)
    return _make_env(settings, split)


def _make_env(settings: TrainSettings, split: Split) -> Any:
    reward = guarded(settings.reward, settings.reward_timeout)
    kwargs = {**settings.choice.env_kwargs(), "split": split, "reward": reward}
    own = own_copies(settings)
    if grain_of(resolve_agent(settings.agent)) == "episode":
        return gym.make_vec(id_of_grain(settings.choice.env_id, "episode"), num_envs=len(own), **kwargs)
    return make_vec_env(
        token_level_id(settings.choice.env_id),
        n_envs=len(own),
        seed=settings.seed + own.start,
        model=settings.model,
        max_prompt_tokens=settings.max_prompt_tokens,
        max_new_tokens=settings.max_new_tokens,
        **kwargs,
    )


def own_copies(settings: TrainSettings) -> range:
    """Return which of the parallel environments are this process's: its share, where several train one agent.

    Raises:
        ValueError: They cannot be shared out evenly.
    """
    ranks, kind = current(), resolve_agent(settings.agent)
    if ranks.size == 1 or processes_of(kind) != "data" or not facts_of(kind).samples:
        return range(settings.n_envs)
    if settings.n_envs % ranks.size:
        raise ValueError(
            f"expected {argument('n_envs')} to be a multiple of the {ranks.size} processes, which share them, got "
            f"{settings.n_envs}; change it"
        )
    share = settings.n_envs // ranks.size
    return range(ranks.rank * share, (ranks.rank + 1) * share)


def make_run_evaluation(settings: TrainSettings, env: Any) -> EvaluationSet:
    """Make what is measured before and after."""
    # The environment's reward object is used, so that a reward model is in memory once.
    return make_evaluation_set(
        settings.choice.make(settings.split),
        env_attribute(env, "reward"),
        settings.eval_prompts,
        settings.seed,
        max_prompt_tokens=settings.max_prompt_tokens,
        max_new_tokens=settings.max_new_tokens,
    )


def make_sheet(settings: TrainSettings, agent: Agent) -> SampleSheet | None:
    """Choose the prompts whose texts are written down through training; ``None`` for agents that write no samples."""
    if text_model_of(agent) is None:
        return None  # its data need not have a validation split
    validation = settings.choice.make("validation")
    task = with_budgets(validation, settings.max_prompt_tokens, settings.max_new_tokens)
    sampling = Sampling(task.max_prompt_tokens, task.max_new_tokens, 1.0, settings.seed)
    return SampleSheet(validation, fixed_examples(validation.dataset, _SAMPLED_PROMPTS), sampling)


def make_agent(settings: TrainSettings, env: Any) -> Agent:
    """Make the untrained agent for an environment of its grain."""
    kind = resolve_agent(settings.agent)
    options = checked_options(kind, settings.options)
    # Environments of the episode grain have no budgets: an agent that writes their texts with a model takes them.
    budgets = {"max_prompt_tokens": settings.max_prompt_tokens, "max_new_tokens": settings.max_new_tokens}
    known = {option.name for option in agent_options(kind)}
    options |= {name: value for name, value in budgets.items() if name in known and value is not None}
    return kind.create(env, settings.model, seed=settings.seed, device=settings.device, **options)


def make_actor(settings: TrainSettings, split: Split) -> Agent:
    """Make the untrained agent, with an environment that it only acts in: of its grain, whichever the settings name."""
    env_id = id_of_grain(settings.choice.env_id, grain_of(resolve_agent(settings.agent)))
    settings = replace(settings, choice=replace(settings.choice, env_id=env_id), n_envs=1)
    return make_agent(settings, make_env(settings, split))


def trainable(agent: Agent) -> Trainable:
    """Check that an agent has what training reads.

    Raises:
        TypeError: It lacks something.
    """
    if isinstance(agent, Trainable):
        return agent
    wanted = {name for name in (*Trainable.__annotations__, *vars(Trainable)) if not name.startswith("_")}
    lacking = wanted - set(dir(agent))
    raise TypeError(
        f"expected an agent that can be trained, got a {type(agent).__name__} without {', '.join(sorted(lacking))}; "
        "see textgym.types.Trainable"
    )


def require_room(settings: TrainSettings, agent: Agent, env: Any) -> None:
    """Check that the language model of an agent, if there is one, can read an episode.

    Raises:
        ModelError: Its context is too short.
    """
    model = text_model_of(agent)
    if model is not None:
        task = env_attribute(env, "task")
        require_context(model, with_budgets(task, settings.max_prompt_tokens, settings.max_new_tokens))
