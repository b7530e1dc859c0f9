"""Time and memory per token as one size grows and the rest stays: ``textgym bench scaling --plot scaling.png``.

Longer responses at a constant number of tokens, more environments, larger vocabularies, and prompts that all differ or
are all the same. What encodes every prefix again has exponent 1 in the response length; what keeps keys and values has
the little that attention itself costs. Tokens are those of prompts and responses: an update reads both.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.harness import Case, Measurement, Options, Report, measure
from benchmarks.limit import Limit
from benchmarks.ppo import TimedReward, iteration_case, make_agent
from benchmarks.rollout import stepper
from benchmarks.workload import Workload, environment, eos_ids
from textgym import plots

_LIMIT = "limit"
_BLUE, _GREY = "#0072b2", "#6b6b6b"


class Axis(NamedTuple):
    """A size that grows: PPO iterations (or rollouts alone) of these shapes, perhaps beside their limits."""

    name: str
    sizes: Sequence[int]
    works: Sequence[Workload]
    rollout_only: bool = False
    with_limit: bool = False


def axes(options: Options) -> list[Axis]:
    """The sizes that are tried."""
    base = replace(Workload(device=options.device), epochs=1)
    if options.smoke:
        base, lengths, copies, vocabularies = base.smaller(), [2, 4], [2, 4], [4096, 5000]
    else:
        lengths, copies, vocabularies = [16, 32, 64, 128, 256], [8, 32, 128, 512, 1024], [4096, 16384, 65536, 131072]
    # As many texts as environments take part in the longest one, and short prompts: what grows is the response.
    tokens = base.texts * lengths[-1]
    by_length = [
        replace(base, prompt=16, response=n, texts=tokens // n, minibatch=max(1, tokens // n // 16)) for n in lengths
    ]
    return [
        Axis("response length", lengths, by_length, with_limit=True),
        Axis("environments", copies, [replace(base, texts=n) for n in copies], rollout_only=True),
        Axis("vocabulary", vocabularies, [replace(base, vocabulary=n) for n in vocabularies]),
        Axis("distinct prompts", [1, base.texts], [replace(base, distinct_prompts=n) for n in (1, base.texts)]),
    ]


def run(options: Options) -> Report:
    """Measure one axis after the other; the cases of an axis alternate."""
    measurements, figures = [], {}
    curves: dict[str, tuple[Sequence[int], list[float]]] = {}
    for axis in axes(options):
        with ExitStack() as stack:
            cases = [
                case
                for size, work in zip(axis.sizes, axis.works, strict=True)
                for case in _cases(axis, size, work, stack)
            ]
            found = measure(cases, options)
        times = [_microseconds(item) for item in found if not item.name.startswith(_LIMIT)]
        exponent = round(fitted_exponent(axis.sizes, times), 2)
        curves[f"{axis.name}\nexponent {exponent:g}"] = (axis.sizes, times)
        figures[f"exponent of the time per token in {axis.name}"] = exponent
        if axis.with_limit:
            bounds = [_microseconds(item) for item in found if item.name.startswith(_LIMIT)]
            figures[f"the same of the limit, in {axis.name}"] = round(fitted_exponent(axis.sizes, bounds), 2)
        measurements += found
    if options.plot:
        plot_scaling(options.plot, curves)
    return Report("scaling", "Time per token as one size grows", measurements, figures=figures)


def plot_scaling(file: Path, curves: Mapping[str, tuple[Sequence[float], Sequence[float]]]) -> None:
    """Draw microseconds per token against sizes, one panel each, on logarithmic axes; a flat line scales.

    A dotted line of slope 1 shows what a cost in proportion to the size would look like.

    Args:
        file: Where the PNG goes.
        curves: Name of the size -> (sizes, microseconds per token).
    """
    figure = plots.blank_figure()
    panels = figure.subplots(1, len(curves), sharey=True, squeeze=False)[0]
    for axes, (name, (sizes, times)) in zip(panels, curves.items(), strict=True):
        proportional = "in proportion" if axes is panels[0] else None
        axes.loglog(
            sizes, [times[0] * size / sizes[0] for size in sizes], linestyle=":", color=_GREY, label=proportional
        )
        axes.loglog(sizes, times, marker="o", markersize=4, color=_BLUE)
        axes.set_xticks([sizes[0], sizes[-1]], [f"{sizes[0]:,}", f"{sizes[-1]:,}"])
        axes.minorticks_off()
        plots.finish_axes(axes, f"Cost by {name}", name, "microseconds per token" if axes is panels[0] else "")
    every = [time for _, times in curves.values() for time in times]
    panels[0].set_ylim(min(every) / 2, max(every) * 2)
    plots.save_figure(figure, file)


def fitted_exponent(sizes: Sequence[float], times: Sequence[float]) -> float:
    """Slope of log(time) over log(size), by least squares: time ~ size^slope."""
    return float(np.polyfit([math.log(size) for size in sizes], [math.log(time) for time in times], 1)[0])


def _cases(axis: Axis, size: int, work: Workload, stack: ExitStack) -> Iterator[Case]:
    name = f"{axis.name} {size:,}"
    if axis.rollout_only:
        venv = stack.enter_context(environment(work))
        yield Case(name, stepper(venv, work, work.response, eos_ids(venv)))
        return
    tokens = work.texts * (work.prompt + work.response)
    bound = f"{_LIMIT}, {name}" if axis.with_limit else None
    if bound is not None:
        yield Case(bound, Limit(work).iteration, tokens)
    scorer = TimedReward(work)
    agent = make_agent(work, stack.enter_context(environment(work, scorer)), "textgym PPO")
    case = iteration_case(name, agent, scorer, work, bound)
    case.work = tokens
    yield case


def _microseconds(item: Measurement) -> float:
    assert item.rate is not None
    return 1e6 / item.rate
