"""Best-of-n: of several texts that a language model samples, the one with the highest reward."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import torch

from textgym.agents.common.stored_agent import read_settings, write_settings
from textgym.agents.common.vec_env import env_attribute
from textgym.agents.facts import AgentFacts
from textgym.checks import check_ranges
from textgym.evaluation.sampling import encode_prompts
from textgym.files.paths import name_of
from textgym.models.decoding.generation import generate
from textgym.models.device import pick_device
from textgym.models.loading import load_language_model
from textgym.models.stored_values import Check, listed, number, optional, positive, text
from textgym.models.text_model import TextModel
from textgym.naming import argument
from textgym.rewards import resolve_reward, reward_name, score
from textgym.security.consent import check_names
from textgym.tasks.base import describe_task, prompt_text, shown_of, templates_of
from textgym.text.stopping import cut_at_stop
from textgym.text.templates import parse_template
from textgym.types import Example, NameOrPath, Prompt, RewardFn, Task

_SETTINGS: Mapping[str, Check] = {
    "n": positive,
    "temperature": number,
    "max_prompt_tokens": positive,
    "max_new_tokens": positive,
    "stop": listed(text),
    "around": optional(listed(text, 4)),
    "reward": optional(text),
}
_PROMPT, _RESPONSE = 512, 48
"""Budgets where there is no task."""


class BestOfN:
    """Best-of-n: samples ``n`` texts to every prompt and answers with the one that has the highest reward.

    Nothing is trained. How far the result is from the model in KL, and what it gains, follows in closed form
    (:mod:`textgym.metrics.best_of_n`).

    Args:
        model: Samples the texts.
        reward: The reward that chooses, or its name.
        task: Task that asks the prompts, and has the examples that the reward reads; without one, the reward gets
            examples that hold the prompt and nothing else.
        n: Texts per prompt.
        temperature: Sampling temperature.
        max_prompt_tokens: Budget of a prompt; by default the task's.
        max_new_tokens: Budget of a text; by default the task's.
        stop: Strings that end a text.
        around: Texts before and after every prompt, which are never cut, and those that models with a chat template
            read instead: four of them. By default the task's, where they are the same for all prompts.

    Raises:
        ValueError: The task has several turns, whose reward is not known before the last; or a number is out of range.
    """

    grain: Literal["episode"] = "episode"
    facts: ClassVar[AgentFacts] = AgentFacts(
        name="Best-of-n",
        limits={
            **dict.fromkeys(("n", "max_prompt_tokens", "max_new_tokens"), (1, math.inf)),
            "temperature": (math.nextafter(0, 1), math.inf),
        },
    )

    def __init__(
        self,
        model: TextModel,
        reward: RewardFn | NameOrPath,
        task: Task | None = None,
        *,
        n: int = 8,
        temperature: float = 1.0,
        max_prompt_tokens: int | None = None,
        max_new_tokens: int | None = None,
        stop: Sequence[str] = (),
        around: Sequence[str] | None = None,
    ) -> None:
        if task is not None and task.max_turns > 1:
            raise ValueError(
                f"expected a task of one turn for best-of-n, got {task.name!r} of up to {task.max_turns}, whose reward "
                "is not known before the last; train on it, by expert iteration for instance"
            )
        self.model, self.n, self.temperature, self.stop = model, n, temperature, tuple(stop)
        own = (_PROMPT, _RESPONSE) if task is None else (task.max_prompt_tokens, task.max_new_tokens)
        self.max_prompt_tokens = own[0] if max_prompt_tokens is None else max_prompt_tokens
        self.max_new_tokens = own[1] if max_new_tokens is None else max_new_tokens
        check_ranges(vars(self), self.facts.limits, counts=("n", "max_prompt_tokens", "max_new_tokens"))
        self.reward, self._reward_name = resolve_reward(reward, task), name_of(reward)
        self._task, self.around = task, _around(task) if around is None else list(around)
        self._known: dict[str, Example] = {}
        self._unread = _examples_of(task)

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
        """Make the agent of an episode-level environment, whose reward chooses; ``None`` is the task's start model."""
        task: Task = env_attribute(env, "task")
        loaded = load_language_model(model or task.model, device=pick_device(device))
        agent = cls(loaded, env_attribute(env, "reward"), task, stop=env_attribute(env, "stop"), **options)
        agent._reward_name = _given_name(env, task)
        return agent

    def __repr__(self) -> str:
        """Return the number of texts, model, reward and task."""
        task = f", {describe_task(self._task)}" if self._task is not None else ""
        model = self.model.source or "of your own"
        return f"<BestOfN: {self.n} texts, model {model}, reward {reward_name(self.reward)}{task}>"

    def act(
        self, observations: Sequence[str], *, greedy: bool = False, generator: torch.Generator | None = None
    ) -> list[str]:
        """Answer ``m`` prompts, each with the best of n sampled texts; ``greedy`` with the most likely one instead."""
        examples = [self._example(prompt) for prompt in observations]
        copies = 1 if greedy else self.n
        asked = [ids for example in examples for ids in [self._encode(example)] * copies]
        texts = self._write(asked, 0.0 if greedy else self.temperature, generator)
        if greedy:
            return texts
        repeated = [example for example in examples for _ in range(copies)]
        shown = [example.prompt if self._task is None else shown_of(self._task, example) for example in repeated]
        best = score(self.reward, shown, texts, repeated).total.reshape(-1, copies).argmax(1)  # (m,)
        return [texts[row * copies + int(place)] for row, place in enumerate(best)]

    def _write(
        self, prompts: Sequence[Sequence[int]], temperature: float, generator: torch.Generator | None
    ) -> list[str]:
        """Sample a text to each prompt, as a user sees it."""
        tokenizer = self.model.tokenizer
        ends = set(tokenizer.eos_ids)
        written = generate(
            self.model,
            prompts,
            max_new_tokens=self.max_new_tokens,
            eos_ids=tokenizer.eos_ids,
            temperature=temperature,
            generator=generator,
        )
        visible = [[token for token in ids if token not in ends] for ids in written]
        return [cut_at_stop(each, self.stop).strip() for each in tokenizer.decode_batch(visible, strip=False)]

    def _encode(self, example: Example) -> list[int]:
        tokenizer = self.model.tokenizer
        if self._task is None:
            return tokenizer.encode_prompts([self._asked(example.text)], self.max_prompt_tokens)[0].ids
        return encode_prompts(self._task, [example], tokenizer, self.max_prompt_tokens)[0]

    def _asked(self, prompt: str) -> Prompt:
        """Return a prompt as a task asked it, taken apart, so that what stands around it is not cut."""
        before, after, *chat = self.around or ("", "", "", "")
        if not (prompt.startswith(before) and prompt.endswith(after) and len(prompt) >= len(before + after)):
            return Prompt("", prompt, "")
        return Prompt(before, prompt[len(before) : len(prompt) - len(after)], after, chat=(chat[0], chat[1]))

    def _example(self, prompt: str) -> Example:
        """Return the example that the task asks so; one that holds nothing else if there is none."""
        if prompt not in self._known:
            for asked, example in self._unread:
                self._known.setdefault(asked, example)
                if asked == prompt:
                    break
        return self._known.get(prompt, Example("", prompt))

    def save(self, folder: str | Path) -> None:
        """Write the model as a Hugging Face folder, ``folder/model``, and settings; of the reward, the name."""
        self.model.save_pretrained(Path(folder) / "model")
        # Last: without it there is no agent.
        own = {name: vars(self)[name] for name in ("n", "temperature", "max_prompt_tokens", "max_new_tokens")}
        own |= {"stop": list(self.stop), "around": self.around, "reward": self._reward_name}
        write_settings(folder, self, own)

    @classmethod
    def load(cls, folder: str | Path, device: str = "auto", **changes: Any) -> Self:
        """Read what :meth:`save` wrote; ``task=`` lets it ask as a task does, with the examples of that.

        Raises:
            ConsentError: The file names a reward in a module, and the user has not.
            ValueError: The reward was a function, which has no name, and no other is given.
        """
        settings = read_settings(folder, cls, _SETTINGS)
        if "reward" not in changes:
            check_names(settings)
        settings = {**settings, **changes}
        reward = settings.pop("reward")
        if reward is None:
            raise ValueError(
                f"expected {argument('reward', ...)} to load best-of-n with, as its own has no name, got none; give it"
            )
        model = load_language_model(Path(folder) / "model", device=pick_device(device))
        return cls(model, reward, settings.pop("task", None), **settings)


def _around(task: Task | None) -> list[str] | None:
    """Return the texts around the prompts of a task; ``None`` if they are not the same for all."""
    templates = None if task is None else templates_of(task)
    if templates is None:
        return None
    plain, chat = (parse_template(source).fixed for source in templates)
    return None if plain is None or chat is None else [*plain, *chat]


def _examples_of(task: Task | None) -> Iterator[tuple[str, Example]]:
    """Yield the examples of a task with what it shows of each; corpora that are made up take a while."""
    if task is not None:
        for place in range(len(task.dataset)):
            example = task.dataset[place]
            yield prompt_text(task, example), example


def _given_name(env: Any, task: Task) -> str | None:
    """Return the name by which an environment was given its reward; ``None`` if it was a function."""
    spec = env.unwrapped.spec
    given = None if spec is None else spec.kwargs.get("reward")
    return name_of(task.reward if given is None else given)
