"""``make drift``: what its rows are, what it keeps, and the table it writes. No environment is made here."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import drift
import drift_page
import pytest

REPORT = """<testsuites><testsuite>
<testcase classname="tests.models.test_a" name="test_good"/>
<testcase classname="tests.models.test_a" name="test_bad[1]"><failure message="no"/></testcase>
<testcase classname="tests.models.test_a" name="test_fixture"><error message="no"/></testcase>
<testcase classname="tests.envs.test_b" name="test_skipped"><skipped message="no GPU"/></testcase>
<testcase classname="tests.envs.test_b" name="test_fine"/>
</testsuite></testsuites>"""


def row(name: str = "newest", transformers: str = "5.24.0") -> drift.Row:
    return drift.Row(name, "torch==2.13.0", {"transformers": transformers, "numpy": "2.4.6"})


def result(of: drift.Row, **changes: object) -> drift.Result:
    made = drift.Result(of.name, of.torch, of.packages, ["tests"], day="2030-01-01", commit="abc", passed=3)
    made.imported = {"torch": "2.13.0+cpu", **of.packages}
    return dataclasses.replace(made, **changes)  # type: ignore[arg-type]


def test_tests_are_counted_from_the_report(tmp_path: Path) -> None:
    (tmp_path / "report.xml").write_text(REPORT)
    found = result(row())
    drift.count_tests(tmp_path / "report.xml", found)
    assert (found.passed, found.failed, found.skipped) == (2, 2, 1)
    assert found.failures == ["tests/models/test_a::test_bad[1]", "tests/models/test_a::test_fixture"]


def test_a_selection_without_tests_is_not_a_pass(tmp_path: Path) -> None:
    (tmp_path / "report.xml").write_text("<testsuites><testsuite/></testsuites>")
    with pytest.raises(drift.NotRunError, match="no test"):
        drift.count_tests(tmp_path / "report.xml", result(row()))


def test_minor_releases_from_the_lower_bound_to_the_newest() -> None:
    assert drift.lower_bound("transformers") == (5, 17)
    assert drift._minors("transformers", "5.19.3") == ["5.17", "5.18", "5.19"]
    assert drift._minors("transformers", "6.1.0") == ["5.17"]
    with pytest.raises(drift.NotRunError, match="expected a package with a lower bound"):
        drift.lower_bound("no-such-package")


def test_torch_and_every_dependency_are_imported() -> None:
    names = drift.direct_packages()
    assert names[0] == "torch"
    assert {"transformers", "stable-baselines3", "peft", "python-multipart"} <= set(names)


@pytest.fixture
def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the rows that were run; nothing is built or installed."""
    names: list[str] = []

    def run_row(of: drift.Row, torch_index: str, arguments: list[str], source: Path, cuda: bool) -> drift.Result:
        names.append(of.name)
        return result(of, arguments=arguments, reason="no network" if of.name == "broken" else "")

    monkeypatch.setattr(drift, "RESULTS", tmp_path)
    monkeypatch.setattr(drift, "build_source", lambda folder: None)
    monkeypatch.setattr(drift, "run_row", run_row)
    return names


def test_finished_rows_are_not_run_again(ran: list[str]) -> None:
    rows = [row("newest"), row("old", "5.17.0")]
    first = drift.run_rows(rows, "", ["tests"], fresh=False)
    again = drift.run_rows(rows, "", ["tests"], fresh=False)
    assert ran == ["newest", "old"]
    assert [each.row for each in again] == [each.row for each in first] == ["newest", "old"]


def test_rows_run_again_if_asked_with_other_versions_other_tests_or_if_they_were_not_run(ran: list[str]) -> None:
    drift.run_rows([row(), row("broken", "5.18.0")], "", ["tests"], fresh=False)
    drift.run_rows([row()], "", ["tests"], fresh=True)
    drift.run_rows([row(transformers="5.25.0")], "", ["tests"], fresh=False)
    drift.run_rows([row()], "", ["tests", "-k", "one"], fresh=False)
    drift.run_rows([row("broken", "5.18.0")], "", ["tests"], fresh=False)
    assert ran == ["newest", "broken", "newest", "newest", "newest", "broken"]


def test_rows_of_equal_versions_are_run_once(ran: list[str]) -> None:
    both = drift.run_rows([row("locked"), row("newest")], "", ["tests"], fresh=False)
    assert ran == ["locked"]
    assert [each.row for each in both] == ["locked", "newest"]


def test_a_cuda_build_is_refused_where_this_one_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    needs = ["filelock", "nvidia-cublas==13.1; platform_system == 'Linux'"]
    report = json.dumps({"install": [{"metadata": {"version": "2.12.1", "requires_dist": needs}}]})
    monkeypatch.setattr(drift, "_call", lambda command, problem: report)
    monkeypatch.setattr(drift.metadata, "requires", lambda name: ["filelock"])
    with pytest.raises(drift.NotRunError, match="only a CUDA build of torch"):
        drift._refuse_cuda_build(["pip"], [], "torch~=2.12.0")
    monkeypatch.setattr(drift.metadata, "requires", lambda name: needs)
    drift._refuse_cuda_build(["pip"], [], "torch~=2.12.0")


def test_the_table_shows_versions_counts_and_reasons() -> None:
    old = result(row("transformers 5.17", "5.17.1"), failed=1, skipped=2)
    gone = result(row("torch 2.15"), reason="torch cannot be installed: a | b")
    locked = {"transformers": "5.24.0", "numpy": "2.4.5"}
    assert drift_page.table([old, gone], locked)[2:] == [
        "| transformers 5.17 | torch 2.13.0+cpu, transformers 5.17.1, numpy 2.4.6 | 3 | 1 | 2 |",
        "| torch 2.15 | not run: torch cannot be installed: a \\| b | - | - | - |",
    ]


def test_only_what_lies_between_the_markers_is_replaced() -> None:
    page = "# Title\n<!-- drift -->\nold\n<!-- /drift -->\n<!-- architectures -->\nkept\n"
    once = drift_page.page_with(page, [result(row(), failures=["tests/a::b"])], {})
    assert once.startswith("# Title\n<!-- drift -->\n| environment |")
    assert once.endswith("<!-- /drift -->\n<!-- architectures -->\nkept\n")
    assert "- `tests/a::b`" in once
    assert "old" not in once
    assert drift_page.page_with(once, [result(row(), failures=["tests/a::b"])], {}) == once
    with pytest.raises(ValueError, match="expected <!-- drift -->"):
        drift_page.page_with("# Title\n", [], {})


def test_the_page_has_the_places_of_its_tables() -> None:
    page = drift_page.PAGE.read_text(encoding="utf-8")
    assert drift_page.page_with(page, [], {})
    assert "<!-- architectures -->" in page
