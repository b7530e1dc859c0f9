"""Text generation with whole texts as actions, many copies scored in one batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from textgym.envs.arguments import (
    EPISODE_ARGUMENTS,
    RENDER_MODES,
    TaskSource,
    build_reward,
    build_task,
    check_budget,
    check_render_mode,
    print_frames,
    refuse_unknown,
    stops_of,
)
from textgym.envs.episode_core import EpisodeCore
from textgym.envs.prompts import RowGenerators, find_example, named_keys, spread_seeds
from textgym.spaces import Text
from textgym.types import BoolArray, Data, Example, FloatArray, NameOrPath, RewardFn, Split, Task

Texts = tuple[str, ...]


class EpisodeTextVectorEnv(VectorEnv[Texts, Sequence[str], Any]):
    """Copies of :class:`~textgym.envs.episode_text.EpisodeTextEnv`, scored together; what ``gym.make_vec`` returns.

    ## Description
    See :class:`~textgym.envs.episode_text.EpisodeTextEnv` for the task, the spaces, the rewards and the arguments.
    Observations and actions are tuples of ``num_envs`` texts. Autoreset mode is ``SAME_STEP``: where an episode ends
    (in a task of one turn, at every step of every copy), the observation is the next prompt, and what was answered is
    in ``infos["final_obs"]`` and ``infos["final_info"]``.

    ## Seeds
    As in :class:`~textgym.envs.token_text_vector.TokenTextVectorEnv`: with equal seeds, both grains ask the same
    examples in the same order.

    ## Arguments
    ``num_envs`` and those of :class:`~textgym.envs.episode_text.EpisodeTextEnv`.

    ## Version History
    * v0: first release.
    """

    metadata: ClassVar[dict[str, Any]] = {  # type: ignore[misc]
        "render_modes": list(RENDER_MODES),
        "render_fps": 30,
        "autoreset_mode": AutoresetMode.SAME_STEP,
    }

    def __init__(
        self,
        task: TaskSource,
        num_envs: int = 1,
        data: Data | None = None,
        prompt_column: str | None = None,
        reference_column: str | None = None,
        split: Split = "train",
        reward: RewardFn | NameOrPath | None = None,
        stop: Sequence[str] = (),
        render_mode: str | None = None,
        **unknown: Any,
    ) -> None:
        refuse_unknown(unknown, (*EPISODE_ARGUMENTS, "num_envs"))
        check_render_mode(render_mode)
        made = build_task(task, data, prompt_column, reference_column, split)
        self.num_envs = check_budget("num_envs", num_envs, 1)
        self._core = EpisodeCore(made, build_reward(reward, made, data), stops_of(stop), self.num_envs)
        self._random = RowGenerators(self.num_envs)
        self.render_mode = render_mode
        self.single_observation_space = Text()
        self.single_action_space = Text()
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)

    @property
    def task(self) -> Task:
        """What is asked."""
        return self._core.task

    @property
    def reward(self) -> RewardFn:
        """What scores texts."""
        return self._core.reward

    @property
    def stop(self) -> tuple[str, ...]:
        """Strings that end a text."""
        return self._core.stop

    @property  # type: ignore[misc]
    def np_random(self) -> tuple[np.random.Generator | None, ...]:  # type: ignore[override]
        """One generator per copy."""
        return tuple(self._random.generators)

    @property
    def np_random_seed(self) -> tuple[int | None, ...]:  # type: ignore[override]
        """One seed per copy."""
        return tuple(self._random.seeds)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Texts, dict[str, Any]]:
        """Show prompts of random examples, or of those that ``options`` names."""
        keys = named_keys(options, self.num_envs)
        self._random.seed(spread_seeds(seed, self.num_envs))
        examples = [self._draw(row) if key is None else find_example(self.task, key) for row, key in enumerate(keys)]
        rows = range(self.num_envs)
        self._core.conversations.start(rows, examples, [self._random.begin(row) for row in rows])
        return self._shown(), self._reset_infos({}, rows)

    def step(self, actions: Sequence[str]) -> tuple[Texts, FloatArray, BoolArray, BoolArray, dict[str, Any]]:
        """Write a turn in all copies; those whose episode ends are scored with one reward call and get new prompts."""
        conversations = self._core.conversations
        if not conversations.examples:
            raise ResetNeeded("expected a running episode, got a step before reset(); call reset()")
        ends = self._core.step(actions)
        rows = np.flatnonzero(ends.ended).tolist()
        infos: dict[str, Any] = {}
        for row in rows:
            last = {"final_obs": conversations.shown(row), "final_info": ends.infos[row]}
            infos = self._add_info(infos, last, row)
        if rows and self.render_mode == "human":
            print_frames([self._core.render(row, ends.infos[row]["text"]) for row in rows])
        conversations.start(rows, [self._draw(row) for row in rows], [self._random.begin(row) for row in rows])
        cut = np.zeros(self.num_envs, dtype=np.bool_)
        return self._shown(), ends.rewards.copy(), ends.ended, cut, self._reset_infos(infos, rows)

    def get_state(self) -> dict[str, Any]:
        """Return everything that :meth:`set_state` needs to go on exactly: JSON values only."""
        return self._core.conversations.get_state() | self._random.get_state()

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from a state of :meth:`get_state`, of an environment made with the same arguments."""
        self._core.conversations.set_state(state)
        self._random.set_state(state)

    def render(self) -> tuple[str, ...] | None:
        """Return (``"ansi"``) or print (``"human"``) the prompt of every copy; it has no response yet."""
        if self.render_mode is None:
            return None
        frames = tuple(self._core.render(row, "") for row in range(self.num_envs))
        if self.render_mode == "ansi":
            return frames
        print_frames(frames)
        return None

    def _draw(self, row: int) -> Example:
        """Return the next random example of one copy."""
        return self.task.dataset[self._random.draw(row, len(self.task.dataset))]

    def _shown(self) -> Texts:
        """Return what the agent is shown in every copy."""
        return tuple(self._core.conversations.shown(row) for row in range(self.num_envs))

    def _reset_infos(self, infos: dict[str, Any], rows: Sequence[int]) -> dict[str, Any]:
        """Add what is reported at the start of copies."""
        for row in rows:
            infos = self._add_info(infos, {"task_key": self._core.conversations.examples[row].key}, row)
        return infos
