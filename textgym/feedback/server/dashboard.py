"""The owner's page: how far the project is, whether people agree, and which generator writes better."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from fastapi import APIRouter, Request
from starlette.responses import Response

from textgym.feedback.projects import describe_left_out, project_concerns
from textgym.feedback.records.shapes.reading import counts
from textgym.feedback.server.asking import DECLINED
from textgym.feedback.server.charts import (
    Chart,
    bar_chart,
    histogram_chart,
    interval_chart,
    line_chart,
    matrix_chart,
)
from textgym.feedback.server.site import Owner, SiteOf
from textgym.feedback.server.timing import shown_seconds
from textgym.feedback.statistics.agreement import (
    Level,
    agreement_interval,
    alpha_over_time,
    cohen_kappa,
    collect_answers,
    position_bias,
)
from textgym.feedback.statistics.learning_curve import accuracy_curve
from textgym.feedback.statistics.strengths import bradley_terry_scores, win_rates
from textgym.feedback.store.entries import Vote
from textgym.feedback.store.exports import ProjectForm, export_project
from textgym.feedback.store.project import FeedbackStore
from textgym.feedback.types import Comparison, ImplicitFeedback, Ranking, Rating, Record, of_kind
from textgym.metrics.words import count_words

router = APIRouter()
_MOST_ROWS = 12
_LAST_TIME = 1e11  # seconds since 1970, in some 3,000 years: what a clock shows later is no time
_KINDS: tuple[tuple[str, type[Comparison | Rating | Ranking], Level], ...] = (
    ("comparisons", Comparison, "nominal"),
    ("ratings", Rating, "ordinal"),
    ("rankings", Ranking, "ordinal"),
)
_POSITIONS: tuple[tuple[type[Comparison | Ranking], str], ...] = (
    (Comparison, "The text shown first wins"),
    (Ranking, "The text shown first is ranked before another"),
)


class Person(NamedTuple):
    """One annotator: answers, median seconds per answer, attention checks passed and answered, decisions."""

    name: str
    votes: int
    seconds: float | None
    checks: tuple[int, int]
    is_excluded: bool = False
    is_blocked: bool = False


@router.get("/dashboard")
def dashboard(request: Request, site: SiteOf, owner: Owner) -> Response:
    """Show the state of the project in charts."""
    everybody = annotators(site.store.votes(excluded=True), site.store)
    people = [person for person in everybody if not person.is_excluded]
    votes = site.store.votes()
    records = [record for vote in votes if not vote.is_check for record in vote.records]
    charts = [
        *progress_charts(site.store, people),
        *agreement_charts(records),
        *time_charts(records),
        *generator_charts(records),
        *accuracy_charts(site.store),
    ]
    return site.page(
        request,
        "dashboard.html",
        owner,
        progress=site.store.progress(),
        people=everybody,
        left_out=describe_left_out(site.store),
        kappas=pairwise_kappas(records),
        concerns=project_concerns(site.store, records),
        charts=charts,
        kinds=counts(records).split(", ") if records else [],
        declined=len(site.store.setting(DECLINED, [])),
    )


@router.get("/export/{form}")
def export(site: SiteOf, owner: Owner, form: ProjectForm) -> Response:
    """Send all records, or questions; the server writes no file that anybody could name."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "export"
        export_project(site.store, path, form)
        content = path.read_bytes()
    name = f"{form}.csv" if form == "csv" else f"{form}.jsonl"
    kind = "text/csv" if form == "csv" else "application/x-ndjson"
    return Response(content, media_type=kind, headers={"Content-Disposition": f'attachment; filename="{name}"'})


def annotators(votes: Sequence[Vote], store: FeedbackStore) -> list[Person]:
    """Return who answered, the busiest first."""
    found: dict[str, list[Vote]] = {}
    for vote in votes:
        if not vote.skipped:
            found.setdefault(vote.annotator, []).append(vote)
    checks, excluded, blocked = store.attention(), store.moderation.excluded(), store.moderation.blocked()
    people = [
        Person(name, len(own), _median_seconds(own), checks.get(name, (0, 0)), name in excluded, name in blocked)
        for name, own in found.items()
    ]
    return sorted(people, key=lambda person: (-person.votes, person.name))


def pairwise_kappas(records: Sequence[Record]) -> list[tuple[str, str, float]]:
    """Return Cohen's kappa of every two annotators who compared the same texts, the worst first."""
    names, values = collect_answers(records, Comparison)
    pairs = [(first, second) for second in range(len(names)) for first in range(second)]
    kappas = ((names[a], names[b], cohen_kappa(values[a], values[b])) for a, b in pairs)
    return sorted(((a, b, kappa) for a, b, kappa in kappas if kappa is not None), key=lambda row: row[2])[:_MOST_ROWS]


