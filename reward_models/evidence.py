"""Records of every kind, read as answers to which the likelihoods are known."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, pairwise
from typing import Literal, NamedTuple

from textgym.errors import DataError, did_you_mean
from textgym.feedback.records.oddities import oddities
from textgym.feedback.records.splitting import split_records
from textgym.feedback.types import (
    Comparison,
    Demonstration,
    ImplicitFeedback,
    Ranking,
    Rating,
    Record,
    of_kind,
    seen_texts,
)
from textgym.naming import argument
from textgym.reward_models.implicit import (
    DEFAULT_WEIGHT,
    Vote,
    engagement,
    implied_preferences,
    weight_of_behaviour,
)
from textgym.types import FloatArray, Shown

Kind = Literal["comparison", "ranking", "rating", "demonstration", "implicit"]
Form = Literal["choice", "ranking", "rating"]
EXPLICIT: tuple[Kind, ...] = ("comparison", "ranking", "rating")
A, B, TIE, BOTH_BAD = range(4)
_CHOICES = {"a": A, "b": B, "tie": TIE, "both_bad": BOTH_BAD}
_SHARES = {A: 1.0, B: 0.0, TIE: 0.5, BOTH_BAD: 0.5}


class Candidate(NamedTuple):
    """A response with the prompt it answers."""

    prompt: Shown
    response: str


@dataclass(frozen=True, slots=True)
class Observation:
    """One answer about one or more responses to one prompt.

    Attributes:
        kind: Kind of the record it was read from.
        form: Form of its likelihood.
        prompt: The prompt.
        responses: Two of a choice, two or more of a ranking, one of a rating.
        answer: ``(A,)``, ``(B,)``, ``(TIE,)`` or ``(BOTH_BAD,)``; the ranks, from 1 on without gaps; or the grade.
        annotator: Annotator who answered; ``None`` where nobody was asked.
        weight: How often its loss counts.
    """

    kind: Kind
    form: Form
    prompt: Shown
    responses: tuple[str, ...]
    answer: tuple[int, ...]
    annotator: str | None
    weight: float = 1.0

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """The responses with their prompt."""
        return tuple(Candidate(self.prompt, response) for response in self.responses)


class Evidence(NamedTuple):
    """The observations read from records.

    Attributes:
        observations: The answers; those of implicit feedback are implied comparisons.
        implicit_weight: Weight of an implied comparison by behaviour; ``None`` without implicit feedback.
    """

    observations: list[Observation]
    implicit_weight: float | None

    @property
    def teaches(self) -> bool:
        """Return whether a preference can be learned from it."""
        return any(_expresses(observations) for observations in _by_form(self.observations).values())


class Split(NamedTuple):
    """The training and the held-out evidence of a model; :func:`read_split` makes it from records.

    Attributes:
        train: Learnt from.
        held_out: About other prompts.
    """

    train: Evidence
    held_out: Evidence = Evidence([], None)

    @property
    def everything(self) -> Evidence:
        """Both together, what is learned from first."""
        return Evidence([*self.train.observations, *self.held_out.observations], self.train.implicit_weight)


class Preference(NamedTuple):
    """Somebody's preference between two texts, to measure a model by.

    Attributes:
        kind: Kind of the record it was read from.
        first, second: The texts.
        label: Preference for the first: 1, 0, or 0.5 for neither.
        annotator: Annotator who answered.
    """

    kind: Kind
    first: Candidate
    second: Candidate
    label: float
    annotator: str | None


class Reader:
    """Reads records, each once: the shares of a learning curve hold the same ones again."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Record, Observation]] = {}  # by id, which is the record's while it is kept

    def __call__(self, record: Record) -> Observation:
        """Return what a comparison, ranking or rating says."""
        if id(record) not in self._known:
            self._known[id(record)] = record, _READERS[type(record)](record)
        return self._known[id(record)][1]


def observe(records: Sequence[Record], implicit_weight: float | None = None, read: Reader | None = None) -> Evidence:
    """Read records as observations.

    A :class:`~textgym.feedback.types.Demonstration` is the choice of the edited text over what it was made from; one
    that was written from scratch is preferred to every response that other records show for its prompt, with weights
    that add up to 1. Implicit feedback becomes implied comparisons (:mod:`textgym.reward_models.implicit`).

    Args:
        records: Records of any kinds. Prompts are distinguished by their content.
        implicit_weight: Weight of implied comparisons by behaviour; ``None`` estimates it from the explicit votes.
        read: Knows what some of the records say, if they were read before.
    """
    read = Reader() if read is None else read
    explicit = [read(record) for record in records if type(record) in _READERS]
    observations = explicit + _read_demonstrations(records)
    events = of_kind(records, ImplicitFeedback)
    if not events:
        return Evidence(observations, None)
    attention = engagement(events)
    if implicit_weight is None:
        votes = [_as_vote(preference) for preference in preferences(explicit)]
        implicit_weight = weight_of_behaviour(events, votes, attention) if votes else DEFAULT_WEIGHT
    return Evidence(observations + _read_behaviour(events, implicit_weight, attention), implicit_weight)


