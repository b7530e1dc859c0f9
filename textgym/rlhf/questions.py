"""Questions about texts of models, and simulated annotators who answer them."""

from __future__ import annotations

import contextlib
import itertools
import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, cast, get_args

import numpy as np

from textgym import console
from textgym.checks import check_numbers, require_range
from textgym.envs.choice import EnvChoice, with_budgets
from textgym.errors import DataError, suggested
from textgym.evaluation.loading import load_model, require_context
from textgym.evaluation.measures import fixed_examples
from textgym.evaluation.reward_guard import guarded_reward
from textgym.evaluation.sampling import Context, Sampling, sample_contexts, sample_responses
from textgym.feedback.annotators.by_reward import annotator_reward
from textgym.feedback.annotators.simulated import (
    Habits,
    Scorer,
    SimulatedPerson,
    reward_scorer,
    score_texts,
    simulated_people,
)
from textgym.feedback.projects import count_questions, open_project
from textgym.feedback.records.answers import Expected
from textgym.feedback.store.entries import Planned
from textgym.feedback.store.project import FeedbackStore
from textgym.feedback.types import Mode, Question
from textgym.metrics.words import count_words
from textgym.naming import argument
from textgym.rlhf.attention_checks import CHECKED_MODES, REFERENCE, draw_checks, warn_of_few_checks
from textgym.tasks.base import shown_of
from textgym.training.from_run import say_other_template
from textgym.training.recovery import advising_on_memory
from textgym.training.stored_settings import stable_name
from textgym.types import Example, FloatArray, Shown, Split, Task

_RESPONSES: Mapping[Mode, int] = {"compare": 2, "rank": 4, "rate": 1, "edit": 1, "natural": 4}


@advising_on_memory("feedback sample")
def run_sample(
    project: str,
    choice: EnvChoice,
    models: Sequence[str],
    *,
    prompts: int,
    mode: Mode = "compare",
    responses: int | None = None,
    references: bool = False,
    criteria: Sequence[str] = (),
    overlap: int = 1,
    checks: int = 0,
    split: Split = "train",
    temperature: float = 1.0,
    max_prompt_tokens: int | None = None,
    max_new_tokens: int | None = None,
    seed: int = 0,
    device: str = "auto",
) -> list[Question]:
    """Sample texts about prompts of a task, and put questions about them into a project.

    In a task of several turns, the texts of a question are turns behind one conversation; those that a reference takes
    part in answer the task's prompt.

    Args:
        project: The store.
        choice: Task whose prompts are used.
        models: Models that write.
        prompts: How many questions.
        mode: Kind of question.
        responses: Texts in each; ``None`` is the usual number.
        references: Whether the references of the data take part as well, as one more writer.
        criteria: Further criteria that ratings grade.
        overlap: People per question.
        checks: Attention checks.
        split: Split of the data.
        temperature: Sampling temperature of the models.
        max_prompt_tokens, max_new_tokens: Budgets of the texts; ``None`` is the task's.
        seed: Seed of the texts and their order.
        device: Device of the models.

    Raises:
        ValueError: A number is out of range, there is no such mode, or checks are to be made without references.
        DataError: The data cannot be read, or references are to take part and there are none.
    """
    budgets = {"max_prompt_tokens": max_prompt_tokens, "max_new_tokens": max_new_tokens}
    counts = {"prompts": prompts, "responses": responses, "overlap": overlap, **budgets}
    check_numbers(counts=counts, not_negative={"temperature": temperature, "checks": checks, "seed": seed})
    count = _texts_per_question(mode, responses)
    if checks and (mode not in CHECKED_MODES or checks > prompts):
        raise ValueError(
            f"expected at most one attention check per question to compare or rate, got {checks} for {prompts} to "
            f"{mode}; lower {argument('checks')}, or choose another {argument('mode')}"
        )
    task = with_budgets(choice.make(split), max_prompt_tokens, max_new_tokens)
    for model in models:
        say_other_template(task, model)
    plan = _plan_of(project)
    examples, last = _examples_to_ask(task, prompts, plan)
    if len(examples) < prompts:
        console.warn(
            f"{prompts:,} prompts were asked for, and {task.dataset.name!r} ({split}) has {len(examples):,}; each of "
            "them is asked about once"
        )
    made = draw_checks(task, last, checks, mode, seed=seed, criteria=criteria, plan=plan) if checks else ([], [])
    writers = plan_writers([*models, *([REFERENCE] if references else [])], examples, count, seed)
    written = write_texts(models, task, examples, writers, temperature=temperature, seed=seed, device=device)
    asked = [question_about(task, about, names, mode, criteria) for about, names in zip(written, writers, strict=True)]
    questions = [question for question in asked if question is not None]
    new = _add_questions(project, questions, overlap, made, choice, split)
    same = len(examples) - len(questions)
    left_out = f"; left out {same} whose texts are all equal, or empty" if same else ""
    console.say(f"{new} in {project}{left_out}. Ask people: textgym feedback serve {project}")
    return questions


