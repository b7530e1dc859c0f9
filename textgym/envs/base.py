"""Base classes of text environments of both grains: single and vectorized."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, Self

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium.core import ActType, ObsType
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from textgym.envs.arguments import check_budget
from textgym.envs.conversations import Conversations
from textgym.envs.prompts import Root, RowGenerators, draw_index, find_example, named_keys, plain_seed, spread_seeds
from textgym.envs.rendering import (
    RENDER_MODES,
    Frame,
    RenderedTexts,
    check_values,
    image,
    print_frames,
    result_of,
    safe_lines,
    write,
)
from textgym.envs.types import EnvState, Info, Options
from textgym.rewards import reward_name
from textgym.tasks.base import describe_task
from textgym.types import Episode, Example, RewardFn, Task


class Core(Protocol):
    """The state of ``n`` copies, and how they go on; environments are thin around it."""

    task: Task
    reward: RewardFn
    conversations: Conversations

    @property
    def stop(self) -> tuple[str, ...]:
        """Strings that end a text."""
        ...

    def copies(self, n: int) -> Self:
        """Return a core with the same arguments for ``n`` copies, not yet reset."""
        ...

    def render(self, row: int) -> Frame:
        """Return what a copy was shown, and its turn so far."""
        ...

    def get_state(self) -> EnvState:
        """Return the state of all copies as arrays, lists and plain values."""
        ...

    def set_state(self, state: EnvState) -> None:
        """Take over a state of :meth:`get_state`."""
        ...


class CoreAttributes:
    """Read-only attributes of a text environment that its core holds."""

    _core: Core

    @property
    def task(self) -> Task:
        """The task of the environment."""
        return self._core.task

    @property
    def reward(self) -> RewardFn:
        """The reward that scores finished episodes."""
        return self._core.reward

    @property
    def stop(self) -> tuple[str, ...]:
        """Strings that end a text."""
        return self._core.stop

    @property
    def description(self) -> str:
        """Task, data and reward in one line."""
        return f"{describe_task(self.task)}, reward {reward_name(self.reward)}"

    def __str__(self) -> str:
        """Return what ``repr`` does, which Gymnasium's wrappers show too."""
        return repr(self)


class SingleTextEnv(CoreAttributes, gym.Env[ObsType, ActType]):
    """A single text environment: choice of the next example, and rendering."""

    metadata: dict[str, Any] = {"render_modes": list(RENDER_MODES), "render_fps": 30}  # noqa: RUF012 - as in Gymnasium
    _episodes = -1
    _printed: tuple[str, str, str] | None = None  # of the running episode, in human mode
    _values: tuple[float, ...] = ()
    _result = ""

    @property
    def episode(self) -> Episode:
        """The current episode up to now, or the last one if it has ended."""
        return self._core.conversations.episode(0)

    def __repr__(self) -> str:
        """Return the id and what the environment is made of, in one line."""
        return f"<{type(self).__name__}{_id_of(self)}: {self.description}>"

    def render(self) -> str | npt.NDArray[np.uint8] | None:
        """Return (``"ansi"``, ``"rgb_array"``) or print (``"human"``) what was shown and written; without a mode, warn.

        A notebook shows the text in lines and with colours, as the last line of a cell. At the end of an episode, a
        line says what it was worth. In human mode, ``reset`` prints the prompt by itself
        and ``step`` the finished response: what was printed already is not printed twice. Tokens are coloured by
        :attr:`token_values`.
        """
        if self.render_mode is None:
            _warn_of_no_mode("make", self)
            return None
        frame = self._frame()
        if self.render_mode == "human":
            self._print_new(frame)
            return None
        return image(frame) if self.render_mode == "rgb_array" else frame.rendered

    @property
    def token_values(self) -> tuple[float, ...]:
        """Numbers by which the tokens of the turn are coloured where it is rendered, from the first token on.

        An agent sets them, such as the values or the advantages that it sees: 0 is white, the largest is orange, and
        its negative is blue. They are forgotten when the turn ends and another one begins.
        """
        return self._values

    @token_values.setter
    def token_values(self, values: Sequence[float]) -> None:
        self._values = check_values(values)

    def _frame(self) -> Frame:
        return self._core.render(0)._replace(values=self._values, result=self._result)

    def _print_start(self) -> None:
        """Print the prompt of an episode that begins, as ``render_mode="human"`` does."""
        if self.render_mode == "human":
            apart = "" if self._printed is None else "\n"
            self._printed = safe_lines(self._frame())[0], "", ""
            write(apart + self._printed[0])

    def _end_turn(self, info: Info | None) -> None:
        """Forget the values of a turn that was answered, or print the end of an episode and what it was worth."""
        if info is None:
            self._values = ()
            return
        self._result = result_of(info)
        if self.render_mode == "human":
            self._print_new(self._frame())

    def _print_new(self, frame: Frame) -> None:
        """Print the lines of an episode that were not printed yet."""
        lines, before = safe_lines(frame), self._printed or ("", "", "")
        is_known = lines[0] == before[0]
        if is_known and not before[1] and not frame.response and not frame.result:
            return  # a prompt that nobody has answered yet
        new = [line for line, known in zip(lines, before, strict=True) if line and not (is_known and line == known)]
        self._printed = lines
        if new:
            write("\n".join(new))

    def _begin(self, seed: int | None, options: Options | None) -> tuple[Example, Root]:
        """Begin an episode: return the example that is named, or a random one, and the root of the other side.

        Episodes are counted from 0 behind every seed.
        """
        gym.Env.reset(self, seed=plain_seed(seed))
        (key,) = named_keys(options, 1)
        self._values, self._result = (), ""
        dataset = self.task.dataset
        example = find_example(self.task, key) if key is not None else dataset[draw_index(self.np_random, len(dataset))]
        self._episodes = 0 if seed is not None else self._episodes + 1
        return example, Root(max(self.np_random_seed, 0) if self._core.conversations.has_turns else 0, self._episodes)


