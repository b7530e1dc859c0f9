"""A person plays episodes in the terminal, whole texts or token by token."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import torch

from textgym import console
from textgym.checks import check_settings
from textgym.envs.choice import EnvChoice, check_env_id, is_episode_level
from textgym.evaluation.core import evaluate, make_evaluation_set
from textgym.evaluation.loading import load_model
from textgym.evaluation.measures import score_responses
from textgym.evaluation.reward_guard import guarded, guarded_reward
from textgym.models.batch import TextBatch
from textgym.models.decoding.prefix_cache import last_hidden
from textgym.models.text_model import TextModel
from textgym.tasks.base import prompt_text
from textgym.text.tokenizer import Tokenizer
from textgym.training.agents import find_agent
from textgym.types import Episode, Split, Task

_DEFAULT_MODEL = "tiny"


@dataclass(frozen=True, slots=True)
class PlaySettings:
    """Settings of ``textgym play``.

    Attributes:
        choice: Environment and data.
        model: On the token level, a model whose likeliest tokens are offered; ``None`` offers none.
        agent: Plays instead of you, as you watch: an agent by name, ``module:Class``, or a run folder.
        reward: As in the environment.
        max_prompt_tokens, max_new_tokens: Budgets on the token level; ``None`` is the task's.
        choices: How many tokens are offered.
        episodes: How many episodes are played; input that ends ends the game too.
    """

    choice: EnvChoice
    model: str | None = None
    agent: str | None = None
    reward: str | None = None
    split: Split = "train"
    max_prompt_tokens: int | None = None
    max_new_tokens: int | None = None
    choices: int = 8
    episodes: int = 1
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        check_settings(self, counts=("choices", "episodes", "max_prompt_tokens", "max_new_tokens"))


class _InputEnded(Exception):  # noqa: N818 - no error: the player left
    """There is nothing more to read."""


def run_play(settings: PlaySettings) -> list[float]:
    """Play; return the returns of the finished episodes."""
    env_id = check_env_id(settings.choice.env_id)
    if settings.agent is not None:
        return watch(settings)
    episode_level = is_episode_level(env_id)
    kwargs = {**settings.choice.env_kwargs(), "split": settings.split, "reward": guarded(settings.reward, None)}
    kwargs |= {} if episode_level else _token_kwargs(settings)
    env = gym.make(env_id, **kwargs)
    score_responses(
        _task(env), [_task(env).dataset[0]], [""], env.get_wrapper_attr("reward")
    )  # fails now or not at the end
    model = None if episode_level else _load_adviser(settings, env)
    _explain(episode_level, model)
    returns: list[float] = []
    try:
        for episode in range(settings.episodes):
            seed = settings.seed if episode == 0 else None
            play = _play_text(env, seed) if episode_level else _play_tokens(env, model, settings.choices, seed)
            returns.append(play)
    except _InputEnded:
        console.remark("The input ended." if returns else "The input ended before an episode did.")
    finally:
        env.close()
    return returns


def watch(settings: PlaySettings) -> list[float]:
    """Let an agent play the first examples of the split; return the rewards of its texts."""
    model = _DEFAULT_MODEL if settings.model is None else settings.model
    agent = find_agent(
        str(settings.agent),
        settings.choice,
        settings.split,
        model=model,
        seed=settings.seed,
        device=settings.device,
    )
    task = settings.choice.make(settings.split)
    reward = guarded_reward(task.reward if settings.reward is None else settings.reward, task)
    budgets = {name: getattr(settings, name) for name in ("max_prompt_tokens", "max_new_tokens")}
    questions = make_evaluation_set(task, reward, settings.episodes, settings.seed, **budgets)
    evaluation = evaluate(agent, questions, tokenizer=model)
    for place, (example, text) in enumerate(zip(questions.examples, evaluation.texts, strict=True)):
        console.heading(example.key)
        console.say(prompt_text(task, example))
        console.say(f"-> {text or '(empty)'}", style="bold")
        names = evaluation.measures.names()
        console.print_rows(
            ["", ""], [(name, console.number(float(evaluation.measures.values[name][place]))) for name in names]
        )
    return [float(value) for value in evaluation.measures.values["reward"]]


def _token_kwargs(settings: PlaySettings) -> dict[str, Any]:
    return {
        "model": _DEFAULT_MODEL if settings.model is None else settings.model,
        "max_prompt_tokens": settings.max_prompt_tokens,
        "max_new_tokens": settings.max_new_tokens,
    }


def _load_adviser(settings: PlaySettings, env: gym.Env[Any, Any]) -> TextModel | None:
    """Load the model whose tokens are offered, if one is asked for.

    Raises:
        ModelError: Its context is too short, or no token ends a text.
    """
    env.get_wrapper_attr("tokenizer").require_eos()
    if settings.model is None:
        return None
    model = load_model(settings.model, settings.device)
    model.require_context(env.get_wrapper_attr("max_prompt_tokens") + env.get_wrapper_attr("max_new_tokens"))
    return model


def _explain(episode_level: bool, model: TextModel | None) -> None:
    if episode_level:
        console.say("Read the prompt, type your text on one line, and see what it is worth.")
    elif model is None:
        console.say("Type text; it is added token by token. An empty line ends the text.")
    else:
        console.say("Type the number of a token, or text of your own. An empty line ends the text.")


def _play_text(env: gym.Env[Any, Any], seed: int | None) -> float:
    prompt, info = env.reset(seed=seed)
    console.heading(info["task_key"])
    console.say(str(prompt))
    _, reward, _, _, info = env.step(_read("> "))
    _show_result(_task(env), info)
    return float(reward)


def _play_tokens(env: gym.Env[Any, Any], model: TextModel | None, choices: int, seed: int | None) -> float:
    observation, info = env.reset(seed=seed)
    tokenizer: Tokenizer = env.get_wrapper_attr("tokenizer")
    console.heading(info["task_key"])
    console.say(tokenizer.decode(_ids(observation)))
    left = int(env.get_wrapper_attr("max_new_tokens"))
    while True:
        offered = _offer(model, tokenizer, observation, choices) if model else []
        begins = len(_ids(observation)) == int(observation["prompt_length"][0])
        for token in _actions(_read(f"[{left} tokens left] > "), offered, tokenizer, begins=begins):
            observation, reward, terminated, _, info = env.step(token)
            left -= 1
            if terminated:
                _show_result(_task(env), info)
                return float(reward)
        console.say(f"... {tokenizer.decode(_ids(observation)[int(observation['prompt_length'][0]) :])}")


def _actions(typed: str, offered: Sequence[int], tokenizer: Tokenizer, *, begins: bool = True) -> list[int]:
    """Return the tokens that a line means: EOS if it is empty, an offered token by number, or the line's own tokens."""
    if not typed.strip():
        return [tokenizer.require_eos()]
    if offered and typed.strip().isdecimal() and 1 <= int(typed) <= len(offered):
        return [offered[int(typed) - 1]]
    # Punctuation continues the last word, anything else begins a new one.
    text = typed.strip()
    if not text[0].isalnum():
        return tokenizer.encode(text)
    return tokenizer.encode_response(text) if begins else tokenizer.encode_words(text)


