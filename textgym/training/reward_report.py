"""Results of fitting a reward model: in words, as a plot, as JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from textgym import console
from textgym.feedback.statistics.concerns import annotation_concerns
from textgym.feedback.statistics.opposition import Attention
from textgym.feedback.types import Record
from textgym.plots import plot_reward_report
from textgym.reward_models import CurvePoint, FitReport, HeldOut, Mistake
from textgym.reward_models.calibration import FEWEST
from textgym.types import Interval

_ANNOTATORS = 10
_ERRORS = 3
_SHOWN = 160  # characters of a text among the errors


def show_report(report: FitReport) -> None:
    """Print the accuracy on held-out preferences, what limits it, and what speaks against it."""
    trained = f"trained on {report.pairs:,} answers in {console.duration(report.seconds)}"
    if report.held_out is None or not report.held_out.by_length:
        console.say(f"Held-out accuracy unknown: no preference was held out; {trained}")
    else:
        console.say(
            f"Held-out accuracy {console.with_bounds(report.accuracy)} (95 %) on {report.held_out_pairs:,} preferences "
            f"about prompts that were not trained on; {trained}"
        )
        console.say(_ceiling(report.held_out.agreement, report.accuracy))
    if report.held_out_loss is not None:
        console.say(f"Held-out loss {report.held_out_loss:.3f} nats per preference (chance: {math.log(2):.3f})")
    if report.calibration is not None:
        console.say(f"Expected calibration error {report.calibration.expected_calibration_error:.3f}")
    for note in report.held_out.notes if report.held_out else ():
        console.warn(note)


def show_concerns(records: Sequence[Record], attention: Attention | None = None) -> None:
    """Warn of what speaks against the answers that a model is fitted to: people who are reversed, position bias.

    Args:
        records: The answers.
        attention: Attention checks by annotator, where a project knows them.
    """
    for concern in annotation_concerns(records, attention):
        console.warn(concern)


def show_details(report: FitReport, curve: Sequence[CurvePoint] = ()) -> None:
    """Print rules to compare with, accuracy by length, calibration, annotators, learning curve and worst errors."""
    if report.held_out is not None:
        _show_accuracies(report, report.held_out)
        _show_lengths(report.held_out)
    if report.calibration is not None and report.calibration.bins:
        console.heading("Calibration: predicted and observed preference rates")
        bins = report.calibration.bins
        console.print_rows(
            ["predicted", "observed", "preferences"],
            [[console.number(each.predicted), console.number(each.observed), f"{each.pairs:,}"] for each in bins],
        )
    _show_annotators(report)
    if curve:
        console.heading("Learning curve")
        rows = [[f"{point.labels:,}", console.with_bounds(point.accuracy)] for point in curve]
        console.print_rows(["records", "held-out accuracy"], rows)
    if report.held_out is not None and report.held_out.worst:
        console.heading("Most confident errors")
        for mistake in report.held_out.worst[:_ERRORS]:
            _show_mistake(mistake)
    console.say()


def draw_report(file: Path, report: FitReport, curve: Sequence[CurvePoint] = ()) -> None:
    """Draw calibration, accuracy by length and the learning curve; say so if too little was held out."""
    if report.held_out is None or report.calibration is None or not report.held_out.by_length:
        console.remark(
            f"{file.name} is not drawn: it takes {FEWEST} held-out preferences, and there are {report.held_out_pairs}; "
            "give more feedback, or hold more of it out (--held-out)."
        )
        return
    plot_reward_report(
        file,
        [(each.predicted, each.observed, each.pairs) for each in report.calibration.bins],
        {_range(each.low, each.high): each.accuracy for each in report.held_out.by_length},
        [(point.labels, point.accuracy) for point in curve],
        report.held_out.agreement,
    )


def report_as_json(report: FitReport, curve: Sequence[CurvePoint] = ()) -> dict[str, object]:
    """Return a report as it stands in ``summary.json``: all of it but what is measured at every step."""
    per_step = ("losses", "gradient_norms", "held_out_losses", "seconds")
    found = {name: _named(value) for name, value in asdict(report).items() if name not in per_step}
    error = report.calibration.expected_calibration_error if report.calibration else None
    known_curve = {"learning_curve": _named(list(curve))} if curve else {}
    return {**found, "calibration_error": error, **known_curve}


def _named(value: object) -> object:
    """Return named tuples as objects of plain data, wherever they are."""
    match value:
        case object(_asdict=as_dict):
            return _named(as_dict())
        case tuple() | list():
            return [_named(each) for each in value]
        case Mapping():
            return {name: _named(each) for name, each in value.items()}
    return value


def _ceiling(agreement: Interval | None, accuracy: Interval) -> str:
    if agreement is None:
        return "Inter-annotator agreement unavailable: no question has two answers with a preference"
    return (
        f"Inter-annotator agreement {_percent(agreement)} (the ceiling), "
        f"agreement of the model with annotators {_percent(accuracy)}"
    )


def _percent(interval: Interval) -> str:
    return f"{interval.mean:.0%} [{interval.low:.0%}, {interval.high:.0%}]"


def _show_accuracies(report: FitReport, held_out: HeldOut) -> None:
    console.heading("Accuracy on held-out preferences")
    kinds = held_out.by_kind if len(held_out.by_kind) > 1 else {}
    rows = {
        "the model": report.accuracy,
        **{f"  {kind}s": accuracy for kind, accuracy in kinds.items()},
        "always the longer text": held_out.always_longer,
        "always the shorter text": held_out.always_shorter,
    }
    console.print_rows(["", "accuracy"], [[name, console.with_bounds(each)] for name, each in rows.items()])


def _show_lengths(held_out: HeldOut) -> None:
    if not held_out.by_length:
        return
    console.heading(
        "Accuracy by length difference, preferred minus rejected (a reward for length alone fails in the first row)"
    )
    rows = [
        [_range(each.low, each.high), console.with_bounds(each.accuracy), f"{each.pairs:,}"]
        for each in held_out.by_length
    ]
    console.print_rows(["words more", "accuracy", "preferences"], rows)


def _range(low: float, high: float) -> str:
    ends = [f"{end:+.0f}" if end else "0" for end in (low, high)]
    return ends[0] if low == high else " to ".join(ends)


def _show_annotators(report: FitReport) -> None:
    """Print those who are least reliable first."""
    if not report.reliability:
        return
    names = sorted(report.reliability, key=report.reliability.__getitem__)
    console.heading("Annotators: estimated reliability (share of answers that are not guesses)")
    header = ["annotator", "reliability", *(["severity"] if report.severity else [])]
    rows = []
    for name in names[:_ANNOTATORS]:
        severity = [f"{report.severity[name]:+.2f}"] if report.severity else []
        rows.append([name, f"{report.reliability[name]:.2f}", *severity])
    console.print_rows(header, rows)
    if len(names) > _ANNOTATORS:
        console.say(f"and {len(names) - _ANNOTATORS:,} more reliable ones")


def _show_mistake(mistake: Mistake) -> None:
    for name, text in (("prompt", mistake.prompt), ("better", mistake.preferred), ("worse", mistake.rejected)):
        console.say(f"{name:>7}  {_one_line(text)}")
    console.say(f"{'':7}  ({mistake.kind}; the model prefers the other by {console.number(mistake.margin)})")


def _one_line(text: str) -> str:
    line = " ".join(text.split()) or "(empty)"
    return line if len(line) <= _SHOWN else f"{line[: _SHOWN // 2]} ... {line[-_SHOWN // 2 :]}"
