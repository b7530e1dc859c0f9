"""The core of agents that learn from logged texts and their rewards, without an environment to act in."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor

from textgym import console
from textgym.agents.common.fine_tuning import load_start_model
from textgym.agents.common.logged_texts import LoggedTurns, encode_log, pack_episodes, unpack_episodes
from textgym.agents.common.offline import OfflineAgent, draw_some
from textgym.agents.common.vec_env import env_attribute
from textgym.agents.facts import AgentFacts, RunDefaults
from textgym.agents.options import refuse_unknown
from textgym.data.logs import LoggedEpisode, logged_turns, read_log
from textgym.envs.scoring import score_last_turns
from textgym.errors import CheckpointError, DataError
from textgym.evaluation.sampling import Sampling, sample_texts
from textgym.feedback.annotators.comparisons import draw_examples
from textgym.models.device import pick_device
from textgym.models.loading import load_language_model
from textgym.models.optimizer_state import part
from textgym.models.stored_values import Check, StoredRecord, number, optional, text
from textgym.models.text_model import TextModel
from textgym.naming import argument
from textgym.rewards import reward_name
from textgym.types import RewardFn, State, Task

_ABOVE_0 = math.nextafter(0, 1)
_TEXTS = 500  # that the start model writes, unless their number is given


class LoggedAgent(OfflineAgent):
    """The core of agents that learn from a log of states, actions and rewards.

    An item is an episode of the log. A checkpoint holds the log, as ids: a run that is resumed goes on with what it
    began with, although the file may have grown meanwhile.

    Args:
        model: Trained in place.
        episodes: Log to learn from; without any the agent can act, but not learn.
        gamma: Discount factor, per token; 1 is usual for text.
        batch_size: Episodes per optimizer step.
        learning_rate: Peak learning rate.
        warmup: Warm-up: share of the steps with rising learning rate.
        max_grad_norm: Maximum gradient norm (clipping).
        log_every: Steps between log records.
        seed: Order of the episodes.

    Attributes:
        episodes: The log, as ids.

    Raises:
        ModelError: A text is longer than the context of the model, or all weights are frozen.
        ValueError: An option is out of range.
    """

    wanted = "a log to learn from"
    facts: ClassVar[AgentFacts] = AgentFacts(
        samples=False,
        labels_option="texts",
        data_option="log",
        limits={
            **dict.fromkeys(("learning_rate", "beta", "largest_weight"), (_ABOVE_0, math.inf)),
            **dict.fromkeys(("batch_size", "log_every", "texts", "lora_rank"), (1, math.inf)),
            **dict.fromkeys(("gamma", "gae_lambda", "expectile", "target_rate", "warmup"), (0.0, 1.0)),
        },
        defaults=RunDefaults(steps=500, save_every=100),
    )
    settings: ClassVar[Mapping[str, Check]] = {"gamma": number, **OfflineAgent.settings}
    own_checks: ClassVar[Mapping[str, Check]] = {"log": optional(text)}

    def __init__(
        self,
        model: TextModel,
        episodes: Sequence[LoggedTurns] = (),
        *,
        gamma: float = 1.0,
        batch_size: int = 32,
        learning_rate: float = 5e-4,
        warmup: float = 0.05,
        max_grad_norm: float = 1.0,
        log_every: int = 10,
        seed: int = 0,
    ) -> None:
        self.episodes, self.gamma = list(episodes), gamma
        self._log: str | None = None  # where it came from
        self._packed: dict[str, Tensor] | None = None
        super().__init__(
            model,
            [sum(len(turn.prompt) + len(turn.response) for turn in episode) for episode in self.episodes],
            batch_size=batch_size,
            learning_rate=learning_rate,
            warmup=warmup,
            max_grad_norm=max_grad_norm,
            log_every=log_every,
            seed=seed,
        )
        turns = [(len(turn.prompt), len(turn.response)) for episode in self.episodes for turn in episode]
        if turns:
            prompt, response = max(turns, key=lambda lengths: model.context_of(*lengths))
            model.require_context(prompt + response, "the longest text of the log", response=response)

    def response_tokens(self) -> int:
        """Return the number of tokens of all turns of the log."""
        return sum(len(turn.response) for episode in self.episodes for turn in episode)

    def size(self, rows: Sequence[int]) -> int:
        """Losses on logs are means over the tokens that were written."""
        return sum(len(turn.response) for row in rows for turn in self.episodes[row])

    # -------------------------------------------------------------------- making
    @classmethod
    def create(
        cls,
        env: Any,
        model: str | Path | TextModel | None = None,
        *,
        log: str | Path | Sequence[LoggedEpisode] | None = None,
        texts: int | None = None,
        lora_rank: int | None = None,
        seed: int = 0,
        device: str = "auto",
        **options: Any,
    ) -> Self:
        """Make an agent that learns from a log, for an environment that it is measured in.

        Args:
            env: Environment of the token grain, single or vector.
            model: Start model; ``None`` is the one whose tokenizer the environment uses.
            log: Log to learn from: a CSV, TSV, JSON Lines, JSON or Parquet file with the columns state, action and
                reward, or a run folder with episodes. By default the start model writes texts, which the reward of the
                environment scores.
            texts: Number of episodes of the log to learn from at most, drawn by the seed; by default all. Without a
                log: texts that the start model writes, by default 500.
            lora_rank: Rank of LoRA adapters, which are trained instead of all weights (needs ``textgym[lora]``).
            seed: Order of the episodes, and first weights of what is trained beside the model.
            device: Where the model runs.
            options: Arguments of the constructor.

        Raises:
            DataError: The log has nothing to learn from.
            TypeError: The constructor has no such option.
        """
        refuse_unknown(options, cls)
        loaded, task = load_start_model(env, model, device), env_attribute(env, "task")
        budgets = {name: env_attribute(env, name) for name in ("max_prompt_tokens", "max_new_tokens")}
        if log is None:
            reward, count = env_attribute(env, "reward"), _TEXTS if texts is None else texts
            console.remark(
                f"No {argument('log')}: the start model writes {count:,} texts, which {reward_name(reward)!r} scores."
            )
            log, texts = write_log(loaded, task, reward, count, Sampling(seed=seed, **budgets)), None
        agent = cls._of_log(loaded, log, task, budgets, texts, lora_rank, seed, options)
        agent.env = env if isinstance(env, VecEnv) else None
        return agent

    @classmethod
    def from_log(
        cls,
        log: str | Path | Sequence[LoggedEpisode],
        model: str | Path | TextModel = "tiny",
        *,
        lora_rank: int | None = None,
        seed: int = 0,
        device: str = "auto",
        **options: Any,
    ) -> Self:
        """Make an agent that learns from a log alone, whose states are the prompts of the model as they are.

        Args:
            log: A file, as for :meth:`create`, or what :func:`~textgym.data.logs.read_log` returns.
            model: Start model.
            lora_rank: Rank of LoRA adapters, which are trained instead of all weights (needs ``textgym[lora]``).
            seed: Order of the episodes, and first weights of what is trained beside the model.
            device: Where the model runs.
            options: Arguments of the constructor.

        Raises:
            DataError: The log has nothing to learn from.
            TypeError: The constructor has no such option.
        """
        refuse_unknown(options, cls)
        loaded = load_language_model(model, device=pick_device(device))
        return cls._of_log(loaded, log, None, {}, None, lora_rank, seed, options)

    @classmethod
    def _of_log(
        cls,
        model: TextModel,
        log: str | Path | Sequence[LoggedEpisode],
        task: Task | None,
        budgets: Mapping[str, int],
        texts: int | None,
        lora_rank: int | None,
        seed: int,
        options: Mapping[str, Any],
    ) -> Self:
        found = read_log(log, None if task is None else task.dataset.find) if isinstance(log, str | Path) else log
        episodes = encode_log(found, model.tokenizer, task, **budgets, room=model.room_for_prompt)
        if not episodes:
            raise DataError(
                f"expected {cls.wanted}, got {len(found)} episodes that do not fit the context of "
                f"{model.context_length} tokens; use a model with a longer one"
            )
        if lora_rank is not None:
            model.add_lora(lora_rank, seed=seed)
        agent = cls(model, draw_some(episodes, texts, seed), seed=seed, **options)
        agent._log = str(log) if isinstance(log, str | Path) else None
        return agent

    # --------------------------------------------------------------------- state
    def own_tensors(self) -> Mapping[str, Tensor]:
        """Return the log."""
        return {f"own.{name}": tensor for name, tensor in self._stored_log().items()}

    def _stored_log(self) -> dict[str, Tensor]:
        if self._packed is None:
            self._packed = pack_episodes(self.episodes)
        return self._packed

    def own_record(self) -> StoredRecord:
        """Return where the log came from."""
        return {"log": self._log}

    def take_own(self, tensors: Mapping[str, Tensor], record: StoredRecord) -> None:
        """Check that the log is the agent's, and take over where it came from.

        Raises:
            CheckpointError: It is another one.
        """
        stored = part(tensors, "own.")
        own = self._stored_log()
        if any(name not in stored or not torch.equal(stored[name].cpu(), tensor) for name, tensor in own.items()):
            raise CheckpointError("expected the state of an agent with this log, got one with another")
        self._log = record["log"]

    @classmethod
    def remake(cls, model: TextModel, env: Any, settings: Mapping[str, Any], state: State, device: str) -> Self:
        """Make the agent of a checkpoint, with the log that stands there."""
        episodes = unpack_episodes(part(state.tensors, "own."), model.vocab_size)
        agent = cls(model, episodes, **settings)
        agent.env = env if isinstance(env, VecEnv) else None
        return agent


def write_log(model: TextModel, task: Task, reward: RewardFn, texts: int, sampling: Sampling) -> list[LoggedEpisode]:
    """Let a model write texts about examples of a task, and a reward score them.

    Args:
        model: Writes.
        task: Its examples are asked about, none twice before all were asked about once.
        reward: Scores the texts.
        texts: How many.
        sampling: Budgets and seed.
    """
    examples = draw_examples(task, texts, np.random.default_rng(sampling.seed))
    episodes = sample_texts(model, task, examples, sampling).episodes
    rewards = score_last_turns(task, reward, episodes).total
    return [
        logged_turns(
            episode.example, episode.turns, float(score) + episode.turn_return, episode.finish_reason != "length"
        )
        for episode, score in zip(episodes, rewards, strict=True)
    ]