@torch.no_grad()
def _offer(model: TextModel, tokenizer: Tokenizer, observation: dict[str, Any], choices: int) -> list[int]:
    """Show the likeliest next tokens, numbered, and return them."""
    ids = torch.tensor([_ids(observation)], device=model.device)
    prompt_length = torch.tensor([int(observation["prompt_length"][0])], device=model.device)
    text = TextBatch(ids, torch.full_like(prompt_length, ids.shape[1]), prompt_length)
    probabilities = model.logits(last_hidden(model, text))[0].softmax(-1)
    best = probabilities.topk(min(choices, len(probabilities)))
    tokens: list[int] = best.indices.tolist()
    shown = [
        f"{number}:{_show_token(tokenizer, token)!r} {probability:.0%}"
        for number, (token, probability) in enumerate(zip(tokens, best.values.tolist(), strict=True), start=1)
    ]
    console.say("  ".join(shown), style="cyan")
    return tokens


def _show_token(tokenizer: Tokenizer, token: int) -> str:
    return "<end>" if token in tokenizer.eos_ids else tokenizer.token_bytes[token].decode("utf-8", errors="replace")


def _show_result(task: Task, info: dict[str, Any]) -> None:
    """Print what a text is worth, part by part, and what the data knows about it."""
    example = task.dataset.find(info["task_key"])
    rows = [(name, console.number(value)) for name, value in info["rewards"].items() if name != "total"]
    if len(rows) != 1:
        rows.append(("total", console.number(info["rewards"]["total"])))
    gold = task.gold([Episode.of(example, info["text"])])
    if gold is not None and "gold" not in info["rewards"]:
        rows.append(("gold (true quality)", console.number(float(gold[0]))))
    rows += [("success", "yes" if info["is_success"] else "no"), ("ended by", info["finish_reason"])]
    console.say(f"Your text: {info['text'] or '(empty)'}", style="bold")
    console.print_rows(["reward", ""], rows)
    if example.references:
        console.say(f"A reference: {example.references[0]}")


def _read(prompt: str) -> str:
    """Read a line; the prompt is shown to people only."""
    if sys.stdin.isatty():
        console.out().print(prompt, end="", markup=False)
    line = sys.stdin.readline()
    if not line:
        raise _InputEnded
    return line.rstrip("\r\n")


def _ids(observation: dict[str, Any]) -> list[int]:
    """Ids of prompt and response so far."""
    ids: list[int] = observation["input_ids"][: int(observation["attention_mask"].sum())].tolist()
    return ids


def _task(env: gym.Env[Any, Any]) -> Task:
    task: Task = env.get_wrapper_attr("task")
    return task