def progress_charts(store: FeedbackStore, people: Sequence[Person]) -> list[Chart]:
    """Draw votes over time and by annotator."""
    times = [time for time, _ in store.vote_times() if 0 <= time <= _LAST_TIME]
    if not times:
        return []
    span = times[-1] - times[0]
    unit, seconds = next((name, length) for name, length in _UNITS if span >= 2 * length or length == 1)
    step = max(1, len(times) // 100)
    counted = [((time - times[0]) / seconds, float(number + 1)) for number, time in enumerate(times)]
    shown = [*counted[::step], counted[-1]]
    rows = [(person.name, float(person.votes)) for person in people[:_MOST_ROWS]]
    return [
        line_chart("Votes over time", {"votes": shown}, f"{unit} since the first vote"),
        bar_chart("Votes per annotator", rows),
    ]


def agreement_charts(records: Sequence[Record]) -> list[Chart]:
    """Draw Krippendorff's alpha over time, and position bias."""
    curves = {
        name: [(float(n), alpha) for n, alpha in alpha_over_time(records, kind, level)] for name, kind, level in _KINDS
    }
    known = {name: curve for name, curve in curves.items() if curve}
    lowest = min((alpha for curve in known.values() for _, alpha in curve), default=0.0)
    charts = []
    if known:
        bounds = (min(0.0, float(np.floor(lowest * 5) / 5)), 1.0)
        charts.append(line_chart("Agreement (Krippendorff's alpha)", known, "records so far", bounds))
    shares = [(name, share) for name, kind, _ in _KINDS[:1] if (share := agreement_interval(records, kind)) is not None]
    if shares:
        charts.append(interval_chart("Two people give the same answer", shares, 0.5, (0.0, 1.0)))
    return [*charts, *_position_charts(records)]


def _position_charts(records: Sequence[Record]) -> list[Chart]:
    """Draw how often the text shown first is preferred, by everybody and by each annotator."""
    charts = []
    for kind, title in _POSITIONS:
        names = list(dict.fromkeys(record.annotator for record in of_kind(records, kind)))[: _MOST_ROWS - 1]
        own = [(name, position_bias([r for r in records if r.annotator == name], kind)) for name in names]
        if own:
            rows = [("everybody", position_bias(records, kind)), *own]
            charts.append(interval_chart(f"{title} (0.5: no position bias)", rows, 0.5, (0.0, 1.0)))
    return charts


def time_charts(records: Sequence[Record]) -> list[Chart]:
    """Draw how long answers took, and, in natural use, how long texts were read for their length."""
    answers = (record for record in records if not isinstance(record, ImplicitFeedback))
    seconds = [shown_seconds(record.seconds) for record in answers if record.seconds is not None]
    charts = [histogram_chart("Time per vote", seconds, "seconds")] if seconds else []
    reading = [rate for r in of_kind(records, ImplicitFeedback) if (rate := seconds_per_100_words(r))]
    if reading:
        charts.append(histogram_chart("Natural use: time per 100 words, of texts that were opened", reading, "seconds"))
    return charts


def seconds_per_100_words(record: ImplicitFeedback) -> float:
    """Return how long a text was read, for its length: people read some 240 words a minute, 25 seconds per 100."""
    return 100 * shown_seconds(record.dwell_seconds) / max(count_words(record.response), 1)


def generator_charts(records: Sequence[Record]) -> list[Chart]:
    """Draw which generator beats which, and how strong each is."""
    rates = win_rates(records)
    if len(rates.generators) < 2:
        return []
    scores = bradley_terry_scores(records, np.random.default_rng(0))
    strongest = list(scores)[:_MOST_ROWS]
    places = [rates.generators.index(name) for name in strongest]
    cells = {
        (row, column): rates.rate(a, b)
        for row, a in enumerate(places)
        for column, b in enumerate(places)
        if a != b and rates.wins[a, b] + rates.wins[b, a] > 0
    }
    rows = [(name, scores[name]) for name in strongest]
    return [
        matrix_chart("How often the row beats the column", strongest, cells),
        interval_chart("Bradley-Terry strength, 95 %", rows, 0.0),
    ]


def accuracy_charts(store: FeedbackStore) -> list[Chart]:
    """Draw how well reward models that were fitted on these answers order texts they have not seen."""
    curve = [(float(point.labels), point.accuracy) for point in accuracy_curve(store)]
    if not curve:
        return []
    means = [(labels, accuracy.mean) for labels, accuracy in curve]
    lowest = min(0.4, *(accuracy.low for _, accuracy in curve))
    return [
        line_chart("Held-out accuracy of the reward model, 95 %", {"accuracy": means}, "labels", (lowest, 1.0), curve)
    ]


_UNITS = (("days", 86_400), ("hours", 3600), ("minutes", 60), ("seconds", 1))


def _median_seconds(votes: Sequence[Vote]) -> float | None:
    known = [seconds for vote in votes if (seconds := vote.records[0].seconds) is not None]
    return statistics.median(map(shown_seconds, known)) if known else None
