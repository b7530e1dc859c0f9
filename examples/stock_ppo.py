"""Fine-tune a language model with the stock PPO of Stable-Baselines3.

The algorithm is unmodified: a causal language model is the policy, one environment step is one token, and the reward
comes with the last token of a text. Takes some minutes on two CPU cores:

    python examples/stock_ppo.py
"""

from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecEnv

from textgym.agents import CausalLMPolicy, EpisodeRolloutBuffer, make_vec_env
from textgym.metrics import mean_interval
from textgym.types import Interval


@dataclass(frozen=True)
class Args:
    """The settings of the example; ``main(Args(total_timesteps=10_000))`` from a notebook."""

    env_id: str = "TextSumm-v0"
    """a token-level environment; its model (`model=`) gives the tokenizer and the start weights"""
    total_timesteps: int = 43_000
    """tokens to train on"""
    n_envs: int = 64
    """parallel environments"""
    n_steps: int = 48
    """tokens of each between two updates"""
    batch_size: int = 768
    """tokens per optimizer step"""
    learning_rate: float = 2e-4
    """step size of Adam, constant"""
    eval_episodes: int = 300
    """held-out prompts to measure on, before and after"""
    seed: int = 0
    """same seed, same result"""
    out: Path = Path("runs/stock-ppo")
    """folder of the plot and the trained model"""


class Returns(BaseCallback):
    """Keeps the return of every text that is finished."""

    def __init__(self) -> None:
        super().__init__()
        self.returns: list[float] = []

    def _on_step(self) -> bool:
        self.returns += [info["episode"]["r"] for info in self.locals["infos"] if "episode" in info]
        return True


def evaluate(agent: PPO, env: VecEnv, episodes: int) -> Interval:
    """Mean return on held-out prompts, with a 95 % interval: 300 sampled texts are still a sample."""
    returns, _ = evaluate_policy(agent, env, episodes, deterministic=False, return_episode_rewards=True)
    return mean_interval(returns)


def plot(returns: list[float], out: Path) -> None:
    """Draw the return of the training texts, each point a mean of as many as one percent of them."""
    size = max(1, len(returns) // 100)
    means = [sum(returns[start : start + size]) / size for start in range(0, len(returns) - size + 1, size)]
    figure = Figure()
    figure.add_subplot(xlabel=f"texts / {size}", ylabel="mean return").plot(means)
    figure.savefig(out)


def main(args: Args) -> dict[str, Interval]:
    """Train, measure before and after, and keep the model."""
    train, test = (make_vec_env(args.env_id, args.n_envs, seed=args.seed, split=split) for split in ("train", "test"))
    agent = PPO(
        CausalLMPolicy,
        train,
        learning_rate=args.learning_rate,
        n_steps=args.n_steps,
        batch_size=args.batch_size,
        n_epochs=2,
        gamma=1.0,  # a text is short, and its reward comes at the end: nothing is discounted
        gae_lambda=1.0,
        rollout_buffer_class=EpisodeRolloutBuffer,  # one pass per text in the update instead of one per token
        seed=args.seed,
    )
    recorder = Returns()
    before = evaluate(agent, test, args.eval_episodes)
    agent.learn(args.total_timesteps, callback=recorder)
    measured = {"before": before, "after": evaluate(agent, test, args.eval_episodes)}
    args.out.mkdir(parents=True, exist_ok=True)
    plot(recorder.returns, args.out / "returns.png")
    agent.policy.save_pretrained(args.out / "model", env=train)  # opens with AutoModelForCausalLM.from_pretrained
    return measured


if __name__ == "__main__":
    from command_line import read_args

    for moment, interval in main(read_args(Args)).items():
        print(f"{moment:>8}  {interval.mean:6.2f}  [{interval.low:.2f}, {interval.high:.2f}]")