def _plan_of(project: str) -> list[Planned]:
    """Return the questions that a project has already; none where it is yet to be made."""
    if not Path(project).exists():
        return []
    with FeedbackStore(project) as store:
        return store.plan()


def _examples_to_ask(task: Task, prompts: int, plan: Sequence[Planned]) -> tuple[list[Example], int]:
    """Return the first examples about whose prompts a project has no attention check, and where they end.

    Raises:
        ValueError: There is none.
    """
    checked = {row.question.prompt for row in plan if row.expected is not None}
    if not checked:
        return fixed_examples(task.dataset, prompts), prompts
    rows = (row for row in range(len(task.dataset)) if shown_of(task, task.dataset[row]) not in checked)
    chosen = list(itertools.islice(rows, prompts))
    if not chosen:
        raise ValueError(
            f"expected prompts that attention checks of the project are not about, got none in {task.dataset.name!r}; "
            f"give more {argument('data')}"
        )
    return [task.dataset[row] for row in chosen], chosen[-1] + 1


def _add_questions(
    project: str,
    questions: Sequence[Question],
    overlap: int,
    checks: tuple[Sequence[Question], Sequence[Expected]],
    choice: EnvChoice,
    split: Split,
) -> str:
    """Add questions and attention checks to a project, and return how many are new, as words."""
    with FeedbackStore(project) as store:
        before = count_questions(store)
        store.add(questions, overlap=overlap)
        store.add_checks(*checks)
        store.update_setting("task", lambda _: {**asdict(choice.located()), "split": split})
        if checks[0]:
            plan = store.plan()
            known = sum(row.expected is not None for row in plan)
            warn_of_few_checks(len(plan) - known, known)
        return before.more(store)


def _texts_per_question(mode: Mode, responses: int | None) -> int:
    """Return how many texts a question has.

    Raises:
        ValueError: There is no such mode, or nobody can be asked about so many texts.
    """
    known = get_args(Mode)
    if mode not in known:
        raise ValueError(
            f"expected {argument('mode')} out of {', '.join(known)}, got {mode!r}.{suggested(mode, known)}"
        )
    count = _RESPONSES[mode] if responses is None else responses
    Question("", "", ("",) * count, mode)
    return count


class Written(NamedTuple):
    """Texts that were written behind one context.

    Attributes:
        context: The example, and what was said about it before.
        texts: One of each writer.
    """

    context: Context
    texts: list[str]


def question_about(
    task: Task,
    written: Written,
    writers: Sequence[str],
    mode: Mode = "compare",
    criteria: Sequence[str] = (),
) -> Question | None:
    """Return the question about different texts; ``None`` if too few differ: nobody can tell equal ones apart.

    Args:
        task: Formats the prompt.
        written: The texts, of which equal ones are shown once.
        writers: Name of each response's generator.
        mode: Kind of question.
        criteria: Further criteria that ratings grade; other modes know none.
    """
    context, texts = written
    names = dict(reversed(list(zip(texts, writers, strict=True))))  # the first one to write a text counts
    kept = [text for text in dict.fromkeys(texts) if text.strip()]
    if len(kept) < min(len(texts), 2):
        return None
    generators, graded = tuple(names[text] for text in kept), tuple(criteria) if mode == "rate" else ()
    prompt = shown_of(task, context.example, context.turns)
    return Question(context.example.key, prompt, tuple(kept), mode, generators, criteria=graded)


