"""``textgym reward fit`` on feedback of every kind and origin, good and bad."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from textgym.cli import app as cli
from textgym.envs.choice import EnvChoice
from textgym.feedback import (
    By,
    FeedbackStore,
    accuracy_curve,
    answer_compare,
    read_records,
    split_records,
    write_records,
)
from textgym.feedback.sources import read_feedback
from textgym.feedback.types import (
    Choice,
    Comparison,
    Demonstration,
    ImplicitFeedback,
    Question,
    Ranking,
    Rating,
    Record,
)
from textgym.reward_models import EmbeddingRewardModel, RewardEnsemble, load_reward
from textgym.reward_models.evidence import Candidate
from textgym.tasks import Summarization, prompt_text
from textgym.training.reward import _how_to_use
from textgym.training.reward_feedback import reference_texts, understand, warn_of_bare_prompts
from textgym.training.run_folder import RunFolder

FILLER = ("council", "bridge", "road", "voted", "closed", "opened", "mayor")
FEW = ["--embeddings", "lm", "--out", "r"]


@pytest.fixture(autouse=True)
def _model(lm: str) -> None:
    Path("lm").symlink_to(lm)


def fit(*arguments: str) -> Result:
    return CliRunner().invoke(cli.app, ["reward", "fit", *arguments])


def fitted(records: Sequence[Record], *arguments: str) -> tuple[Result, dict[str, Any]]:
    """Fit to records in a file; the summary must hold neither NaN nor infinity."""
    write_records("f.jsonl", records)
    shown = fit("--feedback", "f.jsonl", *(arguments or FEW))
    assert shown.exit_code == 0, shown.stderr
    return shown, summary("r")


def summary(folder: str) -> dict[str, Any]:
    def refuse(constant: str) -> NoReturn:
        raise AssertionError(constant)

    text = (Path(folder) / "summary.json").read_text(encoding="utf-8")
    assert "nan" not in text.lower().split()
    found: dict[str, Any] = json.loads(text, parse_constant=refuse)
    return found


class People:
    """Better texts have more "good" and less "bad" in them."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(0)

    def text(self) -> str:
        return " ".join(self.rng.choice([*FILLER, "good", "bad"], size=self.rng.integers(3, 9)))

    def quality(self, text: str) -> int:
        return text.split().count("good") - text.split().count("bad")

    def pair(self) -> tuple[str, str]:
        while True:
            a, b = self.text(), self.text()
            if self.quality(a) != self.quality(b):
                return a, b

    def comparison(self, n: int, annotator: str = "ann", honest: bool = True) -> Comparison:
        a, b = self.pair()
        choice: Choice = "a" if (self.quality(a) > self.quality(b)) == honest else "b"
        return Comparison(f"k{n}", f"Document {n}", a, b, choice, annotator=annotator)

    def grade(self, text: str) -> int:
        return int(np.clip(3 + self.quality(text), 1, 5))

    def of_all_kinds(self, n: int) -> list[Record]:
        """One record of each kind about each of n prompts."""
        records: list[Record] = []
        for i in range(n):
            about, texts = (f"k{i}", f"Document {i}"), [self.text() for _ in range(3)]
            ranks = [1 + sum(self.quality(other) > self.quality(text) for other in texts) for text in texts]
            records += [
                self.comparison(i),
                Ranking(*about, tuple(texts), tuple(ranks), annotator="bob"),
                *(Rating(*about, text, self.grade(text), annotator="cat") for text in texts),
                Demonstration(*about, f"{texts[0]} good", edited_from=texts[0], annotator="ann"),
                *(
                    ImplicitFeedback(*about, text, place, self.quality(text) > 0, 1.0 + self.grade(text), annotator="u")
                    for place, text in enumerate(texts)
                ),
            ]
        return records


@pytest.fixture
def people() -> People:
    return People()


def test_all_kinds_mixed(people: People) -> None:
    shown, found = fitted(people.of_all_kinds(60))
    assert found["accuracy"]["low"] > 0.5
    assert set(found["held_out"]["by_kind"]) == {"comparison", "ranking", "rating", "demonstration", "implicit"}
    assert found["calibration"]["bins"][0]["pairs"] > 0
    assert set(found["reliability"]) == {"ann", "bob", "cat"}
    for words in (
        "always the longer text",
        "rankings",
        "words more",
        "Calibration",
        "reliability",
        "Most confident errors",
    ):
        assert words in shown.stdout
    assert read_records("r/feedback.jsonl") == read_records("f.jsonl")
    assert Path("r/reward_report.png").read_bytes().startswith(b"\x89PNG")
    assert isinstance(load_reward("r"), EmbeddingRewardModel)


