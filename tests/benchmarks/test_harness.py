"""The arithmetic of the benchmarks, on numbers whose answers are known."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from benchmarks.harness import Case, Measurement, Options, PeakMemory, Report, measure, timed
from benchmarks.scaling import fitted_exponent

CPU = torch.device("cpu")
ONCE = Options(repetitions=1)


def measurement(name: str, seconds: list[float], work: float = 0.0, limit: str | None = None) -> Measurement:
    return Measurement(name, seconds, [work] * len(seconds), {}, limit, None)


def test_a_ratio_is_the_median_of_the_ratios_of_neighbours() -> None:
    # The machine slows down to a half in the middle: neighbours in time say 2, 3 and 2, medians would say 6 / 2 = 3.
    bound, product = measurement("bound", [1.0, 2.0, 4.0]), measurement("product", [2.0, 6.0, 8.0], limit="bound")
    report = Report("test", "Test", [bound, product])
    assert report.ratio(product) == 2.0
    assert report.ratio(bound) is None
    assert (product.median, product.rate) == (6.0, None)


def test_a_ratio_is_per_unit_of_work() -> None:
    bound = Measurement("bound", [1.0, 1.0], [100.0, 50.0], {}, None, None)  # 0.01 and 0.02 s per token
    product = Measurement("product", [3.0, 3.0], [150.0, 150.0], {}, "bound", None)  # 0.02 s per token
    assert Report("test", "Test", [bound, product]).ratio(product) == pytest.approx(1.5)  # of 2 and 1
    assert bound.rate == 75.0


def test_work_is_the_cases_own_or_what_a_run_returns() -> None:
    counts = iter([7, 8, 9])
    cases = [Case("given", lambda: None, 5), Case("counted", lambda: next(counts), 5)]
    given, counted = measure(cases, Options(repetitions=2))
    assert given.work == [5.0, 5.0]
    assert counted.work == [8.0, 9.0]  # the first run is not counted


def test_cases_alternate_and_the_first_run_is_not_timed() -> None:
    order: list[str] = []
    cases = [Case(name, lambda name=name: order.append(name)) for name in "ab"]  # type: ignore[misc]
    found = measure(cases, Options(repetitions=2))
    assert order == ["a", "b"] * 3
    assert [len(item.seconds) for item in found] == [2, 2]


def test_extrapolated_seconds_are_the_sum_of_the_parts() -> None:
    case = Case("some of it", lambda: None, 4, extrapolated=True)

    def run() -> None:
        case.parts.update(rollout=30.0, update=70.0)

    case.run = run
    (found,) = measure([case], ONCE)
    assert (found.median, found.rate) == (100.0, 0.04)
    assert found.parts == {"rollout": [30.0], "update": [70.0]}


def test_parts_add_up_and_start_anew_with_every_run() -> None:
    case = Case("parts", lambda: None)

    def run() -> None:
        for _ in range(2):
            with timed(case.parts, "step", CPU):
                math.factorial(2000)

    case.run = run
    (found,) = measure([case], Options(repetitions=3))
    assert len(found.parts["step"]) == 3
    assert all(0 < part <= whole for part, whole in zip(found.parts["step"], found.seconds, strict=True))


def test_peak_memory_sees_what_is_gone_and_forgets_it() -> None:
    before = PeakMemory(CPU)
    low = before.peak()
    if low is None:
        pytest.skip("this system does not say")
    np.ones(2**24)  # 128 MiB, freed at once
    high = before.peak()
    assert high is not None
    assert high - low > 100 * 2**20
    after = PeakMemory(CPU).peak()
    assert after is not None
    if after > high - 2**20:
        pytest.skip("this system does not let a process reset its peak")
    assert high - after > 100 * 2**20


def test_a_report_is_json_and_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    bound, product = measurement("bound", [2.0], 8.0), measurement("product", [3.0], 8.0, "bound")
    product.parts, product.peak_bytes = {"rollout": [1.0], "update": [2.0]}, 3 * 2**20
    report = Report("test", "A title", [bound, product], figures={"calls": 1}, notes=["A remark."])
    read = json.loads(json.dumps(report.as_json()))
    assert [(row["name"], row["median"], row["ratio"]) for row in read["rows"]] == [
        ("bound", 2.0, None),
        ("product", 3.0, 1.5),
    ]
    assert read["figures"] == {"calls": 1}
    assert {"cpu", "cores", "threads"} <= set(read["machine"])
    assert read["versions"]["torch"] == torch.__version__
    report.show()
    shown = capsys.readouterr().out
    assert all(part in shown for part in ("A title", "product", "1.50", "rollout", "A remark.", "calls: 1"))


def test_the_exponent_of_a_power_law() -> None:
    assert fitted_exponent([1, 2, 4, 8], [3.0, 12.0, 48.0, 192.0]) == pytest.approx(2.0)
    assert fitted_exponent([16, 256], [5.0, 5.0]) == pytest.approx(0.0)
