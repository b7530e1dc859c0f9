"""Consensus PPO: agents that learn from prompts of their own, and are drawn together."""

from __future__ import annotations

import inspect
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from stable_baselines3.common.callbacks import BaseCallback, ConvertCallback
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor, nn

from textgym.agents.common.consensus import (
    DISTANCES,
    GRAPHS,
    Distance,
    Graph,
    among,
    averaged,
    metropolis_weights,
    neighbours,
)
from textgym.agents.common.consensus_peer import ConsensusPeer, joined, load_peer, make_peer, trained_parameters, write
from textgym.agents.common.distributed import alone, current, require_one_each
from textgym.agents.common.history import KeepsHistory
from textgym.agents.common.metrics import mean
from textgym.agents.facts import AgentFacts, Processes
from textgym.agents.ppo import PPO
from textgym.checks import check_ranges
from textgym.errors import CheckpointError
from textgym.models.checkpoint import read_checkpoint, write_checkpoint
from textgym.models.optimizer_state import part
from textgym.models.stored_values import (
    Check,
    StoredRecord,
    check_fields,
    fields,
    integer,
    listed,
    mapped,
    measured,
    number,
    one_of,
    optional,
    positive,
    text,
)
from textgym.models.text_model import TextModel
from textgym.naming import argument
from textgym.types import IntArray, State

Exchange = Literal["average", "penalty", "none"]
_EXCHANGES: tuple[Exchange, ...] = ("average", "penalty", "none")
_COUNTS = ("exchange_every",)
_PEER = "agent-{}"
_logger = logging.getLogger("textgym")