def test_a_project_is_read_and_told_how_accurate_the_model_is(people: People) -> None:
    records: list[Record] = [people.comparison(n) for n in range(80)]
    with FeedbackStore("p.db") as store:
        store.add_votes([(f"vote {n}", [record]) for n, record in enumerate(records)])
    assert read_feedback("p.db") == records
    shown = fit("--feedback", "p.db", "--learning-curve", *FEW)
    assert shown.exit_code == 0, shown.stderr
    found = summary("r")
    labels = [point["labels"] for point in found["learning_curve"]]
    assert labels == sorted(set(labels))
    assert "Learning curve" in shown.stdout
    with FeedbackStore("p.db") as store:
        curve = accuracy_curve(store)
    assert curve[-1].labels == found["pairs"] == found["learning_curve"][-1]["labels"]
    assert len(curve) == len(found["learning_curve"]) > 2


def test_whole_dialogues_need_no_preparation(people: People) -> None:
    rows = []
    for n in range(60):
        talk = f"\n\nHuman: Hello {n}\n\nAssistant: Hi\n\nHuman: What is new?\n\nAssistant:"
        record = people.comparison(n)
        rows.append({"chosen": f"{talk} {record.chosen}", "rejected": f"{talk} {record.rejected}"})
    Path("talk.jsonl.gz").write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    shown = fit("--comparisons", "talk.jsonl.gz", *FEW)  # the name of earlier versions
    assert shown.exit_code == 0, shown.stderr
    assert summary("r")["pairs"] + summary("r")["held_out_pairs"] == 60
    assert all(record.prompt.endswith("\n\nAssistant:") for record in read_records("r/feedback.jsonl"))


def test_a_criterion(people: People) -> None:
    ratings: list[Record] = []
    for n in range(120):
        text = people.text()
        grade = people.grade(text)
        ratings.append(Rating(f"k{n}", f"Document {n}", text, 6 - grade, criteria={"helpful": grade}))
    fitted(ratings, *FEW, "--criterion", "helpful")
    reward = load_reward("r")
    good, bad = reward(["p", "p"], ["good good road", "bad bad road"], [])  # type: ignore[arg-type]
    assert good > bad
    shown = fit("--feedback", "f.jsonl", "--criterion", "helpfull")
    assert shown.exit_code == cli.BAD_INPUT
    assert "Did you mean 'helpful'?" in shown.stderr
    assert "give --feedback" in fit("--criterion", "helpful").stderr


def test_adapters_of_several_members(people: People) -> None:
    pytest.importorskip("peft", reason="needs: pip install 'textgym[lora]'")
    model = ["--model", "lm", "--lora-rank", "2", "--members", "2", "--out", "r"]
    fitted([people.comparison(n) for n in range(40)], *model)
    assert isinstance(load_reward("r"), RewardEnsemble)
    assert "leave one out" in fit("--embeddings", "lm", "--lora-rank", "2").stderr


@pytest.mark.parametrize("name", ["lm", "nowhere"])
def test_feedback_that_is_no_file(name: str) -> None:
    shown = fit("--feedback", name, *FEW)
    assert shown.exit_code == cli.BAD_INPUT, shown.output
    assert not Path("r").exists()


def about(n: int, choice: Choice = "a", annotator: str = "ann", texts: tuple[str, str] = ("x", "y")) -> Comparison:
    return Comparison(f"k{n}", f"Document {n}", *texts, choice, annotator=annotator)


USELESS: dict[str, tuple[Callable[[], list[Record]], str]] = {
    "nothing": (list, "expected records to learn from, got none"),
    "one": (lambda: [about(0)], "expected records about at least two prompts"),
    "one prompt": (lambda: [about(0)] * 20, "expected records about at least two prompts"),
    "ties": (lambda: [about(n, "tie") for n in range(20)], "got 20 ties; ties alone teach nothing"),
    "both bad": (lambda: [about(n, "both_bad") for n in range(20)], "got 20 answers 'both bad'"),
    "same text": (lambda: [about(n, texts=("x", "x ")) for n in range(9)], "got 9 of a text with itself"),
    "demonstrations": (
        lambda: [Demonstration(f"k{n}", f"Document {n}", "x", annotator="a") for n in range(9)],
        "these are to be imitated: textgym sft --data FILE trains on them",
    ),
    "one grade": (lambda: [Rating(f"k{n}", f"Document {n}", "x", 4) for n in range(9)], "grades that never differ"),
}


@pytest.mark.parametrize("name", USELESS)
def test_feedback_that_teaches_nothing_is_refused(name: str) -> None:
    make, complaint = USELESS[name]
    write_records("f.jsonl", make())
    shown = fit("--feedback", "f.jsonl", *FEW)
    assert shown.exit_code == cli.BAD_INPUT, shown.output
    assert complaint in shown.stderr
    assert not Path("r").exists()


