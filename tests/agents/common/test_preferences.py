"""What all agents that learn from feedback promise: they learn it, and go on bit for bit."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from tests.agents.preference_data import AGENTS, WORDS, letters, make, pairs_of, spelled, weights
from textgym.agents import make_vec_env, resolve_agent
from textgym.agents.common.feedback_ids import PreferencePair
from textgym.agents.common.preferences import score_responses, share_right
from textgym.agents.dpo import DPO
from textgym.errors import CheckpointError, DataError, ModelError
from textgym.feedback import FeedbackStore, write_records
from textgym.feedback.types import Comparison, Rating
from textgym.models.causal_lm import CausalLM


@pytest.mark.parametrize("name", AGENTS)
def test_the_preferred_word_becomes_the_most_likely(name: str) -> None:
    agent = make(name, seed=1)
    assert not set(spelled(agent.text_model)) & set(WORDS)
    before = agent.measures(None)
    agent.learn(60)
    assert spelled(agent.text_model) == list(WORDS)
    after = agent.measures(None)
    assert after["preference_accuracy"] > max(0.8, before["preference_accuracy"])
    assert after["preference_loss"] < before["preference_loss"]
    assert agent.history[-1]["accuracy"] > agent.history[0]["accuracy"]


@pytest.mark.parametrize("name", AGENTS)
def test_same_seed_same_weights(name: str) -> None:
    first, same, other = make(name), make(name), make(name, seed=1)
    for agent in (first, same, other):
        agent.learn(3)
    assert all(map(torch.equal, weights(first), weights(same)))
    assert not all(map(torch.equal, weights(first), weights(other)))


@pytest.mark.parametrize("name", AGENTS)
def test_an_agent_goes_on_bit_for_bit(name: str, tmp_path: Path) -> None:
    """From the middle of an iteration, whose record has the means of all its steps."""
    whole, begun = make(name), make(name)
    whole.learn(12)
    begun.begin(12)
    for _ in range(6):
        begun.advance()
    begun.save(tmp_path / "agent")
    loaded = type(begun).load(tmp_path / "agent", device="cpu")
    again = make(name)
    again.set_state(begun.get_state())
    for agent in (loaded, again):
        assert (agent.num_timesteps, len(agent.items), len(agent.held_out)) == (
            6,
            len(whole.items),
            len(whole.held_out),
        )
        agent.learn(6, reset_num_timesteps=False)
        assert agent.losses == whole.losses
        assert agent.history[-1] == whole.history[-1]
        assert all(map(torch.equal, weights(agent), weights(whole)))
        assert agent.measures(None) == whole.measures(None)


def test_a_record_has_the_means_of_all_steps_across_a_break(tmp_path: Path) -> None:
    whole, cut = make("dpo"), make("dpo")
    whole.learn(4)
    cut.begin(4)
    for _ in range(2):
        cut.advance()
    cut.save(tmp_path / "agent")
    again = DPO.load(tmp_path / "agent", device="cpu")
    again.learn(2, reset_num_timesteps=False)
    assert again.history == whole.history
    assert "grad_norm" in again.history[0]


@pytest.mark.parametrize("name", [name for name, kind in AGENTS.items() if name in ("dpo", "ipo", "kto")])
def test_the_reference_is_the_model_before_the_first_step(name: str) -> None:
    agent = make(name)
    before = [each.clone() for each in agent.references]
    agent.learn(5)
    agent.learn(5)  # a new training has the same reference
    assert all(map(torch.equal, agent.references, before))
    fresh = make(name)
    assert all(torch.allclose(one, two) for one, two in zip(fresh.references, before, strict=True))


def test_agents_without_a_reference_compute_none() -> None:
    for agent in (make("orpo"), make("simpo"), make("dpo", reference_free=True)):
        agent.learn(2)
        assert agent.references is None
        assert "own.references" not in agent.get_state().tensors
        assert "forward_kl" not in agent.history[-1]


def test_log_probabilities_are_those_of_the_bare_model(make_network: Any) -> None:
    """Response tokens only, whatever they are batched with; the chosen and the rejected one share their prompt."""
    model = CausalLM(make_network())
    texts = [([5, 6, 7], ([8, 9, 1], [4, 1])), ([3], ([4, 4, 4, 4, 1], [1]))]
    found = score_responses(model, texts)
    assert found.lengths.tolist() == [[3, 2], [5, 1]]
    assert torch.allclose(found.means, found.sums / found.lengths)
    for row, (prompt, responses) in enumerate(texts):
        for column, response in enumerate(responses):
            with torch.no_grad():
                log_probs = model.network(torch.tensor([[*prompt, *response]])).logits[0].log_softmax(-1)
            own = sum(float(log_probs[len(prompt) + k - 1, token]) for k, token in enumerate(response))
            assert found.sums[row, column].item() == pytest.approx(own, abs=1e-3)


def test_what_is_equal_but_for_rounding_counts_half() -> None:
    assert share_right(torch.tensor([0.5, -0.5, 1e-6, -1e-6])).item() == 0.5
    assert share_right(torch.tensor([0.5, 0.1, 0.0])).item() == pytest.approx(5 / 6)
    agent = make("dpo")
    assert agent.measures(None) == {"preference_accuracy": 0.5, "preference_loss": pytest.approx(np.log(2), abs=1e-5)}


def test_without_feedback_it_acts_and_does_not_learn() -> None:
    agent = DPO(letters())
    with pytest.raises(DataError, match="expected preferences between two texts, got none; make the agent with an env"):
        agent.learn(1)
    assert agent.measures(None) == {"preference_accuracy": None, "preference_loss": None}  # type: ignore[arg-type]


def test_numbers_out_of_range_and_texts_too_long_are_errors(make_network: Any) -> None:
    for options, words in (
        ({"beta": 0.0}, "expected beta above 0, got 0.0"),
        ({"batch_size": 0}, "expected batch_size of at least 1, got 0"),
        ({"learning_rate": -1.0}, "expected learning_rate above 0, got -1.0"),
    ):
        with pytest.raises(ValueError, match=words):
            make("dpo", **options)
    with pytest.raises(TypeError, match=r"unexpected keyword argument 'bta'\. Did you mean 'beta'"):
        make("dpo", bta=1)
    short = CausalLM(make_network("gpt2"))  # 64 positions
    with pytest.raises(ModelError, match="at least 65 tokens for the longest text of the feedback, got 64"):
        DPO(short, [PreferencePair([5] * 60, [6, 1], [6, 7, 8, 9, 1])])


def test_a_state_of_other_feedback_is_refused(tmp_path: Path) -> None:
    first, other = make("dpo"), DPO(letters(), pairs_of(letters())[:3])
    with pytest.raises(CheckpointError, match="expected the state of an agent with this feedback"):
        other.set_state(first.get_state())


# --------------------------------------------------------------------- from feedback
def comparisons(env: Any, count: int = 6) -> list[Comparison]:
    """The first words of a document are preferred to a wrong text."""
    task = env.get_attr("task")[0]
    examples = [task.dataset[row % len(task.dataset)] for row in range(count)]
    return [
        Comparison(each.key, task.prompt(each).text, response_a=each.text[:9], response_b="No.", choice="a")
        for each in examples
    ]


SMALL = {"max_prompt_tokens": 40, "max_new_tokens": 8}


@pytest.fixture
def env(env_ids: tuple[str, str], model_folder: Path, length_reward: Any) -> Any:
    return make_vec_env(env_ids[0], 2, 0, model=str(model_folder), reward=length_reward, **SMALL)


def test_feedback_is_a_file_a_project_or_records(env: Any, model_folder: Path, tmp_path: Path) -> None:
    records = comparisons(env)
    write_records(tmp_path / "votes.jsonl", records)
    with FeedbackStore(tmp_path / "votes.db") as store:
        store.add_votes([(f"q{row}", [record]) for row, record in enumerate(records)])
    made = [
        DPO.create(env, str(model_folder), feedback=feedback, held_out=0.3)
        for feedback in (records, tmp_path / "votes.jsonl", str(tmp_path / "votes.db"))
    ]
    assert made[0].items == made[1].items == made[2].items
    assert len(made[0].items) + len(made[0].held_out) == len(records)
    assert {tuple(item.prompt) for item in made[0].items}.isdisjoint(tuple(item.prompt) for item in made[0].held_out)
    observed = env.reset()["input_ids"]  # prompts are those of the environment
    shown = {tuple(row[row != 0]) for row in observed}
    known = {tuple(item.prompt) for agent in made for item in (*agent.items, *agent.held_out)}
    assert shown & known


def test_feedback_that_changed_is_said_and_not_used(env: Any, model_folder: Path, tmp_path: Path) -> None:
    records, file = comparisons(env), tmp_path / "votes.jsonl"
    write_records(file, records)
    agent = DPO.create(env, str(model_folder), feedback=str(file), batch_size=2)
    agent.learn(2)
    agent.save(tmp_path / "agent")
    assert DPO.load(tmp_path / "agent", env=env, device="cpu").changed_sources() == []
    write_records(file, records[:-1])
    loaded = DPO.load(tmp_path / "agent", env=env, device="cpu")
    (said,) = loaded.changed_sources()
    assert f"the feedback in {str(file)!r} has changed since the run began" in said
    assert loaded.items == agent.items
    file.write_text("nonsense")
    assert len(loaded.changed_sources()) == 1
    file.unlink()
    assert loaded.changed_sources() == []  # the checkpoint has all that is needed


def test_without_feedback_the_reward_compares(env: Any, model_folder: Path, length_reward: Any) -> None:
    agent = DPO.create(env, str(model_folder), labels=30, seed=3)
    tokenizer = agent.text_model.tokenizer

    def reward(ids: list[int]) -> float:
        return float(length_reward([], [tokenizer.decode([token for token in ids if token != 1])], [])[0])

    pairs = [*agent.items, *agent.held_out]
    assert 10 < len(pairs) <= 30  # ties teach nothing
    assert all(reward(pair.chosen) > reward(pair.rejected) for pair in pairs)


@pytest.mark.parametrize("name", ["dpo", "kto"])
def test_labels_limit_what_is_learned_from_feedback(name: str, env: Any, model_folder: Path) -> None:
    def made(**options: Any) -> Any:
        return resolve_agent(name).create(env, str(model_folder), feedback=comparisons(env), seed=3, **options)

    whole, few, enough = made(), made(labels=4), made(labels=10_000)
    assert (few.labels, len(few.items)) == (4, 4)
    assert whole.labels == enough.labels > 4
    known = [item[:2] for item in whole.items]
    assert all(item[:2] in known for item in few.items)
    assert len(few.held_out) == len(whole.held_out)
    assert made(labels=4).items == few.items


def test_records_that_tell_nothing_apart_are_an_error(env: Any, model_folder: Path) -> None:
    ties = [Comparison(f"{row}", f"Ask {row}.", response_a="a", response_b="b", choice="tie") for row in range(4)]
    with pytest.raises(DataError, match="got 3 records that tell no texts apart"):
        DPO.create(env, str(model_folder), feedback=ties)
    grades = [Rating(f"{row}", f"Ask {row}.", "Text.", 3) for row in range(4)]
    with pytest.raises(DataError, match="expected texts that are good or bad, got 3 records"):
        resolve_agent("kto").create(env, str(model_folder), feedback=grades)


@pytest.mark.parametrize("name", ["dpo", "kto"])
def test_adapters_learn_alone_and_go_on_bit_for_bit(name: str, env: Any, model_folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("peft")
    agent: Any = resolve_agent(name).create(env, str(model_folder), feedback=comparisons(env), lora_rank=2)
    assert all("lora" in key for key, each in agent.text_model.named_parameters() if each.requires_grad)
    agent.learn(2)
    agent.save(tmp_path / "agent")
    again = type(agent).load(tmp_path / "agent", env=env, device="cpu")
    for each in (agent, again):
        each.learn(2, reset_num_timesteps=False)
    assert agent.losses == again.losses
    assert all(map(torch.equal, weights(agent), weights(again)))


HOSTILE = {
    "no ids": lambda tensors: {name: tensor for name, tensor in tensors.items() if name != "own.ids"},
    "ids of another model": lambda tensors: {**tensors, "own.ids": tensors["own.ids"] + 10_000},
    "lengths that are none": lambda tensors: {**tensors, "own.lengths": -tensors["own.lengths"]},
    "no references": lambda tensors: {name: tensor for name, tensor in tensors.items() if name != "own.references"},
    "few references": lambda tensors: {**tensors, "own.references": tensors["own.references"][:1].clone()},
}


@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE.keys())
def test_feedback_in_a_checkpoint_is_checked(change: Any, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    from tests.agents.test_hostile_checkpoints import sign

    make("dpo").save(tmp_path / "agent")
    file = tmp_path / "agent" / "tensors.safetensors"
    save_file(change(load_file(file)), file)
    sign(tmp_path / "agent")
    with pytest.raises(CheckpointError):
        DPO.load(tmp_path / "agent", device="cpu")


def test_a_record_in_a_checkpoint_is_checked(tmp_path: Path) -> None:
    from tests.agents.test_hostile_checkpoints import sign

    make("dpo").save(tmp_path / "agent")
    file = tmp_path / "agent" / "state.json"
    record = json.loads(file.read_text())
    for changes in ({"held_out": 99}, {"held_out": -1}, {"feedback": {"source": 3, "digest": ""}}, {"more": 1}):
        file.write_text(json.dumps({**record, **changes}))
        sign(tmp_path / "agent")
        with pytest.raises(CheckpointError):
            DPO.load(tmp_path / "agent", device="cpu")


def test_episode_environments_are_fine_where_texts_are_given(env_ids: tuple[str, str], model_folder: Path) -> None:
    env = gym.make(env_ids[0], model=str(model_folder), **SMALL)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        task = env.unwrapped.task  # type: ignore[attr-defined]
        records = [
            Comparison(each.key, task.prompt(each).text, response_a="Yes.", response_b="No.", choice="b")
            for each in (task.dataset[0], task.dataset[1])
        ]
        agent = DPO.create(env, str(model_folder), feedback=records, held_out=0.0)
    assert agent.get_env() is None
    assert len(agent.items) == 2
