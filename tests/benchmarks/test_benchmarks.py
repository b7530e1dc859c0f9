"""Every benchmark runs, in miniature, and its report has the promised form; no figure is looked at."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner, Result

from benchmarks import BENCHMARKS, Options, Report, controls, gpu, module_of, peers, rollouts, run_benchmark
from benchmarks import active_selection as active
from benchmarks import dialogue_rewards as dialogues
from benchmarks.feedback_page import find_chromium
from benchmarks.limit import Limit
from benchmarks.ppo import TimedReward
from benchmarks.workload import Workload, environment, eos_ids, prompts_of
from textgym.cli import app as cli
from textgym.cli.bench import NoBenchmarksError, load_benchmarks
from textgym.errors import MissingExtraError
from textgym.feedback import read_comparisons
from textgym.rewards import resolve_reward
from textgym.text.tokenizer import Tokenizer

HERE = ("ppo", "rollout", "scaling", "env")  # need neither a GPU nor an extra
AGENTS = ("textgym PPO", "textgym PPO, detached critic", "textgym PPO, separate critic", "stock PPO, episode buffer")


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def smoke(name: str, plot: Path | None = None) -> Report:
    return run_benchmark(name, Options(repetitions=1, smoke=True, plot=plot))


def check_form(report: Report) -> dict[str, Any]:
    """Check what all reports share, and return the rows by name."""
    read = json.loads(json.dumps(report.as_json(), allow_nan=False))
    assert read["benchmark"] == report.name
    assert read["machine"]["threads"] == 1
    assert "torch" in read["versions"]
    rows = {row["name"]: row for row in read["rows"]}
    assert len(rows) == len(read["rows"]) > 0
    for row in rows.values():
        assert row["median"] > 0
        assert len(row["seconds"]) == len(row["work"]) == 1
        assert (row["ratio"] is None) == (row["limit"] is None)
        assert row["limit"] is None or row["limit"] in rows
    report.show()
    return rows


@pytest.mark.slow
def test_ppo() -> None:
    rows = check_form(smoke("ppo"))
    assert set(AGENTS) < set(rows)
    for name in AGENTS[:3]:
        assert set(rows[name]["parts"]) == {"rollout", "reference", "reward", "update", "other"}
        assert sum(part for (part,) in rows[name]["parts"].values()) == pytest.approx(rows[name]["median"], rel=0.05)
    assert rows["textgym PPO, separate critic"]["limit"] == "limit, separate critic"


def test_rollout() -> None:
    report = smoke("rollout")
    rows = check_form(report)
    tokens = Workload().smaller().tokens
    assert all(rows[name]["work"] == [tokens] for name in rows if name.startswith("fixed"))
    assert 0 < rows["mixed: generate()"]["work"][0] <= 4 * tokens
    assert rows["mixed: env.step + policy"]["work"] == [4 * tokens]
    assert len(report.figures) == 4
    assert 0 < report.figures["fixed lengths, percent of the time in env.step"] < 100


@pytest.mark.slow
def test_scaling(tmp_path: Path) -> None:
    report = smoke("scaling", tmp_path / "scaling.png")
    rows = check_form(report)
    assert {"response length 2", "environments 4", "vocabulary 5,000", "distinct prompts 1"} <= set(rows)
    assert rows["response length 4"]["limit"] == "limit, response length 4"
    assert len(report.figures) == 5
    assert (tmp_path / "scaling.png").read_bytes().startswith(b"\x89PNG")


def test_env() -> None:
    report = smoke("env")
    rows = check_form(report)
    assert {"gym.make", "make_vec, native", "make_vec, sync", "SB3 adapter", "SB3 adapter, learned reward"} <= set(rows)
    assert report.unit == "steps"
    assert report.figures["texts per reward call"] >= 1


def test_peers() -> None:
    trl = pytest.importorskip("trl", reason="needs: pip install trl")
    with_ppo = importlib.util.find_spec("trl.experimental.ppo") is not None
    report = smoke("peers")
    rows = check_form(report)
    limits = {name: row["limit"] for name, row in rows.items() if row["limit"]}
    of_ppo = {"textgym PPO": "TRL PPO", "textgym PPO, separate critic": "TRL PPO"}
    assert limits == (of_ppo if with_ppo else {"textgym GRPO": "TRL GRPO", "textgym RLOO": "TRL RLOO"})
    assert report.figures["TRL"] == trl.__version__


def test_peers_write_equally_much() -> None:
    pytest.importorskip("trl", minversion="1.16", reason="needs: pip install 'trl>=1.16'")
    import trl

    work = Workload().smaller()
    with TemporaryDirectory() as folder:
        trainer = peers.make_group_trainer(work, Path(folder), trl.GRPOTrainer, trl.GRPOConfig)
        reward, asked = trainer.reward_funcs[0], list[int]()

        def counted(prompts: Any, completions: Any, completion_ids: Any, **columns: Any) -> list[float]:
            asked.extend(map(len, completion_ids))
            return reward(prompts, completions, **columns)

        trainer.reward_funcs[0] = counted
        for iteration in (1, 2):
            trainer.train()
            assert asked == [work.response] * work.texts * iteration
            assert trainer.state.global_step == work.minibatches


def test_prompts_of_a_workload_have_its_length() -> None:
    tokenizer, work = Tokenizer.load("tiny"), Workload()
    assert {len(tokenizer.encode(text)) for text in prompts_of(work, 20)} == {work.prompt}


def test_peers_without_trl_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trl", None)
    monkeypatch.setitem(sys.modules, "trl.experimental.ppo", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'trl<1\.13'"):
        smoke("peers")


@pytest.mark.slow
def test_gpu() -> None:
    report = smoke("gpu")
    rows = check_form(report)
    for model in ("GPT-2 small", "Llama 1B"):
        assert {f"{model}: textgym PPO", f"{model}: generate()", f"{model}: env.step + policy"} <= set(rows)
        assert {f"{model}: {way}" for way in gpu.MEMORY if "LoRA" not in way} <= set(rows)
        assert rows[f"{model}: limit"]["parts"].keys() == {"rollout", "reference", "reward", "update"}
        assert all(value > 0 for name, value in report.figures.items() if name.startswith(model))


def test_a_gpu_benchmark_that_is_stopped_reports_what_it_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*arguments: object) -> list[Any]:
        os.kill(os.getpid(), signal.SIGTERM)  # as `timeout` does
        return []

    monkeypatch.setattr(gpu, "_speeds", stop)
    report = smoke("gpu")
    assert report.figures["stopped early"] == "what is missing was not measured"
    assert "multiplied in bf16, TFLOP/s" in report.figures


def test_gpu_shapes_are_those_of_the_models_they_are_named_after() -> None:
    sizes = {}
    for name, work in gpu.MODELS.items():
        weights = gpu.weights_of(replace(work, device="meta").language_model(0))
        sizes[name] = round(sum(weights) / 1e6)
    assert sizes == {"GPT-2 small": 124, "Llama 1B": 1236}  # 124.4 with 0.8 of positions, 1,235.8


# A model of 10 + 5 weights, one layer of width 4; 2 texts of 3 + 2 tokens.
TOY = Workload(width=4, layers=1, heads=2, prompt=3, response=2, texts=2, epochs=4)
TOY_WEIGHTS = gpu.Weights(trunk=10, head=5)


def test_the_floor_of_a_rollout_where_memory_is_slow() -> None:
    # Prompts: 15 weights of 2 bytes. Then the same, and 2 texts of 4 tokens with 4 keys and 4 values of 2 bytes.
    assert gpu.rollout_floor(TOY, TOY_WEIGHTS, gpu.Rates(1.0, 1e30)) == 30 + (30 + 2 * 4 * 8 * 2)
    grouped = replace(TOY, kv_heads=1)
    assert gpu.rollout_floor(grouped, TOY_WEIGHTS, gpu.Rates(1.0, 1e30)) == 30 + (30 + 2 * 4 * 4 * 2)


def test_the_floor_of_a_rollout_where_arithmetic_is_slow() -> None:
    # A product costs 2. Of each text, the trunk reads 3 tokens, the head 1, and attention, 2 products, half of 3 x 3.
    prompts = 2 * (2 * 10 * 3 + 2 * 5 + 2 * 2 * 4 * 9 / 2)
    token = 2 * (2 * 15 + 2 * 2 * 4 * 4)
    assert gpu.rollout_floor(TOY, TOY_WEIGHTS, gpu.Rates(1e30, 1.0)) == prompts + token


def test_the_operations_of_an_update() -> None:
    forward = 2 * 10 * 5 + 2 * 5 * 2 + 2 * 2 * 4 * 25 / 2
    assert gpu.update_flops(TOY, TOY_WEIGHTS) == 3 * 2 * 4 * forward  # forward and backward, texts, epochs


def test_rates_are_positive() -> None:
    assert min(gpu.measured_rates(torch.device("cpu"), smoke=True)) > 0


def test_active_selection() -> None:
    report = smoke("active-selection")
    rows = check_form(report)
    assert list(rows) == ["seed 0", "seed 1"]
    curves = report.figures["accuracy after each round, each seed"]
    assert [len(curve) for seed in curves for curve in seed.values()] == [3] * 4
    assert all(seed["random"][0] == pytest.approx(seed["chosen"][0]) for seed in curves)  # the same first labels


@pytest.mark.slow
@pytest.mark.plots
def test_rollouts(tmp_path: Path) -> None:
    report = smoke("rollouts", tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    rows = check_form(report)
    names = [f"{treatment}, lambda {each}" for each in ("0.95", "1") for treatment in rollouts.TREATMENTS]
    assert list(rows) == names
    assert list(report.outcomes["gold"]) == ["start model", *names]
    assert report.outcomes["stale"]["bootstrap, lambda 1"] == ""
    assert float(report.outcomes["stale"]["carry, lambda 1"]) >= 0


def test_a_study_of_rollouts_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = []

    def run_case(case: rollouts.Case, study: rollouts.Study) -> dict[str, Any]:
        ran.append(case)
        if len(ran) == 4:
            raise KeyboardInterrupt
        gold = [0.5 + 0.1 * (case.treatment == "carry"), 0.1 * case.seed]
        curve = [{"timesteps": 96, "stale": 0.25 * at} for at in range(4)]
        return {"study": study.key, "case": asdict(case), "gold": gold, "seconds": 1.0, "learned": 90, "curve": curve}

    monkeypatch.setattr(rollouts, "run_case", run_case)
    file, study = tmp_path / "runs" / "rollouts.jsonl", rollouts.Study(seeds=2)
    with pytest.raises(KeyboardInterrupt):
        rollouts.finish(file, study)
    assert len(file.read_text().splitlines()) == 3
    runs = rollouts.finish(file, study)
    assert list(runs) == list(rollouts.cases(2))
    assert len(ran) == 4 + 14
    assert rollouts.finish(file, study) == runs
    assert len(ran) == 4 + 14
    assert rollouts.read_runs(file, replace(study, tokens=1)) == {}
    table = rollouts.outcomes(runs)
    assert table["carry, lambda 0.95"]["minus the first, over prompts"].startswith("0.050")
    assert table["bootstrap, lambda 1"]["minus the first, over prompts"].startswith("0.000")
    assert table["carry, lambda 1"]["stale"] == "0.62"  # of the last two iterations, 0.5 and 0.75
    assert table["start model"]["learned"] == ""


def test_gold_is_compared_by_prompt_and_seed() -> None:
    first, second = np.array([[0.1, 0.6, 0.2], [0.3, 0.5, 0.4]]), np.array([[0.0, 0.5, 0.1], [0.1, 0.3, 0.2]])
    of_prompts, of_seeds = rollouts.compared(first, second)
    assert of_prompts.mean == pytest.approx(0.15)  # 0.1 with one seed, 0.2 with the other, whatever the prompt
    assert of_prompts.high - of_prompts.low == pytest.approx(0, abs=1e-9)
    assert of_seeds is not None
    assert of_seeds.low < 0 < 0.3 < of_seeds.high  # t of one degree of freedom: 0.15 +- 12.7 * 0.05
    assert rollouts.compared(first[:1], second[:1])[1] is None


def test_the_share_of_labels_by_hand() -> None:
    study = active.Study(first=10, step=10, labels=60)
    random = [0.5, 0.5, 0.5, 0.6, 0.6, 0.6]  # means over three rounds, at 20 to 50 labels: 0.5, 0.533, 0.567, 0.6
    assert active.share_saved(random, [0.6] * 6, study) == pytest.approx(20 / 50)
    assert active.share_saved(random, random, study) == pytest.approx(1)
    assert active.share_saved(random, [0.5] * 6, study) == 1
    assert active.share_saved(random, [0.5, 0.5, 0.5, 0.8, 0.8, 0.8], study) == pytest.approx(30 / 50)


@pytest.mark.slow
def test_dialogue_rewards() -> None:
    report = smoke("dialogue-rewards")
    rows = check_form(report)
    assert list(rows) == ["write the file", "read it", "fit: frozen embeddings", "fit: language model"]
    names = ["frozen embeddings", "language model", "always the longer answer", "always the shorter answer"]
    assert {f"accuracy, {name}" for name in names} < set(report.figures)
    assert report.figures["held-out dialogues"] >= 1


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_feedback_modes() -> None:
    try:
        find_chromium()
    except MissingExtraError as error:
        pytest.skip(str(error))
    report = smoke("feedback-modes")
    rows = check_form(report)
    assert list(rows) == list(report.outcomes) == ["compare", "rank", "rate", "edit", "natural"]
    assert [outcome["answers"] for outcome in report.outcomes.values()] == [8] * 5
    assert [outcome["kept as decided"] for outcome in report.outcomes.values()] == [8] * 5
    assert [outcome["records"] for outcome in report.outcomes.values()] == [8, 8, 24, 16, 32]
    assert all(outcome["held-out pairs"] >= 2 for outcome in report.outcomes.values())


def test_the_file_of_dialogues_hides_a_quality_that_is_not_length(tmp_path: Path) -> None:
    pairs = dialogues.write_dialogues(tmp_path / "d.jsonl.gz", 400, np.random.default_rng(0))
    records = read_comparisons(tmp_path / "d.jsonl.gz")  # as it is
    texts = [(pair.prompt, pair.chosen.text, pair.rejected.text) for pair in pairs]
    assert [(record.prompt, record.chosen, record.rejected) for record in records] == texts
    assert len({record.prompt for record in records}) == 400
    lengths = [len(f"{prompt} {text}".split()) for prompt, *both in texts for text in both]
    assert 800 < max(lengths) <= 1000
    right = np.mean([pair.chosen.quality > pair.rejected.quality for pair in pairs])
    longer = np.mean([len(pair.chosen.text.split()) > len(pair.rejected.text.split()) for pair in pairs])
    assert 0.45 < longer < 0.62 < 0.8 < right < 0.97


def test_every_benchmark_has_a_module_and_a_test() -> None:
    for name in BENCHMARKS:
        assert importlib.util.find_spec(module_of(name)) is not None
        test = f"test_{name.replace('-', '_')}"
        assert test in globals() or Path(__file__).with_name(f"{test}.py").exists()


def test_the_decoding_loop_of_the_limit_agrees_with_a_full_forward() -> None:
    limit = Limit(Workload().smaller())
    texts, log_probs = limit.decode()
    again = limit.reference_log_probs(texts)  # the reference has the weights of the policy
    torch.testing.assert_close(log_probs, again, rtol=1e-4, atol=1e-4)
    assert texts.shape == (4, 20)


def test_the_work_of_the_environment_is_that_of_the_limit() -> None:
    work = Workload().smaller()
    with environment(work, ends=3) as venv:
        observation: Any = venv.reset()
        assert observation["attention_mask"].sum(1).tolist() == [work.prompt] * work.texts
        assert len(eos_ids(venv)) == 3


def test_the_reward_model_reads_no_more_than_the_limit_does() -> None:
    work = Workload().smaller()
    scorer = TimedReward(work)
    (text,) = scorer.model.encoder(["word " * 100], ["another " * 100])
    assert text.length == work.prompt + work.response


def test_the_reward_of_the_controls_can_be_found_by_its_path() -> None:
    assert resolve_reward("benchmarks.controls:constant")(["a"], ["b"], [None]) == [0.0]  # type: ignore[list-item]
    with pytest.raises(SystemExit, match="0"):
        controls.main(["--help"])


# ------------------------------------------------------------------- textgym bench
def bench(*arguments: str) -> Result:
    return CliRunner().invoke(cli.app, ["bench", *arguments])


def test_the_command_lists_the_benchmarks() -> None:
    assert all(name in bench("--help").stdout for name in BENCHMARKS)


def test_the_command_writes_json(tmp_path: Path) -> None:
    file = tmp_path / "env.json"
    shown = bench("env", "--smoke", "--repetitions", "1", "--threads", "1", "--json", str(file))
    assert shown.exit_code == 0, shown.output
    assert "steps/s" in shown.stdout
    assert json.loads(file.read_text(encoding="utf-8"))["benchmark"] == "env"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["rolout"], "dialogue-rewards, tasks, rollouts, feedback-modes, got 'rolout'. Did you mean 'rollout'?"),
        (["ppo", "--repetitions", "0"], "--repetitions"),
        (["ppo", "--device", "gpu"], "to be auto, cpu or cuda"),
    ],
)
def test_mistakes_are_one_line(arguments: list[str], message: str) -> None:
    shown = bench(*arguments)
    assert message in shown.stderr
    assert shown.exit_code == cli.BAD_INPUT


def test_an_installation_without_a_checkout_says_how_to_get_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "benchmarks")
    with pytest.raises(NoBenchmarksError, match=r"expected a checkout .* clone the .*pip install -e \."):
        load_benchmarks(tmp_path)


def test_the_benchmarks_of_a_checkout_are_found_from_anywhere(tmp_path: Path) -> None:
    code = "from textgym.cli.bench import load_benchmarks; import sys; print(*load_benchmarks().BENCHMARKS); "
    code += "print('agents' in sys.modules or bool([p for p in sys.path if p.endswith('benchmarks')]))"
    command = [sys.executable, "-P", "-c", code]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path).stdout.splitlines()
    assert shown == [" ".join(BENCHMARKS), "False"]
