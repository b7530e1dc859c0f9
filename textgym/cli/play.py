"""A person plays episodes in the terminal, whole texts or token by token."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import gymnasium as gym

from textgym import console
from textgym.checks import check_settings
from textgym.envs import EpisodeTextEnv, TokenTextEnv
from textgym.envs.choice import check_env_id, is_episode_level
from textgym.envs.types import AnyEnv, Info
from textgym.evaluation.core import evaluate
from textgym.evaluation.episodes import silent_episode, transcript
from textgym.evaluation.interactive import play_texts, play_tokens
from textgym.evaluation.loading import load_model, require_context
from textgym.evaluation.measures import measure
from textgym.evaluation.reward_guard import guarded
from textgym.models.prompt_format import format_of_model
from textgym.models.text_model import TextModel
from textgym.tasks.base import prompt_text
from textgym.text.tokenizer import Tokenizer
from textgym.training.agents import ActorSettings, evaluation_of, find_agent
from textgym.types import Episode, Split


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaySettings(ActorSettings):
    """Settings of ``textgym play``, with those of :class:`~textgym.training.agents.ActorSettings`.

    Attributes:
        model: On the token level, a model whose likeliest tokens are offered; ``None`` offers none.
        agent: Plays instead of you, as you watch: an agent by name, ``module:Class``, or a run folder.
        split: The split of the data.
        reward: As in the environment.
        choices: How many tokens are offered.
        episodes: How many episodes are played; input that ends ends the game too.
    """

    model: str | None = None
    split: Split = "train"
    reward: str | None = None
    choices: int = 8
    episodes: int = 1

    def __post_init__(self) -> None:
        check_settings(self, counts=("choices", "episodes", "max_prompt_tokens", "max_new_tokens"))


class _InputEnded(Exception):  # noqa: N818 - no error: the player left
    """There is nothing more to read."""


def run_play(settings: PlaySettings) -> list[float]:
    """Play; return the returns of the finished episodes."""
    if settings.agent is not None:
        return watch(settings)
    of_texts = is_episode_level(check_env_id(settings.choice.env_id))
    game = _Texts(settings) if of_texts else _Tokens(settings)
    console.say(game.explanation)
    returns: list[float] = []
    try:
        for episode in range(settings.episodes):
            total, info = game.play(settings.seed if episode == 0 else None)
            _show_result(game.env.episode, info)
            returns.append(total)
    except _InputEnded:
        console.remark("The input ended." if returns else "The input ended before an episode did.")
    finally:
        game.env.close()
    return returns


def watch(settings: PlaySettings) -> list[float]:
    """Let an agent play the first examples of the split; return the returns of its episodes."""
    found = find_agent(settings)
    questions = evaluation_of(settings, found, settings.reward, settings.episodes)
    evaluation = evaluate(found.load(), questions, tokenizer=found.tokenizer)
    values = evaluation.measures.values
    for place, episode in enumerate(evaluation.episodes):
        console.heading(episode.example.key)
        console.say(prompt_text(questions.task, episode.example))
        console.say(f"-> {transcript(episode) or '(empty)'}", style="bold")
        names = evaluation.measures.names()
        console.print_rows(["", ""], [(name, console.number(float(values[name][place]))) for name in names])
    return [float(value) for value in values["reward"]]


class _Texts:
    """Episodes in which a person types whole texts."""

    explanation = "Read the prompt, type your text on one line, and see what it is worth."

    def __init__(self, settings: PlaySettings) -> None:
        self.env = cast("EpisodeTextEnv", _make_env(settings))

    def play(self, seed: int | None) -> tuple[float, Info]:
        """Play one episode; return its return, and its last info."""
        prompt, info = self.env.reset(seed=seed)
        console.heading(info["task_key"])
        return play_texts(self.env, prompt, _read, console.say)


class _Tokens:
    """Episodes in which a person types tokens, or chooses them where a model offers some.

    Raises:
        ModelError: The model's context is too short, or no token ends a text.
    """

    def __init__(self, settings: PlaySettings) -> None:
        self.env = cast(
            "TokenTextEnv",
            _make_env(
                settings,
                model=settings.model,
                stop=_stops_of(settings.model),
                max_prompt_tokens=settings.max_prompt_tokens,
                max_new_tokens=settings.max_new_tokens,
            ),
        )
        self._choices, self._model = settings.choices, _load_adviser(settings, self.env)

    @property
    def explanation(self) -> str:
        """Instructions for the person who plays."""
        if self._model is None:
            return "Type text; it is added token by token. An empty line ends the text."
        return "Type the number of a token, or text of your own. An empty line ends the text."

    def play(self, seed: int | None) -> tuple[float, Info]:
        """Play one episode; return its return, and its last info."""
        observation, info = self.env.reset(seed=seed)
        console.heading(info["task_key"])
        offer = partial(_offer, self.env.tokenizer)
        return play_tokens(
            self.env, observation, _read, console.say, model=self._model, choices=self._choices, offer=offer
        )


def _make_env(settings: PlaySettings, **arguments: Any) -> AnyEnv:
    """The environment itself, without wrappers: what a person types is checked here. It fails now, not at the end."""
    made = gym.make(
        check_env_id(settings.choice.env_id),
        split=settings.split,
        reward=guarded(settings.reward, None),
        **arguments,
        **settings.choice.env_kwargs(),
    )
    env = cast("EpisodeTextEnv | TokenTextEnv", made.unwrapped)  # by its id
    measure(env.task, [silent_episode(env.task, env.task.dataset[0])], env.reward)
    return env


def _stops_of(model: str | None) -> tuple[str, ...]:
    """Return the strings that end a model's texts, as its ``textgym.json`` says."""
    asked = None if model is None else format_of_model(model)
    return () if asked is None else asked.stop


