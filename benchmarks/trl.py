"""The same training by textgym and by TRL: ``textgym bench trl --trl-python OTHER/bin/python``.

TRL runs in an environment of its own, whose Python is named; textgym has to be installed there too. TRL up to 1.12, the
last release with a PPO trainer, is compared by PPO; later ones by GRPO and RLOO. Both sides begin with the start model
of TextSumm-v1, have gold as reward, the same prompts, and the same settings of rollouts and optimizer. In each
repetition textgym trains first, and then TRL on as many texts, asked by the prompts that textgym's agent had drawn.
Seconds are those of the training alone. Afterwards start model and both results answer the same held-out prompts.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.callbacks import BaseCallback

from benchmarks import trl_side
from benchmarks.harness import Measurement, Options, Report
from benchmarks.trl_side import Job
from textgym import console
from textgym.agents import GRPO, PPO, RLOO, CausalLMPolicy, make_vec_env
from textgym.envs.choice import EnvChoice
from textgym.errors import TextGymError
from textgym.evaluation.core import Evaluation, evaluate, make_evaluation_set
from textgym.evaluation.loading import load_model
from textgym.hub import resolve_folder
from textgym.metrics import mean_interval, paired_difference_interval
from textgym.rewards import resolve_reward
from textgym.types import Example, FloatArray, Interval, RewardFn

ENV, REWARD = "TextSumm-v1", "gold"
AGENTS: Mapping[str, Any] = {"ppo": PPO, "grpo": GRPO, "rloo": RLOO}
PPO_KINDS: Mapping[str, Mapping[str, Any]] = {
    "": {"critic": "separate"},  # TRL's value model is one of its own
    ", carry": {"critic": "separate", "unfinished_texts": "carry"},  # whole texts, as TRL's
    ", carry, shared critic": {"critic": "shared", "unfinished_texts": "carry"},
}
"""Kinds of textgym's PPO, the first of which gives TRL its prompts."""
MEASURES = ("gold", "kl", "length")


class TrlSideError(TextGymError, RuntimeError):
    """No Python with TRL was named, or what it ran has failed."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Sizes of a comparison.

    Attributes:
        tokens: Response tokens to train on.
        copies: Environments, and texts of a rollout of agents that learn from whole texts.
        group: Texts for each prompt of these agents.
        minibatches, epochs: Optimizer steps per pass over a rollout, and passes.
        response: Most tokens of a response.
        prompts: Held-out prompts of the evaluation.
        learning_rate, kl_coef: Peak learning rate, and KL penalty coefficient.
    """

    tokens: int = 12_500
    copies: int = 32
    group: int = 4
    minibatches: int = 2
    epochs: int = 2
    response: int = 48
    prompts: int = 200
    learning_rate: float = 3e-4
    kl_coef: float = 0.02

    @property
    def texts(self) -> int:
        """Texts of a rollout of TRL's PPO: about as many tokens as a rollout of textgym's, in which texts may go on."""
        return 2 * self.copies

    @property
    def batch(self) -> int:
        """Tokens per optimizer step of textgym's PPO: as many steps as TRL takes."""
        return self.copies * self.response // self.minibatches

    def smaller(self) -> Sizes:
        """The same in tiny sizes, for a smoke test."""
        return replace(self, tokens=8, copies=4, group=2, epochs=1, response=6, prompts=4)


@dataclass(slots=True)
class Outcome:
    """One training: how long it took, how many response tokens it was of, and the model that came of it."""

    seconds: float
    tokens: int
    model: Path


class ScoredTexts:
    """A reward that remembers the examples it was asked about, as rows for TRL, by their prompts."""

    def __init__(self, reward: RewardFn) -> None:
        self.reward, self.rows = reward, dict[str, dict[str, Any]]()

    def __call__(self, prompts: Sequence[str], responses: Sequence[str], examples: Sequence[Example]) -> FloatArray:
        """Score texts."""
        for prompt, example in zip(prompts, examples, strict=True):
            self.rows[prompt] = {"prompt": prompt, "task_key": example.key, "task_split": "train"}
        return np.asarray(self.reward(prompts, responses, examples), dtype=np.float64)


@dataclass
class Drawn(BaseCallback):
    """Counts the tokens that an agent learns from, and keeps the prompts they answer, one for each group of texts."""

    group: int
    tokens: int = 0
    prompts: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        agent: Any = self.model
        self.tokens += int(agent.rollout_buffer.counted.sum())
        begun = [each for each in agent.rollout_buffer.segments() if len(each.prefix) == each.prompt_length]
        begun.sort(key=lambda segment: segment.text)
        ids = [segment.prefix.tolist() for segment in begun[:: self.group]]
        self.prompts += agent.text_model.tokenizer.decode_batch(ids, strip=False)


