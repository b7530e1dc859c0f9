"""The report of a run, read from its folder: measures, courses, samples, settings, how to go on.

The folder may be somebody else's. Nothing in it is imported, and all of its texts are only texts.
"""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from textgym import console
from textgym.agents.facts import facts_of
from textgym.agents.registry import AGENTS, resolve_agent
from textgym.envs.choice import EnvChoice
from textgym.errors import MissingExtraError
from textgym.history import COURSE, courses_of
from textgym.plots import Labels
from textgym.security.consent import load_attribute
from textgym.training.comparison.tables import Table
from textgym.training.run_facts import RunFacts, facts_of_run, settings_in
from textgym.training.run_folder import RunFolder
from textgym.types import JsonObject
from textgym.values import as_list, as_object, as_text, finite, finite_ones, is_number
from textgym.versions import versions

SETTINGS: Mapping[str, str] = {
    "train": "textgym.training.train_settings:TrainSettings",
    "reward fit": "textgym.training.reward_settings:RewardSettings",
    "rlhf": "textgym.rlhf.settings:RlhfSettings",
    "evaluate": "textgym.training.evaluate:EvaluateSettings",
    "score": "textgym.training.rescore:ScoreSettings",
    "compare": "textgym.training.comparison.settings:ComparisonSettings",
}
"""The settings of each command, whose defaults are left out where they are listed."""
_TRAINING = ("train", "sft", "demo", "rlhf round")
_RESUMED_BY = {"demo": "train"}
_RESUMABLE = ("train", "sft", "reward fit", "rlhf", "compare")
_Row = TypeVar("_Row")
_PLACES = ("out", "device")
_NOT_OWN = ("before", "after", "difference", "p_values", "standard_deviations", "seconds", "versions", "temperature_0")
_OF_REWARD = {
    "accuracy": "held-out accuracy",
    "held_out_pairs": "held-out preferences",
    "held_out_loss": "held-out loss, nats per preference",
    "calibration_error": "expected calibration error",
    "pairs": "answers trained on",
}
_OF_ROUNDS = ("labels", "accuracy", "gold", "win_rate", "kl")
_MOST_ROWS = 2000  # of a log that is drawn
_MOST_MOMENTS, _MOST_SAMPLES, _MOST_TEXTS, _LONGEST = 10, 6, 6, 2000


class Sampled(NamedTuple):
    """The texts about one prompt through training.

    Attributes:
        key: Key of the example.
        prompt: The prompt; empty if the run did not keep it.
        texts: Amount of training, and the text that was sampled then.
    """

    key: str
    prompt: str
    texts: tuple[tuple[float, str], ...]


