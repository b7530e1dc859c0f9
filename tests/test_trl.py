"""Environments as data sets and reward functions of TRL, and back; the last tests are against TRL itself."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from textgym.errors import MissingExtraError, RewardError
from textgym.rewards import resolve_reward, score
from textgym.tasks.base import prompt_of
from textgym.testing import check_reward
from textgym.text.tokenizer import Tokenizer
from textgym.trl import TrlEnv, TrlReward
from textgym.types import Example, Message

NEEDS_TRL = "needs: pip install 'textgym[trl]'"


def answers(env: TrlEnv, completions: Sequence[Any], rows: Sequence[dict[str, Any]], **others: Any) -> list[float]:
    """Call an environment as TRL calls reward functions."""
    columns = {name: [row[name] for row in rows] for name in rows[0] if name != "prompt"}
    ids = [[1]] * len(rows)
    return env([row["prompt"] for row in rows], list(completions), completion_ids=ids, **columns, **others)


def test_rows_ask_what_the_task_asks() -> None:
    env = TrlEnv("TextSumm-v1", reward="gold")
    rows = env.rows("validation", prompts=3)
    task = gym.make("TextSummEpisode-v1", split="validation").unwrapped.task  # type: ignore[attr-defined]
    examples = [task.dataset[place] for place in range(3)]
    assert [row["prompt"] for row in rows] == [prompt_of(task, example).text for example in examples]
    assert [row["task_key"] for row in rows] == [example.key for example in examples]
    assert {row["task_split"] for row in rows} == {"validation"}
    assert rows[0]["references"] == list(examples[0].references)


def test_a_tokenizer_of_transformers_reads_the_ids_that_environments_show() -> None:
    from transformers import AutoTokenizer

    from textgym.hub import resolve_folder

    env = TrlEnv("TextSumm-v1")
    theirs = AutoTokenizer.from_pretrained(resolve_folder("tiny-hurried", kind="model"))
    task = gym.make("TextSummEpisode-v1").unwrapped.task  # type: ignore[attr-defined]
    prompts = [prompt_of(task, task.dataset[place]) for place in range(20)]
    ours = Tokenizer.load("tiny-hurried").encode_prompts(prompts, task.max_prompt_tokens)
    assert [theirs(row["prompt"])["input_ids"] for row in env.rows(prompts=20)] == [list(each.ids) for each in ours]


def test_a_completion_is_worth_what_an_environment_gives() -> None:
    reward = "gold + 0.25*length?target=5"
    env = TrlEnv("TextSumm-v1", reward)
    rows = [*env.rows("train", 2), *env.rows("test", 2)]
    rows = [rows[place] for place in (2, 0, 3, 1)]  # splits mixed
    texts = [row["references"][0] for row in rows[:2]] + [" one two three four five ", ""]
    expected = []
    for row, text in zip(rows, texts, strict=True):
        single = gym.make("TextSummEpisode-v1", split=row["task_split"], reward=reward)
        single.reset(options={"task_key": row["task_key"]})
        expected.append(single.step(text)[1])
    assert answers(env, texts, rows, trainer_state=None) == expected
    assert len(set(expected)) > 2


def test_repeated_prompts_of_a_group_are_scored_one_by_one() -> None:
    env = TrlEnv("TextGen-v0", "regex?pattern=[a-z]%2B", data=["Say a word.", "Say two."])
    (row, *_) = env.rows()
    assert answers(env, ["word", "Word", "two words", "w"], [row] * 4) == [1.0, 0.0, 0.0, 1.0]


def test_rewards_of_the_turn_are_added(monkeypatch: pytest.MonkeyPatch) -> None:
    from textgym.tasks.generation import Generation

    monkeypatch.setattr(Generation, "turn_reward", lambda self, episode: float(len(episode.text)))
    env = TrlEnv("TextGen-v0", "regex?pattern=[a-z]%2B", data=["Say a word."])
    assert answers(env, [" word", "Wo"], env.rows()[:1] * 2) == [4 + 1, 2 + 0]


def test_conversations() -> None:
    said = [[("system", "Be brief."), ("user", f"Hello {number}")] for number in range(20)]
    chats = [[Message(*message)._asdict() for message in chat] for chat in said]
    env = TrlEnv("TextGen-v0", "regex?pattern=Hi", data=[{"messages": chat} for chat in chats], conversational=True)
    row = env.rows()[0]
    assert row["prompt"] in chats
    written = [[{"role": "assistant", "content": text}] for text in ("Hi", "Bye")]
    assert answers(env, written, [row] * 2) == [1.0, 0.0]


def test_trl_logs_an_environment_by_the_name_of_its_reward() -> None:
    assert TrlEnv("TextSumm-v1", "rouge").__name__ == "rougeL"
    assert TrlEnv("TextSpell-v0").__name__ == "letters"


def test_an_episode_of_several_turns_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected a task of one turn, .* up to 6; train in it with an agent"):
        TrlEnv("TextChat-v0")


def test_a_data_set_of_somebody_else_is_refused() -> None:
    env = TrlEnv("TextSumm-v1", "gold")
    with pytest.raises(ValueError, match=r"expected the column 'task_key' .*, got solution; train on what its dataset"):
        env(["a"], ["b"], solution=["c"])
    with pytest.raises(ValueError, match="expected the key of an example"):
        env(["a"], ["b"], task_key=["nobody"], task_split=["train"])


def test_a_data_set_needs_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'textgym\[trl\]'"):
        TrlEnv("TextSpell-v0").dataset()


def test_a_data_set_has_the_rows() -> None:
    pytest.importorskip("datasets", reason=NEEDS_TRL)
    env = TrlEnv("TextSpell-v0")
    assert env.dataset("train", 3).to_list() == env.rows("train", 3)


# ------------------------------------------------------------------- back
def mentions(prompts: Sequence[str], completions: Sequence[str], solution: Sequence[str], **columns: Any) -> list[Any]:
    """A reward function as TRL's users write them: 1 for the solution, half of that for the prompt."""
    return [
        None if right is None else float(right in text) + 0.5 * (prompt in text)
        for prompt, text, right in zip(prompts, completions, solution, strict=True)
    ]