def run(options: Options) -> Report:
    """Train with both sides, as often as there are repetitions, each with a seed of its own.

    Raises:
        TrlSideError: No Python with TRL was named, or TRL failed.
    """
    python, trl = options.trl_python, describe_trl(options.trl_python)
    sizes = Sizes().smaller() if options.smoke else Sizes()
    about = make_evaluation_set(ENV, REWARD, prompts=sizes.prompts, max_new_tokens=sizes.response)
    report = Report(
        "trl",
        f"Training on {sizes.tokens:,} tokens of {ENV} by textgym and by TRL {trl['version']}",
        [],
        notes=[
            "The ratio is the time per token over TRL's, of trainings one after the other.",
            "Memory is not compared: TRL runs in a process of its own.",
        ],
    )
    report.figures["TRL"] = trl["version"]
    model = load_model(str(start_folder()), options.device)
    start = evaluate(model, about, reference=model, title="start model")
    for method in ("ppo",) if trl["ppo"] else ("grpo", "rloo"):
        trl_name, *own_names = names_of(method)
        items = {name: Measurement(name, [], [], {}, trl_name, None) for name in own_names}
        items |= {trl_name: Measurement(trl_name, [], [], {}, None, None)}
        results: dict[str, list[Evaluation]] = {name: [] for name in names_of(method)}
        for seed in range(options.repetitions):
            with tempfile.TemporaryDirectory() as folder:
                for name, outcome in train_all(method, sizes, seed, Path(folder), str(python)).items():
                    items[name].seconds.append(outcome.seconds)
                    items[name].work.append(outcome.tokens)
                    trained = load_model(str(outcome.model), options.device)
                    results[name].append(evaluate(trained, about, reference=model, title=name))
        report.measurements += [items[name] for name in results]
        for name in own_names:
            report.figures[f"{name}, times as fast as TRL"] = round(1 / (report.ratio(items[name]) or 1.0), 2)
            report.figures |= compared(results, (trl_name, name))
        columns = {"start model": [start], **results}
        report.scores[f"{method.upper()}, held-out prompts"] = {name: means(each) for name, each in columns.items()}
    return report


def names_of(method: str) -> list[str]:
    """Return the names of all trainings by a method: TRL's, then textgym's."""
    return [f"TRL {method.upper()}"] + [f"textgym {method.upper()}{kind}" for kind in kinds_of(method)]


def kinds_of(method: str) -> Mapping[str, Mapping[str, Any]]:
    """Return the kinds of a method that textgym is measured with, and what the policy or agent is told for each."""
    return PPO_KINDS if method == "ppo" else {"": {}}


def train_all(method: str, sizes: Sizes, seed: int, folder: Path, python: str) -> dict[str, Outcome]:
    """Train with both sides, with textgym in all kinds; the prompts of the first are TRL's."""
    trl_name, *own_names = names_of(method)
    outcomes: dict[str, Outcome] = {}
    for name, settings in zip(own_names, kinds_of(method).values(), strict=True):
        outcomes[name], rows = train_ours(method, sizes, seed, folder / f"ours-{len(outcomes)}", settings)
        if trl_name not in outcomes:
            outcomes[trl_name] = train_theirs(python, job_of(method, sizes, seed, rows, folder / "theirs"))
    return outcomes


def describe_trl(python: Path | None) -> dict[str, Any]:
    """Return the version of TRL that a Python has, and whether that has a PPO trainer.

    Raises:
        TrlSideError: No Python was named, or it has no TRL.
    """
    if python is None:
        raise TrlSideError(
            "expected --trl-python, the Python of an environment with TRL, got none; make one, install textgym and "
            "'trl>=1.16' there (for PPO: 'trl<1.13'), and name its bin/python"
        )
    described: dict[str, Any] = json.loads(_run_side(str(python)))
    return described


def start_folder() -> Path:
    """Return the folder of the model that both sides begin with."""
    return resolve_folder(EnvChoice(ENV).start_model(), kind="model")


