"""The feedback that a reward model is fitted to: a project, a file, or a simulated annotator's comparisons."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from textgym import console
from textgym.envs.choice import EnvChoice
from textgym.evaluation.sampling import Sampling, sample_contexts, sample_responses
from textgym.feedback import FeedbackStore
from textgym.feedback.annotators.by_reward import AnnotatorReward
from textgym.feedback.annotators.comparisons import compare_samples, draw_examples
from textgym.feedback.sources import is_project
from textgym.feedback.statistics.opposition import Attention
from textgym.feedback.types import Comparison, Record
from textgym.models.text_model import TextModel
from textgym.naming import argument
from textgym.reward_models.building import MOST_REFERENCES, preferred_texts
from textgym.reward_models.evidence import Candidate, Reader, Split, compared_records, graded_by, read_split
from textgym.tasks.base import prompt_text, shown_of
from textgym.text.templates import SLOT, parse_template
from textgym.types import JsonObject, Task, shown_text


class ReadFeedback(NamedTuple):
    """Feedback that was read, each record once.

    Attributes:
        records: All records, as they were given.
        usable: Records without comparisons of a text with itself, ratings graded by the criterion.
        split: Training and held-out evidence from the usable records.
        read: Reader of the evidence of a record.
    """

    records: list[Record]
    usable: list[Record]
    split: Split
    read: Reader


def understand(records: Sequence[Record], criterion: str | None, held_out: float, seed: int) -> ReadFeedback:
    """Read what records say; arguments and errors as for :func:`~textgym.reward_models.evidence.read_split`."""
    read, usable = Reader(), compared_records(graded_by(records, criterion))
    return ReadFeedback(list(records), usable, read_split(usable, held_out=held_out, seed=seed, read=read), read)


def warn_of_bare_prompts(template: str | None, records: Sequence[Record], source: str | Path) -> None:
    """Warn where no prompt of feedback has the text of a prompt template, behind which texts will be scored.

    Args:
        template: Template that the user chose, or that came with the model; ``None`` for that of the task.
        records: The feedback.
        source: Where they were read from.
    """
    if template is None or is_project(source):
        return
    parsed = parse_template(template)
    around = [piece for piece in (*parsed.before, *parsed.after) if isinstance(piece, str) and piece.strip()]
    if around and not any(all(piece in shown_text(record.prompt) for piece in around) for record in records):
        console.warn(
            f"no prompt of {str(source)!r} has the text of the prompt template {template!r}: the reward model "
            "learns from other prompts than it will score texts to. Write the whole formatted prompt into the column "
            f"`prompt`, or give {argument('prompt_template', SLOT)} if the model is trained without the template too."
        )


def attention_of(source: str | Path | None) -> Attention | None:
    """Return by annotator how many attention checks were passed, out of how many; ``None`` outside a project."""
    if source is None or not is_project(source):
        return None
    with FeedbackStore(source) as store:
        return store.attention()


def warn_of_excluded(source: str | Path, kept: Sequence[Record]) -> None:
    """Warn where a run that is resumed began with answers of annotators who were excluded since.

    The run goes on with the records that it has, bit for bit as it would have.

    Args:
        source: Project that the records were read from; another file excludes nobody.
        kept: Records of the run.
    """
    if not is_project(source):
        return
    with FeedbackStore(source) as store:
        excluded = store.moderation.excluded()
    count = sum(record.annotator in excluded for record in kept)
    if count:
        console.warn(
            f"the run began with {count:,} answers of annotators who were excluded from {str(source)!r} since, and "
            "goes on with them; start a new fit to leave them out"
        )


def choice_of_feedback(
    choice: EnvChoice, task: Task, source: str | None, records: Iterable[Record]
) -> EnvChoice | None:
    """Return the environment and data whose prompts feedback is about; ``None`` if that is not known.

    Args:
        choice: Environment of the fit; one that is not the default was named by the user, and counts.
        task: Task of the choice on its training split.
        source: Project or file of the feedback; ``None`` where it was simulated on the task.
        records: The feedback.
    """
    if source is None or choice != EnvChoice():
        return choice
    if is_project(source):
        with FeedbackStore(source) as store:
            sampled: JsonObject | None = store.setting("task")
        if sampled is not None:
            return EnvChoice.of(sampled)
    return choice if any(_is_about(task, record) for record in records) else None


def simulate_comparisons(
    task: Task, model: TextModel, pairs: int, by: AnnotatorReward, *, noise: float | None = None, seed: int = 0
) -> list[Comparison]:
    """Let a simulated annotator compare texts about prompts of the training split.

    In a task of several turns, both texts of a pair are turns behind one conversation (:func:`sample_contexts`).

    Args:
        task: Task on its training split; no other prompt is ever shown to an annotator.
        model: Model that samples the texts.
        pairs: Number of comparisons.
        by: Reward that the annotator compares by (:func:`~textgym.feedback.annotators.by_reward.annotator_reward`).
        noise: Score difference at which the better text is preferred with probability 0.73; ``None`` is that of ``by``.
        seed: Random seed of the prompts, the texts and the answers.
    """
    rng = np.random.default_rng(seed)
    examples = draw_examples(task, pairs, rng)
    sampling = Sampling(task.max_prompt_tokens, task.max_new_tokens, seed=seed)
    contexts = sample_contexts(model, task, examples, sampling, "sampling conversations")
    sampled = sample_responses(model, task, contexts * 2, sampling, "sampling pairs")
    first, second = sampled[: len(examples)], sampled[len(examples) :]
    return compare_samples(task, examples, first, second, by, rng, noise, [context.turns for context in contexts])


def reference_texts(task: Task, records: Sequence[Record], split: Split) -> list[Candidate]:
    """Return texts that count as reward 0 on average.

    References of training prompts, if the records are about the task and its episodes have one turn; else the preferred
    texts of the records, or all their texts if fewer than two are preferred.

    Args:
        task: Task on its training split.
        records: The feedback.
        split: Training and held-out evidence from the feedback.
    """
    if task.max_turns == 1 and any(_is_about(task, record) for record in records):
        examples = [task.dataset[index] for index in range(min(MOST_REFERENCES, len(task.dataset)))]
        known = [example for example in examples if example.references]
        if len(known) >= 2:
            return [Candidate(shown_of(task, example), example.references[0]) for example in known]
    return preferred_texts(split.everything)


def _is_about(task: Task, record: Record) -> bool:
    """Return whether a record is about an example as the task asks it; earlier versions kept its text alone."""
    try:
        example = task.dataset.find(record.task_key)
    except KeyError:
        return False
    return shown_text(record.prompt) in (shown_text(shown_of(task, example)), prompt_text(task, example))
