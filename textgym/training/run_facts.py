"""The facts that run folders tell about their runs; they may be somebody else's, and nothing in them is imported."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from textgym.errors import RunFolderError, TextGymError
from textgym.files.locks import is_in_use
from textgym.files.paths import suggested_folder, user_path
from textgym.security.foreign import parse_json, read_tail
from textgym.training.run_folder import RunFolder, value_of
from textgym.types import JsonObject
from textgym.values import as_list, as_object, as_text, finite, is_whole

State = Literal["finished", "running", "unfinished", "failed", "damaged"]
COMPARISONS = ("compare", "compare runs")
_FILES = ("config.json", "summary.json", "log.jsonl", "failure.json")
_OF_MODELS = ("tokenizer.json", "model.safetensors", "generation_config.json", "adapter_config.json")
_DEPTH = 2  # of folders within folders that are looked into
_LONGEST = 200  # characters of a name


class Change(NamedTuple):
    """The mean of a measure on held-out prompts; ``None`` where it was not taken.

    Attributes:
        before: Before training.
        after: After it; of a single evaluation, the only one.
    """

    before: float | None = None
    after: float | None = None


_UNKNOWN = Change()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """One run, in a line.

    Attributes:
        folder: The folder, as users see it.
        state: ``"running"``: a living process works there; ``"failed"``: an error ended it; ``"damaged"``: it cannot be
            read.
        reason: Why it failed or is damaged.
        command: Command that made it.
        task: Id of the environment.
        agent: Agents, or models where none acts.
        reward: Name of the reward.
        rewards, gold: Mean reward, and true quality, of held-out texts.
        accuracy: Held-out accuracy of a reward model.
        trained: Amount of training so far.
        unit: Unit of that: tokens, texts or optimizer steps.
        seconds: Duration.
        started: Date and time.
    """

    folder: str
    state: State
    reason: str = ""
    command: str = ""
    task: str = ""
    agent: str = ""
    reward: str = ""
    rewards: Change = _UNKNOWN
    gold: Change = _UNKNOWN
    accuracy: float | None = None
    trained: float | None = None
    unit: str = ""
    seconds: float | None = None
    started: str = ""

    def as_json(self) -> JsonObject:
        """Return them as JSON."""
        return {**asdict(self), "rewards": self.rewards._asdict(), "gold": self.gold._asdict()}


def list_runs(folder: str | Path) -> list[RunFacts]:
    """Return the runs in a folder and in folders in it, the newest first; those that cannot be read say why.

    Of a folder that is a run itself, it and the runs that it was made of.

    Raises:
        RunFolderError: There is no such folder.
    """
    path = user_path(folder)
    if not path.is_dir():
        raise RunFolderError(
            f"expected a folder with runs, got {str(folder)!r}, which is none; check the path."
            f"{suggested_folder(folder)}"
        )
    found = [read_facts(each) for each in _find(path, _DEPTH)]
    return sorted(found, key=lambda facts: (facts.started, facts.folder), reverse=True)


def read_facts(path: Path) -> RunFacts:
    """Return the facts of a run, or why it cannot be read."""
    try:
        return facts_of_run(RunFolder.open(path))
    except (TextGymError, OSError, ValueError) as error:
        return RunFacts(folder=RunFolder(path).shown, state="damaged", reason=str(error))


def facts_of_run(run: RunFolder) -> RunFacts:
    """Return the facts of a run.

    Raises:
        RunFolderError: It is none of textgym.
        CheckpointError: A file is damaged.
    """
    config, summary, failure = run.config(), run.summary(), run.failure()
    command = _name(config.get("command"))
    if not command:
        raise RunFolderError(
            f"expected a run folder of textgym, got {run.shown!r}, whose config.json names no command; check the path"
        )
    settings = settings_in(config)
    state = _state(run, command, settings, summary, failure)
    rounds = [as_object(each) for each in as_list(summary.get("rounds"))]
    return RunFacts(
        folder=run.shown,
        state=state,
        reason=failure if state == "failed" else "",
        command=command,
        task=_name(as_object(settings.get("choice")).get("env_id")),
        agent=_agent(settings),
        reward=_name(config.get("reward")) or _name(settings.get("reward")),
        rewards=_UNKNOWN if rounds else _change(summary, "reward"),
        gold=_change_of_rounds(rounds, "gold") if rounds else _change(summary, "gold"),
        accuracy=_mean(summary.get("accuracy")),
        trained=finite(as_object(last_record(run)).get("timesteps")),
        unit=_name(config.get("unit")) or "steps",
        seconds=finite(as_object(summary.get("seconds")).get("total")),
        started=_name(config.get("started")),
    )


def settings_in(config: JsonObject) -> JsonObject:
    """Return the settings of a run: those of its training, if it had one."""
    return as_object(config.get("train")) or value_of(config, "settings", {})


def last_record(run: RunFolder) -> JsonObject | None:
    """Return the last record of a log, of which only the end is read; ``None`` without any."""
    file = run.path / "log.jsonl"
    if not file.is_file():
        return None
    for line in reversed(read_tail(file).splitlines()):
        try:
            record = as_object(parse_json(line))
        except ValueError:  # the machine stopped in its middle
            continue
        if record:
            return record
    return None


def records_of(comparison: RunFolder) -> list[Path]:
    """Return the files of the finished runs of a comparison."""
    return sorted((comparison.path / "runs").glob("*.jsonl"))


def _find(folder: Path, depth: int) -> Iterator[Path]:
    if _is_run(folder):
        yield folder
    for child in sorted(_folders(folder)):
        if _is_run(child):
            yield child
        elif depth > 1:
            yield from _find(child, depth - 1)


def _is_run(folder: Path) -> bool:
    """Say whether a folder is one of a run, whole or not; models have a ``config.json`` too."""
    try:
        names = [name for name in _FILES if (folder / name).exists()]
        return bool(names) and not (names == ["config.json"] and any((folder / name).exists() for name in _OF_MODELS))
    except OSError:  # nobody may look into it
        return False


def _folders(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
    except OSError:  # nobody may look into it
        return []


def _state(run: RunFolder, command: str, settings: JsonObject, summary: JsonObject, failure: str) -> State:
    if is_in_use(run.path):
        return "running"
    if _is_complete(run, command, settings, summary):
        return "finished"
    return "failed" if failure else "unfinished"


def _is_complete(run: RunFolder, command: str, settings: JsonObject, summary: JsonObject) -> bool:
    match command:
        case "compare":
            seeds = settings.get("seeds")
            count = len(as_object(settings.get("agents"))) * (seeds if is_whole(seeds) else 0)
            return 0 < count <= len(records_of(run))
        case "compare runs":
            return (run.path / "report.html").is_file()
        case "rlhf":
            rounds = settings.get("rounds")
            return is_whole(rounds) and len(as_list(summary.get("rounds"))) > rounds
        case "rlhf round":
            return bool(as_object(summary.get("after")))
    return "total" in as_object(summary.get("seconds"))  # which are written last


def _agent(settings: JsonObject) -> str:
    """Return who acts: the agents of a comparison, those of an evaluation, or its models."""
    several = [*as_object(settings.get("agents")), *as_list(settings.get("agents")), *as_list(settings.get("models"))]
    names = several or [settings.get("agent") or settings.get("model")]
    return _name(", ".join(filter(None, map(_name, names))))


def _change(summary: JsonObject, measure: str) -> Change:
    before, after = (_mean(as_object(summary.get(side)).get(measure)) for side in ("before", "after"))
    return Change(None, before) if after is None and _is_evaluation(summary) else Change(before, after)


def _is_evaluation(summary: JsonObject) -> bool:
    """Say whether there is only one side, which is stored as the first."""
    return "total" in as_object(summary.get("seconds")) and not as_object(summary.get("after"))


def _change_of_rounds(rounds: Sequence[JsonObject], measure: str) -> Change:
    return Change(*(_mean(each.get(measure)) for each in (rounds[0], rounds[-1])))


def _mean(interval: object) -> float | None:
    return finite(as_object(interval).get("mean"))


def _name(value: object) -> str:
    text = as_text(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} …"
