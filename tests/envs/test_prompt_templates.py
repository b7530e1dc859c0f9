"""The prompt template as an argument of environments, and what models with and without a chat template read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import pytest
from transformers import AutoTokenizer

import textgym
from tests.chat_templates import CHATML, write_chat_folder
from textgym.envs.arguments import without_remark_on_reward
from textgym.envs.choice import EnvChoice
from textgym.tasks import Summarization, TextTask, prompt_text
from textgym.text.tokenizer import Tokenizer
from textgym.types import Example, Message

ROWS = [{"ticket": f"Where is parcel {n}?", "tone": "kind", "stars": n} for n in range(60)]
TEMPLATE = "A {tone} reply, {stars} of 5.\n{ticket}\n\nReply:"
IDS = ("TextSumm-v0", "TextSummEpisode-v0", "TextSumm-v1", "TextSummEpisode-v1", "TextGen-v0", "TextGenEpisode-v0")


def longest(prompts: Sequence[str], responses: Sequence[str], examples: Sequence[Example]) -> list[float]:
    return [float(len(prompt)) for prompt in prompts]


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_chat_folder(tmp_path_factory.mktemp("chat"), CHATML, "byte"))


def wanted(row: dict[str, Any]) -> str:
    return f"A kind reply, {row['stars']} of 5.\n{row['ticket']}\n\nReply:"


@pytest.mark.parametrize("env_id", IDS)
@pytest.mark.parametrize("vector", [False, True])
def test_every_environment_asks_by_the_given_template(env_id: str, vector: bool) -> None:
    kwargs: dict[str, Any] = {"data": ROWS, "prompt_column": "ticket", "prompt_template": TEMPLATE, "reward": longest}
    env: Any = gym.make_vec(env_id, num_envs=2, **kwargs) if vector else gym.make(env_id, **kwargs)
    observation, info = env.reset(seed=3)
    keys = info["task_key"] if vector else [info["task_key"]]
    task = env.unwrapped.task
    examples = [task.dataset.find(key) for key in keys]
    texts = [wanted({"ticket": example.text, **example.extra}) for example in examples]
    assert [prompt_text(task, example) for example in examples] == texts
    if "Episode" in env_id:
        assert list(observation) == texts if vector else [observation] == texts
        return
    rows = [observation["input_ids"]] if not vector else observation["input_ids"]
    lengths = observation["prompt_length"].reshape(-1)
    tiny = Tokenizer.load("tiny")
    assert [row[:n].tolist() for row, n in zip(rows, lengths, strict=True)] == tiny.encode_batch(texts)


def test_the_template_reaches_the_reward() -> None:
    env = gym.make("TextGenEpisode-v0", data=ROWS, prompt_column="ticket", prompt_template=TEMPLATE, reward=longest)
    prompt, _ = env.reset(seed=0)
    assert env.step("x")[1] == len(prompt)


def test_a_chat_model_reads_the_template_in_its_users_turn(chat: str) -> None:
    env: Any = gym.make(
        "TextSumm-v0", data=ROWS, prompt_column="ticket", prompt_template="Q: {prompt}", model=chat, reward="none"
    )
    observation, info = env.reset(seed=0)
    ids = observation["input_ids"][: observation["prompt_length"][0]].tolist()
    text = "Q: " + env.unwrapped.task.dataset.find(info["task_key"]).text
    theirs = AutoTokenizer.from_pretrained(chat)
    messages = [{"role": "user", "content": text}]
    assert ids == theirs.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)


def prompt_ids(env_id: str, model: str, **kwargs: Any) -> tuple[list[int], str]:
    env: Any = gym.make(env_id, model=model, reward="none", **kwargs)
    observation, info = env.reset(seed=0)
    return observation["input_ids"][: observation["prompt_length"][0]].tolist(), info["task_key"]


def test_version_1_has_no_cue_for_chat_models_and_the_same_for_others(chat: str) -> None:
    task = Summarization()
    plain, key = prompt_ids("TextSumm-v1", "tiny")
    document = task.dataset.find(key).text
    assert (plain, key) == prompt_ids("TextSumm-v0", "tiny")
    text = Tokenizer.load(chat)
    ids, _ = prompt_ids("TextSumm-v1", chat, max_prompt_tokens=2000)
    start = "<|im_start|>user\nSummarize the following text in one or two sentences.\n\n"
    whole = text._encoding.written([f"{start}{document}<|im_end|>\n<|im_start|>assistant\n"])[0]
    assert ids == whole
    old, _ = prompt_ids("TextSumm-v0", chat, max_prompt_tokens=2000)
    with_cue = f"<|im_start|>user\n{document}\n\nSummary:<|im_end|>\n<|im_start|>assistant\n"
    assert old == text._encoding.written([with_cue])[0]
    given, _ = prompt_ids("TextSumm-v1", chat, max_prompt_tokens=2000, prompt_template="{prompt} TL;DR")
    with_own = f"<|im_start|>user\n{document} TL;DR<|im_end|>\n<|im_start|>assistant\n"
    assert given == text._encoding.written([with_own])[0]


def test_people_and_rewards_are_shown_the_same_in_both_versions() -> None:
    first, second = (EnvChoice(env_id).make("test") for env_id in ("TextSumm-v0", "TextSumm-v1"))
    example = first.dataset[0]
    assert prompt_text(first, example) == prompt_text(second, example)


class Conversation(TextTask):
    prompt_template = "Answer: {prompt}"
    chat_prompt_template = "{prompt}!"


def test_in_a_conversation_the_chat_template_stands_around_the_last_turn(chat: str) -> None:
    system = Message("system", "Be kind.")
    task = Conversation([Example(f"{n}", (system, Message("user", f"Hello {n}"))) for n in range(40)])
    (_, asked) = task.dataset[0].prompt
    assert isinstance(asked, Message)
    prompt = task.prompt(task.dataset[0])
    (plain,) = Tokenizer.load("tiny").encode_prompts([prompt], 100)  # type: ignore[list-item]
    assert plain.ids == Tokenizer.load("tiny").encode(f"Answer: System: Be kind.\nUser: {asked.content}")
    theirs = AutoTokenizer.from_pretrained(chat)
    messages = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": f"{asked.content}!"}]
    (ids,) = Tokenizer.load(chat).encode_prompts([prompt], 100)  # type: ignore[list-item]
    assert ids.ids == theirs.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)


class Fixed(TextTask):
    """A task that writes its prompts itself."""

    def prompt(self, example: Example) -> str:
        return f"Say {example.text}"


def test_mistakes_are_named() -> None:
    textgym.register_task("TestFixed", Fixed)
    examples = [{"prompt": f"p{n}", "tone": "kind"} for n in range(40)]
    for template, message in (
        ("{prompt} {mood}", r"columns of the data, got {mood}\. Known: prompt, tone\."),
        ("{prompt} {tonee}", r"Did you mean 'tone'\?"),
        ("no", "expected prompt_template with {prompt} once, got 'no'"),
    ):
        with pytest.raises(ValueError, match=message):
            gym.make("TextGen-v0", data=examples, reward="none", prompt_template=template)
    with pytest.raises(ValueError, match="have no columns beside prompt and references"):
        gym.make("TextSummEpisode-v0", prompt_template="{prompt} {mood}", data=[{"prompt": f"{n}"} for n in range(40)])
    with pytest.raises(TypeError, match="expected prompt_template as a text"):
        gym.make("TextGen-v0", prompt_template=3)
    with pytest.raises(TypeError, match="writes its prompts in another way"):
        gym.make("TestFixedEpisode-v0", data=examples, prompt_template="Say {prompt}")


def test_a_column_that_does_not_fit_the_budget_fails_at_the_start() -> None:
    rows = [{"prompt": f"p{n}", "context": "word " * (400 if n == 37 else 1)} for n in range(60)]
    kwargs = {"data": rows, "reward": "none", "prompt_template": "{context}\n{prompt}", "max_prompt_tokens": 64}
    splits = [(split, None) for split in ("train", "validation", "test")]
    failed = []
    for split, _ in splits:
        try:
            gym.make("TextGen-v0", split=split, **kwargs)  # type: ignore[arg-type]
        except ValueError as error:
            failed.append(str(error))
    assert len(failed) == 1
    assert "the columns in it" in failed[0]


def test_a_task_keeps_its_template_on_another_split() -> None:
    task = Summarization(ROWS, "ticket", prompt_template=TEMPLATE).for_split("test")
    example = task.dataset[0]
    assert prompt_text(task, example) == wanted({"ticket": example.text, **example.extra})
    assert Summarization().for_split("test").prompt_template == "{prompt}\n\nSummary:"


class Toned(TextTask):
    prompt_template = "Be {tone}: {prompt}"


def test_columns_of_the_template_are_not_called_unused(caplog: pytest.LogCaptureFixture) -> None:
    rows = [{"prompt": f"Where is parcel {n}, please?", "tone": f"kind {n}", "note": f"n {n}"} for n in range(60)]
    for kwargs in ({}, {"prompt_template": "{tone} {prompt}"}):
        caplog.clear()
        gym.make("TextGenEpisode-v0", data=rows, reward=longest, **kwargs)
        (said,) = [record.message for record in caplog.records if "prompts from" in record.message]
        unused = said.partition("text columns not used: ")[2]
        assert unused == ("note" if kwargs else "tone, note")
    for task in (Toned(rows), Toned(rows).for_split("test")):
        assert task.dataset.report.remarks == ("prompts from prompt, no references; text columns not used: note",)


def test_a_default_reward_is_remarked_on_unless_nothing_learns_from_it(caplog: pytest.LogCaptureFixture) -> None:
    examples = [{"prompt": f"p{n}"} for n in range(40)]
    with without_remark_on_reward():
        gym.make("TextGen-v0", data=examples)
    assert not [record for record in caplog.records if "was given for" in record.getMessage()]
    gym.make("TextGen-v0", data=examples)
    assert [record for record in caplog.records if "No reward=... was given for" in record.getMessage()]
