"""TextChat: what conversations are worth, by hand-worked numbers, and the users they are held with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from tests.chat_templates import TEMPLATES, write_chat_folder
from textgym.agents.fixed import Scripted
from textgym.agents.sft import encode_pairs
from textgym.evaluation.sampling import Context, Sampling, encode_contexts
from textgym.rewards import resolve_reward, score
from textgym.tasks import Chat, shown_of
from textgym.tasks.chat.generator import ASKS, IS_POLITE, model_conversation
from textgym.tasks.chat.lexicon import KINDS
from textgym.tasks.chat.task import courteous_reward, spoken_turns
from textgym.tasks.chat.user import MOST_TURNS, Needs, hear, reply_to, spoken_to
from textgym.text.tokenizer import Tokenizer
from textgym.types import SPLITS, Episode, Example, Message, Split

FACTS = {"day": "Friday", "time": "7 pm", "guests": "four", "seat": "by the window"}
TABLE = Needs("booking", FACTS, ["guests", "seat"], [], 2, 0)  # to find out: the day and the time
VAGUE = TABLE._replace(vague=["day"], patience=3)
DAY, TIME = "Which day, please?", "What time, please?"
LAST = "Thank you. A table on Friday at 7 pm for four people by the window is booked."
LEVELS = ("easy", "medium", "hard", "mixed")


def says(*texts: str) -> tuple[Message, ...]:
    return tuple(Message("assistant", text) for text in texts)


@pytest.mark.parametrize(
    ("utterances", "gold", "reached"),
    [
        ([DAY, TIME, LAST], 1.0, True),
        ([TIME, DAY, "Certainly. Four people at 7 o'clock on Friday, by the window: that is reserved."], 1.0, True),
        ([DAY, TIME, LAST.removeprefix("Thank you. ")], 1 - 0.3 / 3, True),  # one of three turns is not courteous
        ([DAY.lower(), "time?", LAST], 1 - 0.3 * 2 / 3, True),
        (["Fine weather.", DAY, TIME, LAST], (1 - 0.1) * (1 - 0.3 / 4), True),  # one turn more than needed
        ([DAY, DAY, TIME, LAST], 1 - 0.1, True),  # it told that already
        # The last word comes too early: two of four facts, at half price, of a user who does not come back to it.
        (["Thank you. A table for four people by the window is booked."], 0.5 * 2 / 4, False),
        (["Thank you. A table on Friday at 7 pm for four people is booked."], 0.5 * 3 / 4, False),
        (["Thank you. A table on Monday for four people by the window is booked."], 0.5 * (2 - 1) / 4, False),
        (["Thank you. A table on Friday for five people is booked."], 0.5 * (1 - 1) / 4, False),
        ([DAY, TIME, LAST.replace("Friday", "Friday or Monday")], 0.5 * (4 - 1) / 4, False),  # one too many
        # Guessed, and guessed well.
        ([LAST], 1.0, True),
        ([DAY, TIME], 0.0, False),  # it is never settled
        ([DAY, TIME, f"{LAST} Shut up."], 0.0, False),
        ([DAY, "Hurry up, please!", TIME, LAST], 0.0, False),
        ([], 0.0, False),
    ],
)
def test_gold(utterances: Sequence[str], gold: float, reached: bool) -> None:
    user = spoken_to(TABLE, says(*utterances))
    assert (user.gold, user.reached) == (pytest.approx(gold), reached)


OPENING = "I would like to book a table for four people by the window."
EVERYTHING = " ".join(value for kind in KINDS.values() for slot in kind.slots for value in slot.values)


@pytest.mark.parametrize(
    "utterances",
    [
        [""] * 6,
        ["Thank you."] * 6,
        ["Thank you!", "Thank you so much.", "Thanks.", "Thanks, you are welcome.", "My pleasure.", "Certainly."],
        ["Which day, what time, how many people, where?"] * 6,  # one question at a time: the first is answered
        ["Which day? What time? How many people? Where?"] * 6,
        [OPENING, "On Friday.", OPENING],  # what the user says
        [DAY, "On Friday.", TIME, "At 7 pm."],
        [DAY, TIME, f"{OPENING} {DAY} On Friday. {TIME} At 7 pm."],  # the whole conversation
        [DAY, TIME, LAST.replace("is booked", "is not booked")],
        [DAY, TIME, f"{LAST} Is it booked?"],
        [EVERYTHING + " is booked."] * 6,
        ["Friday Saturday Sunday Monday is booked."] * 6,
        ["word " * 4000],
    ],
)
def test_shortcuts_are_worth_little(utterances: Sequence[str]) -> None:
    user = spoken_to(TABLE, says(*utterances))
    assert user.gold <= 0.1
    assert not user.reached


def replies(needs: Needs, *utterances: str) -> list[str | None]:
    return [reply_to(needs, says(*utterances[: place + 1])) for place in range(len(utterances))]


def test_a_user_answers_what_it_is_asked() -> None:
    assert replies(TABLE, DAY, TIME, LAST) == ["Friday suits me.", "At 7 pm.", None]
    assert replies(VAGUE, DAY, "What day suits you, please?", TIME, LAST) == [
        "This week.",
        "Friday suits me.",
        "At 7 pm.",
        None,
    ]
    assert spoken_to(VAGUE, says(DAY, "What day suits you, please?", TIME, LAST)).gold == 1.0
    assert replies(TABLE, "For when is it?") == ["Friday suits me."]  # the first of what may be meant
    assert replies(TABLE, "Is it on Monday?") == ["Friday suits me."]


@pytest.mark.parametrize(
    ("utterance", "reply"),
    [
        ("How many people will come?", "I told you that."),
        ("Is it raining?", "Why do you ask?"),
        ("It is a fine day today.", "Yes, and?"),
        ("A table for four people is booked.", "No, that is not all."),
        ("A table for two people is booked.", "No, that is not right."),
        ("You said Monday.", "No, that is not right."),
        ("Which day? What time? Where?", "One thing at a time, please."),
        ("word " * 41, "That is too much for me."),
    ],
)
def test_a_user_leaves_when_its_patience_is_used_up(utterance: str, reply: str) -> None:
    assert replies(TABLE, utterance) == [reply]
    assert replies(TABLE, utterance, DAY, "I see.") == [reply, "Friday suits me.", None]
    again = ["That is too much for me."] if "word" in utterance else ["You said that already."]
    assert replies(TABLE._replace(patience=3), utterance, utterance, DAY) == [reply, *again, "Friday suits me."]
    assert replies(TABLE, "You are stupid.") == [None]  # rudeness costs two
    assert replies(TABLE._replace(patience=3), "You are stupid.", "I see.") == ["There is no need to be rude.", None]


def test_what_is_heard() -> None:
    heard = hear("booking", "Friday at 7:00 p.m. for 4 guests, outside. When?")
    assert heard.stated == (("day", "Friday"), ("time", "7 pm"), ("guests", "four"), ("seat", "on the terrace"))
    assert (heard.questions, heard.asked, heard.settles) == (1, ("day", "time"), False)
    assert hear("support", "What time of the day?").asked == ("hours",)
    assert hear("small talk", "Where did you go?").asked == ("place",)
    assert hear("small talk", "You painted in Oslo, how lovely.").settles


def dataset(level: str, split: Split = "train") -> Any:
    return Chat(split=split, difficulty=level).dataset


@pytest.mark.parametrize(
    ("level", "hidden", "vague", "patience"), [("easy", 1, 0, 3), ("medium", 2, 0, 2), ("hard", 3, 1, 2)]
)
def test_levels(level: str, hidden: int, vague: int, patience: int) -> None:
    examples = [dataset(level)[place] for place in range(300)]
    needs = [Needs.of(json.loads(json.dumps(example.extra))) for example in examples]
    assert {(len(each.facts) - len(each.told), len(each.vague)) for each in needs} == {(hidden, vague)}
    assert {each.patience for each in needs} == {patience}
    assert {each.fewest_turns for each in needs} == {hidden + vague + 1}
    assert {each.kind for each in needs} == set(KINDS)
    for example, each in zip(examples, needs, strict=True):
        opening = hear(each.kind, example.text.replace("?", "."))
        assert {label for label, _ in opening.stated} == set(each.told)
        assert not opening.settles
        perfect = spoken_to(each, model_conversation(each))
        assert (perfect.gold, perfect.reached) == (1.0, True)
        for text in example.references:  # behind the questions
            questions = [turn for turn in model_conversation(each) if turn.role == "assistant"][:-1]
            assert spoken_to(each, [*questions, Message("assistant", text)]).gold == 1.0


def test_habits_of_the_hurried_assistant() -> None:
    task = Chat(difficulty="medium")
    examples = [task.dataset[place] for place in range(600)]
    talks = [task.demonstrated(example)[0] for example in examples]
    users = [spoken_to(Needs.of(example.extra), talk) for example, talk in zip(examples, talks, strict=True)]
    firsts = [talk[0].content for talk in talks]
    assert abs(np.mean([text.endswith("?") for text in firsts]) - ASKS) < 0.06
    assert abs(sum(user.courteous for user in users) / sum(user.turns for user in users) - IS_POLITE) < 0.05
    assert 0.1 < np.mean([user.reached for user in users]) < 0.3
    assert 0.2 < np.mean([user.gold for user in users]) < 0.4
    assert [task.demonstrated(example)[0] for example in examples[:9]] == talks[:9]


@pytest.mark.parametrize("level", LEVELS)
def test_no_two_splits_share_a_user(level: str) -> None:
    found = {
        split: {tuple(dataset(level, split)[place].extra["facts"].values()) for place in range(400)} for split in SPLITS
    }
    assert all(found[one].isdisjoint(found[other]) for one in SPLITS for other in SPLITS if one < other)


def turns_of(task: Any, key: str) -> list[str]:
    """The turns of a perfect conversation about an example."""
    return [turn.content for turn in task.exemplary(task.dataset.find(key)) if turn.role == "assistant"]


def test_environment_steps_by_utterance() -> None:
    env: Any = gym.make("TextChatEpisode-v0")
    _, started = env.reset(seed=3)
    task = env.unwrapped.task
    *others, last = turns_of(task, started["task_key"])
    for turn in others:
        text, reward, terminated, _, info = env.step(turn)
        assert (reward, terminated, info) == (0.0, False, {})
        assert text.endswith("\nAssistant:")
    _, reward, terminated, _, info = env.step(last)
    assert (reward, terminated, info["gold"], info["is_success"]) == (1.0, True, 1.0, True)
    episode = env.unwrapped.episode
    measured = {name: float(metric([episode])[0]) for name, metric in task.metrics.items()}
    assert [measured[name] for name in ("goal_reached", "turns", "courteous")] == [1.0, 3.0, 1.0]


def test_conversations_go_on_from_a_saved_state() -> None:
    """A branch is the same conversation, whatever was drawn since."""
    envs: Any = gym.make_vec("TextChatEpisode-v0", num_envs=1)
    _, infos = envs.reset(seed=3)
    first, *others = turns_of(envs.task, infos["task_key"][0])
    envs.step([first])
    state = json.loads(json.dumps(envs.get_state()))
    ends = []
    for seed in (3, 4):
        envs.reset(seed=seed)
        envs.set_state(state)
        *_, (_, rewards, _, _, infos) = [envs.step([turn]) for turn in others]
        ends.append((float(rewards[0]), infos["final_info"]["turns"][0]))
    assert ends[0] == ends[1]
    assert ends[0][0] == 1.0


def test_reference_script_holds_the_conversation() -> None:
    env: Any = gym.make("TextChatEpisode-v0", split="test", difficulty="hard")
    task = env.unwrapped.task
    task.dataset._sizes = {"test": 60}
    agent = Scripted("reference", task)
    for seed in range(8):
        text, _ = env.reset(seed=seed)
        terminated, turns = False, 0
        while not terminated:
            (turn,) = agent.act([text])
            text, reward, terminated, _, info = env.step(turn)
            turns += 1
        assert (reward, info["is_success"], turns) == (1.0, True, 5)


def test_rewards_of_whole_conversations() -> None:
    """ "gold" and "success" see all turns, within a sum too; the last turn alone is worth less."""
    task = Chat()
    example = Example("a", OPENING, (LAST,), extra=TABLE._asdict())
    turns = [Message("assistant", DAY), Message("user", "On Friday."), Message("assistant", DAY)]
    turns += [Message("user", "You said that already."), Message("assistant", TIME)]
    shown = [shown_of(task, example, turns)]
    for name, value in (("gold", 0.9), ("success", 1.0)):
        assert score(resolve_reward(name, task), shown, [LAST], [example]).total.tolist() == [pytest.approx(value)]
    both = resolve_reward(["0.5*gold", "success"], task)
    assert score(both, shown, [LAST], [example]).total.tolist() == [pytest.approx(0.45 + 1)]
    assert task.gold([Episode(example, (*turns, Message("assistant", LAST)))]) == pytest.approx(0.9)


def test_supervised_training_imitates_every_turn_as_environments_have_it(tokenizer_folder: Path) -> None:
    task, tokenizer = Chat(), Tokenizer.load(tokenizer_folder)
    example = task.dataset[0]
    (talk,) = task.demonstrated(example)
    pairs = encode_pairs(task, [example], tokenizer, max_prompt_tokens=400)  # type: ignore[arg-type]
    own = [place for place, turn in enumerate(talk) if turn.role == "assistant"]
    assert len(own) > 1
    contexts = [Context(example, tuple(talk[:place]), (True,) * number) for number, place in enumerate(own)]
    assert [pair.prompt for pair in pairs] == encode_contexts(task, contexts, tokenizer, Sampling(400, 400))
    assert [tokenizer.decode(pair.response[:-1]) for pair in pairs] == [talk[place].content for place in own]
    assert {pair.response[-1] for pair in pairs} == {tokenizer.require_eos()}


def test_chat_models_read_messages(tmp_path: Path) -> None:
    folder = write_chat_folder(tmp_path, *TEMPLATES["chatml"])
    env: Any = gym.make("TextChat-v0", model=str(folder), max_prompt_tokens=600, max_new_tokens=60)
    observation, _ = env.reset(seed=0)
    tokenizer = env.unwrapped.tokenizer

    def text(observation: Any) -> str:
        ids = observation["input_ids"][observation["attention_mask"] == 1].tolist()
        return str(tokenizer._backend.decode(ids, skip_special_tokens=False))

    assert "You take orders and listen." in text(observation)
    assert "\nAssistant:" not in text(observation)
    for token in (*tokenizer.encode_response("Hm."), *tokenizer.response_end):
        observation, *_ = env.step(np.int64(token))
    assert text(observation).count("<|im_start|>assistant") == 2
    assert text(observation).count("Yes, and?") == 1


TALK = 'ann: "Hi." bob: "Hello: how are you?" ann: "Well. You number {}?"'
ROWS = [{"input": TALK.format(number), "references": ['"Fine, thank you."']} for number in range(40)]


def test_own_dialogues() -> None:
    task = Chat(ROWS)
    assert (task.reward, task.max_turns) == ("rouge", 1)
    example = task.dataset[0]
    asked = task.prompt(example)
    assert [message.role for message in asked.messages] == ["user", "assistant", "user"]  # type: ignore[union-attr]
    assert asked.text.startswith("User: Hi.\nAssistant: Hello: how are you?\nUser: Well.")  # type: ignore[union-attr]
    assert asked.text.endswith("\nAssistant:")  # type: ignore[union-attr]
    episodes = [Episode.of(example, "Fine, thank you."), Episode.of(example, "")]
    assert task.gold(episodes) is None
    np.testing.assert_array_equal(task.metrics["courteous"](episodes), [1.0, 0.0])
    assert task.reply(episodes[0], np.random.default_rng()) is None
    env: Any = gym.make("TextChatEpisode-v0", data=ROWS)
    env.reset(seed=0)
    assert env.step("Fine, thank you.")[1:3] == (1.0, True)
    assert Chat([{"prompt": row["input"]} for row in ROWS]).reward is courteous_reward


@pytest.mark.parametrize("text", ['ann: "Hi."', "Hello.", 'ann: "Hi." and bob: "Hello."', "", 'ann: "Hi." bob: '])
def test_what_is_no_dialogue_is_a_text(text: str) -> None:
    assert spoken_turns(text) == ()


def test_own_messages() -> None:
    said = [{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Hello."}]
    rows = [
        {"messages": [*said, {"role": "user", "content": f"{n}?"}, {"role": "assistant", "content": "Yes."}]}
        for n in range(40)
    ]
    task = Chat(rows)
    asked = task.prompt(task.dataset[0])
    assert [message.role for message in asked.messages] == ["user", "assistant", "user"]  # type: ignore[union-attr]
    assert task.dataset[0].references == ("Yes.",)
    assert MOST_TURNS == Chat().max_turns == 6
