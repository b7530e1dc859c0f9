"""Learn from feedback in rounds: sample, ask, fit a reward model, train on it, and ask again.

The person is simulated, so that the true quality (*gold*) of what was learned is known; ``textgym rlhf --people``
asks real ones. Takes some minutes on two CPU cores:

    python examples/rlhf_loop.py
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from textgym.agents import PPO, make_vec_env
from textgym.evaluation.sampling import Sampling, sample_texts
from textgym.feedback import SimulatedPerson, make_questions
from textgym.models import load_language_model
from textgym.models.text_model import TextModel
from textgym.reward_models import PreferenceRewardModel
from textgym.rewards import GoldReward
from textgym.tasks import Summarization, prompt_text


@dataclass(frozen=True)
class Args:
    """The settings of the example."""

    rounds: int = 3
    """rounds of sampling, comparing, fitting and training"""
    questions: int = 400
    """pairs of texts that are compared in each round"""
    n_envs: int = 64
    """parallel environments"""
    timesteps_per_round: int = 24_000
    """tokens to train on between two rounds of questions"""
    kl_coef: float = 0.02
    """weight of the distance to the round's start model: a reward model holds near the texts it was fitted to"""
    seed: int = 0
    """same seed, same result"""
    out: Path = Path("runs/rlhf-loop")
    """folder of the plot and the trained model"""


def improve(policy: TextModel, reward: PreferenceRewardModel, args: Args, seed: int) -> TextModel:
    """Train the language model on the fitted reward."""
    agent = PPO(
        "CausalLMPolicy",
        make_vec_env("TextSumm-v0", args.n_envs, seed=seed, reward=reward),
        learning_rate=2e-4,
        n_epochs=2,
        gae_lambda=1.0,
        kl_coef=args.kl_coef,
        scale_rewards=True,  # the scale of a reward model is arbitrary, and another one in every round
        policy_kwargs={"model": policy},
        seed=seed,
    )
    agent.learn(args.timesteps_per_round)
    return agent.text_model


def main(args: Args) -> list[float]:
    """Run all rounds, keep the last model, and return the mean gold of the texts that each round asks about."""
    task, rng, policy = Summarization(), np.random.default_rng(args.seed), load_language_model("tiny")
    gold = GoldReward(task)
    person = SimulatedPerson(lambda texts, keys: gold(texts, texts, [task.dataset.find(key) for key in keys]), rng)
    records, means = [], []
    for number in range(args.rounds):
        places = rng.choice(len(task.dataset), args.questions, replace=False)
        examples = [task.dataset[int(place)] for place in places]
        sampling = Sampling(task.max_prompt_tokens, task.max_new_tokens, seed=number)
        texts = sample_texts(policy, task, examples * 2, sampling).texts  # two texts about each example
        means.append(float(gold(texts, texts, examples * 2).mean()))
        prompts, keys = [prompt_text(task, example) for example in examples], [example.key for example in examples]
        questions = make_questions(prompts, keys, texts[: args.questions], texts[args.questions :])
        records += [record for answer in person.answer(questions) for record in answer]
        reward = PreferenceRewardModel("tiny")
        accuracy = reward.fit(records).accuracy.mean  # of all rounds: earlier answers are still true
        print(f"round {number}: gold {means[-1]:.3f}, accuracy on held-out answers {accuracy:.2f}")
        policy = improve(policy, reward, args, seed=number)
    args.out.mkdir(parents=True, exist_ok=True)
    plot(means, args.out / "gold.png")
    policy.save_pretrained(args.out / "model")
    return means


def plot(means: Sequence[float], out: Path) -> None:
    """Draw the true quality at the beginning of every round."""
    figure = Figure()
    figure.add_subplot(xlabel="round", ylabel="gold of sampled texts", xticks=range(len(means))).plot(means, marker="o")
    figure.savefig(out)


if __name__ == "__main__":
    from command_line import read_args

    main(read_args(Args))
