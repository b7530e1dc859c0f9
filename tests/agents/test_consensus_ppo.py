"""Consensus PPO: disjoint prompts, exchanges by hand, the penalty, drop-outs, and the same in as many processes."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.process_groups import run_ranks
from textgym.agents import agent_options, make_vec_env
from textgym.agents.common.consensus import metropolis_weights, neighbours
from textgym.agents.common.consensus_peer import joined, trained_parameters
from textgym.agents.common.distributed import Communicator
from textgym.agents.common.lock_step import in_lock_step
from textgym.agents.consensus_ppo import ConsensusPPO
from textgym.errors import CheckpointError
from textgym.evaluation.core import evaluate, make_evaluation_set

AGENTS = 3
SMALL = {"agents": AGENTS, "n_steps": 6, "batch_size": 12, "learning_rate": 3e-3, "kl_coef": 0.01}


def make(env: Any = None, **options: Any) -> ConsensusPPO:
    """Three agents, each with two environments of words of three letters."""
    made = make_vec_env("TextSpell-v0", 2 * AGENTS, seed=7) if env is None else env
    return ConsensusPPO.create(made, "letters", seed=7, **{**SMALL, **options})


def parameters(group: ConsensusPPO) -> dict[int, torch.Tensor]:
    return {place: joined(trained_parameters(peer.policy)) for place, peer in group.peers.items()}


def test_agents_begin_alike_and_answer_prompts_that_no_other_has() -> None:
    group = make()
    vectors = parameters(group)
    assert all(torch.equal(vectors[0], vectors[place]) for place in vectors)
    asked: dict[int, set[str]] = {place: set() for place in group.peers}
    sizes = 0
    for place, peer in group.peers.items():
        assert peer.env is not None
        dataset = peer.env.get_attr("task")[0].dataset
        asked[place] = {dataset[at].key for at in range(len(dataset))}
        sizes += len(dataset)
    assert sizes == len(set.union(*asked.values())) == 32
    group.learn(2 * group.steps_per_iteration)
    written = {place: {info["text"] for _, _, info in peer.finished} for place, peer in group.peers.items()}
    assert len({frozenset(texts) for texts in written.values()}) == AGENTS
    assert group.num_timesteps == 2 * 6 * 2 * AGENTS == group.history[-1]["timesteps"]
    assert {"agent0/reward", "agent2/reward", "reward", "kl", "dropped"} <= group.history[-1].keys()


@pytest.mark.parametrize("graph", ["full", "ring", "star", "random"])
def test_parameters_are_averaged_by_metropolis_weights(graph: str, monkeypatch: pytest.MonkeyPatch) -> None:
    group = make(graph=graph)
    before: dict[int, torch.Tensor] = {}
    exchange = group._exchange

    def watched() -> dict[str, float]:
        before.update({place: vector.clone() for place, vector in parameters(group).items()})
        return exchange()

    monkeypatch.setattr(group, "_exchange", watched)
    group.learn(1)
    edges = neighbours(graph, AGENTS, 0, 7)  # type: ignore[arg-type]
    weights = metropolis_weights(edges)
    after = parameters(group)
    for place in range(AGENTS):
        wanted = sum(float(weights[place, other]) * before[other] for other in range(AGENTS))
        torch.testing.assert_close(after[place], wanted, atol=1e-7, rtol=0)
    assert not torch.equal(before[0], before[1])
    sent = sum(map(len, edges)) * 4 * len(before[0])
    assert group.history[-1]["exchanged_bytes"] == sent == group.bytes_sent
    assert group.history[-1]["parameter_distance"] > 0


def test_without_exchange_agents_part_and_rarely_is_rarer() -> None:
    apart = make(exchange="none").learn(2 * 36)
    assert "exchanged_bytes" not in apart.history[-1]
    assert not torch.equal(*list(parameters(apart).values())[:2])
    rarely = make(exchange_every=2).learn(3 * 36)
    assert ["exchanged_bytes" in row for row in rarely.history] == [False, True, False]


@pytest.mark.parametrize("distance", ["l1", "kl"])
def test_the_penalty_is_that_on_the_policies_of_neighbours(distance: str) -> None:
    group = make(exchange="penalty", graph="ring", consensus_coef=2.0, distance=distance)
    group.learn(1)
    assert "disagreement" not in group.history[-1]  # nothing was exchanged before the first update
    peer = group.peers[0]
    models = {place: joined(trained_parameters(each.policy.model)) for place, each in group.peers.items()}
    assert [torch.equal(other, models[place]) for place, other in zip((1, 2), peer.others, strict=True)] == [True] * 2
    with peer.turn():
        peer.roll_out()
    sample = peer.rollout_buffer.samples(peer.rollout_buffer.segments())
    with torch.no_grad():
        policies = {
            place: each.policy.action_logits(each.policy.model.hidden(sample.observations)).log_softmax(-1)
            for place, each in group.peers.items()
        }
    own, others = policies[0].exp(), [policies[place].exp() for place in (1, 2)]
    if distance == "l1":
        wanted = sum((own - other).abs().sum(-1) for other in others) / AGENTS
    else:
        wanted = sum((other * (other.log() - own.log())).sum(-1) for other in others) / AGENTS
    peer.policy.set_training_mode(True)
    loss, statistics = peer.loss(sample, sample.advantages)
    assert statistics["disagreement"].item() == pytest.approx(float(wanted.mean()), abs=1e-6)
    peer.others = []
    alone, _ = peer.loss(sample, sample.advantages)
    assert (loss - alone).item() == pytest.approx(2.0 * float(wanted.mean()), abs=1e-5)
    assert torch.equal(joined(trained_parameters(peer.policy.model)), models[0])  # its own weights are back


def test_only_adapters_travel() -> None:
    pytest.importorskip("peft")
    group = make(lora_rank=1, exchange="penalty")
    vectors = parameters(group)
    assert all(torch.equal(vectors[0], vectors[place]) for place in vectors)
    group.learn(1)
    trained = sum(each.numel() for each in trained_parameters(group.peers[0].policy.model))
    assert trained < 0.2 * sum(each.numel() for each in group.peers[0].policy.model.parameters())
    assert group.bytes_sent == 6 * 4 * trained


class Remarks(logging.Handler):
    """Keeps what is logged, whatever handlers commands have set up before."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


