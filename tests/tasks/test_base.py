"""The base of tasks: what a subclass need not say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import pytest

import textgym
from textgym.rewards import resolve_reward
from textgym.tasks import TextTask, prompt_of, prompt_text, shown_of
from textgym.types import Example, Message, Prompt

EXAMPLES = [Example(f"k{i}", f"text {i}", (f"TEXT {i}",), extra={"level": i}) for i in range(40)]


def half(prompts: Sequence[str], responses: Sequence[str], examples: Sequence[Example]) -> list[float]:
    return [0.5] * len(responses)


class Shout(TextTask):
    name = "shout"
    prompt_template = "Shout {prompt}!"
    reward = half


class Level(TextTask):
    def reward(self, prompts: Sequence[str], responses: Sequence[str], examples: Sequence[Example]) -> list[float]:  # type: ignore[override]
        return [float(example.extra["level"]) for example in examples]


@pytest.mark.parametrize("vector", [False, True])
@pytest.mark.parametrize("kind", [Shout, Level])
def test_reward_of_a_task_is_a_function_or_a_method(kind: type[TextTask], vector: bool) -> None:
    ids = textgym.register_task(f"Test{kind.__name__}", kind)
    if vector:
        many: Any = gym.make_vec(ids[1], num_envs=2, data=EXAMPLES)  # type: ignore[arg-type]
        keys = many.reset(seed=0)[1]["task_key"]
        rewards = many.step(("a", "b"))[1].tolist()
    else:
        env: Any = gym.make(ids[1], data=EXAMPLES)
        keys = [env.reset(seed=0)[1]["task_key"]]
        rewards = [env.step("a")[1]]
    assert rewards == [0.5 if kind is Shout else float(key[1:]) for key in keys]


class Either(TextTask):
    def adapt_to_data(self) -> None:
        self.reward = "rouge" if self.has_references else "none"
        self.max_new_tokens = len(self.dataset)


def test_a_task_adapts_to_its_data_in_every_split() -> None:
    answered, asked = Either(EXAMPLES), Either([f"text {n}" for n in range(40)])
    assert (answered.reward, asked.reward) == ("rouge", "none")
    held_out = answered.for_split("test")
    assert held_out.reward == "rouge"
    assert 0 < held_out.max_new_tokens == len(held_out.dataset) < answered.max_new_tokens


class Plain(TextTask):
    prompt_template = "Shout {prompt}!"


def test_the_reward_of_a_task_that_names_none_is_its_success() -> None:
    ids = textgym.register_task("TestPlain", Plain)
    env: Any = gym.make(ids[1], data=EXAMPLES)
    _, info = env.reset(seed=0)
    (reference,) = env.unwrapped.task.dataset.find(info["task_key"]).references
    _, reward, _, _, info = env.step(reference)
    assert (reward, info["rewards"]) == (1.0, {"success": 1.0, "total": 1.0})
    env.reset(seed=0)
    assert env.step("no")[1] == 0.0


def test_a_task_of_several_turns_has_to_name_its_reward() -> None:
    talk = type("Talk", (Plain,), {"name": "talk", "max_turns": 2})
    ids = textgym.register_task("TestTalk", talk)
    with pytest.raises(ValueError, match=r"got 'talk' of 2: .* set reward = \"none\" in the task"):
        gym.make(ids[1], data=EXAMPLES)
    with pytest.raises(ValueError, match="expected a task for the reward 'success'"):
        resolve_reward("success")


def test_prompt_is_the_template_around_the_users_last_message() -> None:
    task = Shout(EXAMPLES)
    assert task.prompt(Example("k", "a {prompt} b")) == Prompt("Shout ", "a {prompt} b", "!")
    chat = (Message("system", "Be kind."), Message("user", "Hi"), Message("assistant", "Yes?"), Message("user", "Go"))
    asked = prompt_of(task, Example("k", chat))
    assert asked == Prompt("Shout ", "Go", "!", chat[:3])
    assert asked.text == "Shout System: Be kind.\nUser: Hi\nAssistant: Yes?\nUser: Go!"


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("A text", Prompt("", "A text", "")),
        ([Message("system", "S"), Message("user", "U")], Prompt("", "U", "", (Message("system", "S"),))),
        (Prompt("a", "b", "c"), Prompt("a", "b", "c")),
    ],
)
def test_a_task_may_ask_by_text_messages_or_prompt(asked: Any, expected: Prompt) -> None:
    class Own(Shout):
        def prompt(self, example: Example) -> Any:
            return asked

    assert prompt_of(Own(EXAMPLES), EXAMPLES[0]) == expected


@pytest.mark.parametrize("asked", [None, 3, [], ["a"], [Message("user", "a"), "b"], {"role": "user"}])
def test_other_prompts_are_refused(asked: Any) -> None:
    class Own(Shout):
        def prompt(self, example: Example) -> Any:
            return asked

    with pytest.raises(TypeError, match=r"expected a Prompt, messages or a text from prompt\(\) of the task 'shout'"):
        prompt_text(Own(EXAMPLES), EXAMPLES[0])


def test_what_is_shown_is_a_text_or_the_messages_of_a_conversation() -> None:
    task = Shout(EXAMPLES)
    assert shown_of(task, Example("k", "Go")) == prompt_text(task, Example("k", "Go"))
    turns = (Message("assistant", "No."), Message("user", "Why?"))
    asked = Message("user", prompt_text(task, Example("k", "Go")))
    assert shown_of(task, Example("k", "Go"), turns) == (asked, *turns)
    system = Message("system", "Be kind.")
    assert shown_of(task, Example("k", (system, Message("user", "Go"))), turns) == (system, asked, *turns)


def test_wrong_tasks_say_what_is_missing() -> None:
    with pytest.raises(TypeError, match="expected data for the task 'shout', got none"):
        Shout()

    class Mute(Shout):
        prompt_template = "no slot"

    with pytest.raises(ValueError, match=r"with \{prompt\} once, got 'no slot'"):
        Mute(EXAMPLES)


def test_data_of_its_own_is_found_by_name() -> None:
    class World(Shout):
        default_data = "tiny-world"
        built_in = {"tiny-world": lambda split: [Example(f"w/{split}", "hello")]}  # type: ignore[dict-item, list-item, return-value]  # noqa: RUF012

    assert World(split="test").dataset[0].key == "w/test"
    assert World().for_split("validation").dataset[0].key == "w/validation"
    with pytest.raises(ValueError, match="Did you mean 'tiny-world'"):
        World("tiny-wolrd")
