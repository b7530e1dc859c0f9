"""The comparison with TRL: textgym's side always, TRL's where an environment with it is named."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from benchmarks import Options, run_benchmark
from benchmarks.trl import Sizes, TrlSideError, describe_trl, job_of, kinds_of, names_of, start_folder, train_ours
from benchmarks.trl_side import Job
from textgym.trl import TrlEnv

PYTHON = os.environ.get("TEXTGYM_TRL_PYTHON")
SMALL = Sizes().smaller()


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.mark.parametrize(("method", "kind"), [("grpo", ""), *(("ppo", kind) for kind in kinds_of("ppo"))])
def test_our_side_trains_and_names_the_prompts_for_theirs(method: str, kind: str, tmp_path: Path) -> None:
    settings = kinds_of(method)[kind]
    outcome, rows = train_ours(method, SMALL, 0, tmp_path / "ours", settings)
    assert outcome.seconds > 0
    assert SMALL.tokens <= outcome.tokens <= 4 * SMALL.copies * SMALL.response
    known = {row["prompt"]: row for row in TrlEnv("TextSumm-v1", "gold").rows("train", 1)}  # the same form
    assert all(row.keys() < next(iter(known.values())).keys() for row in rows)
    trained = AutoModelForCausalLM.from_pretrained(tmp_path / "ours").state_dict()
    start = AutoModelForCausalLM.from_pretrained(start_folder()).state_dict()
    assert any(not torch.equal(weight, trained[name]) for name, weight in start.items())

    job = job_of(method, SMALL, 0, rows, tmp_path)
    texts = len(job.rows) * job.group
    assert texts >= job.texts
    if method == "grpo":  # whole rollouts of whole groups, all of different prompts
        assert texts % job.texts == 0
        assert len({row["task_key"] for row in rows}) == len(rows) == texts // SMALL.group
    job.save(tmp_path / "job.json")
    assert Job(**json.loads((tmp_path / "job.json").read_text())) == job


def test_without_a_python_it_says_what_to_make() -> None:
    with pytest.raises(TrlSideError, match=r"expected --trl-python, .*'trl<1\.13'"):
        run_benchmark("trl", Options(repetitions=1, smoke=True))


def test_a_python_without_trl_is_named(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho 'No module named trl' >&2\nexit 1\n")
    python.chmod(0o755)
    with pytest.raises(TrlSideError, match=r"expected .*python to run TRL, got 'No module named trl'; install trl"):
        describe_trl(python)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(PYTHON is None, reason="needs: TEXTGYM_TRL_PYTHON, the Python of an environment with TRL")
def test_both_sides() -> None:
    report = run_benchmark("trl", Options(repetitions=1, smoke=True, trl_python=Path(str(PYTHON))))
    json.dumps(report.as_json(), allow_nan=False)
    report.show()
    names = [item.name for item in report.measurements]
    assert names in (names_of("ppo"), names_of("grpo") + names_of("rloo"))
    for item in report.measurements:
        assert min(item.seconds) > 0
        assert min(item.work) > 0
    for table in report.scores.values():
        assert set(table) in ({"start model", *names_of(method)} for method in ("ppo", "grpo", "rloo"))
        assert table["start model"]["kl"].mean == pytest.approx(0.0, abs=1e-5)
