"""Agents that do not learn: what others are compared with, and people."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch

from textgym.agents.common.observations import check_tokenizer
from textgym.agents.common.stored_agent import read_settings, write_settings
from textgym.agents.common.token_writer import TokenWriter
from textgym.agents.common.vec_env import env_attribute
from textgym.models.device import pick_device
from textgym.models.loading import load_language_model
from textgym.models.stored_values import integer, text
from textgym.models.text_model import TextModel
from textgym.security.consent import check_names, load_named, names_module
from textgym.tasks.base import describe_task, exemplary, prompt_of
from textgym.text.messages import conversation_text
from textgym.types import Example, IntArray, Task

Script = Callable[[Sequence[str]], Sequence[str]]
_SCRIPTS = ("first-sentence", "reference")
_SENTENCE = re.compile(r".+?[.!?](?=\s|$)", re.DOTALL)


class Random:
    """Writes random tokens, all equally likely.

    Args:
        actions: Number of tokens.
    """

    grain: Literal["token"] = "token"

    def __init__(self, actions: int) -> None:
        self.actions = actions

    @classmethod
    def create(cls, env: Any, model: object = None, *, seed: int = 0, device: str = "auto", **options: Any) -> Self:
        """Make the agent of a token-level environment; it has no options, and uses neither model nor device."""
        space = getattr(env, "single_action_space", env.action_space)
        return cls(int(space.n), **options)

    def __repr__(self) -> str:
        """Return the number of tokens."""
        return f"<Random: one of {self.actions:,} tokens>"

    def act(
        self, observations: Mapping[str, np.ndarray], *, greedy: bool = False, generator: torch.Generator | None = None
    ) -> IntArray:
        """Draw a token for every text; ``greedy`` changes nothing, because none is likelier than another."""
        rows = len(observations["input_ids"])
        return torch.randint(self.actions, (rows,), generator=generator).numpy()

    def save(self, folder: str | Path) -> None:
        """Write the number of tokens."""
        write_settings(folder, self, {"actions": self.actions})

    @classmethod
    def load(cls, folder: str | Path, **changes: Any) -> Self:
        """Read what :meth:`save` wrote."""
        return cls(**{**read_settings(folder, cls, {"actions": integer}), **changes})


class Greedy:
    """Writes the most likely token of a language model, always.

    Args:
        model: The model.
    """

    grain: Literal["token"] = "token"

    def __init__(self, model: TextModel) -> None:
        self.model = model
        self._writer = TokenWriter(model)

    @classmethod
    def create(
        cls,
        env: Any,
        model: str | Path | TextModel | None = None,
        *,
        seed: int = 0,
        device: str = "auto",
        **options: Any,
    ) -> Self:
        """Make the agent of a model; ``None`` is the one whose tokenizer the environment uses. It has no options."""
        name = model or env_attribute(env, "tokenizer").name
        loaded = load_language_model(name, device=pick_device(device))
        check_tokenizer(loaded, env.action_space)
        return cls(loaded, **options)

    def __repr__(self) -> str:
        """Return the name of the model."""
        return f"<Greedy: model {self.model.source or 'of your own'}>"

    def act(
        self, observations: Mapping[str, np.ndarray], *, greedy: bool = True, generator: torch.Generator | None = None
    ) -> IntArray:
        """Choose the next token of every text; nothing is drawn, whatever the arguments."""
        return self._writer.act(observations, greedy=True)

    def save(self, folder: str | Path) -> None:
        """Write the model as a Hugging Face folder, ``folder/model``."""
        self.model.save_pretrained(Path(folder) / "model")
        write_settings(folder, self, {})  # last: without it there is no agent

    @classmethod
    def load(cls, folder: str | Path, device: str = "auto", **changes: Any) -> Self:
        """Read what :meth:`save` wrote."""
        read_settings(folder, cls, {})
        return cls(load_language_model(Path(folder) / "model", device=pick_device(device)), **changes)


class Scripted:
    """Writes whole texts by a rule.

    Args:
        script: The ``"first-sentence"`` of the prompt, the ``"reference"`` of its example, ``"module:function"``, or a
            function from ``n`` prompts to ``n`` texts.
        task: Knows the references of prompts.

    Raises:
        ValueError: There is no such script, or ``"reference"`` is asked to take several turns.
    """

    grain: Literal["episode"] = "episode"

    def __init__(self, script: str | Script = "first-sentence", task: Task | None = None) -> None:
        self.script, self._task = script, task
        self._references: dict[str, str] = {}
        if script == "reference" and task is not None and task.max_turns > 1 and not exemplary(task, task.dataset[0]):
            raise ValueError(
                f"expected a task of one turn for the script 'reference', got one of up to {task.max_turns}; a "
                "reference answers no later turn: choose another script, or give the task a method exemplary(example)"
            )
        self._function = self._look_up_all if script == "reference" else _function(script)

    @classmethod
    def create(cls, env: Any, model: object = None, *, seed: int = 0, device: str = "auto", **options: Any) -> Self:
        """Make the agent of an episode-level environment; it uses neither model nor device."""
        return cls(task=env_attribute(env, "task"), **options)

    def __repr__(self) -> str:
        """Return the script, and the task whose references it knows."""
        task = f", {describe_task(self._task)}" if self._task is not None else ""
        return f"<Scripted: {self.script if isinstance(self.script, str) else 'a function'}{task}>"

    def act(
        self, observations: Sequence[str], *, greedy: bool = False, generator: torch.Generator | None = None
    ) -> list[str]:
        """Answer ``n`` prompts; nothing is drawn.

        Raises:
            ValueError: The script gave another number of texts, or does not know a prompt.
        """
        prompts = list(observations)
        texts = list(self._function(prompts))
        if len(texts) != len(prompts):
            raise ValueError(
                f"expected {len(prompts)} texts of the script, got {len(texts)}; return one for each prompt"
            )
        return texts

    def _look_up_all(self, prompts: Sequence[str]) -> list[str]:
        return [self._look_up(prompt) for prompt in prompts]

    def _look_up(self, prompt: str) -> str:
        """The reference of a prompt of the task, or its turn in a conversation; an empty text if it has none."""
        if not self._references and self._task is not None:
            dataset = self._task.dataset
            for example in map(dataset.__getitem__, range(len(dataset))):
                self._references |= _turns_of(self._task, example)
        if prompt not in self._references:
            raise ValueError(
                f"expected a prompt of the task that the agent is made with, got {prompt[:60]!r}; make it with the "
                "environment that it acts in, or load it with task="
            )
        return self._references[prompt]

    def save(self, folder: str | Path) -> None:
        """Write the script's name.

        Raises:
            ValueError: It is a function, which has none.
        """
        if not isinstance(self.script, str):
            raise ValueError("expected a script with a name, got a function; pass script='module:function'")
        write_settings(folder, self, {"script": self.script})

    @classmethod
    def load(cls, folder: str | Path, **changes: Any) -> Self:
        """Read what :meth:`save` wrote; ``"reference"`` needs ``task=`` besides.

        Raises:
            ConsentError: The file names a function, and the user has not.
        """
        settings = read_settings(folder, cls, {"script": text})
        if "script" not in changes:
            check_names(settings)
        return cls(**{**settings, **changes})


class Human:
    """A person at the terminal, who reads the prompt, and writes a line.

    Args:
        ask: Shows a text and returns what is written then; by default ``input``.
    """

    grain: Literal["episode"] = "episode"

    def __init__(self, ask: Callable[[str], str] | None = None) -> None:
        self._ask = ask

    @classmethod
    def create(cls, env: Any, model: object = None, *, seed: int = 0, device: str = "auto", **options: Any) -> Self:
        """Make the agent; it uses none of the arguments, and has no options."""
        return cls(**options)

    def __repr__(self) -> str:
        """Return that it is a person."""
        return "<Human: a person at the terminal>"

    def act(
        self, observations: Sequence[str], *, greedy: bool = False, generator: torch.Generator | None = None
    ) -> list[str]:
        """Ask for a text for each of ``n`` prompts; the end of the input is an empty one."""
        return [self._answer(prompt) for prompt in observations]

    def _answer(self, prompt: str) -> str:
        try:
            return (self._ask or input)(f"{prompt}\n> ")
        except EOFError:
            return ""

    def save(self, folder: str | Path) -> None:
        """Write that it was a person."""
        write_settings(folder, self, {})

    @classmethod
    def load(cls, folder: str | Path, **changes: Any) -> Self:
        """Read what :meth:`save` wrote."""
        read_settings(folder, cls, {})
        return cls(**changes)


def _turns_of(task: Task, example: Example) -> dict[str, str]:
    """The turns of an exemplary conversation, by what is shown before them; an empty one if there is none."""
    asked, turns = prompt_of(task, example), exemplary(task, example)
    own = [place for place, message in enumerate(turns) if message.role == "assistant"]
    known = {conversation_text(asked, turns[:place]): turns[place].content for place in own}
    return known or {asked.text: ""}


def _function(script: str | Script) -> Script:
    """The function that a script is, or names."""
    match script:
        case "first-sentence":
            return first_sentences
        case str() if names_module(script):
            named: Script = load_named(script, "script")
            return named
        case str():
            raise ValueError(f"expected script {', '.join(_SCRIPTS)} or 'module:function', got {script!r}")
    return script


def first_sentences(texts: Sequence[str]) -> list[str]:
    """The first sentence of each text; all of it where none ends."""
    found = [_SENTENCE.match(text.strip()) for text in texts]
    return [text.strip() if first is None else first[0] for text, first in zip(texts, found, strict=True)]