def _load_adviser(settings: PlaySettings, env: TokenTextEnv) -> TextModel | None:
    """Load the model whose tokens are offered, if one is asked for."""
    env.tokenizer.require_eos()
    if settings.model is None:
        return None
    model = load_model(settings.model, settings.device)
    require_context(model, env.task, env.max_prompt_tokens, env.max_new_tokens)
    return model


def _offer(tokenizer: Tokenizer, tokens: Sequence[tuple[int, float]]) -> None:
    """Show tokens that are offered, numbered."""
    shown = [
        f"{number}:{_show_token(tokenizer, token)!r} {probability:.0%}"
        for number, (token, probability) in enumerate(tokens, start=1)
    ]
    console.say("  ".join(shown), style="cyan")


def _show_token(tokenizer: Tokenizer, token: int) -> str:
    return "<end>" if token in tokenizer.eos_ids else tokenizer.token_bytes[token].decode("utf-8", errors="replace")


def _show_result(episode: Episode, info: Info) -> None:
    """Print what an episode is worth, part by part, and what the data knows about it."""
    rows = [(name, console.number(value)) for name, value in info["rewards"].items() if name != "total"]
    if len(rows) != 1:
        rows.append(("total", console.number(info["rewards"]["total"])))
    if "gold" in info and "gold" not in info["rewards"]:
        rows.append(("gold (true quality)", console.number(info["gold"])))
    rows += [("success", "yes" if info["is_success"] else "no"), ("ended by", info["finish_reason"])]
    console.say(f"Your text: {info['text'] or '(empty)'}", style="bold")
    console.print_rows(["reward", ""], rows)
    if episode.example.references:
        console.say(f"A reference: {episode.example.references[0]}")


def _read(prompt: str) -> str:
    """Read a line; the prompt is shown to people only."""
    if sys.stdin.isatty():
        console.out().print(prompt, end="", markup=False)
    line = sys.stdin.readline()
    if not line:
        raise _InputEnded
    return line.rstrip("\r\n")