def test_one_record_teaches_if_nothing_is_held_out() -> None:
    shown, found = fitted([about(0)], *FEW, "--held-out", "0")
    assert "Held-out accuracy unknown" in shown.stdout
    assert (found["accuracy"], found["held_out"]) == ({"mean": 0.5, "low": 0.0, "high": 1.0}, None)
    assert not Path("r/reward_report.png").exists()


def test_two_records_are_no_success() -> None:
    shown, found = fitted([about(0), about(1)])
    assert found["accuracy"]["low"] < 0.5
    assert "only 1 preferences held out" in shown.stderr
    assert "not distinguishable from chance" in shown.stderr


def test_the_same_two_texts_everywhere_are_no_success() -> None:
    """Prompts differ, but whoever knows the two texts knows all answers."""
    shown, found = fitted([about(n, texts=("yes", "no")) for n in range(400)])
    assert found["accuracy"]["mean"] == 1
    assert "held-out pairs are of responses also trained on" in shown.stderr


def opposed(n: int) -> list[Comparison]:
    """Three answers to one question: one person's, and the opposite by two others."""
    other = {"a": "b", "b": "a"}
    said = replace(about(n), annotator="ann")
    return [said, *(replace(said, annotator=name, choice=other[said.choice]) for name in ("bob", "cat"))]  # type: ignore[arg-type]


def cancelling(n: int) -> list[Comparison]:
    return opposed(n)[:2]


def test_answers_that_cancel_out_are_explained_before_the_error() -> None:
    """A fit learns nothing from them: whoever resumes it gets the same answers, and the same error."""
    write_records("f.jsonl", [answer for n in range(30) for answer in cancelling(n)])
    shown = fit("--feedback", "f.jsonl", *FEW)
    assert shown.exit_code == cli.BAD_INPUT, shown.output
    warning, error = shown.stderr.find("two groups disagree systematically: ann | bob"), shown.stderr.find("Error:")
    assert 0 <= warning < error
    assert "learned nothing" in shown.stderr
    assert "--resume" not in shown.stderr
    resumed = fit("--resume", "r")
    assert resumed.exit_code == cli.BAD_INPUT
    assert "--resume" not in resumed.stderr


def test_a_report_that_is_not_drawn_is_explained() -> None:
    shown, _ = fitted([about(0), about(1)])
    assert not Path("r/reward_report.png").exists()
    assert "reward_report.png is not drawn: it takes 30 held-out preferences, and there are 1;" in shown.stderr


def test_the_environment_that_feedback_came_from_is_named(people: People) -> None:
    shown, _ = fitted([people.comparison(n) for n in range(40)])  # about documents of nobody
    assert "train TextSumm-v0" not in shown.stdout
    assert "textgym train TextGen-v0 --data FILE --reward r" in shown.stdout
    with FeedbackStore("p.db") as store:
        store.add_votes((f"v{n}", [people.comparison(n)]) for n in range(40))
        task = {"env_id": "TextGenEpisode-v0", "data": "my prompts.csv", "prompt_column": "ticket", "split": "train"}
        store.update_setting("task", lambda _: task)
    shown = fit("--feedback", "p.db", "--embeddings", "lm", "--out", "r2")
    use = "use it with: textgym train TextGen-v0 --data 'my prompts.csv' --prompt-column ticket --reward r2"
    assert use in shown.stdout
    shown = fit("TextSumm-v1", "--feedback", "f.jsonl", "--embeddings", "lm", "--out", "r3")
    assert "use it with: textgym train TextSumm-v1 --reward r3" in shown.stdout


def test_the_hint_trains_the_model_of_the_fit_on_the_data_of_its_run(lm: str) -> None:
    run, choice = RunFolder("r"), EnvChoice("TextGen-v0", "tickets.csv", "ticket")
    with RunFolder.create("sft", "sft", {"choice": asdict(choice), "model": "tiny"}):
        pass
    short = "use it with: textgym train --model sft --reward r"
    assert [_how_to_use(run, each, "sft") for each in (choice, None, EnvChoice("TextGen-v0"))] == [short] * 3
    other = "use it with: textgym train TextGen-v0 --data other.csv --model sft --reward r"
    assert _how_to_use(run, EnvChoice("TextGen-v0", "other.csv"), "sft") == other
    assert _how_to_use(run, EnvChoice("TextSumm-v1"), lm).endswith(f"train TextSumm-v1 --model {lm} --reward r")


