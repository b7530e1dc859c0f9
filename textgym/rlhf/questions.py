"""Questions about texts of models, and simulated people who answer them."""

from __future__ import annotations

import contextlib
import itertools
import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, get_args

import numpy as np

from textgym import console
from textgym.checks import check_settings
from textgym.envs.choice import EnvChoice, with_budgets
from textgym.errors import DataError
from textgym.evaluation.loading import load_model, require_context
from textgym.evaluation.measures import fixed_examples
from textgym.evaluation.reward_guard import guarded_reward
from textgym.evaluation.sampling import Sampling, sample_texts
from textgym.feedback.annotators.simulated import Habits, Scorer, SimulatedPerson, reward_scorer, simulated_people
from textgym.feedback.records.answers import Expected
from textgym.feedback.store.project import FeedbackStore
from textgym.feedback.types import Mode, Question
from textgym.metrics.words import count_words
from textgym.rlhf.feedback import asked_since, asked_so_far, existing
from textgym.tasks.base import prompt_text
from textgym.training.recovery import advising_on_memory
from textgym.training.stored_settings import stable_name
from textgym.types import Episode, Example, FloatArray, Split, Task, episodes_of

_RESPONSES: Mapping[Mode, int] = {"compare": 2, "rank": 4, "rate": 1, "edit": 1, "natural": 4}
_REFERENCE = "reference"


@dataclass(frozen=True, slots=True)
class SampleSettings:
    """Settings of ``textgym feedback sample``.

    Attributes:
        choice: Task whose prompts are used.
        project: The store.
        models: Who writes.
        references: Whether the references of the data take part as well, as one more writer.
        mode: What is asked.
        prompts: How many questions.
        responses: Texts in each; ``None`` is the usual number.
        criteria: What else ratings grade.
        overlap: People per question.
        checks: Attention checks.
        split: Of the data.
    """

    choice: EnvChoice
    project: str
    models: tuple[str, ...] = ("tiny",)
    references: bool = False
    mode: Mode = "compare"
    prompts: int = 100
    responses: int | None = None
    criteria: tuple[str, ...] = ()
    overlap: int = 1
    checks: int = 0
    split: Split = "train"
    temperature: float = 1.0
    max_prompt_tokens: int | None = None
    max_new_tokens: int | None = None
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        counts = ("prompts", "responses", "overlap", "max_prompt_tokens", "max_new_tokens")
        check_settings(self, counts=counts, not_negative=("temperature", "checks"))
        if self.mode not in get_args(Mode):
            raise ValueError(f"expected a mode out of {', '.join(get_args(Mode))}, got {self.mode!r}; correct it")
        Question("", "", ("",) * self.texts, self.mode)  # refuses a number of texts that cannot be asked about
        if self.checks and (self.mode not in ("compare", "rate") or self.checks > self.prompts):
            raise ValueError(
                f"expected at most one check per question, to compare or rate, got {self.checks} for {self.prompts} to "
                f"{self.mode}; lower --checks, or change the mode"
            )

    @property
    def texts(self) -> int:
        """Texts in each question."""
        return _RESPONSES[self.mode] if self.responses is None else self.responses


@advising_on_memory("feedback sample")
def run_sample(settings: SampleSettings) -> list[Question]:
    """Sample texts and put the questions into the project."""
    task = with_budgets(settings.choice.make(settings.split), settings.max_prompt_tokens, settings.max_new_tokens)
    examples = fixed_examples(task.dataset, settings.prompts)
    writers = plan_writers(settings, examples, settings.texts)
    texts = write_texts(settings, task, examples, writers)
    rows = zip(examples, texts, writers, strict=True)
    asked = [question_about(settings, task, example, row, names) for example, row, names in rows]
    questions = [question for question in asked if question is not None]
    checks, expected = make_checks(questions, settings)
    with FeedbackStore(settings.project) as store:
        before = asked_so_far(store)
        store.add(questions, overlap=settings.overlap)
        store.add_checks(checks, expected)
        store.update_setting("task", lambda _: {**asdict(settings.choice.located()), "split": settings.split})
        new = asked_since(before, store)
    same = len(examples) - len(questions)
    console.say(
        f"{new} in {settings.project}"
        + (f"; left out {same} whose texts are all equal, or empty" if same else "")
        + f". Ask people: textgym feedback serve {settings.project}"
    )
    return questions


