"""Several ranks train one agent: the same statistics, gradients and steps as one, whatever each of them writes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from textgym.agents import resolve_agent
from textgym.agents.awr import AWR
from textgym.agents.common.distributed import Communicator, using
from textgym.agents.common.language_model_policy import Decision
from textgym.agents.common.lock_step import in_lock_step
from textgym.agents.common.logged_texts import LoggedTurn
from textgym.agents.common.token_pairs import TokenPair
from textgym.agents.facts import processes_of
from textgym.agents.ilql import ILQL
from textgym.agents.registry import AGENTS
from textgym.agents.sft import SFT
from textgym.errors import CheckpointError
from textgym.models.loading import load_language_model
from textgym.types import BoolArray

from .conftest import FEW_TOKENS, build_network, length_of_text

SIZE, ENVS = 2, 4
WHOLE = 10_000  # a minibatch of all tokens
ON_POLICY = ("ppo", "reinforce", "reinforce_pp", "rloo", "grpo", "sb3_ppo", "a2c")
TIMES = ("tokens_per_second",)
OPTIONS: dict[str, dict[str, Any]] = {
    "ppo": {"n_steps": 11, "batch_size": 16, "n_epochs": 2, "target_kl": 0.5, "kl_target": 0.1},
    "reinforce": {"baseline": "learned"},
    "rloo": {"group_size": 2},
    "grpo": {"group_size": 2, "loss_type": "dapo", "scale_advantages": "batch"},
    "sb3_ppo": {"n_steps": 11, "batch_size": 16, "n_epochs": 2},
    "a2c": {"n_steps": 11, "normalize_advantage": True},
}


@pytest.fixture
def make(make_env: Any) -> Callable[..., Any]:
    """``make(name, ranks)``: an agent that learns with others, in its share of the environments."""

    def make(name: str, ranks: Communicator | None = None, **changes: Any) -> Any:
        size, rank = (1, 0) if ranks is None else (ranks.size, ranks.rank)
        env = make_env(ENVS // size, seed=5 + rank * ENVS // size, reward=length_of_text)
        options = {"learning_rate": 1e-3, **OPTIONS.get(name, {}), **changes}
        return resolve_agent(name).create(env, build_network(), seed=5, suppress_tokens=FEW_TOKENS, **options)

    return make


def weights(agent: Any) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in agent.policy.parameters()])


class Tape:
    """What one agent did in all environments, for others to do again in some of them."""

    def __init__(self, agent: Any) -> None:
        self.decisions: list[Decision] = []
        choose = agent._choose_actions

        def recorded(skipped: BoolArray) -> Decision:
            self.decisions.append(choose(skipped))
            return self.decisions[-1]

        agent._choose_actions = recorded

    def play(self, agent: Any, rows: slice) -> None:
        steps: Iterator[Decision] = iter(self.decisions)
        agent._choose_actions = lambda _: Decision(*(part[rows] for part in next(steps)))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("ppo", {"n_epochs": 2, "target_kl": None}),
        ("ppo", {"n_epochs": 1, "scale_rewards": True, "missing_eos_penalty": 0.3, "critic": "separate"}),
        ("ppo", {"n_epochs": 1, "micro_batch_size": 9, "rollout_texts": 8}),
        ("ppo", {"n_epochs": 2, "target_kl": None, "unfinished_texts": "carry_recompute"}),
        ("reinforce", {"baseline": "mean", "rollout_texts": 8}),
        ("reinforce_pp", {"n_minibatches": 1, "n_epochs": 2, "rollout_texts": 8}),
    ],
)
def test_the_same_trajectories_lead_to_the_same_weights(make: Any, name: str, options: dict[str, Any]) -> None:
    alone = make(name, batch_size=WHOLE, **options)
    tape = Tape(alone)
    # How long a rollout of whole texts is, and so what follows on it, depends on whoever waits for the longest.
    steps, unequal = (1, {"timesteps"}) if "rollout_texts" in options else (2 * alone.steps_per_iteration, set())
    alone.learn(steps)
    start = weights(make(name, **options))

    def work(ranks: Communicator) -> Any:
        agent = make(name, ranks, batch_size=WHOLE, **options)
        share = ENVS // SIZE
        tape.play(agent, slice(ranks.rank * share, (ranks.rank + 1) * share))
        agent.learn(steps)
        return agent

    for agent in in_lock_step(SIZE, work):
        assert float((weights(agent) - start).abs().max()) > 1e-4
        torch.testing.assert_close(weights(agent), weights(alone), atol=1e-6, rtol=0)
        for now, then in zip(agent.history, alone.history, strict=True):
            assert now.keys() == then.keys()
            for key in then.keys() - set(TIMES) - unequal:
                assert now[key] == pytest.approx(then[key], rel=1e-4, abs=1e-5), key


@pytest.mark.parametrize("name", ON_POLICY)
def test_ranks_that_write_different_texts_keep_the_same_weights(make: Any, name: str) -> None:
    def work(ranks: Communicator) -> Any:
        agent = make(name, ranks)
        texts: list[str] = []
        found = []
        for _ in range(3):
            agent.learn(1, reset_num_timesteps=False)
            texts += [info["text"] for _, _, info in agent.finished]
            found.append(weights(agent))
        return agent, texts, found

    (first, texts, before), (second, others, after) = in_lock_step(SIZE, work)
    assert texts != others
    for left, right in zip(before, after, strict=True):
        assert torch.equal(left, right)
    assert not torch.equal(before[0], before[-1])
    assert first.num_timesteps == second.num_timesteps > 0
    for now, then in zip(first.history, second.history, strict=True):
        assert [now[key] for key in now if key not in TIMES] == [then[key] for key in then if key not in TIMES]
    assert first.history[-1]["texts"] == len(first.finished) + len(second.finished)


@pytest.mark.parametrize("name", ["ppo", "grpo", "a2c"])
def test_ranks_go_on_bit_for_bit(make: Any, name: str, tmp_path: Path) -> None:
    def begin(ranks: Communicator) -> torch.Tensor:
        agent = make(name, ranks)
        agent.learn(2 * agent.steps_per_iteration)
        agent.save(tmp_path / "checkpoint")
        assert ranks.rank or (tmp_path / "checkpoint" / "state.json").is_file()
        agent.learn(1, reset_num_timesteps=False)
        return weights(agent)

    def go_on(ranks: Communicator) -> torch.Tensor:
        torch.manual_seed(99)
        env = make(name, ranks).env
        agent: Any = resolve_agent(name)
        agent = agent.load(tmp_path / "checkpoint", env=env, device="cpu")
        agent.learn(1, reset_num_timesteps=False)
        return weights(agent)

    whole, resumed = in_lock_step(SIZE, begin), in_lock_step(SIZE, go_on)
    assert torch.equal(whole[0], whole[1])
    assert torch.equal(resumed[0], whole[0])
    assert torch.equal(resumed[1], whole[0])
    kind: Any = resolve_agent(name)
    with pytest.raises(CheckpointError, match="processes as wrote the checkpoint, 2, got 1; go on with torchrun"):
        kind.load(tmp_path / "checkpoint", env=make(name).env)
    assert kind.load(tmp_path / "checkpoint").num_timesteps > 0  # to act


def test_a_rank_that_fails_ends_the_others_and_loses_no_iteration(make: Any, tmp_path: Path) -> None:
    saved: dict[int, torch.Tensor] = {}

    def work(ranks: Communicator) -> None:
        agent = make("ppo", ranks, target_kl=None)
        agent.learn(agent.steps_per_iteration)
        saved[ranks.rank] = weights(agent)
        if ranks.rank:
            agent.env.step = None  # its environment is broken
        try:
            agent.learn(1, reset_num_timesteps=False)
        finally:
            if ranks.rank == 0:  # what callbacks do at the end of a rollout was not reached
                ranks.leave()
                agent.save(tmp_path / "checkpoint")

    with pytest.raises(TypeError, match="NoneType"):
        in_lock_step(SIZE, work)

    def go_on(ranks: Communicator) -> torch.Tensor:
        kind: Any = resolve_agent("ppo")
        return weights(kind.load(tmp_path / "checkpoint", env=make("ppo", ranks).env, device="cpu"))

    for found in in_lock_step(SIZE, go_on):
        assert torch.equal(found, saved[0])


def test_settings_that_cannot_be_shared_out_are_refused(make: Any) -> None:
    def work(ranks: Communicator) -> None:
        with pytest.raises(ValueError, match="rollout_texts to be a multiple of the 4 environments, got 6"):
            make("reinforce", ranks, rollout_texts=6)
        with pytest.raises(ValueError, match="expected no target_kl of a stock algorithm in 2 processes"):
            make("sb3_ppo", ranks, target_kl=0.1)

    in_lock_step(SIZE, work)


PAIRS = [
    TokenPair([2 + number, 3, 4], [5 + (number + k) % 7 for k in range(1 + number % 5)] + [1]) for number in range(23)
]


@pytest.mark.parametrize("batch_size", [6, 1])
def test_supervised_training_reads_the_same_batches_in_parts(batch_size: int) -> None:
    def train(pairs: list[TokenPair]) -> SFT:
        model = load_language_model(build_network().double())
        return SFT(model, pairs, batch_size=batch_size, log_every=2, seed=3).learn(9)

    def parameters(agent: SFT) -> torch.Tensor:
        return torch.cat([parameter.detach().flatten() for parameter in agent.text_model.parameters()])

    alone = train(PAIRS)
    for agent in in_lock_step(SIZE, lambda ranks: train(PAIRS)):
        torch.testing.assert_close(parameters(agent), parameters(alone), atol=1e-9, rtol=0)
        assert agent.losses == pytest.approx(alone.losses, abs=1e-9)
        assert [row["timesteps"] for row in agent.history] == [row["timesteps"] for row in alone.history]


@pytest.mark.parametrize("kind", [AWR, ILQL])
@pytest.mark.parametrize("batch_size", [6, 1])
def test_training_on_logs_reads_the_same_batches_in_parts(kind: type[AWR | ILQL], batch_size: int) -> None:
    """Losses are means over tokens, of which texts of different lengths have different numbers."""

    def train() -> AWR | ILQL:
        episodes = [(LoggedTurn(pair.prompt, pair.response, at % 3 - 1.0),) for at, pair in enumerate(PAIRS)]
        agent = kind(
            load_language_model(build_network().double()), episodes, batch_size=batch_size, log_every=2, seed=3
        )
        for module in agent.modules().values():
            module.double()
        return agent.learn(5)

    alone = train()
    for agent in in_lock_step(SIZE, lambda ranks: train()):
        for name, module in agent.modules().items():
            for found, expected in zip(module.parameters(), alone.modules()[name].parameters(), strict=True):
                torch.testing.assert_close(found, expected, atol=1e-9, rtol=0)
        assert agent.losses == pytest.approx(alone.losses, abs=1e-9)


def test_drawn_prompt_tokens_count_in_parts_too(tmp_path: Path) -> None:
    def work(ranks: Communicator) -> list[float]:
        agent = SFT(load_language_model(build_network()), PAIRS, batch_size=6, prompt_share=0.5, seed=3)
        agent.learn(3)
        agent.save(tmp_path / "sft")
        agent._steps = 6
        state = agent.get_state()
        again = SFT(load_language_model(build_network()), PAIRS, batch_size=6, prompt_share=0.5, seed=3)
        again.set_state(state)
        return [each.advance() for each in (agent, again) for _ in range(2)]

    first, second = in_lock_step(SIZE, work)
    assert first == second
    assert first[:2] == first[2:]


def test_every_own_agent_with_a_network_says_what_processes_do() -> None:
    known = {name: processes_of(resolve_agent(name)) for name in AGENTS if name not in ("maskable_ppo", "trpo")}
    assert {name for name in ON_POLICY if known[name] != "data"} == set()
    assert known["sft"] == "data"
    assert {known[name] for name in ("random", "greedy", "scripted", "human")} == {"none"}
    page = (Path(__file__).parents[2] / "docs" / "several-processes.md").read_text()
    rows = [line.split("|")[1:3] for line in page.splitlines() if line.startswith("| `")]
    told = {name: what for names, what in rows for name in re.findall("`([a-z0-9_]+)`", names)}
    without_networks = {"random", "greedy", "scripted", "human", "q_learning", "sarsa"}
    assert AGENTS.keys() - told.keys() == without_networks
    assert {name for name, what in told.items() if " nothing: " in what} == {
        *(name for name in known.keys() - without_networks if known[name] == "none"),
        "trpo",
    }


def test_one_rank_is_what_it_was(make: Any) -> None:
    """A communicator of one rank changes nothing, to the last bit."""
    alone = make("ppo").learn(44)
    with using(Single()):
        single = make("ppo").learn(44)
    assert torch.equal(weights(alone), weights(single))


class Single(Communicator):
    """One rank that gathers as if there were more."""

    def all_gather(self, tensor: torch.Tensor) -> list[torch.Tensor]:
        return [tensor.detach().clone()]

    def broadcast(self, tensor: torch.Tensor, source: int = 0) -> torch.Tensor:
        return tensor.clone()

    def exchange(self, tensor: torch.Tensor, others: Any) -> dict[int, torch.Tensor]:
        return {}
