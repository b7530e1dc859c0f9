"""A training run in several processes: the first one leads and writes, the others do what it does and write nothing."""

from __future__ import annotations

import shlex
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from textgym import console
from textgym.agents.common.distributed import Communicator
from textgym.agents.facts import facts_of, processes_of
from textgym.agents.registry import AGENTS, resolve_agent
from textgym.evaluation.core import text_model_of
from textgym.models.device import pick_device
from textgym.security.consent import names_from
from textgym.training.callbacks import Rhythm, StopTraining
from textgym.training.interrupts import RunInterrupted, signal_of, signals_as_interrupts, stop_on_request
from textgym.training.preparation import settings_of
from textgym.training.run_folder import RunFolder
from textgym.training.setup import make_agent, make_env, trainable
from textgym.training.stored_settings import located
from textgym.training.train_settings import TrainSettings

ECHO = 2.0
"""Seconds within which two signals are one: a terminal sends it to all processes, and torchrun passes it on."""
_MEANWHILE = "finishing what all processes are at"


@dataclass(frozen=True, slots=True)
class Plan:
    """The message by which the first process lets the others begin, when all that can fail by mistake is done.

    Attributes:
        steps: Time steps in all.
        save_every: Iterations, or optimizer steps, between checkpoints.
        iterations: Iterations made before.
        resumed: Whether the agent goes on.
        checkpoints: Folder of the checkpoints.
        checkpoint: The one that the agent was loaded from; ``None`` for a new agent.
    """

    steps: int
    save_every: int
    iterations: int
    resumed: bool
    checkpoints: str
    checkpoint: str | None = None

    def share(self, ranks: Communicator) -> None:
        """Tell the others, who wait in :meth:`wait_for_plan`."""
        ranks.all_gather_json(asdict(self))


def wait_for_plan(ranks: Communicator) -> Plan:
    """Wait until the first process is ready."""
    plan: dict[str, Any] = ranks.all_gather_json(None)[0]
    return Plan(**plan)


def require_together(settings: TrainSettings, ranks: Communicator) -> None:
    """Check that several processes can train an agent.

    Raises:
        ValueError: They cannot.
    """
    if ranks.size > 1 and processes_of(resolve_agent(settings.agent)) == "none":
        able = [name for name in AGENTS if processes_of(resolve_agent(name)) != "none"]
        raise ValueError(
            f"expected an agent that {ranks.size} processes can train, such as {', '.join(able)}, got "
            f"{settings.agent!r}; start it without torchrun"
        )


def follow(settings: TrainSettings, ranks: Communicator) -> None:
    """Take part in a training that the first process begins.

    Raises:
        RunInterrupted: The user stopped it.
        RankLostError: Another process has ended.
    """
    console.mute()
    with signals_as_interrupts():
        _follow(located(settings), ranks)


def _follow(settings: TrainSettings, ranks: Communicator) -> None:
    plan = wait_for_plan(ranks)
    env = make_env(settings)
    if plan.checkpoint is None:
        agent = trainable(make_agent(settings, env))
    else:
        kind = resolve_agent(settings.agent, from_file=True)
        agent = trainable(kind.load(plan.checkpoint, env=env, device=pick_device(settings.device)))
    made = agent.num_timesteps if plan.resumed else 0
    with stop_on_request(_MEANWHILE, echo=ECHO) as request:
        callback = Rhythm(
            Path(plan.checkpoints),
            request,
            ranks,
            steps=plan.steps,
            save_every=plan.save_every,
            samples=facts_of(type(agent)).samples,
            iterations=plan.iterations,
            resumed=plan.resumed,
        )
        callback.init_callback(agent)  # type: ignore[arg-type]  # whatever learns has what callbacks read
        try:
            if plan.steps > made:
                agent.learn(plan.steps - made, callback=callback, reset_num_timesteps=not plan.resumed)
            callback.finish()
        except StopTraining:
            pass
    if text_model_of(agent) is None:  # of which the first process then saves the agent itself, and may need all others
        agent.save(plan.checkpoints)
    if callback.has_stopped:
        raise RunInterrupted("The first process says how to go on.", signal_of(request))


def follow_resumed(
    path: str, consent: Collection[str], *, command: str, ranks: Communicator, accept_changed_data: bool = False
) -> None:
    """Take part in a training that the first process resumes; otherwise as :func:`follow`.

    Args:
        path: The folder, which all processes can read.
        consent: ``module:attribute`` names in its settings that may be imported.
        command: The one that its user typed.
        ranks: The processes.
        accept_changed_data: Not used here: the first process checks the data.
    """
    console.mute()
    run = RunFolder.open(path)
    with names_from(path, f"textgym {command} --resume {shlex.quote(path)}", consent):
        follow(settings_of(run, consent), ranks)
