"""One of several PPO agents that are drawn together, and the parameters that they exchange."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor, nn

from textgym.agents.common.consensus import Distance, disagreement
from textgym.agents.common.prompt_shards import shard_env
from textgym.agents.common.random_states import RandomStates
from textgym.agents.common.rollout_buffer import EpisodeSamples
from textgym.agents.ppo import PPO
from textgym.models.text_model import TextModel


class ConsensusPeer(PPO):
    """PPO with a penalty on disagreement, an agent of a :class:`~textgym.agents.consensus_ppo.ConsensusPPO`.

    Attributes:
        states: States of the global random generators, as they are in its turns.
        others: Parameters of its neighbours' models, as they were when they were last exchanged, one vector each.
        consensus_coef, distance, group_size: Factor of the penalty, its distance, and the number of
            agents; set by the group.
    """

    kind = "textgym.ConsensusPeer"
    processes = "none"  # a group is what several processes train
    states: RandomStates
    others: Sequence[Tensor] = ()
    consensus_coef: float = 0.0
    distance: Distance = "l1"
    group_size: int = 1

    def loss(self, sample: EpisodeSamples, advantages: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """PPO's loss + lambda / M sum_j || pi_j(. | s) - pi_i(. | s) ||, a mean over the tokens' states s."""
        loss, statistics = super().loss(sample, advantages)
        if not self.others:
            return loss, statistics
        with torch.no_grad():
            others = [self._log_probs_under(each, sample) for each in self.others]
        own = self._all_log_probs(sample)
        penalty = disagreement(own, others, self.group_size, self.distance).mean()
        return loss + self.consensus_coef * penalty, {**statistics, "disagreement": penalty}

    def _all_log_probs(self, sample: EpisodeSamples) -> Tensor:
        """Log-probabilities of all tokens in the states of a sample, (N, V)."""
        policy = self.policy
        return policy.action_logits(policy.model.hidden(sample.observations)).log_softmax(-1)

    def _log_probs_under(self, parameters: Tensor, sample: EpisodeSamples) -> Tensor:
        """The same of the policy with other parameters, which stand in for its own meanwhile."""
        trained = trained_parameters(self.policy.model)
        kept = [parameter.data for parameter in trained]
        for parameter, data in zip(trained, _split(parameters, trained), strict=True):
            parameter.data = data
        try:
            return self._all_log_probs(sample)
        finally:
            for parameter, data in zip(trained, kept, strict=True):
                parameter.data = data

    # ------------------------------------------------------------- in a group
    @contextmanager
    def turn(self) -> Iterator[None]:
        """Let the block, which is this agent's, draw its random numbers."""
        outside = RandomStates.read()
        self.states.restore()
        try:
            yield
        finally:
            self.states = RandomStates.read()
            outside.restore()

    def begin(self, total_timesteps: int, reset_num_timesteps: bool) -> None:
        """Begin a training that its group paces."""
        _, self._watcher = self._setup_learn(total_timesteps, None, reset_num_timesteps, type(self).__name__)

    def roll_out(self) -> None:
        """Collect a rollout."""
        assert self.env is not None
        self._watcher.on_training_start({}, {})
        self.collect_rollouts(self.env, self._watcher, self.rollout_buffer, self.n_steps)
        self._update_current_progress_remaining(self.num_timesteps, self._total_timesteps)


def trained_parameters(module: nn.Module) -> list[nn.Parameter]:
    """Return the parameters of a module that are trained; of adapters, only these."""
    return [parameter for parameter in module.parameters() if parameter.requires_grad]


def joined(parameters: Sequence[Tensor]) -> Tensor:
    """Parameters as one vector, a copy."""
    return torch.cat([parameter.detach().flatten() for parameter in parameters])


def _split(vector: Tensor, parameters: Sequence[Tensor]) -> list[Tensor]:
    """A vector of :func:`joined` as parts of the shapes of parameters."""
    parts = vector.split([parameter.numel() for parameter in parameters])
    return [own.view_as(parameter) for own, parameter in zip(parts, parameters, strict=True)]


@torch.no_grad()
def write(parameters: Sequence[Tensor], vector: Tensor) -> None:
    """Let parameters have the values of a vector of :func:`joined`."""
    for parameter, own in zip(parameters, _split(vector, parameters), strict=True):
        parameter.copy_(own)


def make_peer(
    env: VecEnv,
    model: str | Path | TextModel | None,
    place: int,
    agents: int,
    seed: int,
    device: str,
    options: Mapping[str, Any],
) -> ConsensusPeer:
    """Make the agent with number ``place`` of so many, on its shard of an environment's prompts; see ``create``."""
    drawn = int(np.random.SeedSequence((seed, place)).generate_state(1)[0])
    own = shard_env(env, place, agents, seed)
    peer = _made(partial(ConsensusPeer.create, own, model, seed=drawn, device=device, **options))
    own.seed(seed + place * own.num_envs)  # in place of the agent's seed, which Stable-Baselines3 has passed on
    return peer


def load_peer(folder: Path, env: VecEnv | None, place: int, agents: int, seed: int, device: str) -> ConsensusPeer:
    """Load the agent with number ``place`` of so many from a checkpoint of its own."""
    own = None if env is None else shard_env(env, place, agents, seed)
    return _made(partial(ConsensusPeer.load, folder, own, device))


def _made(make: Callable[[], ConsensusPeer]) -> ConsensusPeer:
    """Make an agent, which seeds the global random generators, and put these back."""
    before = RandomStates.read()
    try:
        peer = make()
        peer.states = RandomStates.read()
        return peer
    finally:
        before.restore()