def _read_comparison(record: Comparison) -> Observation:
    answer = (_CHOICES[record.choice],)
    return Observation("comparison", "choice", record.prompt, record.responses, answer, record.annotator)


def _read_ranking(record: Ranking) -> Observation:
    """Keep the first of equal texts, and number the ranks without gaps."""
    ranks = dict(reversed(list(zip(record.responses, record.ranks, strict=True))))
    places = {rank: place for place, rank in enumerate(sorted(set(ranks.values())), start=1)}
    responses = tuple(text for text in dict.fromkeys(record.responses))
    answer = tuple(places[ranks[text]] for text in responses)
    return Observation("ranking", "ranking", record.prompt, responses, answer, record.annotator)


def _read_rating(record: Rating) -> Observation:
    return Observation("rating", "rating", record.prompt, (record.response,), (record.rating,), record.annotator)


_READERS: Mapping[type[Record], Callable[..., Observation]] = {
    Comparison: _read_comparison,
    Ranking: _read_ranking,
    Rating: _read_rating,
}


def _read_demonstrations(records: Sequence[Record]) -> list[Observation]:
    shown: dict[Shown, dict[str, None]] = defaultdict(dict)  # responses by prompt, in order
    for record in records:
        shown[record.prompt].update(dict.fromkeys(seen_texts(record)))
    return [
        each for record in of_kind(records, Demonstration) for each in _implied_by(record, list(shown[record.prompt]))
    ]


def _implied_by(record: Demonstration, shown: Sequence[str]) -> list[Observation]:
    worse = shown if record.edited_from is None else [record.edited_from]
    worse = [text for text in worse if text.strip() != record.response.strip()]
    return [
        Observation(
            "demonstration", "choice", record.prompt, (record.response, text), (A,), record.annotator, 1 / len(worse)
        )
        for text in worse
    ]


def _read_behaviour(events: Sequence[ImplicitFeedback], weight: float, attention: FloatArray) -> list[Observation]:
    if weight == 0:
        return []
    return [
        Observation("implicit", "choice", each.prompt, (each.better, each.worse), (A,), None, weight * each.share)
        for each in implied_preferences(events, attention)
    ]


def preferences(observations: Sequence[Observation]) -> list[Preference]:
    """Preferences between two texts that observations express.

    A ranking is read as all its pairs; ratings as pairs of one annotator about one prompt, or, where no annotator rated
    two responses to one prompt differently, about different prompts.
    """
    ratings = [each for each in observations if each.form == "rating"]
    compared = list(_pairs_of_ratings(ratings, by_prompt=True)) or list(_pairs_of_ratings(ratings, by_prompt=False))
    return [preference for each in observations for preference in _pairs_within(each)] + compared


def _pairs_within(observation: Observation) -> Iterator[Preference]:
    if observation.form == "choice":
        first, second = observation.candidates
        yield Preference(observation.kind, first, second, _SHARES[observation.answer[0]], observation.annotator)
    if observation.form == "ranking":
        placed = zip(observation.candidates, observation.answer, strict=True)
        for (first, rank), (second, other) in combinations(placed, 2):
            yield Preference("ranking", first, second, _share(other - rank), observation.annotator)


def _pairs_of_ratings(ratings: Sequence[Observation], *, by_prompt: bool) -> Iterator[Preference]:
    """All pairs within a prompt; across prompts, where there would be too many, only neighbours in the given order."""
    groups: dict[tuple[str | None, Shown], list[Observation]] = defaultdict(list)
    for each in ratings:
        groups[each.annotator, each.prompt if by_prompt else ""].append(each)
    for group in groups.values():
        for first, second in combinations(group, 2) if by_prompt else pairwise(group):
            if first.answer != second.answer and first.candidates != second.candidates:
                label = _share(first.answer[0] - second.answer[0])
                yield Preference("rating", first.candidates[0], second.candidates[0], label, first.annotator)


def _share(lead: int) -> float:
    return 0.5 if lead == 0 else float(lead > 0)


def _as_vote(preference: Preference) -> Vote:
    return Vote(preference.first, preference.second, preference.label)


def graded_by(records: Sequence[Record], criterion: str | None) -> list[Record]:
    """Let the grade of a criterion be the grade of every rating; ratings without one are left out with a warning.

    Records of other kinds, which know no criteria, stay as they are.

    Args:
        records: Records of any kinds.
        criterion: A key of :attr:`~textgym.feedback.types.Rating.criteria`; ``None`` leaves the overall grades.

    Raises:
        DataError: If no rating has that criterion.
    """
    if criterion is None:
        return list(records)
    ratings = of_kind(records, Rating)
    known = sorted({name for record in ratings for name in record.criteria})
    if criterion not in known:
        found = f"those by {', '.join(known)}" if known else "none"
        raise DataError(
            f"expected ratings by the criterion {criterion!r}, got {found}.{did_you_mean(criterion, known)} "
            f"Leave {argument('criterion')} out to train on the overall ratings"
        )
    lacking = sum(criterion not in record.criteria for record in ratings)
    if lacking:
        warnings.warn(f"left out {lacking} of {len(ratings)} ratings, which have no {criterion!r}", stacklevel=4)
    return [each for record in records for each in _regraded(record, criterion)]