def plan_writers(names: Sequence[str], examples: Sequence[Example], count: int, seed: int = 0) -> list[list[str]]:
    """Return who writes the ``count`` texts of each question: in turn, so that all meet all; places are drawn."""
    rng = np.random.default_rng(seed)
    groups = itertools.cycle(list(itertools.combinations(names, count)) if count <= len(names) else [tuple(names)])
    plans = []
    for example in examples:
        group = list(itertools.islice(itertools.cycle(next(groups)), count))
        if REFERENCE in group and not example.references:
            raise DataError(
                f"expected references to take part, got none for {example.key!r}; leave {argument('references')} out"
            )
        plans.append([group[place] for place in rng.permutation(count)])
    return plans


def write_texts(
    models: Sequence[str],
    task: Task,
    examples: Sequence[Example],
    writers: Sequence[Sequence[str]],
    *,
    temperature: float = 1.0,
    seed: int = 0,
    device: str = "auto",
) -> list[Written]:
    """Return the text of every writer for every example; models are loaded one after the other.

    In a task of several turns, the first model that writes about an example samples the conversation that all of them
    continue. A reference answers the task's prompt, so the other responses beside it answer the prompt alone too.
    """
    contexts = {row: Context(examples[row]) for row, names in enumerate(writers) if REFERENCE in names}
    texts = [[""] * len(names) for names in writers]
    for number, model in enumerate(dict.fromkeys(models)):
        wanted = [
            (row, place) for row, names in enumerate(writers) for place, name in enumerate(names) if name == model
        ]
        if not wanted:
            continue
        loaded = load_model(stable_name(model), device)
        require_context(loaded, task)
        sampling = Sampling(task.max_prompt_tokens, task.max_new_tokens, temperature, seed + number)
        new = list(dict.fromkeys(row for row, _ in wanted if row not in contexts))
        if new:
            found = sample_contexts(loaded, task, [examples[row] for row in new], sampling, f"conversations of {model}")
            contexts.update(zip(new, found, strict=True))
        behind = [contexts[row] for row, _ in wanted]
        sampled = sample_responses(loaded, task, behind, sampling, f"texts of {model}")
        for (row, place), text in zip(wanted, sampled, strict=True):
            texts[row][place] = text
    for row, names in enumerate(writers):
        for place, name in enumerate(names):
            texts[row][place] = examples[row].references[0] if name == REFERENCE else texts[row][place]
    return [Written(contexts[row], texts[row]) for row in range(len(examples))]


def run_simulate(
    project: str,
    *,
    annotators: int,
    by: str | None = None,
    votes: int | None = None,
    habits: Habits | None = None,
    spammers: float = 0.0,
    seed: int = 0,
) -> int:
    """Let simulated annotators answer; return how many answers they gave.

    Args:
        project: The store.
        annotators: How many.
        by: Score they compare by: ``"length"``, or any reward by name; ``None`` is the true quality where the data know
            it, else the task's main metric.
        votes: Answers of each; ``None`` is all there are.
        habits: Habits of the average person, whose scale is taken from the texts.
        spammers: Share of people who answer without reading.
        seed: Seed of the answers.

    Raises:
        DataError: Nothing can be asked.
        FileNotFoundError: There is no such project.
        ValueError: A number is out of range.
    """
    counts = {"annotators": annotators, "votes": votes}
    check_numbers(counts=counts, not_negative={"spammers": spammers, "seed": seed})
    require_range("spammers", spammers, 0, 1)
    with open_project(project) as store:
        questions = list(store.questions().values())
        if not questions:
            raise DataError(f"expected questions in {project!r}, got none; run textgym feedback sample first")
        task, scorer = _task_and_scorer(store, by)
        score = _scored_once(scorer, questions)
        people: list[SimulatedPerson] = simulated_people(
            score,
            annotators,
            np.random.default_rng(seed),
            replace(habits or Habits(), scale=score.scale),
            spammers=spammers,
            references=_references(task, questions),
            start=time.time(),
        )
        with console.progress("simulated annotators", len(people) * (votes or len(questions)), "answers") as ticker:
            given = answer_in_turn(store, people, votes, ticker)
    console.say(f"{given:,} answers of {len(people)} simulated annotators in {project}")
    return given


