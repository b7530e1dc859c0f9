"""The history of an agent, which all agents that learn share: its records, where they are logged, and its plot."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stable_baselines3.common.logger import Logger

from textgym.agents.common.health import Concerns
from textgym.agents.common.vec_env import env_attribute
from textgym.checks import check_ranges
from textgym.evaluation.reward_guard import GuardedReward
from textgym.history import History
from textgym.rewards import reward_name
from textgym.text.plurals import counted
from textgym.values import attribute_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_logger = logging.getLogger("textgym")
_ROLLOUT = ("reward", "reward_std", "gold", "success", "kl", "kl_k3", "length", "eos", "cut", "texts", "tokens")
_TIME = ("tokens_per_second",)
_STEP = ("iteration", "step", "timesteps")
_NO_TEXTS = ("stdout", "log", "json", "csv")  # outputs of loggers that are tables of numbers


def tag_of(name: str, reward: str | None = None) -> str | None:
    """Return what a number of a record is called in a logger: by its source, each number once.

    ``rollout/`` is measured on the texts of the iteration, ``train/`` in the update, ``time/`` by the clock.

    Args:
        name: Name in the record.
        reward: Name of the reward, if it is a part of itself, as rewards are that are made of no others.

    Returns:
        The tag; ``None`` for a number that is the step, or has another tag.

    >>> tag_of("kl"), tag_of("grad_norm"), tag_of("timesteps")
    ('rollout/kl', 'train/grad_norm', None)
    """
    if name in _STEP or name in ("reward/total", f"reward/{reward}"):
        return None
    if name in _ROLLOUT or name.startswith("reward/"):
        return f"rollout/{name}"
    return f"time/{name}" if name in _TIME or name.startswith("seconds/") else f"train/{name}"


def log_record(logger: Logger, record: Mapping[str, float], env: object = None) -> None:
    """Write the record of an iteration to a logger of Stable-Baselines3, at the step at which the iteration ended.

    Args:
        logger: The logger; what callbacks have recorded in it is written too.
        record: Numbers by name, with ``"timesteps"``.
        env: The environment of the iteration, whose reward is not written a second time under its own name.
    """
    own = None if "reward/turns" in record else _own_part(env)
    for name, value in record.items():
        tag = tag_of(name, own)
        if tag is not None:
            logger.record(tag, value)
    logger.record("time/total_timesteps", int(record["timesteps"]), exclude="tensorboard")
    logger.dump(int(record["timesteps"]))


def log_texts(logger: Logger, texts: Mapping[str, str], step: int) -> None:
    """Write texts in Markdown, by tag, to the outputs of a logger that show texts."""
    for tag, text in texts.items():
        logger.record(tag, text, exclude=_NO_TEXTS)
    logger.dump(step)


def _own_part(env: object) -> str | None:
    """Return the name of an environment's reward, among whose parts it is itself; ``None`` if it is made of others."""
    try:
        reward = env_attribute(env, "reward")
    except AttributeError:  # an environment of somebody else, or none
        return None
    while isinstance(reward, GuardedReward):
        (reward,) = reward.parts
    return None if attribute_of(reward, "parts") is not None else reward_name(reward)


class KeepsHistory:
    """An agent with a history, which can be plotted.

    Attributes:
        history: One record (name -> number) per iteration.
    """

    num_timesteps: int
    _history: History
    _concerns: Concerns | None = None
    _has_said_restart = False

    @property
    def history(self) -> History:
        """The records, a list that plots itself: ``agent.history.plot()``."""
        return self._history

    @history.setter
    def history(self, records: Iterable[dict[str, float]]) -> None:
        self._history = History(records, type(self).__name__)

    def set_concerns(self, concerns: Concerns) -> None:
        """Let these warn of what goes wrong, instead of the agent's own."""
        self._concerns = concerns

    def plot(self, file: str | Path | None = None) -> Figure:
        """Plot reward, KL, length, entropy and share of finished texts, or the loss, as far as they are known.

        Args:
            file: Where the figure goes too, as a PNG file; ``None`` for nowhere.

        Returns:
            The figure; a notebook shows it where it is the last line of a cell.
        """
        return self.history.plot(file)

    def __repr__(self) -> str:
        """Return what the agent is and where it learns, in one line."""
        own = vars(self)  # which lacks some where the agent is not quite made yet
        model = attribute_of(own.get("policy"), "model") or own.get("model")
        parts = [
            _described_model(model),
            _described_env(own.get("env")),
            counted(own.get("num_timesteps", 0), "steps made"),
        ]
        return f"<{type(self).__name__}: {', '.join(parts)}>"

    def _check_steps(self, total_timesteps: int, reset_num_timesteps: bool) -> None:
        """Refuse a number of steps that nothing can be learnt in, and say once that a new training begins.

        Raises:
            TypeError: It is no whole number.
            ValueError: It is below 1.
        """
        name = "total_timesteps"
        check_ranges({name: total_timesteps}, {name: (1, math.inf)}, counts=(name,))
        if reset_num_timesteps and self.num_timesteps and not self._has_said_restart:
            self._has_said_restart = True
            _logger.warning(
                "A new training begins, whose steps are counted from 0; %s were made before. To go on with those: "
                "learn(..., reset_num_timesteps=False).",
                counted(self.num_timesteps, "steps"),
            )

    def _keep(self, record: dict[str, float]) -> None:
        """Add a record to the history, and warn of what goes wrong."""
        self.history.append(record)
        self._concerns = Concerns() if self._concerns is None else self._concerns
        self._concerns.check(self.history)


def _described_model(model: Any) -> str:
    """Return name and size of a language model."""
    if model is None:
        return "no model"
    size = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    return f"model {attribute_of(model, 'source') or 'of your own'} ({size:.1f} M parameters)"


def _described_env(env: Any) -> str:
    """Return what an environment says about itself."""
    if env is None:
        return "no environment"
    try:
        return f"{env_attribute(env, 'description')}, {counted(env.num_envs, 'environments')}"
    except AttributeError:  # an environment of somebody else
        return f"environment {env}"
