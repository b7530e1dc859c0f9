"""The steps of a round of learning from feedback. Each leaves a file behind; what has left its file is not done again.

Whatever is random in a step follows from (seed, round, step), so that an interrupted run asks the same questions and
gets the same simulated answers as one that was left alone.
"""

from __future__ import annotations

import contextlib
import math
import time
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from textgym.agents.facts import facts_of, unit_of
from textgym.agents.options import OptionValue, agent_options
from textgym.agents.registry import resolve_agent
from textgym.checks import SEEDS
from textgym.errors import DataError, NoCheckpointError
from textgym.evaluation.core import Evaluation, EvaluationSet
from textgym.evaluation.loading import load_model
from textgym.evaluation.measures import Measures, measure
from textgym.evaluation.reward_guard import guarded_reward
from textgym.feedback import FeedbackStore, Habits, Panel, SimulatedPerson, reward_scorer, simulated_people, win_rates
from textgym.feedback.annotators.by_reward import annotator_reward
from textgym.feedback.records.parsing import question_from_json, question_to_json
from textgym.feedback.statistics.strengths import WinRates
from textgym.feedback.types import Annotator, Question
from textgym.metrics.intervals import clustered_proportion_interval, proportion_interval
from textgym.models.checkpoint import set_aside
from textgym.models.device import release_memory
from textgym.plots import Row
from textgym.reward_models import EmbeddingRewardModel, RewardEnsemble, load_reward, select_pairs
from textgym.reward_models.evidence import read_split
from textgym.rewards import GoldReward
from textgym.rlhf.questions import question_about
from textgym.rlhf.questions import write_texts as texts_by_writers
from textgym.rlhf.settings import RLHF, RlhfSettings
from textgym.training.preparation import Training, begin, resume
from textgym.training.results import read_texts, write_texts
from textgym.training.reward import fit_reward, new_reward, note_accuracy
from textgym.training.reward_feedback import reference_texts
from textgym.training.reward_report import report_as_json, show_report
from textgym.training.run_folder import RunFolder, intervals_as_json
from textgym.training.train import complete
from textgym.training.train_settings import TrainSettings, train_settings
from textgym.types import Example, Interval, Task

__all__ = [
    "Loop",
    "RlhfSettings",
    "Round",
    "quality_measure",
    "results",
    "run_round",
    "simulated_panel",
    "training_of",
    "win_rate",
]
_CANDIDATES, _QUESTIONS = "candidates.jsonl", "questions.jsonl"
_SPARE = 1.3  # texts of a good policy are often equal, and nobody can tell these apart
_POOL = 3.0  # pairs to choose one from, where the choice is not left to chance
_SAVE_EVERY = 2


@dataclass(frozen=True, slots=True)
class Loop:
    """What all rounds share: the folder, the settings, the task on its training split, and all feedback so far.

    Attributes:
        accept_changed_data: Go on although the data is not what the run began with.
    """

    run: RunFolder
    settings: RlhfSettings
    task: Task
    store: FeedbackStore
    accept_changed_data: bool = False

    def policy(self, number: int) -> str:
        """The model after a round; that of round 0 is the one to start with."""
        return str(self.folder(number).model.resolve()) if number else self.settings.model

    def folder(self, number: int) -> RunFolder:
        """Files of a round."""
        return RunFolder(self.run.path / f"round-{number}")


@dataclass(frozen=True, slots=True)
class Round:
    """One round of a loop.

    Attributes:
        loop: What it is a round of.
        number: From 1 on. One after the last, which nothing is learnt in, compares the last two policies.
    """

    loop: Loop
    number: int

    @property
    def folder(self) -> RunFolder:
        """Its files."""
        return self.loop.folder(self.number)

    @property
    def compares_only(self) -> bool:
        """Return whether it only compares the last two policies."""
        return self.number > self.loop.settings.rounds

    def rng(self, step: str) -> np.random.Generator:
        """Source of everything random in a step."""
        return np.random.default_rng([self.loop.settings.seed, self.number, zlib.crc32(step.encode())])

    def seed(self, step: str) -> int:
        """The same, as a number."""
        return int(self.rng(step).integers(SEEDS))

    def wanted(self) -> tuple[int, int]:
        """Return how many questions to ask: about two texts of the policy, and about one of it and one from before."""
        settings = self.loop.settings
        previous = round(settings.previous_share * settings.labels) if self.number > 1 else 0
        return (0 if self.compares_only else settings.labels - previous), previous