def question_about(
    settings: SampleSettings, task: Task, example: Example, texts: Sequence[str], writers: Sequence[str]
) -> Question | None:
    """Return the question about different texts; ``None`` if too few differ: nobody can tell equal ones apart."""
    names = dict(reversed(list(zip(texts, writers, strict=True))))  # the first one to write a text counts
    kept = [text for text in dict.fromkeys(texts) if text.strip()]
    if len(kept) < min(len(texts), 2):
        return None
    criteria = settings.criteria if settings.mode == "rate" else ()
    generators = tuple(names[text] for text in kept)
    prompt = prompt_text(task, example)
    return Question(example.key, prompt, tuple(kept), settings.mode, generators, criteria=criteria)


def plan_writers(settings: SampleSettings, examples: Sequence[Example], count: int) -> list[list[str]]:
    """Return who writes the texts of each question: in turn, so that all meet all; places are drawn."""
    names = [*settings.models, *([_REFERENCE] if settings.references else [])]
    rng = np.random.default_rng(settings.seed)
    groups = itertools.cycle(list(itertools.combinations(names, count)) if count <= len(names) else [tuple(names)])
    plans = []
    for example in examples:
        group = list(itertools.islice(itertools.cycle(next(groups)), count))
        if _REFERENCE in group and not example.references:
            raise DataError(f"expected references to take part, got none for {example.key!r}; leave --references out")
        plans.append([group[place] for place in rng.permutation(count)])
    return plans


def write_texts(
    settings: SampleSettings, task: Task, examples: Sequence[Example], writers: Sequence[Sequence[str]]
) -> list[list[str]]:
    """Return the text of every writer for every example; models are loaded one after the other."""
    texts = [[""] * len(names) for names in writers]
    for number, model in enumerate(dict.fromkeys(settings.models)):
        wanted = [
            (row, place) for row, names in enumerate(writers) for place, name in enumerate(names) if name == model
        ]
        if not wanted:
            continue
        loaded = load_model(stable_name(model), settings.device)
        require_context(loaded, task)
        sampling = Sampling(task.max_prompt_tokens, task.max_new_tokens, settings.temperature, settings.seed + number)
        sampled = sample_texts(loaded, task, [examples[row] for row, _ in wanted], sampling, f"texts of {model}").texts
        for (row, place), text in zip(wanted, sampled, strict=True):
            texts[row][place] = text
    for row, names in enumerate(writers):
        for place, name in enumerate(names):
            texts[row][place] = examples[row].references[0] if name == _REFERENCE else texts[row][place]
    return texts


def make_checks(questions: Sequence[Question], settings: SampleSettings) -> tuple[list[Question], list[Expected]]:
    """Return attention checks and their answers.

    They have one text on the subject, a reference if there is one, and one whose words are in no order.

    Raises:
        ValueError: There are too few questions.
    """
    rng = np.random.default_rng(settings.seed + 1)
    made = [_check(question, rng) for question in questions] if settings.mode in ("compare", "rate") else []
    checks = [check for check in made if check is not None][: settings.checks]
    if len(checks) < settings.checks:
        raise ValueError(
            f"expected at most one check per question, got {settings.checks} for {len(questions)}, of which "
            f"{len(checks)} are long enough; lower --checks, or raise --prompts"
        )
    return checks, ["a" if settings.mode == "compare" else [1, 2]] * len(checks)


def _check(question: Question, rng: np.random.Generator) -> Question | None:
    """Return a question with a known answer about the same prompt; ``None`` if its text reads the same backwards."""
    good = dict(zip(question.generators, question.responses, strict=True)).get(_REFERENCE, question.responses[0])
    words = good.split()
    muddled = " ".join(words[place] for place in rng.permutation(len(words)))[::-1]
    if muddled == good:
        return None
    texts = (good, muddled) if question.mode == "compare" else (muddled,)
    return Question(question.task_key, question.prompt, texts, question.mode, criteria=question.criteria)


@dataclass(frozen=True, slots=True)
class SimulateSettings:
    """Settings of ``textgym feedback simulate``.

    Attributes:
        project: The store.
        annotators: How many.
        by: What they care about: ``"gold"``, ``"rouge"``, ``"length"``, or any reward by name; ``None`` is gold where
            the data knows it, else rouge.
        votes: Answers of each; ``None`` is all there are.
        noise, spammers, position_bias, length_bias: As in :class:`~textgym.feedback.annotators.simulated.Habits` and
            :func:`~textgym.feedback.annotators.simulated.simulated_people`.
    """

    project: str
    annotators: int = 3
    by: str | None = None
    votes: int | None = None
    noise: float = 0.1
    spammers: float = 0.0
    position_bias: float = 0.0
    length_bias: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        check_settings(self, counts=("annotators", "votes"), not_negative=("noise", "spammers"))