class VectorTextEnv(CoreAttributes, VectorEnv[ObsType, ActType, npt.NDArray[Any]]):
    """Many copies of a single environment: seeds, examples, state and rendering.

    Args:
        single: An environment that was not reset; its arguments are those of all copies.
        num_envs: Number of copies.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012 - as in Gymnasium
        "render_modes": list(RENDER_MODES),
        "render_fps": 30,
        "autoreset_mode": AutoresetMode.SAME_STEP,
    }

    def __init__(self, single: SingleTextEnv[Any, Any], num_envs: int) -> None:
        self.num_envs = check_budget("num_envs", num_envs, 1)
        self._core = single._core.copies(self.num_envs)
        self._random = RowGenerators(self.num_envs)
        self.render_mode = single.render_mode
        self.single_observation_space, self.single_action_space = single.observation_space, single.action_space
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)

    @property  # type: ignore[misc]
    def np_random(self) -> tuple[np.random.Generator | None, ...]:  # type: ignore[override]
        """The random generators, one per copy."""
        return tuple(self._random.generators)

    @property
    def np_random_seed(self) -> tuple[int | None, ...]:  # type: ignore[override]
        """The seeds, one per copy."""
        return tuple(self._random.seeds)

    def get_state(self) -> EnvState:
        """Return everything that :meth:`set_state` needs to go on bit for bit: arrays, lists and numbers only."""
        return self._core.get_state() | self._random.get_state()

    def set_state(self, state: EnvState) -> None:
        """Go on from a state of :meth:`get_state`, of an environment made with the same arguments."""
        self._core.set_state(state)
        self._random.set_state(state)

    def __repr__(self) -> str:
        """Return the id, the number of copies, and what they are made of, in one line."""
        return f"<{type(self).__name__}{_id_of(self)}: {self.num_envs} copies, {self.description}>"

    def render(self) -> tuple[str, ...] | tuple[npt.NDArray[np.uint8], ...] | None:
        """Return (``"ansi"``, ``"rgb_array"``) or print (``"human"``) prompt and response so far of every copy.

        Without a mode, warn.
        """
        if self.render_mode is None:
            _warn_of_no_mode("make_vec", self)
            return None
        frames = [self._core.render(row) for row in range(self.num_envs)]
        if self.render_mode == "human":
            print_frames(frames)
            return None
        if self.render_mode == "rgb_array":
            return tuple(map(image, frames))
        return RenderedTexts(frame.rendered for frame in frames)

    def _begin_all(
        self, seed: int | Sequence[int | None] | None, options: Options | None
    ) -> tuple[list[Example], list[Root]]:
        """Begin an episode in every copy; returns the examples, random where ``options`` names none, and the roots."""
        keys = named_keys(options, self.num_envs)
        self._random.seed(spread_seeds(seed, self.num_envs))
        examples = [self._draw(row) if key is None else find_example(self.task, key) for row, key in enumerate(keys)]
        return examples, [self._random.begin(row) for row in range(self.num_envs)]

    def _begin_next(self, rows: Sequence[int]) -> tuple[list[Example], list[Root]]:
        """Begin the next episode in some copies; returns random examples and the roots."""
        return [self._draw(row) for row in rows], [self._random.begin(row) for row in rows]

    def _print_ends(self, rows: Sequence[int], infos: Sequence[Info]) -> None:
        """Print the episodes that ended and what they were worth, as ``render_mode="human"`` does."""
        if rows and self.render_mode == "human":
            ends = zip(rows, infos, strict=True)
            print_frames(self._core.render(row)._replace(result=result_of(info)) for row, info in ends)

    def _draw(self, row: int) -> Example:
        """Return the next random example of one copy."""
        return self.task.dataset[self._random.draw(row, len(self.task.dataset))]

    def _add_infos(self, infos: Info, new: Mapping[int, Info]) -> Info:
        """Add the infos of some copies, by row, to the infos of a step."""
        for row, info in new.items():
            infos = self._add_info(infos, info, row)
        return infos


def _id_of(env: gym.Env[Any, Any] | VectorEnv[Any, Any, Any]) -> str:
    """Return the id in the brackets in which Gymnasium shows it; nothing for an environment that was not registered."""
    return f"<{env.spec.id}>" if env.spec is not None else ""


def _warn_of_no_mode(maker: str, env: gym.Env[Any, Any] | VectorEnv[Any, Any, Any]) -> None:
    """Say how to get something to see, as Gymnasium's own environments do."""
    name = env.spec.id if env.spec is not None else "TextSumm-v0"
    gym.logger.warn(
        "You are calling render() without any render mode, which shows nothing. Name one when you make the "
        f'environment: gym.{maker}("{name}", render_mode="ansi") returns the text, render_mode="human" prints it.',
        stacklevel=3,
    )
