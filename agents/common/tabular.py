"""The core of agents that learn a table of action values from the texts that they write."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
import torch
from stable_baselines3.common.callbacks import BaseCallback, ConvertCallback
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import VecEnv

from textgym.agents.common.exploration import draw, epsilon_greedy, softmax
from textgym.agents.common.history import log_record
from textgym.agents.common.metrics import describe_texts, mean
from textgym.agents.common.observations import require_texts
from textgym.agents.common.q_table import QTable, states_of
from textgym.agents.common.tabular_state import ResumableTable
from textgym.agents.common.vec_env import env_attribute
from textgym.agents.facts import AgentFacts, RunDefaults
from textgym.agents.options import refuse_unknown
from textgym.checks import check_ranges
from textgym.envs.types import Info
from textgym.models.stored_values import (
    Check,
    integer,
    number,
    one_of,
    optional,
    positive,
)
from textgym.types import BoolArray, FloatArray, IntArray

StepSize = Literal["constant", "linear", "visits"]
Exploration = Literal["epsilon_greedy", "softmax"]
_STEPS = 16  # of an iteration where no environment says how long texts are
_SHARES = ("gamma", "epsilon", "final_epsilon", "learning_rate", "visit_power")
_LIMITS = {
    **dict.fromkeys(_SHARES, (0.0, 1.0)),
    "learning_rate": (math.nextafter(0, 1), 1.0),
    **dict.fromkeys(("temperature", "final_temperature"), (0.0, math.inf)),
    **dict.fromkeys(("n_steps", "most_entries"), (1, math.inf)),
}


class TableStep(NamedTuple):
    """The result of one step of all environments.

    Attributes:
        infos: The last info of every text that ended.
        lengths: Numbers of tokens of these texts.
        errors: (n,) differences of targets and values.
        sizes: Step sizes of the updates.
        new_states: Number of states that were not in the table.
    """

    infos: list[Info]
    lengths: list[int]
    errors: FloatArray
    sizes: list[float]
    new_states: int


class TabularAgent(ResumableTable):
    """The core of Q-learning and SARSA: a table with a value for every text so far and every next token.

    A state is the text so far: the tokens of prompt and response. Nothing is carried over from one text to a similar
    one, so a table is for tasks of few tokens and short texts, whose states are seen often. A subclass says what a
    value is moved towards: :meth:`values_after`.

    Args:
        env: Token-level text environment (``make_vec_env``) to learn in; without one it can only act.
        gamma: Discount factor.
        learning_rate: Step size: the share of the way to its target that a value is moved.
        step_size: Schedule of the step size: ``"constant"``, ``"linear"`` (decays to 0 over the run), or ``"visits"``
            (divided by how often the value was updated, to the power of ``visit_power``).
        visit_power: The power; above 0.5, and at most 1, values converge whatever is random.
        exploration: Exploration: ``"epsilon_greedy"`` (a random token with probability epsilon, else a best one) or
            ``"softmax"`` (a token with a probability proportional to exp(Q / temperature)).
        epsilon: Share of random tokens at first, which changes linearly to ``final_epsilon`` over the run.
        final_epsilon: Share of random tokens in the end.
        temperature: Temperature at first, which changes linearly to ``final_temperature`` over the run.
        final_temperature: Temperature in the end.
        initial_value: Value of a token before it is tried; a high one is another way to explore.
        n_steps: Tokens per environment and iteration; by default the maximum response length.
        most_entries: Largest number of entries of the table, states times tokens; more are an error.
        seed: Random tokens of training.

    Attributes:
        table: The action values.
        history: One record (name -> number) per iteration.
        seconds: Time of the last iteration: rollout.
    """

    grain: Literal["token"] = "token"
    kind: ClassVar[str]
    facts: ClassVar[AgentFacts] = AgentFacts(
        limits=_LIMITS, defaults=RunDefaults(steps=40_000, save_every=100, split="train")
    )
    settings: ClassVar[Mapping[str, Check]] = {
        **dict.fromkeys(("gamma", "learning_rate", "visit_power", "epsilon", "final_epsilon"), number),
        **dict.fromkeys(("temperature", "final_temperature", "initial_value"), number),
        "step_size": one_of("constant", "linear", "visits"),
        "exploration": one_of("epsilon_greedy", "softmax"),
        "n_steps": optional(positive),
        "most_entries": positive,
        "seed": integer,
    }
    text_model = None

    def __init__(
        self,
        env: VecEnv | None = None,
        *,
        gamma: float = 1.0,
        learning_rate: float = 0.5,
        step_size: StepSize = "constant",
        visit_power: float = 0.8,
        exploration: Exploration = "epsilon_greedy",
        epsilon: float = 1.0,
        final_epsilon: float = 0.0,
        temperature: float = 1.0,
        final_temperature: float = 0.0,
        initial_value: float = 0.0,
        n_steps: int | None = None,
        most_entries: int = 20_000_000,
        seed: int = 0,
    ) -> None:
        self.gamma, self.learning_rate, self.step_size, self.visit_power = gamma, learning_rate, step_size, visit_power
        self.exploration, self.epsilon, self.final_epsilon = exploration, epsilon, final_epsilon
        self.temperature, self.final_temperature = temperature, final_temperature
        self.initial_value, self.n_steps, self.most_entries, self.seed = initial_value, n_steps, most_entries, seed
        self._check_settings()
        self.env = env
        if env is not None:
            env.seed(seed)  # its next reset, as algorithms of Stable-Baselines3 do
        self.table = QTable(0 if env is None else int(env.action_space.n), initial_value, most_entries)
        self.logger, self.num_timesteps, self.history = Logger(None, []), 0, []
        self.seconds: dict[str, float] = {}
        self._generator = torch.Generator().manual_seed(seed)
        self._steps = 1
        self._rows, self._actions, self._written = None, np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
        self._snapshot = None
        self._measured: list[TableStep] = []

    @classmethod
    def create(cls, env: Any, model: object = None, *, seed: int = 0, device: str = "auto", **options: Any) -> Self:
        """Make the agent of a token-level environment.

        Args:
            env: A vector environment to learn in, or a single one to act in.
            model: Not used: the tokens are those of the environment.
            seed: Random tokens of training.
            device: Not used: a table is in the memory of the processor.
            options: Arguments of the constructor.

        Raises:
            TypeError: The constructor has no such option.
        """
        refuse_unknown(options, cls)
        agent = cls(env if isinstance(env, VecEnv) else None, seed=seed, **options)
        if agent.env is None:
            agent.table = QTable(int(env.action_space.n), agent.initial_value, agent.most_entries)
        return agent

    def _check_settings(self) -> None:
        """Refuse numbers out of range.

        Raises:
            ValueError: One of them is.
        """
        check_ranges(vars(self), _LIMITS, counts=("n_steps", "most_entries"), may_lack=("n_steps",))
        for name in ("step_size", "exploration"):
            if not self.settings[name](vars(self)[name]):
                choices = "'constant', 'linear' or 'visits'" if name == "step_size" else "'epsilon_greedy' or 'softmax'"
                raise ValueError(f"expected {name} {choices}, got {vars(self)[name]!r}; choose one of these")

    # ---------------------------------------------------------------- learning
    def values_after(self, values: FloatArray, actions: IntArray, probabilities: FloatArray) -> FloatArray:
        """Return the values (n,) of the states that follow, which the targets of the steps before are made of.

        Args:
            values: (n, A) action values there; minus infinity where a token is illegal.
            actions: (n,) tokens that were chosen there.
            probabilities: (n, A) that they were drawn with.
        """
        raise NotImplementedError

    def learn(
        self, total_timesteps: int, callback: BaseCallback | None = None, *, reset_num_timesteps: bool = True
    ) -> Self:
        """Write ``total_timesteps`` tokens, in whole iterations, and learn from each.

        Args:
            total_timesteps: How many; the schedules of exploration and step size reach their end with them.
            callback: Called when an iteration starts and ends, and after each step, where it can end training.
            reset_num_timesteps: Begin a new training of this table, with new texts; ``False`` goes on.

        Raises:
            TypeError: ``total_timesteps`` is no whole number.
            ValueError: It is below 1, there is no environment, or the table becomes too large.
        """
        self._check_steps(total_timesteps, reset_num_timesteps)
        tokens = self.steps_per_iteration  # raises where there is nothing to learn from
        if reset_num_timesteps:
            self.num_timesteps, self.history, self._rows = 0, [], None
        self._steps = self.num_timesteps + total_timesteps
        watcher = callback if callback is not None else ConvertCallback(None)
        watcher.init_callback(self)  # type: ignore[arg-type]  # it has what callbacks read
        watcher.on_training_start(locals(), globals())
        going_on = True
        while going_on and self.num_timesteps < self._steps:
            going_on = self._iterate(watcher, tokens // self.updates_per_step)
        watcher.on_training_end()
        return self

    def _iterate(self, watcher: BaseCallback, steps: int) -> bool:
        """Make a few steps; false if the callback ends training."""
        watcher.on_rollout_start()
        self.begin_iteration()
        self._snapshot = self._take_snapshot()
        self._measured, start = [], time.perf_counter()
        for _ in range(steps):
            self.num_timesteps += self.updates_per_step
            self._measured.append(self.step())
            watcher.update_locals(locals())
            if not watcher.on_step():
                return False
        self.seconds = {"rollout": time.perf_counter() - start}
        watcher.on_rollout_end()
        self._record()
        self._snapshot = None
        return True

    def begin_iteration(self) -> None:
        """Begin new texts in all environments, and choose their first tokens, unless texts are under way."""
        env = self._environment()
        if self._rows is None:
            self._rows = self.table.see(states_of(require_texts(env.reset())), self._legal(env))
            self._written = np.zeros(env.num_envs, dtype=np.int64)
            self._actions = self._choose(self._policy(self.table.values(self._rows)))

    def step(self) -> TableStep:
        """Write a token in every environment, choose the next ones, and move the values of those that were written."""
        assert self._rows is not None
        env, rows, actions, known = self._environment(), self._rows, self._actions, len(self.table)
        observations, rewards, dones, infos = env.step(actions)
        # The next texts s', of which some are new prompts, and their tokens a'
        self._rows = self.table.see(states_of(require_texts(observations)), self._legal(env))
        values = self.table.values(self._rows)
        probabilities = self._policy(values)
        self._actions = self._choose(probabilities)
        following = np.where(dones, self._values_of_cut(dones, infos), 0.0)
        following[~dones] = self.values_after(values, self._actions, probabilities)[~dones]
        # Q(s, a) <- Q(s, a) + alpha (r + gamma V(s') - Q(s, a))
        moved = self.move_all(rows, actions, rewards.astype(np.float64) + self.gamma * following)
        self._written += 1
        ended = np.flatnonzero(dones)
        lengths = self._written[ended].tolist()
        self._written[ended] = 0
        new = len(self.table) - known
        return moved._replace(infos=[infos[row] for row in ended.tolist()], lengths=lengths, new_states=new)

    def move_all(self, rows: IntArray, actions: IntArray, targets: FloatArray) -> TableStep:
        """Move the values of (n,) actions in rows towards their targets, one after the other."""
        errors = targets - self.table.values(rows)[np.arange(len(rows)), actions]
        sizes = [self._move(*each) for each in zip(rows.tolist(), actions.tolist(), targets.tolist(), strict=True)]
        return TableStep([], [], errors, sizes, 0)

    def _move(self, row: int, action: int, target: float) -> float:
        """Move a value towards its target; returns the step size."""
        match self.step_size:
            case "linear":
                size = self.learning_rate * self._progress_remaining
            case "visits":
                size = self.learning_rate / (1 + self.table.visits(row, action)) ** self.visit_power
            case _:
                size = self.learning_rate
        self.table.update(row, action, target, size)
        return size

    def _values_of_cut(self, dones: BoolArray, infos: Sequence[Info]) -> FloatArray:
        """Values (n,) of texts that a time limit cut, which would have gone on; 0 of those that ended."""
        values = np.zeros(len(dones))
        for row in np.flatnonzero(dones).tolist():
            last = infos[row].get("terminal_observation")
            if infos[row].get("TimeLimit.truncated", False) and last is not None:
                shown = {name: np.asarray(array)[None] for name, array in last.items()}
                values[row] = self.table.values_of(states_of(shown)).max()
        return values

    # ------------------------------------------------------------------ acting
    @property
    def _progress_remaining(self) -> float:
        return max(0.0, 1.0 - self.num_timesteps / self._steps)

    @property
    def exploration_rate(self) -> float:
        """Epsilon, or the temperature, of now."""
        first, last = (
            (self.epsilon, self.final_epsilon)
            if self.exploration == "epsilon_greedy"
            else (self.temperature, self.final_temperature)
        )
        return last + (first - last) * self._progress_remaining

    def _policy(self, values: FloatArray) -> FloatArray:
        """Probabilities (n, A) of the policy that explores around action values."""
        return (epsilon_greedy if self.exploration == "epsilon_greedy" else softmax)(values, self.exploration_rate)

    def _choose(self, probabilities: FloatArray, generator: torch.Generator | None = None) -> IntArray:
        uniform = torch.rand(len(probabilities), dtype=torch.float64, generator=generator or self._generator)
        return draw(probabilities, uniform.numpy())

    def act(
        self, observations: Mapping[str, np.ndarray], *, greedy: bool = False, generator: torch.Generator | None = None
    ) -> IntArray:
        """Choose the next token of every text.

        Args:
            observations: Batched, arrays (n, ...).
            greedy: Take the token of the largest value; of several, the first. Otherwise the agent explores as much as
                it does at this point of its training.
            generator: Source of randomness; by default torch's global one.

        Returns:
            Ids (n,). Of a text that was never seen it knows nothing: all tokens have the initial value.
        """
        values = self.table.values_of(states_of(observations))
        if greedy:
            return values.argmax(axis=1)
        uniform = torch.rand(len(values), dtype=torch.float64, generator=generator)
        return draw(self._policy(values), uniform.numpy())

    # ----------------------------------------------------------------- records
    @property
    def updates_per_step(self) -> int:
        """Values that are updated at once: one per environment."""
        return self._environment().num_envs

    @property
    def steps_per_iteration(self) -> int:
        """Tokens of an iteration, of all environments together."""
        if self.n_steps is not None or self.env is None:
            return self.updates_per_step * (self.n_steps or _STEPS)
        return self.updates_per_step * int(env_attribute(self.env, "max_new_tokens"))

    def _environment(self) -> VecEnv:
        if self.env is None:
            raise ValueError("expected an environment to learn in, got none; make the agent with one")
        return self.env

    def _record(self) -> None:
        steps, tokens = self._measured, self.steps_per_iteration
        infos = [info for step in steps for info in step.infos]
        errors = np.concatenate([step.errors for step in steps])
        record = {
            **(describe_texts(infos) | {"length": mean([n for step in steps for n in step.lengths])} if infos else {}),
            "texts": float(len(infos)),
            "td_error": float(np.abs(errors).mean()),
            "states": float(len(self.table)),
            "new_states": sum(step.new_states for step in steps) / tokens,
            "epsilon" if self.exploration == "epsilon_greedy" else "temperature": self.exploration_rate,
            "learning_rate": mean([size for step in steps for size in step.sizes]),
            "tokens_per_second": tokens / max(1e-9, self.seconds["rollout"]),
            "timesteps": float(self.num_timesteps),
        }
        self._keep(record)
        log_record(self.logger, record, self.env)

    def get_env(self) -> VecEnv | None:
        """The environment it learns in."""
        return self.env

    def set_logger(self, logger: Logger) -> None:
        """Write records to another logger of Stable-Baselines3."""
        self.logger = logger