def keys(task_key: Sequence[str], references: Sequence[Sequence[str]], **columns: Any) -> list[float]:
    return [len(key) + 10 * len(texts) for key, texts in zip(task_key, references, strict=True)]


def roles(prompts: Any, completions: Any, **columns: Any) -> list[float]:
    assert [message["role"] for message in completions[0]] == ["assistant"]
    return [
        len(prompt) + 10 * (prompt[-1]["content"] == answer[0]["content"])
        for prompt, answer in zip(prompts, completions, strict=True)
    ]


def test_a_reward_function_gets_the_columns_of_the_data() -> None:
    reward = TrlReward(mentions)
    examples = [
        Example(str(place), "2 + 2 =", extra={"solution": right}) for place, right in enumerate(("4", "4", "5"))
    ]
    scores = score(reward, ["2 + 2 ="] * 3, ["4", "2 + 2 = 4", "4"], examples)
    assert scores.total.tolist() == [1.0, 1.5, 0.0]
    assert scores.parts.keys() == {"mentions"}
    named = [Example("abc", "x", references=("1", "2")), Example("d", "y")]
    assert TrlReward(keys)(["x", "y"], ["", ""], named).tolist() == [23.0, 1.0]


def test_none_counts_as_0() -> None:
    examples = [Example("a", "x", extra={"solution": "4"}), Example("b", "y")]
    assert TrlReward(mentions)(["x", "y"], ["4", "4"], examples).tolist() == [1.0, 0.0]


def test_a_conversational_function_gets_messages() -> None:
    chat = (Message("user", "Hi"), Message("assistant", "Hello"), Message("user", "Bye"))
    examples = [Example("a", chat), Example("b", "Same")]
    scores = score(TrlReward(roles, conversational=True), [chat, "Same"], ["Bye", "same"], examples)
    assert scores.total.tolist() == [13.0, 1.0]


def test_wrong_answers_of_a_function_name_it() -> None:
    def one(completions: Sequence[str], **columns: Any) -> list[float]:
        return [1.0]

    examples = [Example("a", "x"), Example("b", "y")]
    with pytest.raises(RewardError, match="expected 2 numbers from the reward 'one'"):
        score(TrlReward(one), ["x", "y"], ["", ""], examples)