def run_simulate(settings: SimulateSettings) -> int:
    """Let simulated people answer; return how many answers they gave.

    Raises:
        DataError: Nothing can be asked.
        FileNotFoundError: There is no such project.
    """
    with existing(settings.project) as store:
        questions = store.questions()
        if not questions:
            raise DataError(f"expected questions in {settings.project!r}, got none; run textgym feedback sample first")
        task, scorer = _task_and_scorer(store, settings.by)
        score, references = _scored_once(scorer, list(questions.values())), _references(task, questions.values())
        habits = Habits(
            noise=settings.noise,
            position_bias=settings.position_bias,
            length_bias=settings.length_bias,
            scale=score.scale,
        )
        rng = np.random.default_rng(settings.seed)
        people = simulated_people(
            score,
            settings.annotators,
            rng,
            habits,
            spammers=settings.spammers,
            references=references,
            start=time.time(),
        )
        with console.progress(
            "simulated people", len(people) * (settings.votes or len(questions)), "answers"
        ) as ticker:
            given = answer_in_turn(store, people, settings.votes, ticker)
    console.say(f"{given:,} answers of {len(people)} simulated people in {settings.project}")
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
        known: Score by task key and text.
        scale: The scores that deserve the grades 1 and 5: the 5 % and 95 % quantiles.
    """

    known: Mapping[tuple[str, str], float]
    scale: tuple[float, float]

    def __call__(self, responses: Sequence[str], task_keys: Sequence[str]) -> list[float]:
        return [self.known[key, text] for key, text in zip(task_keys, responses, strict=True)]


def _scored_once(scorer: Scorer, questions: Sequence[Question]) -> _Scores:
    pairs = list({(question.task_key, text): None for question in questions for text in question.responses})
    scores = np.asarray(scorer([text for _, text in pairs], [key for key, _ in pairs]), dtype=np.float64)
    low, high = (float(value) for value in np.quantile(scores, [0.05, 0.95]))
    return _Scores(dict(zip(pairs, scores.tolist(), strict=True)), (low, high if high > low else low + 1.0))


def _task_and_scorer(store: FeedbackStore, by: str | None) -> tuple[Task | None, Scorer]:
    """Return the task of a project, if it was sampled from one, and what its simulated people compare by.

    Raises:
        DataError: The project's questions are from no task, or the task does not know what was asked for.
    """
    if by == "length":
        return _task(store), _lengths
    task = _task(store)
    if task is None:
        raise DataError(
            "expected questions of a task, as textgym feedback sample makes them, got others; use --by length"
        )
    keys = {question.task_key for question in store.questions().values()}
    examples = _examples(task, keys)
    if len(examples) < len(keys):
        raise DataError(
            f"expected questions about examples of the task alone, got {min(keys - set(examples))!r} as well; use --by "
            "length"
        )
    knows_gold = task.gold([Episode.of(next(iter(examples.values())), "")]) is not None
    if by == "gold" and not knows_gold:
        raise DataError("expected data that knows the true quality, got another; use --by rouge")
    if by == "gold" or (by is None and knows_gold):
        return task, partial(_gold, task, examples)
    return task, reward_scorer(guarded_reward(by or "rouge", task), examples)


def _task(store: FeedbackStore) -> Task | None:
    kept: dict[str, Any] | None = store.setting("task")
    if kept is None:
        return None
    return EnvChoice(**{name: kept[name] for name in kept if name != "split"}).make(kept["split"])


def _lengths(responses: Sequence[str], task_keys: Sequence[str]) -> FloatArray:
    return np.log2([1.0 + count_words(text) for text in responses])


def _gold(
    task: Task, examples: Mapping[str, Example], responses: Sequence[str], task_keys: Sequence[str]
) -> FloatArray:
    scores = task.gold(episodes_of([examples[key] for key in task_keys], responses))
    assert scores is not None
    return scores


def _references(task: Task | None, questions: Any) -> dict[str, str]:
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
