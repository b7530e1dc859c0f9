"""Learn from preferences directly: ask, collect the answers, and train by Direct Preference Optimization.

There is no reward model. The people are simulated, so that the true quality (*gold*) of what was learned is known;
``textgym feedback serve votes.db`` asks real ones. Takes about a minute on two CPU cores:

    python examples/dpo_from_feedback.py
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from textgym.agents import DPO, make_vec_env
from textgym.evaluation import compare, evaluate, make_evaluation_set
from textgym.evaluation.sampling import Sampling, sample_texts
from textgym.feedback import FeedbackStore, SimulatedPerson, make_questions
from textgym.models import load_language_model
from textgym.rewards import GoldReward
from textgym.tasks.base import prompt_text
from textgym.types import Interval


@dataclass(frozen=True)
class Args:
    """The settings of the example."""

    env_id: str = "TextSumm-v1"
    """token-level environment"""
    model: str = "tiny-hurried"
    """start model, whose texts are compared"""
    questions: int = 400
    """pairs of texts that are compared"""
    steps: int = 100
    """optimizer steps"""
    beta: float = 0.1
    """strength of the KL constraint to the start model"""
    learning_rate: float = 1e-4
    """peak learning rate"""
    eval_prompts: int = 100
    """held-out prompts, before and after"""
    seed: int = 0
    """same seed, same result"""
    out: Path = Path("runs/dpo-from-feedback")
    """folder of the project with the answers, the plot and the model"""


def collect(args: Args, project: Path) -> None:
    """Let a simulated person compare two texts of the model about each of some documents, and keep the answers."""
    env, rng = make_vec_env(args.env_id, model=args.model), np.random.default_rng(args.seed)
    task = env.get_attr("task")[0]
    gold = GoldReward(task)
    person = SimulatedPerson(lambda texts, keys: gold(texts, texts, [task.dataset.find(key) for key in keys]), rng)
    places = rng.choice(len(task.dataset), args.questions, replace=False)
    examples = [task.dataset[int(place)] for place in places]
    sampling = Sampling(task.max_prompt_tokens, task.max_new_tokens, seed=args.seed)
    texts = sample_texts(load_language_model(args.model), task, examples * 2, sampling).texts
    prompts, keys = [prompt_text(task, example) for example in examples], [example.key for example in examples]
    questions = make_questions(prompts, keys, texts[: args.questions], texts[args.questions :])
    with FeedbackStore(project) as store:
        store.add_votes((f"question {number}", answer) for number, answer in enumerate(person.answer(questions)))


def main(args: Args) -> dict[str, Interval]:
    """Collect answers, train on them, draw what happened, and return the paired change of every measure."""
    args.out.mkdir(parents=True, exist_ok=True)
    project = args.out / "votes.db"
    project.unlink(missing_ok=True)
    collect(args, project)
    env = make_vec_env(args.env_id, model=args.model, reward="gold")
    agent = DPO.create(
        env, args.model, feedback=project, beta=args.beta, learning_rate=args.learning_rate, seed=args.seed
    )
    asked = make_evaluation_set(args.env_id, "gold", args.eval_prompts, args.seed)
    task = env.get_attr("task")[0]
    accuracy = [agent.measures(task)["preference_accuracy"]]
    before = evaluate(agent, asked, reference=load_language_model(args.model))
    agent.learn(args.steps)
    accuracy.append(agent.measures(task)["preference_accuracy"])
    after = evaluate(agent, asked, reference=load_language_model(args.model))
    plot(agent.history, [each.measures.intervals()["gold"] for each in (before, after)], args.out / "learning.png")
    agent.text_model.save_pretrained(args.out / "model")
    print(f"accuracy on held-out preferences: {accuracy[0]:.2f} -> {accuracy[1]:.2f}")
    return compare(before=before, after=after)


def plot(history: Sequence[dict[str, float]], gold: Sequence[Interval], out: Path) -> None:
    """Draw the implied rewards of both texts through training, and the true quality before and after."""
    figure = Figure(figsize=(9, 4))
    rewards, quality = figure.subplots(1, 2)
    steps = [record["timesteps"] for record in history]
    for name in ("reward_chosen", "reward_rejected"):
        rewards.plot(steps, [record[name] for record in history], label=name.removeprefix("reward_"), marker=".")
    rewards.set(xlabel="optimizer steps", ylabel="implied reward")
    rewards.legend()
    means = [each.mean for each in gold]
    errors = [[each.mean - each.low for each in gold], [each.high - each.mean for each in gold]]
    quality.errorbar(["before", "after"], means, errors, marker="o", capsize=4)
    quality.set(ylabel="gold of held-out texts, 95 % intervals")
    figure.savefig(out)


if __name__ == "__main__":
    from command_line import read_args

    args = read_args(Args)
    for name, change in main(args).items():
        print(f"{name:12} {change.mean:+.3f} [{change.low:+.3f}, {change.high:+.3f}]")
    print(f"plot: {args.out / 'learning.png'}")