@pytest.fixture
def remarks() -> Iterator[list[str]]:
    handler, logger = Remarks(), logging.getLogger("textgym")
    logger.addHandler(handler)
    yield handler.messages
    logger.removeHandler(handler)


def test_an_agent_that_fails_drops_out_and_the_others_go_on(
    remarks: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    group = make(graph="full")
    group.learn(36)

    def broken(_: Any) -> Any:
        raise OSError("the reward of agent 1 is gone")

    monkeypatch.setattr(group.peers[1].env, "step", broken)
    kept = parameters(group)[1].clone()
    group.learn(2 * 36, reset_num_timesteps=False)
    assert remarks == ["agent 1 dropped out (OSError: the reward of agent 1 is gone); the others go on without it"]
    assert group.dropped == {1: "OSError: the reward of agent 1 is gone"}
    assert [row["dropped"] for row in group.history] == [0, 1, 1]
    assert "agent1/reward" not in group.history[-1]
    vectors = parameters(group)
    assert torch.equal(vectors[1], kept)
    torch.testing.assert_close(vectors[0], vectors[2])
    assert not torch.equal(vectors[0], kept)
    group.save(tmp_path / "group")
    again = ConsensusPPO.load(tmp_path / "group", env=make().env, device="cpu")
    assert again.dropped == group.dropped
    monkeypatch.setattr(group.peers[0].env, "step", broken)
    monkeypatch.setattr(group.peers[2].env, "step", broken)
    with pytest.raises(OSError, match="the reward of agent 1 is gone"):
        group.learn(36, reset_num_timesteps=False)


@pytest.mark.slow
@pytest.mark.parametrize("exchange", ["average", "penalty"])
def test_as_many_ranks_do_the_same_bit_for_bit(exchange: str, tmp_path: Path) -> None:
    options = {"exchange": exchange, "graph": "random"}
    together = make(**options).learn(2 * 36)

    def work(ranks: Communicator) -> ConsensusPPO:
        group = make(**options).learn(2 * 36)
        group.save(tmp_path / "apart")
        return group

    apart = in_lock_step(AGENTS, work)
    whole = parameters(together)
    for rank, group in enumerate(apart):
        assert list(group.peers) == [rank]
        assert torch.equal(parameters(group)[rank], whole[rank])
        assert group.bytes_sent == together.bytes_sent
        for now, then in zip(group.history, together.history, strict=True):
            assert {key: now[key] for key in now if key != "tokens_per_second"} == {
                key: then[key] for key in then if key != "tokens_per_second"
            }
    if exchange == "average":
        return
    # What several ranks saved goes on in one process, as what one saved does.
    together.save(tmp_path / "together")
    resumed = ConsensusPPO.load(tmp_path / "apart", env=make().env, device="cpu")
    again = ConsensusPPO.load(tmp_path / "together", env=make().env, device="cpu")
    for group in (together, resumed, again):
        group.learn(36, reset_num_timesteps=False)
    for place in range(AGENTS):
        assert torch.equal(parameters(resumed)[place], parameters(together)[place])
        assert torch.equal(parameters(again)[place], parameters(together)[place])


def test_numbers_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="expected graph of full, ring, star, random, got 'tree'"):
        make(graph="tree")
    with pytest.raises(ValueError, match="expected exchange of average, penalty, none, got 'gossip'"):
        make(exchange="gossip")
    with pytest.raises(TypeError, match="unexpected keyword argument 'lambda_'"):
        make(lambda_=1)
    group = make(make_vec_env("TextSpell-v0", 4, seed=0))
    with pytest.raises(ValueError, match="expected n_envs to be a multiple of the 3 agents, which share them, got 4"):
        group.learn(1)
    with pytest.raises(ValueError, match="expected a prompt at least for each of 33 agents, got 32"):
        make(agents=33)
    with pytest.raises(ValueError, match="expected 1 or 3 processes, one for each agent, got 2"):
        in_lock_step(2, lambda ranks: make())
    state = group.get_state()
    other = state._replace(record={**state.record, "kind": "textgym.PPO"})
    with pytest.raises(CheckpointError, match=r"expected the state of textgym\.ConsensusPPO"):
        group.set_state(other)