def test_it_keeps_the_promises_of_rewards_and_goes_by_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_reward(TrlReward(keys))
    (tmp_path / "trl_rewards_here.py").write_text(
        "from textgym.trl import TrlReward\n"
        "def shortness(completions, **columns):\n"
        "    return [1 / (1 + len(text)) for text in completions]\n"
        "short = TrlReward(shortness)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    env = gym.make("TextSummEpisode-v1", reward="2*trl_rewards_here:short")
    env.reset(seed=0)
    *_, info = env.step("one")
    assert info["rewards"] == {"shortness": 0.25, "total": 0.5}


def test_out_and_back_are_the_same() -> None:
    """A reward function of TRL in an environment is worth there what it is worth alone."""
    env = TrlEnv("TextSumm-v1", TrlReward(keys))
    rows = env.rows("train", 2)
    assert answers(env, ["a", "b"], rows) == keys(
        [row["task_key"] for row in rows], [row["references"] for row in rows]
    )


# ------------------------------------------------------------------- TRL itself
def small_model(architecture: str) -> tuple[Any, Any]:
    """A GPT-2 of two layers, and the shipped tokenizer."""
    from transformers import AutoTokenizer, GPT2Config, GPT2ForSequenceClassification, GPT2LMHeadModel

    from textgym.hub import resolve_folder

    tokenizer = AutoTokenizer.from_pretrained(resolve_folder("tiny-hurried", kind="model"))
    torch.manual_seed(0)
    config = GPT2Config(
        n_layer=2,
        n_embd=16,
        n_head=2,
        vocab_size=len(tokenizer),
        n_positions=256,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        num_labels=1,
    )
    kinds = {"language model": GPT2LMHeadModel, "classifier": GPT2ForSequenceClassification}
    return kinds[architecture](config), tokenizer


def settings(folder: Path, **others: Any) -> dict[str, Any]:
    common = {"report_to": "none", "save_strategy": "no", "bf16": False, "use_cpu": True, "disable_tqdm": True}
    return {"output_dir": str(folder), "gradient_checkpointing": False, **common, **others}


@pytest.mark.parametrize("trainer", ["GRPO", "RLOO"])
def test_a_trainer_learns_from_an_environment(trainer: str, tmp_path: Path) -> None:
    trl = pytest.importorskip("trl", reason=NEEDS_TRL)
    env = TrlEnv("TextSumm-v1", "length?target=5 + 0.5*gold")
    model, tokenizer = small_model("language model")
    for part in (model, tokenizer):
        part.save_pretrained(tmp_path / "start")  # from where RLOO reads its reference model too
    seen: list[tuple[int, list[float]]] = []

    def watched(prompts: Any, completions: Any, **columns: Any) -> list[float]:
        rewards = env(prompts, completions, **columns)
        expected = [row["prompt"] for row in env.rows("train", 4)]
        assert set(prompts) <= set(expected)
        seen.append((len(completions), rewards))
        return rewards

    config = getattr(trl, f"{trainer}Config")(
        **settings(
            tmp_path / "run", max_steps=1, per_device_train_batch_size=4, num_generations=4, max_completion_length=6
        ),
        learning_rate=1e-2,
    )
    learner = getattr(trl, f"{trainer}Trainer")(
        str(tmp_path / "start"), [env, watched], args=config, train_dataset=env.dataset("train", 4)
    )
    learner.train()
    logged = learner.state.log_history[0]
    ((count, rewards),) = seen
    assert count == 4
    assert len(set(rewards)) > 1
    assert logged[f"rewards/{env.__name__}/mean"] == pytest.approx(np.mean(rewards), abs=1e-6)
    learnt = learner.model.state_dict()
    assert any(not torch.equal(weight, learnt[name]) for name, weight in model.state_dict().items())


def test_a_reward_model_of_trl_is_a_reward(tmp_path: Path) -> None:
    trl = pytest.importorskip("trl", reason=NEEDS_TRL)
    from datasets import Dataset

    model, tokenizer = small_model("classifier")
    rows = TrlEnv("TextSumm-v1").rows("train", 8)
    pairs = [{"prompt": row["prompt"], "chosen": f" {row['references'][0]}", "rejected": " No."} for row in rows]
    config = trl.RewardConfig(**settings(tmp_path / "run", max_steps=3, per_device_train_batch_size=4))
    learner = trl.RewardTrainer(model, config, train_dataset=Dataset.from_list(pairs), processing_class=tokenizer)
    learner.train()
    learner.save_model(str(tmp_path / "judge"))

    bare = type(model).from_pretrained(tmp_path / "judge").eval()
    prompts, responses = [row["prompt"] for row in rows], [row["references"][0] for row in rows[:7]] + ["No."]
    examples = [Example(row["task_key"], row["prompt"]) for row in rows]
    for name, text in (
        (str(tmp_path / "judge"), "{prompt} {response}"),
        (
            f"classifier?model={tmp_path / 'judge'}&output=logit&template={{prompt}} {{response}}<eos>",
            "{prompt} {response}<eos>",
        ),
    ):
        whole = [text.format(prompt=prompt, response=answer) for prompt, answer in zip(prompts, responses, strict=True)]
        with torch.inference_mode():
            alone = [bare(**tokenizer(each, return_tensors="pt")).logits[0, 0].item() for each in whole]
        scores = score(resolve_reward(name), prompts, responses, examples).total
        np.testing.assert_allclose(scores, alone, atol=1e-6, rtol=0)
        assert np.ptp(scores) > 1e-4