def _regraded(record: Record, criterion: str) -> Sequence[Record]:
    """Return a record with the grade of a criterion as its grade; nothing of a rating without one."""
    match record:
        case Rating(criteria=grades):
            return [replace(record, rating=grades[criterion])] if criterion in grades else []
        case _:
            return [record]


def read_split(
    records: Sequence[Record] | Split,
    criterion: str | None = None,
    held_out: float = 0.1,
    seed: int = 0,
    read: Reader | None = None,
) -> Split:
    """Read records of any kinds, each once, for a fit and for measuring it on prompts that it does not see.

    Comparisons and rankings of a text with itself are left out with a warning. Copies of records, and annotators who
    always answer the same, are warned of; copies have one prompt, and so are on one side.

    Args:
        records: Records of any kinds, in any order; a split that was read already stays as it is.
        criterion: Criterion as for :func:`graded_by`.
        held_out: Expected share of the prompts held out, in ``[0, 1)``.
        seed: Another seed, another split (:func:`~textgym.feedback.records.splitting.split_records`).
        read: Reader as for :func:`observe`.

    Raises:
        DataError: If there are no records, they (or those left for training) express no preference, or something was to
            be held out but all are about one prompt.
    """
    if isinstance(records, Split):
        return records
    usable = compared_records(graded_by(records, criterion))
    for note in oddities(usable):
        warnings.warn(note, stacklevel=3)
    kept, outside = split_records(usable, held_out, seed)
    train = observe(kept, read=read)
    if not train.teaches and not observe(usable).teaches:
        raise DataError(f"expected at least one preference, got {_what_is_there(usable)}")
    if held_out > 0 and not (kept and outside):
        raise DataError(
            f"expected records about at least two prompts, so that one can be held out, got {len(usable)} of one; "
            f"collect more, or hold nothing out ({argument('validation_fraction', 0)}): the accuracy is then unknown"
        )
    if not train.teaches:
        raise DataError(
            f"expected a preference among the {len(kept)} records left for training, got {_what_is_there(kept)}; "
            f"choose another {argument('seed')} or a smaller {argument('validation_fraction')}"
        )
    return Split(train, observe(outside, train.implicit_weight, read))


def compared_records(records: Sequence[Record]) -> list[Record]:
    """Leave out comparisons and rankings of a text with itself, with a warning.

    Raises:
        DataError: If there are no records, or all are comparisons of a text with itself.
    """
    if not records:
        raise DataError("expected records to learn from, got none; collect some first")
    kept = [record for record in records if not _is_with_itself(record)]
    if not kept:
        raise DataError(
            f"expected comparisons of two different texts, got {len(records)} of a text with itself; compare others"
        )
    if len(kept) < len(records):
        warnings.warn(f"left out {len(records) - len(kept)} comparisons of a text with itself", stacklevel=4)
    return kept


def _is_with_itself(record: Record) -> bool:
    match record:
        case Comparison() | Ranking():
            return len({text.strip() for text in record.responses}) == 1
    return False


def _expresses(observations: Sequence[Observation]) -> bool:
    """Return whether observations of one form contain a preference."""
    if observations[0].form == "choice":
        answers = {each.answer[0] for each in observations}
        return bool(answers & {A, B}) or len(answers) > 1
    if observations[0].form == "ranking":
        return any(max(each.answer) > 1 for each in observations)
    grades: dict[str | None, set[int]] = defaultdict(set)
    for each in observations:
        grades[each.annotator].add(each.answer[0])
    return any(len(given) > 1 for given in grades.values())


def _by_form(observations: Sequence[Observation]) -> dict[Form, list[Observation]]:
    groups: dict[Form, list[Observation]] = defaultdict(list)
    for each in observations:
        groups[each.form].append(each)
    return groups


def _what_is_there(records: Sequence[Record]) -> str:
    """Say what records are that teach nothing."""
    counts: dict[str, int] = defaultdict(int)
    for record in records:
        counts[_FLAWS[type(record)]] += 1
    if sum(record.choice == "both_bad" for record in of_kind(records, Comparison)) == len(records):
        return f"{len(records)} answers 'both bad'; these alone do not say which text is better"
    parts = ", ".join(f"{count} {what}" for what, count in counts.items())
    if len(of_kind(records, Demonstration)) == len(records):
        return f"{parts}; these are to be imitated: textgym sft --data FILE trains on them"
    return f"{parts}; {'ties alone teach nothing' if 'ties' in counts else 'collect other answers'}"


_FLAWS: Mapping[type[Record], str] = {
    Comparison: "ties",
    Ranking: "rankings of equals",
    Rating: "grades that never differ within an annotator",
    Demonstration: "demonstrations with no other text to prefer them to",
    ImplicitFeedback: "observations of behaviour that does not differ once position and length are accounted for",
}