def test_its_options_are_those_of_ppo_and_its_own() -> None:
    names = {option.name for option in agent_options(ConsensusPPO)}
    assert {"agents", "graph", "exchange", "consensus_coef", "clip_range", "learning_rate", "lora_rank"} <= names
    assert not names & {"peers", "env", "policy", "seed"}


def train_in_processes(folder: Path) -> list[float]:
    group = make(graph="ring").learn(3 * 36)
    group.save(folder / "group")
    ((_, vector),) = parameters(group).items()
    return [float(number) for number in vector]


@pytest.mark.slow
def test_processes_do_the_same_bit_for_bit(tmp_path: Path) -> None:
    found = run_ranks(AGENTS, f"{__name__}:train_in_processes", tmp_path)
    together = make(graph="ring").learn(3 * 36)
    for place, vector in parameters(together).items():
        assert np.array_equal(np.array(found[place], dtype=np.float32), vector.numpy())
    assert ConsensusPPO.load(tmp_path / "group").num_timesteps == 3 * 36


def share_of_best(exchange: str, seed: int) -> float:
    """The mean reward of all agents on all prompts, those of the others among them; the best is 1."""
    env = make_vec_env("TextSpell-v0", 16, seed=seed)
    options = {"n_steps": 12, "learning_rate": 3e-3, "kl_coef": 0.003}
    group = ConsensusPPO.create(env, "letters", seed=seed, agents=4, exchange=exchange, graph="ring", **options)
    group.learn(40_000)
    prompts = make_evaluation_set("TextSpell-v0", prompts=32, split="train", seed=seed, temperature=0.0)
    rewards = [evaluate(peer, prompts).measures.values["reward"].mean() for peer in group.peers.values()]
    return float(np.mean(rewards))


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_four_agents_on_disjoint_shards_learn_all_prompts_by_exchange_only() -> None:
    shares = {exchange: [share_of_best(exchange, seed) for seed in range(5)] for exchange in ("average", "none")}
    assert np.mean(shares["average"]) >= 0.9, shares
    assert max(shares["none"]) < 0.85, shares
    assert np.mean(shares["average"]) - np.mean(shares["none"]) > 0.1, shares