class ConsensusPPO(KeepsHistory):
    """Agents that each have a shard of the prompts, a policy and a critic, learn by PPO, and are drawn together.

    Every few iterations, agents that are neighbours in a graph exchange their trained parameters: of adapters, only
    these. Either each takes the average of its own and its neighbours' (gossip, with Metropolis weights), or its policy
    loss gets a penalty: lambda / M times the sum of the distances between its neighbours' policies and its own.

    Agents live in one process, or in as many as there are agents, with the same result bit for bit. One that fails
    drops out; the others go on. Further options are those of :class:`~textgym.agents.ppo.PPO`, for each agent.

    Args:
        peers: The agents of this process, by number.
        env: Environment with all prompts, whose copies the agents divide among themselves.
        agents: Number of agents, M.
        exchange: Exchange: ``"average"`` of parameters, ``"penalty"`` on other policies, or ``"none"``.
        graph: Graph of exchanges: ``"full"``, ``"ring"``, ``"star"`` (with agent 0), or ``"random"`` pairs, drawn
            again each time.
        exchange_every: Iterations between two exchanges.
        consensus_coef: Coefficient of the penalty, lambda.
        distance: Distance between next-token distributions: ``"l1"``, ``"l2"``, ``"tv"`` (total variation) or ``"kl"``.
        seed: Seed of random pairs.

    Attributes:
        num_timesteps: Tokens of all agents together; those of one that dropped out are counted on.
        history: One record per iteration: means over the agents, and numbers of each, ``"agent0/reward"`` and so on.
        seconds: Time of the last iteration by part: rollout, update, exchange.
        dropped: Why agents dropped out, by number.
        bytes_sent: Bytes that all agents together have sent to neighbours.

    Raises:
        ValueError: An option is out of range, or there are several processes, and not one for each agent.
    """

    grain: Literal["token"] = "token"
    processes: ClassVar[Processes] = "agents"
    kind = "textgym.ConsensusPPO"
    facts: ClassVar[AgentFacts] = replace(
        PPO.facts,
        name="Consensus PPO",
        method="consensus PPO",
        policy=ConsensusPeer,
        limits={
            **PPO.facts.limits,
            "agents": (2, math.inf),
            "exchange_every": (1, math.inf),
            "consensus_coef": (0.0, math.inf),
        },
    )

    def __init__(
        self,
        peers: Mapping[int, ConsensusPeer],
        env: VecEnv | None = None,
        *,
        agents: int,
        exchange: Exchange = "average",
        graph: Graph = "full",
        exchange_every: int = 1,
        consensus_coef: float = 1.0,
        distance: Distance = "l1",
        seed: int = 0,
    ) -> None:
        for name, value, known in (
            ("exchange", exchange, _EXCHANGES),
            ("graph", graph, GRAPHS),
            ("distance", distance, DISTANCES),
        ):
            if value not in known:
                raise ValueError(f"expected {argument(name)} of {', '.join(known)}, got {value!r}; choose one of these")
        self.agents, self.exchange, self.graph, self.exchange_every = agents, exchange, graph, exchange_every
        self.consensus_coef, self.distance, self.seed = consensus_coef, distance, seed
        check_ranges(vars(self), self.facts.limits, counts=("agents", *_COUNTS))
        self.ranks = current()
        require_one_each(agents)
        self.peers, self.env = dict(peers), env
        for peer in self.peers.values():
            peer.consensus_coef, peer.distance, peer.group_size = consensus_coef, distance, agents
        self.num_timesteps, self.bytes_sent, self._round = 0, 0, 0
        self.history = []
        self.seconds: dict[str, float] = {}
        self.dropped: dict[int, str] = {}
        self._reported: set[int] = set()
        self._last_error: Exception = RuntimeError("no agent is left")
        self._began: StoredRecord | None = None  # what the group knew when the present iteration began

    @classmethod
    def create(
        cls,
        env: VecEnv,
        model: str | Path | TextModel | None = None,
        *,
        agents: int = 4,
        seed: int = 0,
        device: str = "auto",
        **options: Any,
    ) -> Self:
        """Make a group whose agents all start from one model.

        Args:
            env: Environment of :func:`~textgym.agents.common.vec_env.make_vec_env`.
            model: Start model; ``None`` is the one whose tokenizer the environment uses.
            agents: Number of agents.
            seed: Seed of all random numbers.
            device: Where the models run.
            options: Arguments of the constructor, of :class:`~textgym.agents.ppo.PPO` and of its policy.
        """
        require_one_each(agents)
        own = {name: options.pop(name) for name in inspect.signature(cls).parameters.keys() & options.keys()}
        places = range(agents) if current().size == 1 else [current().rank]
        with alone():  # each learns by itself
            peers = {place: make_peer(env, model, place, agents, seed, device, options) for place in places}
        group = cls(peers, env, agents=agents, seed=seed, **own)
        group._begin_alike()
        return group

    def _begin_alike(self) -> None:
        """Let all agents start from the weights of the first, such as those of adapters, which are drawn."""
        first = self.peers.get(0)
        for peer in self.peers.values():
            trained = trained_parameters(peer.policy)
            start = joined(trained if first is None else trained_parameters(first.policy))
            write(trained, self.ranks.broadcast(start))

    # ------------------------------------------------------------------ acting
    @property
    def text_model(self) -> TextModel:
        """The language model of the first agent of this process."""
        return self._first.text_model

    def act(
        self, observations: Mapping[str, np.ndarray], *, greedy: bool = False, generator: torch.Generator | None = None
    ) -> IntArray:
        """Let the first agent of this process choose the next token of every text."""
        return self._first.act(observations, greedy=greedy, generator=generator)

    @property
    def _first(self) -> ConsensusPeer:
        return self.peers[min(self.peers)]

    # ---------------------------------------------------------------- learning
    @property
    def steps_per_iteration(self) -> int:
        """Tokens of the rollouts of all agents."""
        return self._first.steps_per_iteration * self.agents

    def seconds_per_step(self) -> float:
        """Seconds of a token, as each agent takes them; right within a factor of two or so."""
        return self._first.seconds_per_step()

    def get_env(self) -> VecEnv | None:
        """The environment it was made with."""
        return self.env

    def learn(
        self, total_timesteps: int, callback: BaseCallback | None = None, *, reset_num_timesteps: bool = True
    ) -> Self:
        """Make whole iterations until so many tokens are written; see :meth:`~textgym.types.Trainable.learn`.

        Raises:
            Exception: That of the last agent to drop out, if all of them do.
            TypeError: ``total_timesteps`` is no whole number.
            ValueError: It is below 1, or the agents cannot share out the environments.
        """
        self._check_steps(total_timesteps, reset_num_timesteps)
        self.require_env()
        if reset_num_timesteps:
            self.num_timesteps = 0
        left = total_timesteps / self.agents
        for peer in self.peers.values():
            with peer.turn():
                peer.begin(math.ceil(left), reset_num_timesteps)
        end = self.num_timesteps + total_timesteps
        watcher = callback if callback is not None else ConvertCallback(None)
        watcher.init_callback(self)  # type: ignore[arg-type]  # it has what callbacks read
        watcher.on_training_start(locals(), globals())
        going_on = True
        while going_on and self.num_timesteps < end:
            going_on = self._iterate(watcher)
        watcher.on_training_end()
        return self

    def require_env(self) -> None:
        """Check that each agent gets as many of the environments as any other.

        Raises:
            ValueError: They cannot be shared out so.
        """
        copies = 0 if self.env is None else self.env.num_envs
        if copies == 0 or copies % self.agents:
            raise ValueError(
                f"expected {argument('n_envs')} to be a multiple of the {self.agents} agents, which share them, got "
                f"{copies}; change it, or {argument('agents')}"
            )

    def _iterate(self, watcher: BaseCallback) -> bool:
        """Let every agent collect a rollout and learn from it, and exchange; false if the callback ends training."""
        self._began = self._own_record()
        watcher.on_rollout_start()
        self._each(ConsensusPeer.roll_out)
        self._tell_dropped()
        self.num_timesteps += self.steps_per_iteration
        watcher.update_locals(locals())
        if not watcher.on_step():
            return False
        watcher.on_rollout_end()
        for peer in self.peers.values():
            peer.remember_weights()
        self._each(ConsensusPeer.train)
        self._tell_dropped()
        exchanged = self._exchange() if (self._round + 1) % self.exchange_every == 0 else {}
        self._round += 1
        self._record(exchanged)
        self._began = None
        return True

    def _each(self, work: Callable[[ConsensusPeer], None]) -> None:
        """Let all agents of this process do something; one that fails drops out."""
        for place, peer in self.peers.items():
            if place in self.dropped:
                continue
            try:
                with peer.turn():
                    work(peer)
            except Exception as error:
                self.dropped[place], self._last_error = f"{type(error).__name__}: {error}", error
                with suppress(CheckpointError), peer.turn():
                    peer.set_state(peer.get_state())  # of the beginning of the iteration, where it is known

    def _tell_dropped(self) -> None:
        """Tell all processes who dropped out, and warn of it once.

        Raises:
            Exception: Of the last of this process's agents, if there are no others left.
        """
        known = {
            int(place): reason
            for found in self.ranks.all_gather_json({str(place): reason for place, reason in self.dropped.items()})
            for place, reason in found.items()
        }
        for place in sorted(known.keys() - self._reported):
            self._reported.add(place)
            _logger.warning("agent %d dropped out (%s); the others go on without it", place, known[place])
        self.dropped = dict(sorted(known.items()))
        if len(self.dropped) == self.agents:
            raise self._last_error

    # ---------------------------------------------------------------- exchange
    def _exchange(self) -> dict[str, float]:
        """Send trained parameters to neighbours, and make use of theirs; returns what there is to log."""
        if self.exchange == "none":
            return {}
        present = [place for place in range(self.agents) if place not in self.dropped]
        graph = among(neighbours(self.graph, self.agents, self._round, self.seed), present)
        weights, averages = metropolis_weights(graph), self.exchange == "average"
        known = self._send(graph, whole=averages)
        distances = []
        for place, peer in self.peers.items():
            received = {other: known[place][other] for other in graph[place]}
            own = joined(self._exchanged(peer, whole=averages))
            distances += [float((other - own).square().mean().sqrt()) for other in received.values()]
            if averages and place not in self.dropped:
                write(self._exchanged(peer, whole=True), averaged(place, {place: own, **received}, weights))
            elif place not in self.dropped:
                peer.others = [received[other] for other in sorted(received)]
        size = sum(parameter.numel() * parameter.itemsize for parameter in self._exchanged(self._first, whole=averages))
        sent = size * sum(len(row) for row in graph)
        self.bytes_sent += sent
        all_of_them = [distance for each in self.ranks.all_gather_json(distances) for distance in each]
        return {"exchanged_bytes": float(sent), "parameter_distance": mean(all_of_them) if all_of_them else 0.0}

    def _send(self, graph: Sequence[Sequence[int]], whole: bool) -> dict[int, dict[int, Tensor]]:
        """Return what each agent of this process receives, by sender."""
        own = {place: joined(self._exchanged(peer, whole=whole)) for place, peer in self.peers.items()}
        if self.ranks.size == 1:
            return {place: {other: own[other] for other in graph[place]} for place in own}
        ((place, parameters),) = own.items()
        return {place: self.ranks.exchange(parameters, graph[place])}

    def _exchanged(self, peer: ConsensusPeer, *, whole: bool) -> list[nn.Parameter]:
        """The parameters that travel: all that are trained, or those of the model, which policies follow from."""
        return trained_parameters(peer.policy if whole else peer.policy.model)

    def _record(self, exchanged: Mapping[str, float]) -> None:
        """Keep the record of an iteration: means over the agents that go on, and what each is paid."""
        own = {str(place): peer.history[-1] for place, peer in self.peers.items() if place not in self.dropped}
        found = {int(place): row for each in self.ranks.all_gather_json(own) for place, row in each.items()}
        rows = [found[place] for place in sorted(found)]
        names = [name for name in rows[0] if name != "timesteps" and all(name in row for row in rows)]
        summed = ("texts", "tokens_per_second")
        means = {name: (sum if name in summed else mean)([row[name] for row in rows]) for name in names}
        rewards = {f"agent{place}/reward": row["reward"] for place, row in sorted(found.items()) if "reward" in row}
        parts = [peer.seconds for peer in self.peers.values()]
        self.seconds = {name: sum(each.get(name, 0.0) for each in parts) for name in ("rollout", "reference", "update")}
        counts = {"dropped": float(len(self.dropped)), "timesteps": float(self.num_timesteps)}
        self._keep({**means, **rewards, **exchanged, **counts})

    # ------------------------------------------------------------- checkpoints
    def get_state(self) -> State:
        """Return the state of the agents of this process; in a rollout, or after an error in one, at its beginning.

        Raises:
            CheckpointError: An update was broken off, and weights of before are gone.
        """
        tensors: dict[str, Tensor] = {}
        records: dict[str, StoredRecord] = {}
        for place, peer in self.peers.items():
            with peer.turn():
                state = peer.get_state()
            tensors |= {f"{place}.{name}": tensor for name, tensor in state.tensors.items()}
            tensors |= {f"{place}.others.{at}": other.clone() for at, other in enumerate(peer.others)}
            records[str(place)] = dict(state.record)
        return State(tensors, {**self._own_record(), "peers": records})

    def set_state(self, state: State) -> None:
        """Go on from a state of a group that was made with the same arguments.

        Raises:
            CheckpointError: It is of other agents or models.
        """
        record = dict(state.record)
        peers = record.pop("peers")
        self._take_own(record)
        for place, peer in self.peers.items():
            self._set_peer(place, peer, part(state.tensors, f"{place}."), peers[str(place)])

    def _set_peer(self, place: int, peer: ConsensusPeer, tensors: Mapping[str, Tensor], record: StoredRecord) -> None:
        others = part(tensors, "others.")
        with peer.turn():
            peer.set_state(State({name: value for name, value in tensors.items() if "others." not in name}, record))
        peer.others = [others[name].clone() for name in sorted(others, key=int)]

    def save(self, folder: str | Path) -> None:
        """Write every agent to a folder in a folder, ``agent-0`` and so on, all replaced in one step.

        Several processes all call it, and tell each other their agents; the first one writes.

        Raises:
            CheckpointError: An update was broken off, or a weight is not finite.
        """
        state = self.get_state()
        records = self.ranks.all_gather_json(state.record["peers"])
        tensors = self.ranks.all_gather_tensors(state.tensors)
        if self.ranks.rank:
            return
        policy = self._first.policy
        buffers = [f"policy.{name}" for name, _ in policy.named_buffers()]
        buffers += [f"reference.{name}" for name, _ in (self._first.frozen_network or nn.Module()).named_buffers()]

        def fill(unfinished: Path) -> None:
            for known, held in zip(records, tensors, strict=True):
                for place, record in known.items():
                    own = {name: value for name, value in part(held, f"{place}.").items() if "others." not in name}
                    target = unfinished / _PEER.format(place)
                    write_checkpoint(target, own, record, policy.save_config, may_be_infinite=buffers)

        others = {name: value for held in tensors for name, value in held.items() if "others." in name}
        write_checkpoint(Path(folder), others, self._own_record(), fill)

    @classmethod
    def load(cls, folder: str | Path, env: VecEnv | None = None, device: str = "auto", **changes: Any) -> Self:
        """Load what :meth:`save` wrote. Nothing is unpickled.

        Args:
            folder: The folder.
            env: Environment like the one that it was made with; without one it can act.
            device: Where the models run.
            changes: Constructor arguments to change.

        Raises:
            CheckpointError: The folder is damaged or holds something else.
        """
        others, record = read_checkpoint(Path(folder), cls.kind)
        check_fields({"infinite": None, **record}, _RECORD, "parts of a group")
        settings = {**record["settings"], **changes}
        agents = settings["agents"]
        require_one_each(agents)
        places = range(agents) if current().size == 1 else [current().rank]
        with alone():
            peers = {
                place: load_peer(Path(folder) / _PEER.format(place), env, place, agents, settings["seed"], device)
                for place in places
            }
        group = cls(peers, env, **settings)
        group._take_own(record)
        for place, peer in group.peers.items():
            received = part(others, f"{place}.others.")
            peer.others = [received[name].to(peer.device) for name in sorted(received, key=int)]
        return group

    def _own_record(self) -> StoredRecord:
        """The state of the group beside its agents; within an iteration, when it began."""
        return self._began or {
            "kind": self.kind,
            "settings": {name: vars(self)[name] for name in _SETTINGS},
            "num_timesteps": self.num_timesteps,
            "round": self._round,
            "bytes_sent": self.bytes_sent,
            "dropped": {str(place): reason for place, reason in self.dropped.items()},
            "history": list(self.history),
        }

    def _take_own(self, record: StoredRecord) -> None:
        """Go on from what :meth:`_own_record` returned."""
        if record.get("kind") != self.kind:
            raise CheckpointError(f"expected the state of {self.kind}, got one of {record.get('kind')!r}")
        check_fields({"infinite": None, **record}, _RECORD, "parts of a group")
        self.num_timesteps, self._round = record["num_timesteps"], record["round"]
        self.bytes_sent, self.history = record["bytes_sent"], list(record["history"])
        self.dropped = {int(place): reason for place, reason in record["dropped"].items()}
        self._reported, self._began = set(self.dropped), None


_SETTINGS: Mapping[str, Check] = {
    "agents": positive,
    "exchange": one_of(*_EXCHANGES),
    "graph": one_of(*GRAPHS),
    "exchange_every": positive,
    "consensus_coef": number,
    "distance": one_of(*DISTANCES),
    "seed": integer,
}
_RECORD: Mapping[str, Check] = {
    "kind": text,
    "settings": fields(_SETTINGS),
    "num_timesteps": integer,
    "round": integer,
    "bytes_sent": integer,
    "dropped": mapped(text),
    "history": listed(mapped(optional(measured))),
    "infinite": optional(listed(text)),
}
