"""Fine-tune a language model with the stock PPO and the stock A2C of Stable-Baselines3.

The algorithms are unmodified: a causal language model is the policy, one environment step is one token. Takes about a
minute on one CPU core:

    python examples/sb3_stock.py
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.vec_env import VecEnv

from textgym.agents import CausalLMPolicy, EpisodeRolloutBuffer, make_vec_env
from textgym.metrics import mean_interval
from textgym.types import Interval


@dataclass(frozen=True)
class Args:
    """The settings of the example; ``main(Args(total_timesteps=10_000))`` from a notebook."""

    env_id: str = "TextSpell-v0"
    """a token-level environment; its model (`model=`) gives the tokenizer and the start weights"""
    total_timesteps: int = 24_576
    """tokens to train each algorithm on"""
    n_envs: int = 64
    """parallel environments"""
    n_steps: int = 6
    """tokens of each between two updates"""
    batch_size: int = 192
    """tokens per optimizer step of PPO; A2C takes one step per rollout"""
    learning_rate: float = 3e-3
    """step size of AdamW, constant"""
    eval_episodes: int = 300
    """texts about held-out prompts to measure on, before and after"""
    seed: int = 0
    """same seed, same result"""
    out: Path = Path("runs/sb3-stock")
    """folder of the plot and the trained models"""


class Returns(BaseCallback):
    """Keeps the return of every text that is finished."""

    def __init__(self) -> None:
        super().__init__()
        self.returns: list[float] = []

    def _on_step(self) -> bool:
        self.returns += [info["episode"]["r"] for info in self.locals["infos"] if "episode" in info]
        return True


def make_agent(name: str, args: Args) -> OnPolicyAlgorithm:
    """Make an algorithm with an environment and a policy; those of both start alike."""
    env = make_vec_env(args.env_id, args.n_envs, seed=args.seed)
    shared: dict[str, Any] = {
        "learning_rate": args.learning_rate,
        "n_steps": args.n_steps,
        "gamma": 1.0,  # a text is short: nothing is discounted
        "gae_lambda": 1.0,
        "rollout_buffer_class": EpisodeRolloutBuffer,  # one pass per text in the update instead of one per token
        "seed": args.seed,
    }
    if name == "PPO":
        return PPO(CausalLMPolicy, env, batch_size=args.batch_size, n_epochs=2, **shared)
    return A2C(CausalLMPolicy, env, use_rms_prop=False, **shared)


def evaluate(agent: OnPolicyAlgorithm, env: VecEnv, episodes: int) -> Interval:
    """Mean return on held-out prompts, with a 95 % interval: 300 sampled texts are still a sample."""
    returns, _ = evaluate_policy(agent, env, episodes, deterministic=False, return_episode_rewards=True)
    return mean_interval(returns)


def plot(returns: Mapping[str, list[float]], out: Path) -> None:
    """Draw the returns of the training texts, each point a mean of as many as two percent of them."""
    figure = Figure()
    axes = figure.add_subplot(xlabel="texts", ylabel="mean return")
    for name, found in returns.items():
        size = max(1, len(found) // 50)
        starts = range(0, len(found) - size + 1, size)
        axes.plot(starts, [sum(found[start : start + size]) / size for start in starts], label=name)
    axes.legend()
    figure.savefig(out)


def main(args: Args) -> dict[str, tuple[Interval, Interval]]:
    """Train both algorithms, keep the models, and return the mean return before and after by name."""
    args.out.mkdir(parents=True, exist_ok=True)
    measured, returns = {}, {}
    for name in ("PPO", "A2C"):
        agent, recorder = make_agent(name, args), Returns()
        test = make_vec_env(args.env_id, args.n_envs, seed=args.seed, split="test")
        before = evaluate(agent, test, args.eval_episodes)
        agent.learn(args.total_timesteps, callback=recorder)
        measured[name] = before, evaluate(agent, test, args.eval_episodes)
        returns[name] = recorder.returns
        # A folder that AutoModelForCausalLM.from_pretrained opens.
        agent.policy.save_pretrained(args.out / name.lower(), env=agent.get_env())
    plot(returns, args.out / "returns.png")
    return measured


if __name__ == "__main__":
    from command_line import read_args

    args = read_args(Args)
    for name, moments in main(args).items():
        before, after = (f"{each.mean:.2f} [{each.low:.2f}, {each.high:.2f}]" for each in moments)
        print(f"{name}: mean return {before} -> {after}")
    print(f"plot: {args.out / 'returns.png'}")