def run_round(round_: Round, ask: Callable[[Round], Annotator]) -> None:
    """Do whatever is left of a round.

    Args:
        round_: The round.
        ask: Gives the annotator of a round.
    """
    _make_folder(round_)
    with round_.folder:  # `textgym train --resume` of a round could otherwise come between
        for step in (sample_candidates, choose_questions):
            step(round_)
        collect_answers(round_, ask)
        if not round_.compares_only:
            fit(round_)
            train(round_)
            release_memory()


def _make_folder(round_: Round) -> None:
    folder = round_.folder
    folder.path.mkdir(parents=True, exist_ok=True)
    if not folder.path.joinpath("config.json").is_file():
        # `textgym evaluate --model RUN/round-2` compares with the model that is named here.
        folder.write_config({"command": "rlhf round", "settings": {"model": round_.loop.settings.model}})


# ------------------------------------------------------------------------ sample
def sample_candidates(round_: Round) -> list[Question]:
    """Let the policy write two texts about prompts of the training split, or it and the policy before one each.

    Rounds draw different prompts while there are any. Pairs of equal texts are left out.

    Raises:
        DataError: All texts are equal.
    """
    known = _read(round_, _CANDIDATES)
    if known:
        return known
    with _timed(round_, "sample"):
        loop, rng = round_.loop, round_.rng("sample")
        current, before = round_.number - 1, max(round_.number - 2, 0)
        writers = [[current, current]] * _pool(round_)[0] + [[current, before]] * _pool(round_)[1]
        rows = [[writer[place] for place in rng.permutation(2)] for writer in writers]
        examples = _prompts(round_, len(rows))
        names = tuple(dict.fromkeys((loop.policy(current), loop.policy(before))))
        policies = [[loop.policy(each) for each in row] for row in rows]
        seed, device = round_.seed("texts"), loop.settings.device
        written = texts_by_writers(names, loop.task, examples, policies, seed=seed, device=device)
        titles = [[f"round-{each}" for each in row] for row in rows]
        asked = [question_about(loop.task, *about) for about in zip(written, titles, strict=True)]
        questions = list(dict.fromkeys(question for question in asked if question is not None))
    if not questions:
        raise DataError("expected a policy that writes different texts about a prompt, got equal ones only; lower --lr")
    return _write(round_, _CANDIDATES, questions)


def _pool(round_: Round) -> tuple[int, int]:
    own, previous = round_.wanted()
    factor = _POOL if round_.loop.settings.select == "disagreement" and round_.number > 1 else _SPARE
    return math.ceil(factor * own), math.ceil(_SPARE * previous)


def _prompts(round_: Round, count: int) -> list[Example]:
    """The next examples of an order that all rounds share."""
    dataset, settings = round_.loop.task.dataset, round_.loop.settings
    order = np.random.default_rng([settings.seed, len(dataset)]).permutation(len(dataset))
    most = math.ceil(max(_POOL if settings.select == "disagreement" else 0, _SPARE) * settings.labels) + 2
    first = (round_.number - 1) * most
    return [dataset[int(order[place % len(order)])] for place in range(first, first + count)]


# ------------------------------------------------------------------------ choose
def choose_questions(round_: Round) -> list[Question]:
    """Choose what to ask: at random, or where the members of the last reward disagree.

    Comparisons with the policy of the round before are always random.
    """
    known = _read(round_, _QUESTIONS)
    if known:
        return known
    with _timed(round_, "choose"):
        rng, (own, previous) = round_.rng("choose"), round_.wanted()
        candidates = sample_candidates(round_)
        pairs = [question for question in candidates if len(set(question.generators)) == 1]
        others = [question for question in candidates if len(set(question.generators)) > 1]
        if round_.loop.settings.select == "disagreement" and round_.number > 1:
            committee = load_reward(round_.loop.folder(round_.number - 1).reward, round_.loop.settings.device)
            assert isinstance(committee, RewardEnsemble | EmbeddingRewardModel)
            pairs = select_pairs(committee, pairs, own, rng)
        chosen = pairs[:own] + others[:previous]
        seeds = rng.integers(2**31, size=len(chosen))
        ordered = [replace(question, order_seed=int(seed)) for question, seed in zip(chosen, seeds, strict=True)]
    return _write(round_, _QUESTIONS, [ordered[place] for place in rng.permutation(len(ordered))])


