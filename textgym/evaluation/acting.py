"""Texts of agents that are stepped through the environment."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from textgym import console
from textgym.envs.episode_text import EpisodeTextEnv
from textgym.envs.token_text import TokenTextEnv
from textgym.evaluation.sampling import Sampling
from textgym.types import Agent, Example, FloatArray, Task


def act_texts(
    agent: Agent,
    task: Task,
    examples: Sequence[Example],
    sampling: Sampling,
    *,
    tokenizer: str = "tiny",
    title: str | None = None,
) -> tuple[list[str], dict[str, FloatArray]]:
    """Let an agent write one text per example, in environments side by side.

    Args:
        agent: Of either grain. At temperature 0 it acts greedily; there is no other temperature than 1 for it.
        task: What is asked.
        examples: ``n`` of its examples.
        sampling: Budgets, seed, and how many texts are written side by side.
        tokenizer: Name of the model whose tokens the actions are, at the token grain.
        title: What the progress bar is called; no bar without.

    Returns:
        ``n`` texts, and numbers about them, each (n,): ``"eos"``, whether a text ended by itself, and at the token
        grain ``"length"`` in tokens.
    """
    infos: list[dict[str, Any]] = []
    size = min(sampling.batch_size, len(examples))
    envs = [_make_env(agent, task, sampling, tokenizer) for _ in range(size)]
    generator = torch.Generator().manual_seed(sampling.seed)
    bar = console.progress(title, len(examples), "texts") if title is not None else contextlib.nullcontext()
    with bar as ticker:
        for start in range(0, len(examples), size):
            part = examples[start : start + size]
            infos += _finish_texts(agent, envs[: len(part)], part, sampling.temperature == 0, generator)
            if ticker is not None:
                ticker.advance(len(part))
    values = {"eos": np.array([info["finish_reason"] == "eos" for info in infos], dtype=np.float64)}
    if agent.grain == "token":
        values["length"] = np.array([info["steps"] for info in infos], dtype=np.float64)
    return [info["text"] for info in infos], values


def _make_env(agent: Agent, task: Task, sampling: Sampling, tokenizer: str) -> gym.Env[Any, Any]:
    """An environment of the agent's grain; texts are scored later, all at once."""

    def made(**_: object) -> Task:
        return task

    if agent.grain == "episode":
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


def _finish_texts(
    agent: Agent,
    envs: Sequence[gym.Env[Any, Any]],
    examples: Sequence[Example],
    greedy: bool,
    generator: torch.Generator,
) -> list[dict[str, Any]]:
    """Step every environment to its end; returns the last infos, with the number of ``steps``."""
    observations = [
        env.reset(options={"task_key": example.key})[0] for env, example in zip(envs, examples, strict=True)
    ]
    infos: list[dict[str, Any]] = [{} for _ in envs]
    left, steps = list(range(len(envs))), 0
    while left:
        steps += 1
        actions = agent.act(_batched([observations[row] for row in left]), greedy=greedy, generator=generator)
        ended = set()
        for row, action in zip(left, actions, strict=True):
            observations[row], _, terminated, truncated, info = envs[row].step(action)
            if terminated or truncated:
                infos[row] = {**info, "steps": steps}
                ended.add(row)
        left = [row for row in left if row not in ended]
    return infos


def _batched(observations: Sequence[Any]) -> Any:
    """Observations of several environments as agents take them: texts as a list, dicts of arrays as arrays (n, ...)."""
    if isinstance(observations[0], dict):
        return {name: np.stack([each[name] for each in observations]) for name in observations[0]}
    return list(observations)
