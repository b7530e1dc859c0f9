"""Expert iteration on texts: sample several, keep the best by the reward, imitate it, and repeat."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback, ConvertCallback
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor

from textgym.agents.common.estimate import seconds_per_token
from textgym.agents.common.fine_tuning import FineTuningAgent, load_start_model
from textgym.agents.common.metrics import describe_texts
from textgym.agents.common.token_pairs import TokenPair
from textgym.agents.common.vec_env import env_attribute
from textgym.agents.facts import AgentFacts
from textgym.agents.options import refuse_unknown
from textgym.agents.sft import response_loss
from textgym.checks import SEEDS, check_ranges
from textgym.envs.scoring import score_episodes
from textgym.envs.types import Info
from textgym.errors import CheckpointError, DataError
from textgym.evaluation.sampling import Samples, Sampling, sample_texts
from textgym.feedback.annotators.comparisons import draw_examples
from textgym.models.stored_values import Check, StoredRecord, integer, number, positive
from textgym.models.text_model import TextModel
from textgym.text.batching import length_batches
from textgym.types import FloatArray, State, Task

_ABOVE_0 = math.nextafter(0, 1)


def best_rows(rewards: FloatArray) -> list[int]:
    """Return the rows of the best text to each prompt; none of prompts whose texts all got the same reward.

    Args:
        rewards: (P, n) of ``n`` texts to each of ``P`` prompts.

    Returns:
        Row ``prompt * n + text`` of the first text with the highest reward.
    """
    best = rewards.argmax(1)
    varied = np.flatnonzero(rewards.max(1) > rewards.min(1))
    return [int(prompt * rewards.shape[1] + best[prompt]) for prompt in varied]


class ExpertIteration(FineTuningAgent):
    """Expert iteration (Anthony et al. 2017, arXiv:1705.08439) on texts, also called rejection-sampling fine-tuning.

    The expert is best-of-n: of several texts to a prompt, the one with the highest reward. The model imitates it, and
    the next expert is better, as it samples from a better model (RAFT: Dong et al. 2023, arXiv:2304.06767).

    Args:
        model: Trained in place.
        env: Token-level text environment whose prompts and reward it uses; without one it can act, but not learn.
        n: Responses to every prompt, of which the best is imitated.
        prompts: Prompts of an iteration.
        n_epochs: Passes over the best responses of an iteration.
        batch_size: Responses per optimizer step.
        learning_rate: Learning rate, constant.
        temperature: Sampling temperature.
        max_grad_norm: Maximum gradient norm (clipping).
        seed: Prompts, texts, and order of the updates.

    Attributes:
        text_model: The model.
        num_timesteps: Tokens sampled so far.
        losses: Losses of all optimizer steps, in nats per token.
        history: One record per iteration.
        seconds: Time of the last iteration: rollout and update.

    Raises:
        ModelError: All weights are frozen.
        ValueError: An option is out of range.
    """

    kind = "textgym.ExpertIteration"
    facts: ClassVar[AgentFacts] = AgentFacts(
        name="Expert iteration",
        method="expert iteration (rejection-sampling fine-tuning)",
        limits={
            **dict.fromkeys(("learning_rate", "temperature"), (_ABOVE_0, math.inf)),
            **dict.fromkeys(("prompts", "n_epochs", "batch_size", "lora_rank"), (1, math.inf)),
            "n": (2, math.inf),
        },
    )
    settings: ClassVar[Mapping[str, Check]] = {
        **dict.fromkeys(("n", "prompts", "n_epochs", "batch_size"), positive),
        "temperature": number,
        **FineTuningAgent.settings,
    }
    own_checks: ClassVar[Mapping[str, Check]] = {"num_timesteps": integer}

    def __init__(
        self,
        model: TextModel,
        env: Any = None,
        *,
        n: int = 8,
        prompts: int = 32,
        n_epochs: int = 1,
        batch_size: int = 16,
        learning_rate: float = 1e-4,
        temperature: float = 1.0,
        max_grad_norm: float = 1.0,
        seed: int = 0,
    ) -> None:
        super().__init__(model, learning_rate=learning_rate, max_grad_norm=max_grad_norm, seed=seed)
        self.n, self.prompts, self.n_epochs, self.batch_size = n, prompts, n_epochs, batch_size
        self.temperature = temperature
        check_ranges(vars(self), self.facts.limits, counts=("n", "prompts", "n_epochs", "batch_size"))
        self._where = env
        self.env = env if isinstance(env, VecEnv) else None
        self.begin(1)

    @classmethod
    def create(
        cls,
        env: Any,
        model: str | Path | TextModel | None = None,
        *,
        lora_rank: int | None = None,
        seed: int = 0,
        device: str = "auto",
        **options: Any,
    ) -> Self:
        """Make an agent that learns in an environment.

        Args:
            env: Environment of the token grain, single or vector.
            model: Start model; ``None`` is the one whose tokenizer the environment uses.
            lora_rank: Rank of LoRA adapters, which are trained instead of all weights (needs ``textgym[lora]``).
            seed: Prompts, texts, order of the updates, and first weights of adapters.
            device: Where the model runs.
            options: Arguments of the constructor.

        Raises:
            TypeError: The constructor has no such option.
        """
        refuse_unknown(options, cls)
        loaded = load_start_model(env, model, device)
        if lora_rank is not None:
            loaded.add_lora(lora_rank, seed=seed)
        return cls(loaded, env, seed=seed, **options)

    # ---------------------------------------------------------------- learning
    def begin(self, steps: int) -> None:
        """Begin a training of so many tokens; the weights stay as they are."""
        super().begin(steps)
        self._whole = 0  # tokens of the iterations that are over
        self._is_improving = False

    def learn(
        self, total_timesteps: int, callback: BaseCallback | None = None, *, reset_num_timesteps: bool = True
    ) -> Self:
        """Make whole iterations until so many tokens are sampled; see :meth:`~textgym.types.Trainable.learn`.

        Raises:
            DataError: It was made without an environment.
            TypeError: ``total_timesteps`` is no whole number.
            ValueError: It is below 1.
            FloatingPointError: If a loss or a gradient is not finite.
        """
        self._check_steps(total_timesteps, reset_num_timesteps)
        if self._where is None:
            raise DataError("expected an environment to learn in, got none; make or load the agent with one")
        if reset_num_timesteps:
            self.begin(total_timesteps)
        self._steps = self.num_timesteps + total_timesteps
        watcher = callback if callback is not None else ConvertCallback(None)
        watcher.init_callback(self)  # type: ignore[arg-type]  # it has what callbacks read
        watcher.on_training_start(locals(), globals())
        going_on = True
        while going_on and self.num_timesteps < self._steps:
            going_on = self._iterate(watcher)
        watcher.on_training_end()
        return self

    def _iterate(self, watcher: BaseCallback) -> bool:
        """Sample, choose, imitate; false if the callback ends training, which leaves the weights as they are."""
        watcher.on_rollout_start()
        start, task, self.seconds = time.perf_counter(), self._task, {}
        # What is drawn follows from the number of the iteration alone: a resumed run needs no state of generators.
        rng = np.random.default_rng((self.seed, len(self.history)))
        samples = self._sample(task, rng)
        returns, infos = self._score(task, samples)
        self.num_timesteps = self._whole + int(samples.lengths.sum())
        watcher.update_locals(locals())
        if not watcher.on_step():
            return False
        self.seconds["rollout"] = time.perf_counter() - start
        watcher.on_rollout_end()
        start, rows, made = time.perf_counter(), best_rows(returns), len(self.losses)
        self._is_improving = True
        self._imitate(turns_of(samples, rows), rng)
        self.seconds["update"] = time.perf_counter() - start
        self._whole, self._is_improving = self.num_timesteps, False
        self.record(self._numbers(samples, returns, infos, rows, self.losses[made:]))
        return True

    def _sample(self, task: Task, rng: np.random.Generator) -> Samples:
        """Sample n texts to each of the prompts of an iteration, one prompt after the other."""
        examples = [each for each in draw_examples(task, self.prompts, rng) for _ in range(self.n)]
        sampling = Sampling(
            env_attribute(self._where, "max_prompt_tokens"),
            env_attribute(self._where, "max_new_tokens"),
            self.temperature,
            seed=int(rng.integers(SEEDS)),
            stop=tuple(env_attribute(self._where, "stop")),
        )
        return sample_texts(self.text_model, task, examples, sampling)

    def _score(self, task: Task, samples: Samples) -> tuple[FloatArray, list[Info]]:
        """Return what environments pay for the texts, (P, n), and their infos."""
        _, infos = score_episodes(task, env_attribute(self._where, "reward"), samples.episodes)
        returns = np.array([info["rewards"]["total"] for info in infos])
        return returns.reshape(self.prompts, self.n), infos

    def _imitate(self, pairs: Sequence[TokenPair], rng: np.random.Generator) -> None:
        """Take optimizer steps down the cross-entropy of the best responses."""
        lengths = [len(pair.prompt) + len(pair.response) for pair in pairs]
        batches = length_batches(lengths, max_rows=self.batch_size, longest_first=False, even=True)
        for _ in range(self.n_epochs):
            for place in rng.permutation(len(batches)):
                self.step(response_loss(self.text_model, [pairs[row] for row in batches[place]]), {})

    def _numbers(
        self,
        samples: Samples,
        returns: FloatArray,
        infos: Sequence[Info],
        rows: Sequence[int],
        losses: Sequence[float],
    ) -> dict[str, float]:
        """Return the record of an iteration."""
        loss = {"loss": float(np.mean(losses))} if losses else {}
        return {
            **describe_texts(infos),
            "reward_best": float(returns.max(1).mean()),
            "kept": len(rows) / self.prompts,
            "length": float(samples.lengths.mean()),
            "texts": float(returns.size),
            **loss,
            "tokens_per_second": float(samples.lengths.sum()) / max(1e-9, sum(self.seconds.values())),
        }

    @property
    def _task(self) -> Task:
        task: Task = env_attribute(self._where, "task")
        return task

    @property
    def steps_per_iteration(self) -> int:
        """The most tokens that the texts of an iteration can have."""
        if self._where is None:
            return self.prompts * self.n
        return self.prompts * self.n * self._task.max_turns * int(env_attribute(self._where, "max_new_tokens"))

    def seconds_per_step(self) -> float:
        """Seconds of a token, sampled, scored and perhaps imitated; right within a factor of two or so."""
        read = 1 + env_attribute(self._where, "max_prompt_tokens") / 3 / env_attribute(self._where, "max_new_tokens")
        parameters = sum(parameter.numel() for parameter in self.text_model.parameters())
        return seconds_per_token(parameters, self.text_model.device, read, 1)

    # ------------------------------------------------------------- checkpoints
    def own_record(self) -> StoredRecord:
        """Return the tokens of the iterations that are over."""
        return {"num_timesteps": self._whole}

    def take_own(self, tensors: Mapping[str, Tensor], record: StoredRecord) -> None:
        """Go on behind the iterations that are over."""
        self.num_timesteps = self._whole = record["num_timesteps"]

    def _read_state(self) -> tuple[dict[str, Tensor], StoredRecord]:
        if self._is_improving:
            raise CheckpointError("expected an agent between iterations, got one within; save when one starts")
        return super()._read_state()

    @classmethod
    def remake(cls, model: TextModel, env: Any, settings: Mapping[str, Any], state: State, device: str) -> Self:
        """Make the agent of a checkpoint."""
        return cls(model, env, **settings)


def turns_of(samples: Samples, rows: Sequence[int]) -> list[TokenPair]:
    """Return the turns of some sampled episodes, each with what came before it."""
    chosen = set(rows)
    turns = zip(samples.rows, samples.prompts, samples.ids, strict=True)
    return [TokenPair(prompt, ids) for row, prompt, ids in turns if row in chosen]
