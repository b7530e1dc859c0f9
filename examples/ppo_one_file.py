"""PPO for a language model in one file, to be read from top to bottom: write, estimate, improve, repeat.

The whole loop is here, and nothing is hidden in a base class. The losses are those of textgym's own agents, and the
model is any that textgym loads. Takes about a minute on one CPU core:

    python examples/ppo_one_file.py
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

import gymnasium as gym
import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

import textgym  # noqa: F401  # registers the environments
from textgym.agents.common.losses import (
    clipped_policy_loss,
    clipped_value_loss,
    generalized_advantages,
    kl_estimates,
    normalize_advantages,
)
from textgym.agents.common.observations import read_observation, to_tensors
from textgym.evaluation import compare, evaluate, make_evaluation_set
from textgym.models import load_language_model
from textgym.models.decoding.sampling import sample_tokens
from textgym.models.log_probs import log_probs_of
from textgym.models.text_model import TextModel
from textgym.types import FloatArray, Interval


@dataclass(frozen=True)
class Args:
    """The settings of the example."""

    env_id: str = "TextSpell-v0"
    """a token-level environment"""
    model: str = "letters"
    """start model, whose tokens are the actions"""
    total_timesteps: int = 30_720
    """tokens to train on"""
    n_envs: int = 64
    """parallel environments"""
    n_steps: int = 6
    """tokens of each between two updates"""
    n_epochs: int = 4
    """passes over these tokens"""
    batch_size: int = 128
    """tokens per optimizer step"""
    learning_rate: float = 3e-3
    """step size of Adam at first; it falls to 0"""
    gamma: float = 1.0
    """discount; a text is short"""
    gae_lambda: float = 0.95
    """lambda of generalized advantage estimation"""
    clip_range: float = 0.2
    """the surrogate gains nothing where a probability has changed by more than this share"""
    kl_coef: float = 0.01
    """coefficient of the KL penalty to the start model"""
    vf_coef: float = 0.1
    """coefficient of the value loss"""
    max_grad_norm: float = 1.0
    """largest norm of a gradient"""
    eval_prompts: int = 16
    """held-out prompts, before and after"""
    seed: int = 0
    """same seed, same result"""
    out: Path = Path("runs/ppo-one-file.png")
    """where the plot goes"""


Observations = dict[str, Tensor]


class ActorCritic(nn.Module):
    """A language model: from the state of an unfinished text follow the next token, and the reward still to come."""

    def __init__(self, model: TextModel) -> None:
        super().__init__()
        self.model = model
        self.value_head = nn.Linear(model.hidden_size, 1)
        nn.init.zeros_(self.value_head.weight)

    def forward(self, observations: Observations) -> tuple[Tensor, Tensor]:
        """Logits (N, V) and values (N,) of unfinished texts."""
        states = last_states(self.model, observations)
        return self.model.logits(states), self.value_head(states).squeeze(1)


def last_states(model: TextModel, observations: Observations) -> Tensor:
    """States (N, H) at the last tokens of texts, each of which is read from its beginning; a cache would be faster."""
    return model.hidden(read_observation(observations).last_tokens())


class Step(NamedTuple):
    """One token of each of ``B`` environments."""

    observations: Observations
    actions: Tensor
    log_probs: Tensor
    values: Tensor
    kl: FloatArray
    scores: FloatArray
    dones: FloatArray


@torch.no_grad()
def write(
    agent: ActorCritic,
    reference: TextModel,
    envs: Any,
    observations: Observations,
    args: Args,
    random: torch.Generator,
) -> tuple[list[Step], Observations]:
    """Write ``n_steps`` tokens in every environment; return them, and what the next ones are written behind."""
    rollout = []
    for _ in range(args.n_steps):
        logits, values = agent(observations)
        actions, log_probs = sample_tokens(logits, random)
        of_reference = log_probs_of(reference.logits(last_states(reference, observations)), actions)
        kl = kl_estimates(log_probs.numpy(), of_reference.numpy()).k1
        following, scores, dones, *_ = envs.step(actions.numpy())
        rollout.append(Step(observations, actions, log_probs, values, kl, scores, dones.astype(np.float64)))
        observations = to_tensors(following)
    return rollout, observations


class Batch(NamedTuple):
    """``N`` tokens, of any environments and steps."""

    observations: Observations
    actions: Tensor
    log_probs: Tensor
    values: Tensor
    advantages: Tensor
    returns: Tensor

    def pick(self, places: Tensor) -> Self:
        """Return some of the tokens."""
        observations, *others = self
        return type(self)(
            {name: array[places] for name, array in observations.items()}, *(each[places] for each in others)
        )


def estimate(rollout: Sequence[Step], last_values: FloatArray, args: Args) -> Batch:
    """Estimate how much better each token is than what the critic expected there."""
    # The KL penalty is part of the reward of every token (Ziegler et al. 2019, arXiv:1909.08593).
    rewards = np.stack([step.scores - args.kl_coef * step.kl for step in rollout])  # (T, B)
    values = np.stack([step.values.numpy() for step in rollout])
    dones = np.stack([step.dones for step in rollout])
    advantages = generalized_advantages(rewards, values, dones, last_values, args.gamma, args.gae_lambda)
    return Batch(
        {name: torch.cat([step.observations[name] for step in rollout]) for name in rollout[0].observations},
        torch.cat([step.actions for step in rollout]),  # (T * B,)
        torch.cat([step.log_probs for step in rollout]),
        torch.cat([step.values for step in rollout]),
        torch.from_numpy(advantages).float().flatten(),
        torch.from_numpy(advantages + values).float().flatten(),
    )


def improve(
    agent: ActorCritic, optimizer: torch.optim.Optimizer, batch: Batch, args: Args, random: torch.Generator
) -> None:
    """Pass several times over the tokens, in optimizer steps of some of them at a time."""
    for _ in range(args.n_epochs):
        for places in torch.randperm(len(batch.actions), generator=random).split(args.batch_size):
            part = batch.pick(places)
            logits, values = agent(part.observations)
            log_probs = log_probs_of(logits, part.actions)
            advantages = normalize_advantages(part.advantages)
            # A token that was better than expected becomes likelier, by no more than the clip range.
            policy_loss = clipped_policy_loss(log_probs, part.log_probs, advantages, args.clip_range).mean()
            value_loss = clipped_value_loss(values, part.values, part.returns, None).mean()
            optimizer.zero_grad()
            (policy_loss + args.vf_coef * value_loss).backward()
            nn.utils.clip_grad_norm_(agent.parameters(), args.max_grad_norm)
            optimizer.step()


class Progress(NamedTuple):
    """Tokens so far, and mean return and KL divergence from the start model of the texts that a rollout finished."""

    tokens: int
    reward: float
    kl: float

    @classmethod
    def of(cls, rollout: Sequence[Step], tokens: int) -> Self:
        """Count what a rollout holds."""
        texts = max(1.0, sum(float(step.dones.sum()) for step in rollout))
        score = sum(float(step.scores.sum()) for step in rollout)
        kl = sum(float(step.kl.sum()) for step in rollout)
        return cls(tokens, score / texts, kl / texts)


def train(agent: ActorCritic, reference: TextModel, args: Args) -> list[Progress]:
    """Write, estimate, improve, repeat."""
    random = torch.Generator().manual_seed(args.seed)
    optimizer = torch.optim.Adam(agent.parameters(), args.learning_rate, eps=1e-5)
    envs: Any = gym.make_vec(args.env_id, args.n_envs, model=args.model)
    observations = to_tensors(envs.reset(seed=args.seed)[0])
    history = []
    tokens = args.n_envs * args.n_steps
    for written in range(0, args.total_timesteps, tokens):
        optimizer.param_groups[0]["lr"] = args.learning_rate * (1 - written / args.total_timesteps)
        rollout, observations = write(agent, reference, envs, observations, args, random)
        last_values = agent(observations)[1].detach().numpy()
        improve(agent, optimizer, estimate(rollout, last_values, args), args, random)
        history.append(Progress.of(rollout, written + tokens))
    return history


def plot(history: Sequence[Progress], measured: Mapping[str, Interval], out: Path) -> None:
    """Draw return and KL of the training texts, and the returns on held-out prompts before and after."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    rewards, penalties = figure.subplots(1, 2)
    tokens = [row.tokens for row in history]
    rewards.plot(tokens, [row.reward for row in history], label="training")
    for moment, place in (("before", 0), ("after", tokens[-1])):
        interval = measured[moment]
        errors = [[interval.mean - interval.low], [interval.high - interval.mean]]
        rewards.errorbar([place], [interval.mean], errors, fmt="o", capsize=4, label=f"held out, {moment}")
    rewards.set(xlabel="tokens", ylabel="return of a text", ylim=(0, 1.05))
    rewards.legend()
    penalties.plot(tokens, [row.kl for row in history])
    penalties.set(xlabel="tokens", ylabel="KL divergence, nats per text")
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out)


def main(args: Args) -> dict[str, Interval]:
    """Train, and return the reward of held-out prompts before and after, and its change."""
    torch.manual_seed(args.seed)
    agent, reference = ActorCritic(load_language_model(args.model)), load_language_model(args.model)
    asked = make_evaluation_set(args.env_id, prompts=args.eval_prompts, seed=args.seed)
    before = evaluate(agent.model, asked)
    history = train(agent, reference, args)
    after = evaluate(agent.model, asked)
    found = {name: each.measures.intervals()["reward"] for name, each in (("before", before), ("after", after))}
    found["change"] = compare(before=before, after=after)["reward"]
    plot(history, found, args.out)
    return found


if __name__ == "__main__":
    from command_line import read_args

    args = read_args(Args)
    for moment, interval in main(args).items():
        print(f"{moment:>6}  {interval.mean:5.2f}  [{interval.low:.2f}, {interval.high:.2f}]")
    print(f"plot: {args.out}")