# --------------------------------------------------------------------------- ask
def collect_answers(round_: Round, ask: Callable[[Round], Annotator]) -> None:
    """Have the questions of a round answered; what was answered before is in the store, and not asked again.

    Raises:
        DataError: It is not in the store.
    """
    known = round_.folder.summary().get("labels")
    if known is not None:
        if known and not round_.loop.store.progress().votes:
            raise DataError(
                f"expected {known} answers of round {round_.number} in {str(round_.loop.store.path)!r}, got none; put "
                "the file back, or start a new run"
            )
        return
    with _timed(round_, "ask"):
        ask(round_).answer(choose_questions(round_))
        _note(round_, {"labels": round_.loop.store.progress().votes})


def simulated_panel(round_: Round) -> Panel:
    """Simulated people who compare by a reward."""
    loop, settings, rng = round_.loop, round_.loop.settings, round_.rng("people")
    by = annotator_reward(loop.task, settings.annotator, guarded_reward)
    keys = {question.task_key for question in choose_questions(round_)}
    score = reward_scorer(by.reward, {key: loop.task.dataset.find(key) for key in keys})
    habits = Habits(noise=by.noise if settings.noise is None else settings.noise)
    people: list[SimulatedPerson] = simulated_people(score, settings.annotators, rng, habits)
    return Panel(loop.store, people, overlap=settings.overlap)


# --------------------------------------------------------------------------- fit
def fit(round_: Round) -> None:
    """Fit a new reward to all answers so far."""
    folder, settings, task = round_.folder, round_.loop.settings, round_.loop.task
    if "accuracy" in folder.summary():
        return
    with _timed(round_, "fit"):
        trunk, seed = load_model(settings.model, settings.device), round_.seed("fit")
        records = round_.loop.store.records()
        split = read_split(records, seed=seed)
        embeddings, members, device = settings.embeddings, settings.members, settings.device
        reward = new_reward(task, trunk, embeddings=embeddings, members=members, device=device)
        report = fit_reward(
            folder,
            reward,
            split,
            reference_texts(task, records, split),
            seed=seed,
            epochs=settings.reward_epochs,
            learning_rate=settings.reward_learning_rate,
        )
        show_report(report)
        note_accuracy(round_.loop.store, report)
        _note(round_, report_as_json(report))


# ------------------------------------------------------------------------- train
def train(round_: Round) -> None:
    """Let the agent improve the policy on the new reward; measure it, and how often it beats the policy before.

    The KL penalty is to the model that the first round started from.
    """
    if "win_rate" in round_.folder.summary():
        return
    with _timed(round_, "train"):
        training = _begin_or_resume(round_)
        if round_.number > 1:
            _score_again(round_, training.eval_set)
        before, after = complete(training)
        rate = win_rate(after.measures, before.measures, round_.loop.task.main_metric)
        _note(round_, {"win_rate": None if rate is None else intervals_as_json({"": rate})[""]})


def _begin_or_resume(round_: Round) -> Training:
    folder = round_.folder
    if "train" in folder.config() and any(folder.checkpoints.glob("step-*")):
        with contextlib.suppress(NoCheckpointError):  # each of them has been named
            return resume(folder, accept_changed_data=round_.loop.accept_changed_data)
    folder.truncate_logs(-1)  # of a beginning that came to nothing
    set_aside(folder.checkpoints)  # being newer by name, damaged ones would push out those to come
    return begin(training_of(round_), folder, accept_changed_data=round_.loop.accept_changed_data)


