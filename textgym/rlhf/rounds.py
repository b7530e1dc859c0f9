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

from textgym import console
from textgym.agents.facts import facts_of, unit_of
from textgym.agents.options import OptionValue, agent_options
from textgym.agents.registry import resolve_agent
from textgym.checks import SEEDS
from textgym.errors import CheckpointError, DataError, NoCheckpointError
from textgym.evaluation.core import Evaluation, EvaluationSet
from textgym.evaluation.loading import load_model
from textgym.evaluation.measures import Measures, measure
from textgym.evaluation.reward_guard import guarded_reward
from textgym.feedback import FeedbackStore, Habits, Panel, SimulatedPerson, reward_scorer, simulated_people, win_rates
from textgym.feedback.annotators.by_reward import annotator_reward
from textgym.feedback.projects import describe_left_out
from textgym.feedback.records.parsing import question_from_json, question_to_json
from textgym.feedback.statistics.strengths import WinRates
from textgym.feedback.types import Annotator, Question
from textgym.metrics.intervals import clustered_proportion_interval, proportion_interval
from textgym.models.checkpoint import set_aside
from textgym.models.device import release_memory
from textgym.naming import argument
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
from textgym.training.reward_report import report_as_json, show_concerns, show_report
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
    """The state common to all rounds: folder, settings, the task on its training split, and all feedback so far.

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
        loop: Loop that the round belongs to.
        number: Number, from 1 on. One after the last, which trains nothing, compares the last two policies.
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


def run_round(rlhf_round: Round, ask: Callable[[Round], Annotator]) -> None:
    """Do whatever is left of a round.

    Args:
        rlhf_round: The round.
        ask: Gives the annotator of a round.
    """
    _make_folder(rlhf_round)
    with rlhf_round.folder:  # `textgym train --resume` of a round could otherwise come between
        for step in (sample_candidates, choose_questions):
            step(rlhf_round)
        collect_answers(rlhf_round, ask)
        if not rlhf_round.compares_only:
            fit(rlhf_round)
            train(rlhf_round)
            release_memory()


def _make_folder(rlhf_round: Round) -> None:
    folder = rlhf_round.folder
    folder.path.mkdir(parents=True, exist_ok=True)
    if not folder.path.joinpath("config.json").is_file():
        # `textgym evaluate --model RUN/round-2` compares with the model that is named here.
        folder.write_config({"command": "rlhf round", "settings": {"model": rlhf_round.loop.settings.model}})


# ------------------------------------------------------------------------ sample
def sample_candidates(rlhf_round: Round) -> list[Question]:
    """Let the policy write two texts about prompts of the training split, or it and the policy before one each.

    Rounds draw different prompts while there are any. Pairs of equal texts are left out.

    Raises:
        DataError: All texts are equal.
    """
    known = _read(rlhf_round, _CANDIDATES)
    if known:
        return known
    with _timed(rlhf_round, "sample"):
        loop, rng = rlhf_round.loop, rlhf_round.rng("sample")
        current, before = rlhf_round.number - 1, max(rlhf_round.number - 2, 0)
        writers = [[current, current]] * _pool(rlhf_round)[0] + [[current, before]] * _pool(rlhf_round)[1]
        rows = [[writer[place] for place in rng.permutation(2)] for writer in writers]
        examples = _prompts(rlhf_round, len(rows))
        names = tuple(dict.fromkeys((loop.policy(current), loop.policy(before))))
        policies = [[loop.policy(each) for each in row] for row in rows]
        seed, device = rlhf_round.seed("texts"), loop.settings.device
        written = texts_by_writers(names, loop.task, examples, policies, seed=seed, device=device)
        titles = [[f"round-{each}" for each in row] for row in rows]
        asked = [question_about(loop.task, *about) for about in zip(written, titles, strict=True)]
        questions = list(dict.fromkeys(question for question in asked if question is not None))
    if not questions:
        raise DataError(
            "expected a policy that writes different responses to a prompt, got equal ones only; lower "
            f"{argument('learning_rate')}"
        )
    return _write(rlhf_round, _CANDIDATES, questions)


def _pool(rlhf_round: Round) -> tuple[int, int]:
    own, previous = rlhf_round.wanted()
    factor = _POOL if rlhf_round.loop.settings.select == "disagreement" and rlhf_round.number > 1 else _SPARE
    return math.ceil(factor * own), math.ceil(_SPARE * previous)


def _prompts(rlhf_round: Round, count: int) -> list[Example]:
    """The next examples of an order that all rounds share."""
    dataset, settings = rlhf_round.loop.task.dataset, rlhf_round.loop.settings
    order = np.random.default_rng([settings.seed, len(dataset)]).permutation(len(dataset))
    most = math.ceil(max(_POOL if settings.select == "disagreement" else 0, _SPARE) * settings.labels) + 2
    first = (rlhf_round.number - 1) * most
    return [dataset[int(order[place % len(order)])] for place in range(first, first + count)]


# ------------------------------------------------------------------------ choose
def choose_questions(rlhf_round: Round) -> list[Question]:
    """Choose what to ask: at random, or where the members of the last reward disagree.

    Comparisons with the policy of the round before are always random.
    """
    known = _read(rlhf_round, _QUESTIONS)
    if known:
        return known
    with _timed(rlhf_round, "choose"):
        rng, (own, previous) = rlhf_round.rng("choose"), rlhf_round.wanted()
        candidates = sample_candidates(rlhf_round)
        pairs = [question for question in candidates if len(set(question.generators)) == 1]
        others = [question for question in candidates if len(set(question.generators)) > 1]
        if rlhf_round.loop.settings.select == "disagreement" and rlhf_round.number > 1:
            folder = rlhf_round.loop.folder(rlhf_round.number - 1).reward
            committee = load_reward(folder, rlhf_round.loop.settings.device)
            if not isinstance(committee, RewardEnsemble | EmbeddingRewardModel):
                raise CheckpointError(
                    f"expected a reward whose members can disagree in {str(folder)!r}, got a "
                    f"{type(committee).__name__}; put back what was fitted there"
                )
            pairs = select_pairs(committee, pairs, own, rng)
        chosen = pairs[:own] + others[:previous]
        seeds = rng.integers(2**31, size=len(chosen))
        ordered = [replace(question, order_seed=int(seed)) for question, seed in zip(chosen, seeds, strict=True)]
    return _write(rlhf_round, _QUESTIONS, [ordered[place] for place in rng.permutation(len(ordered))])


# --------------------------------------------------------------------------- ask
def collect_answers(rlhf_round: Round, ask: Callable[[Round], Annotator]) -> None:
    """Have the questions of a round answered; what was answered before is in the store, and not asked again.

    Raises:
        DataError: It is not in the store.
    """
    known = rlhf_round.folder.summary().get("labels")
    if known is not None and not _wants_answers(rlhf_round):
        if known and not rlhf_round.loop.store.progress().votes:
            raise DataError(
                f"expected {known} answers of round {rlhf_round.number} in {str(rlhf_round.loop.store.path)!r}, got "
                "none; restore the file, include annotators again who were excluded, or start a new run"
            )
        return
    with _timed(rlhf_round, "ask"):
        ask(rlhf_round).answer(choose_questions(rlhf_round))
        _note(rlhf_round, {"labels": rlhf_round.loop.store.progress().votes})


def _wants_answers(rlhf_round: Round) -> bool:
    """Return whether people are asked once more, since answers that no reward was fitted to yet were left out."""
    is_fitted = "accuracy" in rlhf_round.folder.summary()
    return rlhf_round.loop.settings.people and not is_fitted and bool(rlhf_round.loop.store.left_out())


def simulated_panel(rlhf_round: Round) -> Panel:
    """Simulated annotators who compare by a reward."""
    loop, settings, rng = rlhf_round.loop, rlhf_round.loop.settings, rlhf_round.rng("people")
    by = annotator_reward(loop.task, settings.annotator, guarded_reward)
    keys = {question.task_key for question in choose_questions(rlhf_round)}
    score = reward_scorer(by.reward, {key: loop.task.dataset.find(key) for key in keys})
    habits = Habits(noise=by.noise if settings.noise is None else settings.noise)
    people: list[SimulatedPerson] = simulated_people(score, settings.annotators, rng, habits)
    return Panel(loop.store, people, overlap=settings.overlap)


# --------------------------------------------------------------------------- fit
def fit(rlhf_round: Round) -> None:
    """Fit a new reward to all answers so far."""
    folder, settings, task = rlhf_round.folder, rlhf_round.loop.settings, rlhf_round.loop.task
    if "accuracy" in folder.summary():
        return
    with _timed(rlhf_round, "fit"):
        trunk, seed = load_model(settings.model, settings.device), rlhf_round.seed("fit")
        records = rlhf_round.loop.store.records()
        if left_out := describe_left_out(rlhf_round.loop.store):
            console.remark(left_out)
        show_concerns(records, rlhf_round.loop.store.attention())
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
        note_accuracy(rlhf_round.loop.store, report)
        _note(rlhf_round, report_as_json(report))


# ------------------------------------------------------------------------- train
def train(rlhf_round: Round) -> None:
    """Let the agent improve the policy on the new reward; measure it, and how often it beats the policy before.

    The KL penalty is to the model that the first round started from.
    """
    if "win_rate" in rlhf_round.folder.summary():
        return
    with _timed(rlhf_round, "train"):
        training = _begin_or_resume(rlhf_round)
        if rlhf_round.number > 1:
            _score_again(rlhf_round, training.eval_set)
        before, after = complete(training)
        rate = win_rate(after.measures, before.measures, rlhf_round.loop.task.main_metric)
        _note(rlhf_round, {"win_rate": None if rate is None else intervals_as_json({"": rate})[""]})


def _begin_or_resume(rlhf_round: Round) -> Training:
    folder = rlhf_round.folder
    if "train" in folder.config() and any(folder.checkpoints.glob("step-*")):
        with contextlib.suppress(NoCheckpointError):  # each of them has been named
            return resume(folder, accept_changed_data=rlhf_round.loop.accept_changed_data)
    folder.truncate_logs(-1)  # of a beginning that came to nothing
    set_aside(folder.checkpoints)  # being newer by name, damaged ones would push out those to come
    return begin(training_of(rlhf_round), folder, accept_changed_data=rlhf_round.loop.accept_changed_data)


def training_of(rlhf_round: Round) -> TrainSettings:
    """Return the settings of an agent in a round: those of the recipe that it has."""
    loop = rlhf_round.loop
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
        model=loop.policy(rlhf_round.number - 1),
        reward=str(rlhf_round.folder.reward.resolve()),
        steps=settings.iterations * settings.n_envs * (task.max_new_tokens if unit_of(kind) == "tokens" else 1),
        n_envs=settings.n_envs,
        max_prompt_tokens=settings.max_prompt_tokens,
        max_new_tokens=settings.max_new_tokens,
        eval_prompts=settings.eval_prompts,
        seed=rlhf_round.seed("train"),
        save_every=_SAVE_EVERY,
        device=settings.device,
    )


def _score_again(rlhf_round: Round, eval_set: EvaluationSet) -> None:
    """Write the last measures of the round before as the first ones of this round, with its new reward."""
    known = read_texts(rlhf_round.loop.folder(rlhf_round.number - 1), "after", eval_set)
    assert known is not None
    measures = known.measures.with_values(measure(eval_set.task, known.episodes, eval_set.reward).values)
    write_texts(rlhf_round.folder, "before", eval_set, Evaluation(known.episodes, measures, 0.0))


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
    """Return the records up to a round: one of the start model as round 0, then one of each round."""
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
def _timed(rlhf_round: Round, step: str) -> Iterator[None]:
    """Add the seconds of the block to those of a step, also if it is interrupted."""
    start = time.perf_counter()
    try:
        yield
    finally:
        steps = rlhf_round.folder.summary().get("steps", {})
        _note(rlhf_round, {"steps": {**steps, step: steps.get(step, 0.0) + time.perf_counter() - start}})


def _note(rlhf_round: Round, facts: Mapping[str, object]) -> None:
    rlhf_round.folder.write_summary({**rlhf_round.folder.summary(), **facts})


def _write(rlhf_round: Round, name: str, questions: Sequence[Question]) -> list[Question]:
    rlhf_round.folder.write_rows(name, map(question_to_json, questions))
    return list(questions)


def _read(rlhf_round: Round, name: str) -> list[Question]:
    return [question_from_json(row) for row in rlhf_round.folder.read_rows(name)]