def test_feedback_whose_prompts_lack_the_template_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    template = "As {tone}: {prompt}\n\nReply:"
    records = [about(0), about(1)]
    warn_of_bare_prompts(template, records, "f.jsonl")
    said = " ".join(capsys.readouterr().err.split())
    assert "no prompt of 'f.jsonl' has the text of the prompt template" in said
    assert "Write the whole formatted prompt into the column `prompt`" in said
    whole = replace(about(2), prompt="As kind: Where is it?\n\nReply:")
    for formatted, some in ((template, [*records, whole]), (None, records), ("{prompt}", records)):
        warn_of_bare_prompts(formatted, some, "f.jsonl")
    assert not capsys.readouterr().err


def test_which_of_two_groups_is_reversed_is_left_open_without_attention_checks() -> None:
    shown, _ = fitted([answer for n in range(30) for answer in opposed(n)], *FEW)
    assert (
        "Warning: two groups disagree systematically: bob, cat | ann; which of them is reversed is undecided"
        in shown.stderr
    )


def test_attention_checks_of_a_project_say_which_group_is_reversed() -> None:
    """Two of three are reversed, so that the model learns the opposite; the checks tell."""
    check = Question("c", "p", ("good", "bad"))
    with FeedbackStore("p.db") as store:
        store.add_votes((f"v{n}", [each]) for n, each in enumerate(each for n in range(30) for each in opposed(n)))
        items = store.add_checks([replace(check, task_key=f"c{n}") for n in range(4)], ["a"] * 4)
        for name, choice in (("ann", "a"), ("bob", "b"), ("cat", "b")):
            for n, item in enumerate(items):
                answer = answer_compare(replace(check, task_key=f"c{n}"), choice, By(name))  # type: ignore[arg-type]
                store.vote(f"{name}-{n}", name, item, answer)
    shown = fit("--feedback", "p.db", *FEW)
    assert shown.exit_code == 0, shown.output
    assert (
        "Warning: bob, cat are reversed, answering systematically opposite to ann: are labels swapped?" in shown.stderr
    )
    assert "4 of 4 by ann" in shown.stderr


def test_duplicates_are_on_one_side(people: People) -> None:
    """Random answers, each given twice, under prompts that differ in case alone: remembering them is of no use."""
    records: list[Record] = []
    for n in range(150):
        record = replace(people.comparison(n), choice="a" if people.rng.random() < 0.5 else "b")
        records += [record, replace(record, prompt=record.prompt.upper())]
    shown, found = fitted(records)
    assert found["accuracy"]["low"] < 0.5
    assert "not distinguishable from chance" in shown.stderr


def test_ties_alone_held_out() -> None:
    records = [about(n) for n in range(40)]
    _, held_out = split_records(records, 1e-6)
    shown, found = fitted(
        [replace(record, choice="tie") if record in held_out else record for record in records],
        *(*FEW, "--held-out", "0.000001"),
    )
    assert found["held_out_pairs"] == 0
    assert "Held-out accuracy unknown" in shown.stdout
    assert "no preference was held out" in shown.stderr
    assert found["accuracy"] == {"mean": 0.5, "low": 0.0, "high": 1.0}


def test_constant_answers_are_named(people: People) -> None:
    honest = [people.comparison(n) for n in range(500)]
    constant = [replace(people.comparison(n), choice="b", annotator="same") for n in range(500, 800)]
    shown, found = fitted([*honest, *constant])
    assert "same gave the same answer 300 times" in shown.stderr
    assert found["reliability"]["same"] < 0.6 < found["reliability"]["ann"]


def test_one_annotator_has_no_reliability_and_no_ceiling(people: People) -> None:
    shown, found = fitted([people.comparison(n) for n in range(120)])
    assert (found["reliability"], found["held_out"]["agreement"]) == ({}, None)
    assert "Inter-annotator agreement unavailable: no question has two answers" in shown.stdout


def test_two_annotators_have_a_ceiling(people: People) -> None:
    records = [people.comparison(n) for n in range(120)]
    shown, _ = fitted([*records, *(replace(record, annotator="bob") for record in records)])
    assert "Inter-annotator agreement 100%" in shown.stdout


def zeros(task: Summarization, records: list[Record]) -> list[Candidate]:
    return reference_texts(task, records, understand(records, None, 0.0, 0).split)


def test_what_counts_as_zero(people: People) -> None:
    task = Summarization(split="train")
    example = task.dataset[0]
    known = Comparison(example.key, prompt_text(task, example), "x", "y", "a")
    assert len(zeros(task, [known])) == 512
    elsewhere: list[Record] = [about(0), about(1, "b"), about(2, "tie")]
    assert [(text.prompt, text.response) for text in zeros(task, elsewhere)] == [
        ("Document 0", "x"),
        ("Document 1", "y"),
    ]
    assert [text.response for text in zeros(task, elsewhere[:1])] == ["x", "y"]
