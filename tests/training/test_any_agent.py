"""Whatever learns is trained by the same run: at either grain, with a language model or without."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger
from typer.testing import CliRunner

from textgym.agents.registry import resolve_agent
from textgym.agents.sft import SFT
from textgym.cli import app as cli
from textgym.data.dataset import prompt_digest, split_of
from textgym.envs.choice import EnvChoice
from textgym.errors import DataError, RunFolderError
from textgym.models.checkpoint import read_checkpoint, write_checkpoint
from textgym.testing import ConformanceError, check_agent
from textgym.training import train as pipeline
from textgym.training.interrupts import RunInterrupted
from textgym.training.run_folder import RunFolder
from textgym.training.setup import trainable
from textgym.training.train import run_resume, run_train
from textgym.training.train_settings import TrainSettings, train_settings
from textgym.types import State

TEXTS = ("It rained.", "The council met on Tuesday.", "Nobody asked why.")
HERE = __name__


class Table:
    """Tabular policy gradient: one score per choice, the same for every prompt; actions are made of the choice.

    Args:
        env: Vector environment.
        rate: Of learning.
    """

    kind: ClassVar[str]
    choices: ClassVar[int]

    def __init__(self, env: Any = None, *, rate: float = 0.5, seed: int = 0) -> None:
        self.env, self.rate, self.seed = env, rate, seed
        self.scores = torch.zeros(self.choices)
        self.generator = torch.Generator().manual_seed(seed)
        self.num_timesteps, self.history = 0, []
        self.seconds: dict[str, float] = {}
        self.logger, self.is_reset = Logger(None, []), False

    history: list[dict[str, float]]

    @classmethod
    def create(cls, env: Any, model: object = None, *, seed: int = 0, device: str = "auto", **options: Any) -> Self:
        return cls(env, seed=seed, **options)

    @property
    def steps_per_iteration(self) -> int:
        return int(self.env.num_envs)

    def get_env(self) -> None: ...

    def choose(self, count: int, greedy: bool = False, generator: Any = None) -> torch.Tensor:
        probabilities = self.scores.softmax(0).expand(count, -1)
        return probabilities.argmax(-1) if greedy else torch.multinomial(probabilities, 1, generator=generator)[:, 0]

    def rewards(self, choices: torch.Tensor) -> np.ndarray:
        """Reward of one step in every copy, shape (n,)."""
        raise NotImplementedError

    def learn(
        self, total_timesteps: int, callback: BaseCallback | None = None, *, reset_num_timesteps: bool = True
    ) -> Self:
        self.num_timesteps = 0 if reset_num_timesteps else self.num_timesteps
        end = self.num_timesteps + total_timesteps
        if callback is not None:
            callback.init_callback(self)  # type: ignore[arg-type]
        while self.num_timesteps < end:
            start = time.perf_counter()
            if callback is not None:
                callback.on_rollout_start()
            choices = self.choose(self.env.num_envs, generator=self.generator)
            rewards = torch.from_numpy(np.array(self.rewards(choices), dtype=np.float32))
            self.num_timesteps += self.env.num_envs
            if callback is not None:
                callback.on_step()
                callback.on_rollout_end()
            for choice, advantage in zip(choices, rewards - rewards.mean(), strict=True):
                self.scores[choice] += self.rate * advantage
            self.seconds = {"rollout": time.perf_counter() - start}
            self.history.append({"reward": float(rewards.mean()), "timesteps": float(self.num_timesteps)})
        return self

    def get_state(self) -> State:
        record = {"num_timesteps": self.num_timesteps, "history": list(self.history), "rate": self.rate}
        return State({"scores": self.scores.clone(), "generator": self.generator.get_state()}, record)

    def set_state(self, state: State) -> None:
        self.scores = state.tensors["scores"].clone()
        self.generator.set_state(state.tensors["generator"])
        self.num_timesteps, self.history = state.record["num_timesteps"], list(state.record["history"])

    def save(self, folder: str | Path) -> None:
        tensors, record = self.get_state()
        write_checkpoint(Path(folder), dict(tensors), {**record, "kind": self.kind})

    @classmethod
    def load(cls, folder: str | Path, env: Any = None, device: object = "cpu", **changes: Any) -> Self:
        tensors, record = read_checkpoint(Path(folder), cls.kind)
        agent = cls(env, **{"rate": record["rate"], **changes})
        agent.set_state(State(tensors, record))
        return agent


class TextBandit(Table):
    """Chooses one of three texts."""

    grain: Literal["episode"] = "episode"
    kind, choices = "tests.TextBandit", len(TEXTS)

    def act(self, observations: Sequence[str], *, greedy: bool = False, generator: Any = None) -> list[str]:
        return [TEXTS[choice] for choice in self.choose(len(observations), greedy, generator)]

    def rewards(self, choices: torch.Tensor) -> np.ndarray:
        if not self.is_reset:
            self.env.reset(seed=self.seed)
        self.is_reset = True
        rewards: np.ndarray = self.env.step([TEXTS[choice] for choice in choices])[1]
        return rewards


class TokenBandit(Table):
    """Chooses one of the first tokens, for texts of one token, without a language model."""

    grain: Literal["token"] = "token"
    kind, choices = "tests.TokenBandit", 32
    text_model = None

    def act(self, observations: Mapping[str, np.ndarray], *, greedy: bool = False, generator: Any = None) -> np.ndarray:
        return self.choose(len(observations["input_ids"]), greedy, generator).numpy()

    def rewards(self, choices: torch.Tensor) -> np.ndarray:
        if not self.is_reset:
            self.env.reset()
        self.is_reset = True
        rewards: np.ndarray = self.env.step(choices.numpy())[1]
        return rewards


class Absent(TextBandit):
    """Draws from a generator that its checkpoints lack."""

    @classmethod
    def load(cls, folder: str | Path, env: Any = None, device: object = "cpu", **changes: Any) -> Self:
        agent = super().load(folder, env, device, **changes)
        agent.generator.manual_seed(77)
        return agent


class Forgetful(TextBandit):
    """Learns, and cannot go on."""

    get_state = None  # type: ignore[assignment]


class Untidy(TextBandit):
    """Saves file by file, and cannot from its second checkpoint on."""

    saved = 0

    def save(self, folder: str | Path) -> None:
        Untidy.saved += 1
        Path(folder).mkdir()
        (Path(folder) / "scores.json").write_text(json.dumps(self.scores.tolist()))
        if Untidy.saved > 1:
            raise OSError("the machine is on fire")
        (Path(folder) / "count.json").write_text(json.dumps(self.num_timesteps))

    @classmethod
    def load(cls, folder: str | Path, env: Any = None, device: object = "cpu", **changes: Any) -> Self:
        agent = cls(env, **changes)
        agent.scores = torch.tensor(json.loads((Path(folder) / "scores.json").read_text()))
        agent.num_timesteps = json.loads((Path(folder) / "count.json").read_text())
        return agent


def longest(prompts: Sequence[str], responses: Sequence[str], examples: Sequence[Any]) -> list[float]:
    return [len(text) / 10 for text in responses]


def settings_of(agent: str, data: str, lm: str, out: str, **changes: Any) -> TrainSettings:
    values = {"steps": 40, "n_envs": 4, "eval_prompts": 3, "save_every": 2, "max_new_tokens": 1, **changes}
    choice = EnvChoice(data=data, prompt_column="doc", reference_column="sum")
    return train_settings(choice, agent, model=lm, reward=f"{HERE}:longest", out=out, **values)


def test_an_agent_that_writes_whole_texts_is_trained(data: str, lm: str, capsys: pytest.CaptureFixture[str]) -> None:
    run = run_train(settings_of(f"{HERE}:TextBandit", data, lm, "run", rate=2.0, steps=200))
    said = capsys.readouterr().out
    assert ": 50 iterations of 4 texts, with 3 held-out prompts" in " ".join(said.split())
    assert said.startswith("TextBandit: ")
    assert "Agent: run/agent" in said
    assert [row["timesteps"] for row in run.log()] == list(range(4, 201, 4))
    assert [path.name for path in sorted(run.checkpoints.iterdir())] == ["step-0000000192", "step-0000000200"]
    summary = run.summary()
    assert summary["after"]["reward"]["mean"] > summary["before"]["reward"]["mean"]
    assert summary["after"]["reward"]["mean"] == pytest.approx(len(TEXTS[1]) / 10, abs=0.35)
    assert not run.model.exists()
    assert not run.samples()
    assert TextBandit.load(run.agent).act(["a"], greedy=True) == [TEXTS[1]]


def test_an_agent_of_tokens_without_a_language_model_is_trained(data: str, lm: str) -> None:
    run = run_train(settings_of(f"{HERE}:TokenBandit", data, lm, "run"))
    assert [row["timesteps"] for row in run.log()] == list(range(4, 41, 4))
    assert run.summary().keys() >= {"before", "after", "difference", "seconds"}
    assert (run.agent / "tensors.safetensors").is_file()
    assert (run.path / "learning_curve.png").is_file()
    assert not run.model.exists()


@pytest.mark.parametrize("name", ["TextBandit", "TokenBandit"])
def test_it_goes_on_bit_for_bit(name: str, data: str, lm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    agent = f"{HERE}:{name}"
    calls: list[int] = []

    def impatient(self: Any) -> None:
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt

    whole = run_train(settings_of(agent, data, lm, "whole", steps=48))
    with monkeypatch.context() as patch:
        patch.setattr(pipeline.RunCallback, "_on_rollout_end", impatient)
        with pytest.raises(RunInterrupted, match=f"textgym train --resume cut .*--agent {agent}"):
            run_train(settings_of(agent, data, lm, "cut", steps=48))
    assert max(path.name for path in Path("cut/checkpoints").iterdir()) == "step-0000000016"
    again = run_resume("cut", [agent, f"{HERE}:longest"])
    kind = resolve_agent(agent)
    first, second = (kind.load(run.agent).get_state() for run in (again, whole))  # type: ignore[attr-defined]
    assert torch.equal(first.tensors["scores"], second.tensors["scores"])
    assert first.record == second.record
    assert again.summary()["after"] == whole.summary()["after"]


@pytest.mark.parametrize("saved_early", [False, True])
def test_an_agent_that_has_learned_before_makes_all_its_steps(saved_early: bool) -> None:
    env = gym.make_vec("TextSummEpisode-v0", num_envs=4, reward=longest)
    agent = TextBandit(env).learn(40)
    with RunFolder.create("run", "train", {}) as run:
        pipeline.train(agent, 24, run, save_every=2)
        assert [row["timesteps"] for row in run.log()] == [4, 8, 12, 16, 20, 24]
        assert [row["iteration"] for row in run.log()] == [1, 2, 3, 4, 5, 6]
        assert agent.num_timesteps == 24
        assert len(agent.history) == 16
        if saved_early:  # the records of 40 steps before are none of the run's, for whoever goes on with it either
            agent = TextBandit.load(run.checkpoints / "step-0000000016", env=env)
            run.truncate_logs(16)
        pipeline.train(agent, 32, run, save_every=2, resumed=True)
        assert [row["timesteps"] for row in run.log()] == [4, 8, 12, 16, 20, 24, 28, 32]
    assert sorted(path.name for path in run.checkpoints.iterdir()) == ["step-0000000024", "step-0000000032"]


@pytest.mark.parametrize("what", ["records", "checkpoints"])
def test_a_folder_that_holds_a_training_takes_no_second_one(what: str) -> None:
    env = gym.make_vec("TextSummEpisode-v0", num_envs=4, reward=longest)
    with RunFolder.create("run", "train", {}) as run:
        pipeline.train(TextBandit(env), 24, run, save_every=2)
        log, kept = run.log(), sorted(path.name for path in run.checkpoints.iterdir())
        if what == "checkpoints":
            log = []
            run.truncate_logs(-1)
        second = TextBandit(env)
        with pytest.raises(RunFolderError, match=r"expected a folder without a training.*resumed=True.*another folder"):
            pipeline.train(second, 8, run)
        with pytest.raises(RunFolderError, match="expected a folder without a training"):
            pipeline.begin(settings_of(f"{HERE}:TextBandit", "nowhere.jsonl", "tiny", "run"), run)
        assert second.num_timesteps == 0
        assert run.log() == log
        assert sorted(path.name for path in run.checkpoints.iterdir()) == kept


def test_an_agent_that_writes_no_samples_needs_no_validation_split(lm: str) -> None:
    Path("own").mkdir()
    for split in ("train", "test"):
        documents = [f"The {split} met on day {day}." for day in range(20)]
        rows = [{"doc": text, "sum": "It met."} for text in documents if split_of(prompt_digest(text)) == "train"]
        Path(f"own/{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    agent = f"{HERE}:TokenBandit"
    run = run_train(settings_of(agent, "own", lm, "run"))
    assert run.config()["splits"].keys() == {"train", "test"}
    run_resume("run", [agent, f"{HERE}:longest"])
    with pytest.raises(DataError, match="validation"):  # these are sampled from
        run_train(settings_of("sft", "own", lm, "other"))
    assert not Path("other").exists()


def test_half_of_a_checkpoint_is_never_there(data: str, lm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    agent = f"{HERE}:Untidy"
    monkeypatch.setattr(Untidy, "saved", 0)
    with pytest.raises(OSError, match="on fire"):
        run_train(settings_of(agent, data, lm, "cut"))
    assert [path.name for path in Path("cut/checkpoints").iterdir()] == ["step-0000000008"]
    monkeypatch.setattr(Untidy, "saved", -100)
    run = run_resume("cut", [agent, f"{HERE}:longest"])
    assert sorted(path.name for path in run.agent.iterdir()) == ["count.json", "scores.json"]
    assert json.loads((run.agent / "count.json").read_text()) == 40


def test_agents_of_this_file_keep_the_promises(lm: str) -> None:
    check_agent(f"{HERE}:TokenBandit", "TextSumm-v0", model=lm, reward=longest, max_new_tokens=1)
    check_agent(f"{HERE}:TextBandit", "TextSummEpisode-v0", reward=longest)


def test_an_agent_that_forgets_its_state_when_it_is_loaded_is_found_out() -> None:
    with pytest.raises(ConformanceError, match=r"expected load\(folder, env=..., device=...\) to bring the state back"):
        check_agent(f"{HERE}:Absent", "TextSummEpisode-v0", reward=longest)


def test_what_an_agent_lacks_to_learn_is_named() -> None:
    with pytest.raises(TypeError, match=r"got a class without get_state; see textgym\.types\.Trainable"):
        resolve_agent(f"{HERE}:Forgetful")
    lacking = TextBandit()
    del lacking.history
    with pytest.raises(TypeError, match="a TextBandit without history; see"):
        trainable(lacking)


def test_reinforce_announces_its_iterations_and_writes_samples(lm: str, capsys: pytest.CaptureFixture[str]) -> None:
    settings = train_settings(
        EnvChoice(),
        "reinforce",
        model=lm,
        reward="rouge",
        steps=96,
        n_envs=4,
        max_new_tokens=6,
        eval_prompts=2,
        out="r",
    )
    run = run_train(settings)
    assert ": 4 iterations of 24 tokens, with" in " ".join(capsys.readouterr().out.split())
    moments = [row["timesteps"] for row in run.samples()]
    assert moments[0] == 0
    assert len(moments) == len(run.log()) + 1  # four or more iterations, fewer than ten samples are wanted
    assert "REINFORCE with a KL penalty" in (run.model / "README.md").read_text()


def test_supervised_training_goes_on_by_either_name(
    data: str, lm: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = train_settings(
        EnvChoice(data=data, prompt_column="doc", reference_column="sum"),
        "sft", model=lm, reward="rouge", steps=8, batch_size=2, limit=9, max_new_tokens=8, eval_prompts=2, save_every=3,
        out="cut",
    )  # fmt: skip
    advance = SFT.advance

    def interrupted(self: SFT) -> float:
        if self.num_timesteps == 5:
            raise KeyboardInterrupt
        return advance(self)

    with monkeypatch.context() as patch:
        patch.setattr(SFT, "advance", interrupted)
        with pytest.raises(RunInterrupted, match="textgym sft --resume cut"):
            run_train(settings, "sft")
    shown = CliRunner().invoke(cli.app, ["train", "--resume", "cut"])
    assert shown.exit_code == 0, shown.stderr
    assert "Resuming cut from step-0000000003 (3 of 8 steps)" in " ".join(shown.stdout.split())
    run = RunFolder("cut")
    log = run.log()
    assert [(row["iteration"], row["timesteps"], row["step"]) for row in log] == [(1, 8, 8)]
    assert set(log[0]) == {"iteration", "step", "timesteps", "loss", "learning_rate", "seconds/update"}
    assert list((run.path / "tensorboard").rglob("events.*"))
    assert [row["timesteps"] for row in run.samples()] == [0, 8]
    assert json.loads((run.path / "config.json").read_text())["command"] == "sft"
    assert re.search(r"supervised fine-tuning, 8 steps", (run.model / "README.md").read_text())
    state = json.loads((run.checkpoints / "step-0000000008" / "state.json").read_text())
    assert state["limit"] == 9  # the texts of the run, when it goes on
