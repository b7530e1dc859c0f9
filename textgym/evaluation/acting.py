"""Episodes of agents that are stepped through the environment."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import numpy as np
import torch

from textgym import console
from textgym.envs.acting import actions_of, grain_of
from textgym.envs.episode_text import EpisodeTextEnv
from textgym.envs.token_text import TokenTextEnv
from textgym.envs.types import Observation, batched
from textgym.evaluation.sampling import Sampling
from textgym.types import Agent, Episode, Example, FloatArray, Task

TextEnv = EpisodeTextEnv | TokenTextEnv


def require_own_temperature(temperature: float) -> None:
    """Check a temperature for an agent that is no language model.

    Raises:
        ValueError: The temperature is neither 0 nor 1.
    """
    if temperature not in (0, 1):
        raise ValueError(
            f"expected temperature 0 or 1 for an agent that is no language model, got {temperature}: with 1 "
            "it samples in its own way, with 0 it takes its best action; choose one of these"
        )


def act_episodes(
    agent: Agent,
    task: Task,
    examples: Sequence[Example],
    sampling: Sampling,
    *,
    tokenizer: str | None = None,
    title: str | None = None,
) -> tuple[list[Episode], dict[str, FloatArray]]:
    """Let an agent act in one episode per example, in parallel environments.

    Args:
        agent: Agent of either grain. At temperature 0 it acts greedily; no other temperature than 1 is possible.
        task: Task of the examples.
        examples: ``n`` of its examples.
        sampling: Budgets, seed (the ``i``-th episode begins with ``reset(seed=seed + i)``), and how many episodes run
            side by side.
        tokenizer: Name of the model whose tokens the actions are, at the token grain; ``None`` is the task's.
        title: Title of the progress bar; no bar without.

    Returns:
        ``n`` episodes, and numbers about them, each (n,): at the token grain ``"length"``, tokens of the agent.

    Raises:
        AgentError: The agent has no grain that exists, or returns another number of actions than of observations.
    """
    require_own_temperature(sampling.temperature)
    episodes: list[Episode] = []
    lengths: list[int] = []
    size = min(sampling.batch_size, len(examples))
    envs = [_make_env(agent, task, sampling, tokenizer) for _ in range(size)]
    generator = torch.Generator().manual_seed(sampling.seed)
    bar = console.progress(title, len(examples), "texts") if title is not None else contextlib.nullcontext()
    with bar as ticker:
        for start in range(0, len(examples), size):
            part = examples[start : start + size]
            observations: list[str | Observation] = [
                env.reset(seed=sampling.seed + start + row, options={"task_key": example.key})[0]
                for row, (env, example) in enumerate(zip(envs, part, strict=False))
            ]
            lengths += _act(agent, envs, observations, sampling.temperature == 0, generator)
            episodes += [env.episode for env in envs[: len(part)]]
            if ticker is not None:
                ticker.advance(len(part))
    return episodes, {"length": np.array(lengths, dtype=np.float64)} if grain_of(agent) == "token" else {}


def _make_env(agent: Agent, task: Task, sampling: Sampling, tokenizer: str | None) -> TextEnv:
    """An environment of the agent's grain; texts are scored later, all at once."""

    def made(**_: object) -> Task:
        return task

    if grain_of(agent) == "episode":
        return EpisodeTextEnv(made, split=task.dataset.split, reward=_no_reward)
    return TokenTextEnv(
        made,
        split=task.dataset.split,
        model=tokenizer,
        reward=_no_reward,
        max_prompt_tokens=sampling.max_prompt_tokens,
        max_new_tokens=sampling.max_new_tokens,
    )


def _no_reward(prompts: Sequence[str], responses: Sequence[str], examples: Sequence[Example], /) -> FloatArray:
    return np.zeros(len(responses))


def _act(
    agent: Agent,
    envs: Sequence[TextEnv],
    observations: list[str | Observation],
    greedy: bool,
    generator: torch.Generator,
) -> list[int]:
    """Step the environments that have observations to the end of their episodes; returns the steps of each."""
    left, steps = list(range(len(observations))), [0] * len(observations)
    while left:
        batch = batched([observations[row] for row in left], grain_of(agent))
        actions = actions_of(agent, batch, len(left), greedy=greedy, generator=generator)
        ended = set()
        for row, action in zip(left, actions, strict=True):
            steps[row] += 1
            observations[row], _, terminated, truncated, _ = envs[row].step(action)
            if terminated or truncated:
                ended.add(row)
        left = [row for row in left if row not in ended]
    return steps
