"""Compare agents from a notebook: a model at several temperatures, and a baseline that no model may fall behind.

All answer the same prompts, so differences are paired, and small ones show. Takes some minutes on two CPU cores:

    python examples/evaluation.py
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from textgym.agents import make_vec_env, resolve_agent
from textgym.evaluation import Measures, compare, evaluate, make_evaluation_set
from textgym.models import load_language_model
from textgym.types import Interval


@dataclass(frozen=True)
class Args:
    """The settings of the example."""

    env_id: str = "TextSumm-v0"
    """a text environment, as `textgym envs` lists them"""
    model: str = "tiny"
    """shipped model, a run folder, a Hugging Face folder or a Hub id"""
    reward: str = "rouge"
    """what is measured; a name or `module:attribute`"""
    temperatures: tuple[float, ...] = (1.0, 0.7, 0.0)
    """0 takes the most likely token"""
    prompts: int = 200
    """of the test split, the same ones for everybody"""
    seed: int = 0
    """same seed, same result"""
    out: Path = Path("runs/evaluation.png")
    """where the plot goes"""


def measure(args: Args) -> dict[str, Measures]:
    """Sample and score; measures hold one number per text, not yet a mean."""
    model = load_language_model(args.model)
    found = {}
    for temperature in args.temperatures:
        questions = make_evaluation_set(args.env_id, args.reward, args.prompts, args.seed, temperature=temperature)
        found[f"{args.model}, T = {temperature:g}"] = evaluate(model, questions).measures
    env = make_vec_env(args.env_id, n_envs=1, seed=args.seed)
    lead = resolve_agent("scripted").create(env, seed=args.seed)  # repeats the first sentence
    found["first sentence"] = evaluate(lead, make_evaluation_set(args.env_id, args.reward, args.prompts)).measures
    return found


def table(found: Mapping[str, Measures], names: tuple[str, ...]) -> str:
    """Write means with 95 % intervals, one row per agent."""
    rows = [f"{'':16}" + "".join(f"{name:>24}" for name in names)]
    for title, measures in found.items():
        intervals = measures.intervals()
        cells = [_cell(intervals[name]) if name in intervals else "" for name in names]
        rows.append(f"{title:16}" + "".join(f"{cell:>24}" for cell in cells))
    return "\n".join(rows)


def _cell(interval: Interval) -> str:
    return f"{interval.mean:.3f} [{interval.low:.3f}, {interval.high:.3f}]"


def plot(found: Mapping[str, Measures], name: str, out: Path) -> None:
    """Draw one measure of every agent with its interval."""
    intervals = [measures.intervals()[name] for measures in found.values()]
    errors = [[each.mean - each.low for each in intervals], [each.high - each.mean for each in intervals]]
    figure = Figure(layout="constrained")
    axes = figure.add_subplot(xlabel=f"{name}, 95 % interval")
    axes.errorbar([each.mean for each in intervals], range(len(intervals)), xerr=errors, fmt="o", capsize=3)
    axes.set_yticks(range(len(intervals)), list(found))
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out)


def main(args: Args) -> dict[str, Measures]:
    """Measure everybody and draw the reward."""
    found = measure(args)
    plot(found, "reward", args.out)
    return found


if __name__ == "__main__":
    from command_line import read_args

    args = read_args(Args)
    found = main(args)
    print(table(found, ("reward", "gold", "words")))
    first, *others = found
    for other in others:
        difference = compare(before=found[first], after=found[other])["reward"]
        print(f"{other} minus {first}: reward {_cell(difference)}")
    print(f"plot: {args.out}")