def training_of(round_: Round) -> TrainSettings:
    """Return the settings of an agent in a round: those of the recipe that it has."""
    loop = round_.loop
    settings, task = loop.settings, loop.task
    kind = resolve_agent(settings.agent)
    recipe: dict[str, OptionValue] = {
        facts_of(kind).reference_option: settings.model,
        **RLHF,
        "learning_rate": settings.learning_rate,
        "kl_coef": settings.kl_coef,
    }
    known = {option.name for option in agent_options(kind)}
    return train_settings(
        settings.choice,
        settings.agent,
        options={name: value for name, value in recipe.items() if name in known},
        model=loop.policy(round_.number - 1),
        reward=str(round_.folder.reward.resolve()),
        steps=settings.iterations * settings.n_envs * (task.max_new_tokens if unit_of(kind) == "tokens" else 1),
        n_envs=settings.n_envs,
        max_prompt_tokens=settings.max_prompt_tokens,
        max_new_tokens=settings.max_new_tokens,
        eval_prompts=settings.eval_prompts,
        seed=round_.seed("train"),
        save_every=_SAVE_EVERY,
        device=settings.device,
    )


def _score_again(round_: Round, eval_set: EvaluationSet) -> None:
    """What the round before measured last is what this one measures first, but for the reward, which is a new one."""
    known = read_texts(round_.loop.folder(round_.number - 1), "after", eval_set)
    assert known is not None
    measures = known.measures.with_values(measure(eval_set.task, known.episodes, eval_set.reward).values)
    write_texts(round_.folder, "before", eval_set, Evaluation(known.episodes, measures, 0.0))


def quality_measure(known: Collection[str], metric: str | None) -> str | None:
    """Return the measure that stands for quality: gold where it is known, else a task's main metric, or neither."""
    return next((name for name in (GoldReward.name, metric) if name in known), None)


def win_rate(after: Measures, before: Measures, metric: str | None = None) -> Interval | None:
    """Share of prompts on which a policy's text is truly better than the policy before's, ties counting half.

    By gold, or else by ``metric``; ``None`` where neither is known. The interval is Wilson's: unlike percentiles of
    resampled prompts it has a width where one side wins everywhere. It allows for several texts to one prompt.
    """
    name = quality_measure(before.values.keys() & after.values.keys(), metric)
    if name is None:
        return None
    leads = after.values[name] - before.values[name]
    known = np.flatnonzero(np.isfinite(leads))
    points, prompts = 0.5 + 0.5 * np.sign(leads[known]), after.about(known)
    if prompts is None:
        return proportion_interval(float(points.sum()), len(points))
    return clustered_proportion_interval(points, prompts)


# ----------------------------------------------------------------------- results
def results(loop: Loop, rounds: int) -> list[Row]:
    """What is known after so many rounds: a record of the start model as round 0, then one of each round."""
    counts = win_rates(loop.store.records())
    numbers = range(1, rounds + 1)
    return [_start(loop), *({**_result(loop, number), **_by_votes(counts, number)} for number in numbers)]


def _by_votes(counts: WinRates, number: int) -> Row:
    """Return how often the policy of a round beats the one before by votes, if they were compared."""
    names = [f"round-{number - back}" for back in (0, 1)]
    if not set(names) <= set(counts.generators):
        return {}
    places = [counts.generators.index(name) for name in names]
    return {"win_rate_by_votes": intervals_as_json({"": counts.rate(places[0], places[1])})[""]}


def _start(loop: Loop) -> Row:
    return {"round": 0, "labels": 0, **loop.folder(1).summary()["before"]}


def _result(loop: Loop, number: int) -> Row:
    summary = loop.folder(number).summary()
    seconds: Mapping[str, float] = summary["steps"]
    return {
        "round": number,
        **{name: summary[name] for name in ("labels", "accuracy", "win_rate")},
        **summary["after"],
        "reward_before": summary["before"]["reward"],
        "seconds": {**seconds, "total": sum(seconds.values())},
    }


# ------------------------------------------------------------------------- files
@contextlib.contextmanager
def _timed(round_: Round, step: str) -> Iterator[None]:
    """Add the seconds of the block to those of a step, also if it is interrupted."""
    start = time.perf_counter()
    try:
        yield
    finally:
        steps = round_.folder.summary().get("steps", {})
        _note(round_, {"steps": {**steps, step: steps.get(step, 0.0) + time.perf_counter() - start}})


def _note(round_: Round, facts: Mapping[str, object]) -> None:
    round_.folder.write_summary({**round_.folder.summary(), **facts})


def _write(round_: Round, name: str, questions: Sequence[Question]) -> list[Question]:
    round_.folder.write_rows(name, map(question_to_json, questions))
    return list(questions)


def _read(round_: Round, name: str) -> list[Question]:
    return [question_from_json(row) for row in round_.folder.read_rows(name)]
