"""Scores of every built-in task: random tokens, the start model, and a reference: ``textgym bench tasks``.

Each task is asked about the same test examples: by an agent that writes random tokens, by the shipped start model at
temperatures 1 and 0, and by one that writes the reference. Quality is gold, or the default reward where the data do not
know it. What is not clearly in the order *reference, start model, random tokens* is noted: there the interval of the
paired difference reaches 0. docs/tasks.md has the tables; ``python -P tools/tasks_page.py --measure`` writes them.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import gymnasium as gym

from benchmarks.harness import Measurement, Options, Report
from textgym import console
from textgym.agents.fixed import Random, Scripted
from textgym.envs.choice import EnvChoice, is_episode_level
from textgym.evaluation.core import Evaluation, evaluate, make_evaluation_set
from textgym.evaluation.loading import load_model
from textgym.evaluation.measures import compare
from textgym.metrics.texts import TEXT_METRICS
from textgym.registration import registered_ids
from textgym.rewards import reward_name
from textgym.tasks.base import exemplary
from textgym.types import Interval

ITEMS, SEED = 200, 0
RANDOM, START, GREEDY, REFERENCE = "random tokens", "start model", "start model, temperature 0", "reference"
ORDER = ((REFERENCE, START), (REFERENCE, GREEDY), (START, RANDOM), (GREEDY, RANDOM), (REFERENCE, RANDOM))
"""Pairs of writers of which the first should be better."""
_SMOKE_ITEMS = 4


@dataclass(frozen=True, slots=True)
class TaskScores:
    """Evaluations of one task by writer, on the same examples.

    Attributes:
        env_id: Token-level id.
        evaluations: Evaluation of each writer; a task without references has none of these.
        reward: Name of the default reward.
        metrics: Names of the task's own metrics, or, where it has none, of those of any text.
    """

    env_id: str
    evaluations: Mapping[str, Evaluation]
    reward: str
    metrics: Sequence[str]

    @property
    def quality(self) -> str:
        """The measure that writers are compared by: gold, or the default reward where the data do not know it."""
        return "gold" if "gold" in self.evaluations[START].measures.names() else "reward"

    def means(self) -> dict[str, Mapping[str, Interval]]:
        """Return quality, default reward and metrics of every writer."""
        wanted = ("gold", "reward", *self.metrics)
        found = {name: each.measures.intervals() for name, each in self.evaluations.items()}
        return {name: {key: means[key] for key in wanted if key in means} for name, means in found.items()}

    def leads(self, measure: str) -> dict[tuple[str, str], Interval]:
        """Return the mean paired difference of a measure, by pairs of :data:`ORDER`."""
        known = [(first, second) for first, second in ORDER if {first, second} <= self.evaluations.keys()]
        sides = self.evaluations
        return {pair: compare(before=sides[pair[1]], after=sides[pair[0]])[measure] for pair in known}

    def doubts(self) -> list[str]:
        """Return the pairs whose first writer is not clearly better, by quality or default reward, as sentences."""
        found = []
        for measure in dict.fromkeys((self.quality, "reward")):
            for (first, second), lead in self.leads(measure).items():
                if not lead.low > 0:
                    name = f"the default reward, {self.reward}" if measure == "reward" else measure
                    found.append(f"{first} not clearly above {second} in {name}: {console.with_bounds(lead)}")
        return found


def built_in_ids() -> list[str]:
    """Return the token-level ids of the tasks that come with the package, as they are registered, sorted."""
    sources = {env_id: gym.registry[env_id].kwargs["task"] for env_id in registered_ids()}
    ours = [env_id for env_id, source in sources.items() if str(source).startswith("textgym.tasks.")]
    return [env_id for env_id in ours if not is_episode_level(env_id)]


def scores_of(env_id: str, items: int = ITEMS, device: str = "cpu") -> TaskScores:
    """Evaluate all writers on the first test examples of a task."""
    choice = EnvChoice(env_id)
    likely = make_evaluation_set(choice, prompts=items, seed=SEED, temperature=0.0)
    sampled = replace(likely, sampling=replace(likely.sampling, temperature=1.0))
    task, model = sampled.task, load_model(choice.start_model(), device)
    found = {
        RANDOM: evaluate(Random.create(gym.make(env_id)), sampled, title=f"{env_id}, {RANDOM}"),
        START: evaluate(model, sampled, title=f"{env_id}, {START}"),
        GREEDY: evaluate(model, likely, title=f"{env_id}, {GREEDY}"),
    }
    if any(exemplary(task, example) for example in sampled.examples):
        found[REFERENCE] = evaluate(Scripted("reference", task), sampled, title=f"{env_id}, {REFERENCE}")
    own = [name for name in task.metrics if name not in TEXT_METRICS]
    return TaskScores(env_id, found, reward_name(task.reward), own or list(TEXT_METRICS))


def run(options: Options) -> Report:
    """Score all tasks once, whatever the number of repetitions."""
    items = _SMOKE_ITEMS if options.smoke else ITEMS
    report = Report("tasks", f"Scores of every built-in task on {items} test examples", [], "texts")
    for env_id in built_in_ids():
        start = time.perf_counter()
        scores = scores_of(env_id, items, options.device)
        seconds = time.perf_counter() - start
        texts = sum(len(each.episodes) for each in scores.evaluations.values())
        report.measurements.append(Measurement(env_id, [seconds], [texts], {}, None, None))
        report.scores[f"{env_id}, reward {scores.reward}"] = scores.means()
        for (first, second), lead in scores.leads(scores.quality).items():
            report.figures[f"{env_id}, {first} minus {second}, {scores.quality}"] = console.with_bounds(lead)
        report.notes += [f"{env_id}: {doubt}" for doubt in scores.doubts()]
        if REFERENCE not in scores.evaluations:
            report.notes.append(f"{env_id}: no references, so no answer that is known to be good.")
    return report