class Pair(NamedTuple):
    """The texts about a held-out prompt.

    Attributes:
        key: Key of the example.
        before: Text before training; ``None`` if there is only one side.
        after: Text after it.
        rewards: Rewards of both; ``None`` where there is none.
    """

    key: str
    before: str | None
    after: str
    rewards: tuple[float | None, float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """A run, as it is printed and shown on its page.

    Attributes:
        run: The folder.
        facts: The facts in one line.
        log: Records of the training, thinned out where they are many.
        unit: Unit of their time steps.
        tables: Measures, rounds, or accuracy.
        samples: Texts through training.
        pairs: Held-out texts before and after it.
        settings: All settings by name.
        changed: Those that are not the default.
        versions: Versions that the run was made with, and others that are installed now.
        warnings: Warnings of the run.
    """

    run: RunFolder
    facts: RunFacts
    log: Sequence[JsonObject]
    unit: str
    tables: Sequence[Table]
    samples: Sequence[Sampled]
    pairs: Sequence[Pair]
    settings: Mapping[str, str]
    changed: Mapping[str, str]
    versions: Mapping[str, str]
    warnings: Sequence[str]

    @property
    def labels(self) -> Labels:
        """Unit and reward, for plots."""
        return Labels(self.unit, self.facts.reward or None)

    @property
    def courses(self) -> Table | None:
        """The courses of the records; ``None`` without any."""
        rows = [course.cells for course in courses_of(self.log)]
        return Table("Training", COURSE, rows, f"Records of the training texts, by {self.unit}.") if rows else None

    def resuming(self) -> tuple[str, str]:
        """Return whether the run goes on, as a sentence, and the command that does it; empty if there is none."""
        command = _RESUMED_BY.get(self.facts.command, self.facts.command)
        how = f"textgym {command} --resume {shlex.quote(self.facts.folder)}"
        if command not in _RESUMABLE:
            return "Runs of this command cannot be resumed; start a new one.", ""
        match self.facts.state:
            case "finished":
                return "The run is finished: there is nothing to resume.", ""
            case "running":
                return "A process works here. Should it stop, this resumes the run:", how
        return "This resumes the run where it stopped:", how

    def loading(self) -> list[str]:
        """Return lines that use what the run left, in a shell and in Python; none if there is nothing yet."""
        return [line for has, make in _LOADING for line in (make(self) if has(self.run) else ())]


def read_report(run: RunFolder) -> RunReport:
    """Read the report of a run.

    Raises:
        RunFolderError: It is no run of textgym.
        CheckpointError: A file is damaged.
    """
    facts, config, summary = facts_of_run(run), run.config(), run.summary()
    settings = settings_in(config)
    defaults = default_settings(facts.command, settings)
    shown = flat_settings(settings)
    return RunReport(
        run=run,
        facts=facts,
        log=thinned([finite_ones(row) for row in run.log() if finite(row.get("timesteps")) is not None], _MOST_ROWS),
        unit=facts.unit,
        tables=[*_measures(summary), *_models(summary), *_rounds(summary), *_accuracy(summary)],
        samples=_samples(run),
        pairs=_pairs(run),
        settings=shown,
        changed={name: value for name, value in shown.items() if defaults.get(name) != value},
        versions=_versions(config),
        warnings=[text for each in as_list(summary.get("warnings")) if (text := as_text(each))],
    )


# --------------------------------------------------------------------- settings
def flat_settings(settings: Mapping[str, object]) -> dict[str, str]:
    """Return settings by name as texts; those of the task and options stand beside the others, and no places.

    >>> flat_settings({"choice": {"env_id": "TextSpell-v0", "data": None}, "options": {"kl_coef": 0.1}, "out": "x"})
    {'env_id': 'TextSpell-v0', 'kl_coef': '0.1'}
    """
    inner = ("choice", "options", "agent_options", "task_options")
    found: dict[str, object] = {}
    for name, value in settings.items():
        found |= flat_settings(as_object(value)) if name in inner else {name: value}
    return {
        name: _as_text(value)
        for name, value in found.items()
        if name not in _PLACES and value not in (None, "", {}, [])
    }


def default_settings(command: str, settings: JsonObject) -> dict[str, str]:
    """Return what the settings of a command are where nothing is given, as :func:`flat_settings` does."""
    kind = "train" if command in _TRAINING else command
    if kind not in SETTINGS:
        return {}
    found = {**_defaults_in(load_attribute(SETTINGS[kind])), **_defaults_in(EnvChoice)}
    if kind == "train":
        found |= _defaults_of_agent(as_text(settings.get("agent")))
    return flat_settings(found)


def _defaults_in(kind: Any) -> dict[str, object]:
    """Return the defaults of a dataclass, of fields that have one."""
    return {field.name: field.default for field in dataclasses.fields(kind) if field.default != dataclasses.MISSING}


def _defaults_of_agent(name: str) -> dict[str, object]:
    """Return the defaults of a run of an agent of textgym; of somebody's, nothing is imported."""
    if name not in AGENTS:
        return {}
    try:
        return dataclasses.asdict(facts_of(resolve_agent(name)).defaults)
    except MissingExtraError:
        return {}


def _as_text(value: object) -> str:
    match value:
        case list() | tuple():
            return ", ".join(map(_as_text, value))
        case dict():
            return ", ".join(f"{name}={_as_text(item)}" for name, item in value.items())
        case float():
            return f"{value:g}"
    return str(value)


def _versions(config: JsonObject) -> dict[str, str]:
    now, began = versions(), as_object(config.get("versions"))
    return {
        name: f"{text} (now {now[name]})" if now.get(name, text) != text else text
        for name, each in began.items()
        if (text := as_text(each))
    }


# ----------------------------------------------------------------------- tables
def _measures(summary: JsonObject) -> Iterator[Table]:
    """Yield the means of held-out texts on both sides, with their difference."""
    sides = {side: as_object(summary.get(side)) for side in ("before", "after", "difference")}
    known = {side: found for side, found in sides.items() if found}
    names = list(dict.fromkeys(name for side in ("before", "after") for name in sides[side]))
    if not names:
        return
    p_values = as_object(summary.get("p_values"))
    rows = [
        (
            name,
            *(_interval(found.get(name)) for found in known.values()),
            *([_p(p_values.get(name))] if p_values else []),
        )
        for name in names
    ]
    own = {name: as_object(value) for name, value in summary.items() if name not in _NOT_OWN}
    for name, value in own.items():
        if is_number(value.get("after")) and len(known) > 1:
            numbers = [_number(value.get(side)) for side in known if side != "difference"]
            blank = [""] * (len(known) - len(numbers) + bool(p_values))
            rows.append((f"held-out {name.replace('_', ' ')}", *numbers, *blank))
    titles = {"before": "before" if sides["after"] else "mean", "after": "after", "difference": "difference"}
    header = ("measure", *(titles[side] for side in known), *(["p"] if p_values else []))
    count = summary.get("prompts")
    about = f"{count:,} held-out prompts; m" if is_number(count) else "M"
    yield Table("Held-out texts", header, rows, f"{about}eans with 95 % intervals. KL is in nats, length in tokens.")


def _models(summary: JsonObject) -> Iterator[Table]:
    """Yield the means of several models that were evaluated."""
    found = {
        name: as_object(as_object(each).get("measures")) for name, each in as_object(summary.get("models")).items()
    }
    names = list(dict.fromkeys(name for measures in found.values() for name in measures))
    if names:
        rows = [(name, *(_interval(measures.get(name)) for measures in found.values())) for name in names]
        yield Table("Held-out texts", ("measure", *found), rows, "Means with 95 % intervals.")


def _rounds(summary: JsonObject) -> Iterator[Table]:
    rounds = [as_object(each) for each in as_list(summary.get("rounds"))]
    names = [name for name in _OF_ROUNDS if any(name in each for each in rounds)]
    if rounds:
        rows = [(_number(each.get("round")), *(_cell(each.get(name)) for name in names)) for each in rounds]
        note = "Every policy on the same held-out prompts; round 0 is the start model."
        yield Table("Rounds", ("round", *(name.replace("_", " ") for name in names)), rows, note)


def _accuracy(summary: JsonObject) -> Iterator[Table]:
    """Yield what a reward model was found to be worth."""
    rows = [(title, cell) for name, title in _OF_REWARD.items() if (cell := _cell(summary.get(name)))]
    if "accuracy" in summary and rows:
        yield Table("Reward model", ("measure", "value"), rows)


def _cell(value: object) -> str:
    return _number(value) or _interval(value)


def _number(value: object) -> str:
    if not is_number(value):
        return ""
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def _interval(value: object) -> str:
    """Return a mean with its bounds, as far as they are known."""
    mean, low, high = (finite(as_object(value).get(name)) for name in ("mean", "low", "high"))
    if mean is None:
        return ""
    bounds = f" [{console.number(low)}, {console.number(high)}]" if low is not None and high is not None else ""
    return f"{console.number(mean)}{bounds}"


def _p(value: object) -> str:
    number = finite(value)
    return "" if number is None else f"{number:.4f}"


# ------------------------------------------------------------------------ texts
def _samples(run: RunFolder) -> list[Sampled]:
    rows = [row for row in run.samples() if finite(row.get("timesteps")) is not None]
    prompts = next((found for row in rows if (found := as_object(row.get("prompts")))), {})
    keys = list(dict.fromkeys(key for row in rows for key in as_object(row.get("texts"))))
    moments = thinned(rows, _MOST_MOMENTS)
    return [
        Sampled(
            key,
            as_text(prompts.get(key))[:_LONGEST],
            tuple((row["timesteps"], as_text(as_object(row.get("texts")).get(key))[:_LONGEST]) for row in moments),
        )
        for key in keys[:_MOST_SAMPLES]
    ]


def _pairs(run: RunFolder) -> list[Pair]:
    """Return held-out texts of both sides, or of the only one, that are about the same examples."""
    before, after = (
        {as_text(row.get("task_key")): row for row in run.read_rows(f"texts-{side}.jsonl")} for side in _SIDES
    )
    first, last = (before, after) if after else ({}, before)
    return [
        Pair(key, _said(first[key]) if key in first else None, _said(row), (_reward(first.get(key)), _reward(row)))
        for key, row in list(last.items())[:_MOST_TEXTS]
    ]


def _said(row: JsonObject) -> str:
    """Return what an agent wrote in an episode; of several turns, the whole conversation."""
    turns = [as_object(turn) for turn in as_list(row.get("turns"))]
    said = "\n".join(f"{as_text(turn.get('role'))}: {as_text(turn.get('content'))}" for turn in turns)
    return (said if len(turns) > 1 else as_text(row.get("text")))[:_LONGEST]


def _reward(row: JsonObject | None) -> float | None:
    return finite(as_object(as_object(row).get("measures")).get("reward"))


def thinned(rows: Sequence[_Row], most: int) -> list[_Row]:
    """Return at most so many rows, the first and the last among them.

    >>> [row["x"] for row in thinned([{"x": number} for number in range(9)], 3)]
    [0, 4, 8]
    """
    if len(rows) <= most:
        return list(rows)
    return [rows[place * (len(rows) - 1) // (most - 1)] for place in range(most)]


# ------------------------------------------------------------------- how to use
def _load_model(report: RunReport) -> list[str]:
    folder, env_id = shlex.quote(report.facts.folder), report.facts.task
    task = f" {shlex.quote(env_id)}" if env_id else ""
    return [
        f"textgym generate{task} --model {folder}",
        f"textgym evaluate --model {folder}",
        f"load_language_model({report.facts.folder!r})  # from textgym.models",
    ]


def _load_agent(report: RunReport) -> list[str]:
    folder, agent = report.facts.folder, report.facts.agent
    name = AGENTS[agent].partition(":")[2] if agent in AGENTS else "Agent"
    return [
        f"textgym evaluate --agent {shlex.quote(folder)}",
        f"{name}.load({f'{folder}/agent'!r})" + ("  # from textgym.agents" if agent in AGENTS else ""),
    ]


def _load_reward(report: RunReport) -> list[str]:
    folder = report.facts.folder
    return [
        f"textgym train --reward {shlex.quote(folder)}",
        f"load_reward({f'{folder}/reward'!r})  # from textgym.reward_models",
    ]


def _last_round(run: RunFolder) -> str | None:
    """Return the name of the last round of a run that left a model."""
    names = [path.parent.name for path in run.path.glob("round-*/model") if path.parent.name[6:].isdecimal()]
    return max(names, key=lambda name: int(name[6:]), default=None)


def _load_round(report: RunReport) -> list[str]:
    folder = shlex.quote(f"{report.facts.folder}/{_last_round(report.run)}")
    return [f"textgym generate --model {folder}", f"textgym evaluate --model {folder}"]


_SIDES = ("before", "after")
_LOADING: Sequence[tuple[Callable[[RunFolder], bool], Callable[[RunReport], list[str]]]] = (
    (lambda run: run.model.is_dir(), _load_model),
    (lambda run: run.agent.is_dir(), _load_agent),
    (lambda run: run.reward.is_dir(), _load_reward),
    (lambda run: _last_round(run) is not None, _load_round),
)
