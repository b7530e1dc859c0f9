"""Text generation token by token, many copies in one numpy state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from textgym.envs.arguments import (
    RENDER_MODES,
    TOKEN_ARGUMENTS,
    TaskSource,
    build_reward,
    build_task,
    check_render_mode,
    print_frames,
    refuse_unknown,
)
from textgym.envs.prompts import RowGenerators, find_example, named_keys, spread_seeds
from textgym.envs.token_core import CoreAttributes, Observation, TokenCore
from textgym.text.tokenizer import Tokenizer
from textgym.types import BoolArray, Data, Example, FloatArray, IntArray, NameOrPath, RewardFn, Split

VectorStep = tuple[Observation, FloatArray, BoolArray, BoolArray, dict[str, Any]]


class TokenTextVectorEnv(CoreAttributes, VectorEnv[Observation, IntArray, Any]):
    """Copies of :class:`~textgym.envs.token_text.TokenTextEnv`, stepped together; what ``gym.make_vec`` returns.

    ## Description
    See :class:`~textgym.envs.token_text.TokenTextEnv` for the task, the spaces, the rewards and the arguments. Copy
    ``i`` behaves like a single environment with its seed: its ``k``-th prompt depends on that seed and ``k`` only. A
    step costs a few numpy calls; texts are decoded and scored in one batch when they end.

    ## Seeds
    ``reset(seed=s)`` seeds copy ``i`` with ``s + i``; ``reset(seed=[7, 7, 7, 7])`` gives one prompt four times, now
    and at every later reset. ``reset(options={"task_key": key})`` names the example of all copies,
    ``reset(options={"task_keys": [...]})`` one for each (``None``: random).

    ## Episode End
    Autoreset mode is ``SAME_STEP``: a copy that ends returns the observation of its next prompt; its last observation
    and info are ``infos["final_obs"][i]`` and ``infos["final_info"]``, with masks ``_final_obs`` and ``_final_info``.

    ## Arguments
    ``num_envs`` and those of :class:`~textgym.envs.token_text.TokenTextEnv`.

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
        model: str = "tiny",
        reward: RewardFn | NameOrPath | None = None,
        max_prompt_tokens: int | None = None,
        max_new_tokens: int | None = None,
        stop: Sequence[str] = (),
        render_mode: str | None = None,
        **unknown: Any,
    ) -> None:
        refuse_unknown(unknown, (*TOKEN_ARGUMENTS, "num_envs"))
        check_render_mode(render_mode)
        made = build_task(task, data, prompt_column, reference_column, split)
        self._core = TokenCore(
            made,
            Tokenizer.load(model),
            build_reward(reward, made, data),
            n=num_envs,
            max_prompt_tokens=max_prompt_tokens,
            max_new_tokens=max_new_tokens,
            stop=stop,
        )
        self.num_envs = self._core.n
        self._random = RowGenerators(self.num_envs)
        self.render_mode = render_mode
        self.single_observation_space = self._core.observation_space()
        self.single_action_space = self._core.action_space()
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)

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
    ) -> tuple[Observation, dict[str, Any]]:
        """Start all copies on random examples, or on those that ``options`` names."""
        keys = named_keys(options, self.num_envs)
        self._random.seed(spread_seeds(seed, self.num_envs))
        examples = [self._draw(row) if key is None else find_example(self.task, key) for row, key in enumerate(keys)]
        rows = range(self.num_envs)
        self._core.reset(rows, examples, [self._random.begin(row) for row in rows])
        infos: dict[str, Any] = {}
        for row in rows:
            infos = self._add_info(infos, self._core.reset_info(row), row)
        return self._core.observe(), self._masked(infos)

    def step(self, actions: IntArray) -> VectorStep:
        """Append one token per copy; copies that end are scored together and reset.

        Args:
            actions: Token ids, shape ``(num_envs,)``.
        """
        finished = self._core.step(actions)
        rewards = np.zeros(self.num_envs)
        terminations = np.zeros(self.num_envs, dtype=np.bool_)
        infos: dict[str, Any] = {}
        if finished.size:
            rewards[finished], terminations[finished], infos = self._finish(finished)
        infos = self._masked(infos)
        return self._core.observe(), rewards, terminations, np.zeros(self.num_envs, dtype=np.bool_), infos

    def observation(self) -> Observation:
        """Return the current observations again, as the last ``reset`` or ``step`` did."""
        return self._core.observe()

    def get_state(self) -> dict[str, Any]:
        """Return everything that :meth:`set_state` needs to go on bit for bit: arrays, lists and numbers only."""
        return self._core.get_state() | self._random.get_state()

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from a state of :meth:`get_state`, of an environment made with the same arguments."""
        self._core.set_state(state)
        self._random.set_state(state)

    def render(self) -> tuple[str, ...] | None:
        """Return (``"ansi"``) or print (``"human"``) the prompt and the response so far of every copy."""
        if self.render_mode is None:
            return None
        frames = tuple(self._core.render(row) for row in range(self.num_envs))
        if self.render_mode == "ansi":
            return frames
        print_frames(frames)
        return None

    def _draw(self, row: int) -> Example:
        """Return the next random example of one copy."""
        return self.task.dataset[self._random.draw(row, len(self.task.dataset))]

    def _finish(self, finished: IntArray) -> tuple[FloatArray, BoolArray, dict[str, Any]]:
        """Go on with the copies whose turn ended, and reset those whose episode did.

        Returns:
            Their rewards, whether their episodes ended, and the infos of the step.
        """
        ends = self._core.finish(finished)
        infos: dict[str, Any] = {}
        rows: list[int] = finished[ends.ended].tolist()
        if not rows:
            return ends.rewards, ends.ended, infos
        if self.render_mode == "human":
            print_frames(self._core.render(row) for row in rows)
        finals = [info for info, ended in zip(ends.infos, ends.ended, strict=True) if ended]
        for row, final in zip(rows, finals, strict=True):
            last = {"final_obs": self._core.observe_row(row), "final_info": final}
            infos = self._add_info(infos, last, row)
        self._core.reset(rows, [self._draw(row) for row in rows], [self._random.begin(row) for row in rows])
        for row in rows:
            infos = self._add_info(infos, self._core.reset_info(row), row)
        return ends.rewards, ends.ended, infos

    def _masked(self, infos: dict[str, Any]) -> dict[str, Any]:
        """Add the action masks of a task that has some."""
        if self._core.has_masks:
            for row, mask in enumerate(self.action_masks().astype(np.int8)):
                infos = self._add_info(infos, {"action_mask": mask}, row)
        return infos
