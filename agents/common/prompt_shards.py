"""Disjoint shards of the prompts of an environment, one for each of several agents."""

from __future__ import annotations

import copy

from stable_baselines3.common.vec_env import VecEnv, VecMonitor

from textgym.agents.common.vec_env import GymVecEnv, MonitoredTexts, env_attribute
from textgym.envs import TokenTextVectorEnv
from textgym.naming import argument
from textgym.types import Dataset, Example, Task


class Shard:
    """Every ``count``-th example of a data set, from the ``number``-th on: a :class:`~textgym.types.Dataset`.

    Args:
        dataset: All examples.
        number: Number of the shard, from 0.
        count: Number of shards.

    Raises:
        ValueError: There are fewer examples than shards.
    """

    def __init__(self, dataset: Dataset, number: int, count: int) -> None:
        if len(dataset) < count:
            raise ValueError(
                f"expected a prompt at least for each of {count} agents, got {len(dataset)} in {dataset.name!r}; lower "
                f"{argument('agents')}, or use more data"
            )
        self._all, self._places = dataset, range(number, len(dataset), count)
        self.name, self.split = f"{dataset.name} ({number + 1} of {count})", dataset.split

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> Example:
        return self._all[self._places[index]]

    def find(self, key: str) -> Example:
        """Return the example called ``key``, of whichever shard; ``KeyError`` with a suggestion if there is none."""
        return self._all.find(key)


def shard_env(env: VecEnv, number: int, count: int, seed: int) -> VecMonitor:
    """Make the environment of one of several agents: its share of the copies of another one, with its own prompts.

    Args:
        env: Environment of :func:`~textgym.agents.common.vec_env.make_vec_env` with all prompts, whose reward and
            budgets the new one has too.
        number: Number of the agent, from 0.
        count: Number of agents.
        seed: The share's copies are seeded with numbers that follow on those of the agents before.
    """
    task: Task = copy.copy(env_attribute(env, "task"))
    task.dataset = Shard(task.dataset, number, count)

    def made(**_: object) -> Task:
        return task

    copies = max(1, env.num_envs // count)
    budgets = {name: env_attribute(env, name) for name in ("max_prompt_tokens", "max_new_tokens", "reward", "stop")}
    model = env_attribute(env, "tokenizer").name
    envs = TokenTextVectorEnv(made, copies, split=task.dataset.split, model=model, **budgets)
    monitor = MonitoredTexts(GymVecEnv(envs))
    monitor.seed(seed + number * copies)
    return monitor