def train_ours(
    method: str, sizes: Sizes, seed: int, folder: Path, settings: Mapping[str, Any]
) -> tuple[Outcome, list[dict[str, Any]]]:
    """Train an agent of textgym, and return what came of it and the rows of TRL's data set: the prompts it had."""
    options = dict(settings)
    critic = {"critic": options.pop("critic")} if "critic" in options else {}
    scored = ScoredTexts(resolve_reward(REWARD, EnvChoice(ENV).make("train")))
    budgets = {"model": str(start_folder()), "max_new_tokens": sizes.response}
    with_groups = method != "ppo"
    steps: dict[str, Any] = {"batch_size": sizes.batch}
    if with_groups:
        steps = {"group_size": sizes.group, "n_minibatches": sizes.minibatches}
    if method == "grpo":
        steps["unbiased_kl"] = True  # as in TRL, by default
    env = make_vec_env(ENV, sizes.copies, seed=seed, reward=scored, **budgets)
    agent = AGENTS[method](
        CausalLMPolicy,
        env,
        **steps,
        **options,
        n_epochs=sizes.epochs,
        learning_rate=sizes.learning_rate,
        kl_coef=sizes.kl_coef,
        max_grad_norm=1.0,
        seed=seed,
        device="cpu",
        policy_kwargs={
            "model": str(start_folder()),
            "optimizer_kwargs": {"eps": 1e-5, "weight_decay": 0.0, "fused": True},
            **critic,
        },
    )
    drawn = Drawn(sizes.group if with_groups else 1)
    start = time.perf_counter()
    agent.learn(sizes.tokens, callback=drawn)
    seconds = time.perf_counter() - start
    agent.policy.save_pretrained(folder)
    env.close()
    rows = [scored.rows[prompt] for prompt in drawn.prompts if prompt in scored.rows]
    return Outcome(seconds, drawn.tokens, folder), rows


def job_of(method: str, sizes: Sizes, seed: int, rows: Sequence[Mapping[str, Any]], folder: Path) -> Job:
    """Return the same training for TRL."""
    is_ppo = method == "ppo"
    texts = sizes.texts if is_ppo else sizes.copies
    return Job(
        method=method,
        env_id=ENV,
        reward=REWARD,
        model=str(start_folder()),
        folder=str(folder),
        rows=(list(rows) * texts)[: max(texts, len(rows))] if is_ppo else rows,  # PPO needs one whole rollout
        texts=texts,
        group=1 if is_ppo else sizes.group,
        minibatches=sizes.minibatches,
        epochs=sizes.epochs,
        response=sizes.response,
        learning_rate=sizes.learning_rate,
        kl_coef=sizes.kl_coef,
        seed=seed,
        threads=torch.get_num_threads(),
    )


def train_theirs(python: str, job: Job) -> Outcome:
    """Let TRL do a job.

    Raises:
        TrlSideError: It failed.
    """
    folder = Path(job.folder)
    folder.mkdir(parents=True)
    job.save(folder / "job.json")
    _run_side(python, str(folder / "job.json"))
    outcome = json.loads((folder / "outcome.json").read_text(encoding="utf-8"))
    return Outcome(outcome["seconds"], outcome["tokens"], folder / "model")


def _run_side(python: str, *arguments: str) -> str:
    """Run TRL's side with another Python, and return the last line that it prints."""
    command = [python, "-P", str(Path(trl_side.__file__)), *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        lines = result.stderr.strip().splitlines()
        raise TrlSideError(
            f"expected {python} to run TRL, got {lines[-1] if lines else 'no output'!r}; install trl and textgym there"
        )
    return result.stdout.strip().splitlines()[-1] if result.stdout.strip() else ""


def means(evaluations: Sequence[Evaluation]) -> dict[str, Interval]:
    """Return the means of some measures over all seeds, with intervals clustered by prompt."""
    return {name: mean_interval(*_joined(evaluations, name)) for name in MEASURES}


def compared(results: Mapping[str, Sequence[Evaluation]], names: tuple[str, str]) -> dict[str, str]:
    """Return the differences of the reward, the second name's minus the first's: over prompts, of seeds, over seeds."""
    (theirs, prompts), (ours, _) = (_joined(results[name], REWARD) for name in names)
    differences = differences_of_seeds(results, names)
    found = {
        f"{names[1]} minus {names[0]}, {REWARD}": console.with_bounds(
            paired_difference_interval(ours, theirs, prompts)  # paired by seed and prompt
        ),
        f"{names[1]}, the same for each seed": ", ".join(f"{each:.3f}" for each in differences),
    }
    if len(differences) > 1:
        found[f"{names[1]}, the same over seeds"] = console.with_bounds(mean_interval(differences, share=False))
    return found


def differences_of_seeds(results: Mapping[str, Sequence[Evaluation]], names: tuple[str, str]) -> list[float]:
    """Return the difference of the mean reward of each seed, the second name's minus the first's."""
    theirs, ours = ([float(each.measures.values[REWARD].mean()) for each in results[name]] for name in names)
    return [right - left for left, right in zip(theirs, ours, strict=True)]


def _joined(evaluations: Sequence[Evaluation], name: str) -> tuple[FloatArray, list[str]]:
    """Return a measure of the texts of several evaluations, and the keys of their prompts."""
    values = np.concatenate([each.measures.values[name] for each in evaluations])
    return values, [episode.example.key for each in evaluations for episode in each.episodes]