def answer_in_turn(
    store: FeedbackStore, people: Sequence[SimulatedPerson], votes: int | None, ticker: console.Ticker
) -> int:
    """Let people answer one question each, turn after turn, until nothing is left or all have given ``votes``."""
    given, awake = 0, list(people)
    for _ in itertools.count() if votes is None else range(votes):
        awake = [person for person in awake if _answer_one(store, person)]
        if not awake:
            break
        given += len(awake)
        ticker.advance(len(awake))
    return given


def _answer_one(store: FeedbackStore, person: SimulatedPerson) -> bool:
    """Let one person answer what they are asked; return whether there was anything."""
    assignment = store.assign(person.name)
    if assignment is None:
        return False
    (records,) = person.answer([assignment.question])
    return store.vote(secrets.token_hex(16), person.name, assignment.item, records)


@dataclass(frozen=True)
class _Scores:
    """Scores that were computed all at once: a learned reward is slow one by one.

    Attributes:
        known: Score by prompt, task key and text.
        scale: The scores that deserve the grades 1 and 5: the 5 % and 95 % quantiles.
    """

    known: Mapping[tuple[Shown, str, str], float]
    scale: tuple[float, float]

    def score_responses(
        self, prompts: Sequence[Shown], responses: Sequence[str], task_keys: Sequence[str]
    ) -> list[float]:
        """Look up ``n`` scores."""
        return [self.known[about] for about in zip(prompts, task_keys, responses, strict=True)]


def _scored_once(scorer: Scorer, questions: Sequence[Question]) -> _Scores:
    asked = {
        (question.prompt, question.task_key, text): question for question in questions for text in question.responses
    }
    scores = score_texts(scorer, list(asked.values()), [text for _, _, text in asked], "simulated annotators")
    low, high = (float(value) for value in np.quantile(scores, [0.05, 0.95]))
    return _Scores(dict(zip(asked, scores.tolist(), strict=True)), (low, high if high > low else low + 1.0))


def _task_and_scorer(store: FeedbackStore, by: str | None) -> tuple[Task | None, Scorer]:
    """Return the task of a project, if it was sampled from one, and what its simulated annotators compare by.

    Raises:
        DataError: The project's questions are from no task, or the task does not know what was asked for.
    """
    if by == "length":
        return _task(store), _lengths
    task = _task(store)
    if task is None:
        raise DataError(
            "expected questions of a task, as textgym feedback sample makes them, got others; use "
            f"{argument('by', 'length')}"
        )
    keys = {question.task_key for question in store.questions().values()}
    examples = _examples(task, keys)
    if len(examples) < len(keys):
        raise DataError(
            f"expected questions about examples of the task alone, got {min(keys - set(examples))!r} as well; use "
            f"{argument('by', 'length')}"
        )
    return task, reward_scorer(annotator_reward(task, by, guarded_reward).reward, examples)


def _task(store: FeedbackStore) -> Task | None:
    kept: dict[str, Any] | None = store.setting("task")
    if kept is None:
        return None
    return EnvChoice.of(kept).make(cast(Split, kept["split"]))


def _lengths(responses: Sequence[str], task_keys: Sequence[str]) -> FloatArray:
    return np.log2([1.0 + count_words(text) for text in responses])


def _references(task: Task | None, questions: Iterable[Question]) -> dict[str, str]:
    """Return a good text by task key, for edits."""
    if task is None:
        return {}
    examples = _examples(task, {question.task_key for question in questions})
    return {key: example.references[0] for key, example in examples.items() if example.references}


def _examples(task: Task, keys: Iterable[str]) -> dict[str, Example]:
    """Return the examples of a task that are called so; questions from elsewhere have other keys."""
    found = {}
    for key in keys:
        with contextlib.suppress(KeyError):
            found[key] = task.dataset.find(key)
    return found
