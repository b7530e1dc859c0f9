"""Options that a command takes from the run of a model, or from its ``textgym.json``, where its user does not say."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from textgym import console
from textgym.envs.choice import EnvChoice, UnknownEnvError
from textgym.errors import CheckpointError, ConsentError, DataError, TextGymError
from textgym.files.paths import absolute_if_exists, user_path
from textgym.hub import AGENT
from textgym.models.probing.noise import random_states_kept
from textgym.models.prompt_format import PromptFormat, format_of_model
from textgym.models.stored_values import Check, mapped, one_of, positive, text
from textgym.naming import argument
from textgym.registration import registered_ids
from textgym.security.consent import check_names, names_from
from textgym.tasks.base import prompt_of, templates_of
from textgym.tasks.summarization import Summarization
from textgym.text.templates import SLOT, parse_template
from textgym.text.tokenizer import Tokenizer
from textgym.training.run_folder import RunFolder, value_of
from textgym.types import SPLITS, Example, Task

BUDGETS = ("max_prompt_tokens", "max_new_tokens")
_OF_TASK = tuple(field.name for field in fields(EnvChoice))
_OF_DATA = ("prompt_column", "reference_column")
_NEUTRAL = "TextGen-v0"
_MOST_LOOKED_AT = 200  # prompts that tell whether prompts are cut
_CHECKS: Mapping[str, Check] = {
    **dict.fromkeys((*_OF_TASK, "reward"), text),
    "task_options": mapped(text),
    "split": one_of(*SPLITS),
    **dict.fromkeys(("prompts", *BUDGETS), positive),
}
_NAMING_A_RUN: Mapping[str, str] = {"agent": "--agent", "model": "--model", "episodes": ""}
"""Settings that may name a run, with their options."""
_OPTIONS: Mapping[str, str] = {"env_id": "ENV_ID", "prompts": "--prompts"}


@dataclass(frozen=True, slots=True)
class _Source:
    """The run or the model that a command was given.

    Attributes:
        option: Option that named it: ``"--model"`` or ``"--agent"``; empty for the argument of a command.
        name: Name of the model, or folder of the run, as the user typed it.
        run: Folder of the run; ``None`` for a model without one.
        record: Its settings, by the names of options; of a model, what ``textgym.json`` says.
    """

    option: str
    name: str
    run: RunFolder | None
    record: Mapping[str, Any]

    def command_line(self, command: str) -> str:
        """Return how a command is called about it."""
        return " ".join(filter(None, ("textgym", command, self.option, shlex.quote(self.name))))


def taken_from_model(command: str, given: Mapping[str, Any], wanted: Collection[str]) -> dict[str, Any]:
    """Return values for options that a user did not give, from the run of the model or agent that they named.

    What is taken is said in a line. Options of the task are taken only where the user means the run's task, columns
    only for the run's data.

    Args:
        command: Name of the command, for error messages.
        given: Options that the user gave, by name.
        wanted: Options that the command has.

    Raises:
        ConsentError: A reward or an environment would be taken whose name is that of a module. The user has to repeat
            it.
        DataError: The data of the run is gone.
        CheckpointError: The settings of the run, or ``textgym.json``, are damaged.
    """
    source = _source_of(given)
    if source is None:
        return {}
    record = {name: value for name, value in source.record.items() if name in wanted and name not in given}
    if "env_id" in given and _task_id(given["env_id"]) != _task_id(str(source.record.get("env_id", ""))):
        return {}
    if "data" in given and absolute_if_exists(given["data"]) != source.record.get("data"):
        record = {name: value for name, value in record.items() if name not in _OF_DATA}
    _require_consent(command, source, record)
    _require_there(command, source, record)
    if record:
        unknown = " Its data are not known: those of the task are used." if source.run is None else ""
        hint = "" if "data" in given else unknown
        console.remark(
            f"From {source.name}: {_shown(record)}. What is given on the command line takes precedence.{hint}"
        )
    return record


def taken_for_training(command: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the task, data, prompt template and budgets of the start model's run, or its ``textgym.json``.

    They are for a training, and are taken only where the user names no environment; the other settings of a run are
    its own.

    Raises:
        ConsentError, DataError, CheckpointError: As of :func:`taken_from_model`.
    """
    if "env_id" in given:
        return {}
    named = {name: value for name, value in given.items() if name != "agent"}  # which is what learns, and no run
    taken = taken_from_model(command, named, (*_OF_TASK, *BUDGETS))
    asked = format_of_model(given["model"]) if "prompt_template" in taken and "data" in given else None
    if asked is not None:  # it calls the prompt {prompt}, whose column has another name in other data
        taken["prompt_template"] = asked.template
    if "data" in given and taken.get("prompt_template", SLOT) != SLOT:
        console.remark(
            f"The prompt template of {given['model']} is put around the prompts of {given['data']} too; "
            f"{argument('prompt_template', SLOT)} leaves it out."
        )
    return taken


def taken_for_document(command: str, given: Mapping[str, Any], wanted: Collection[str]) -> dict[str, Any]:
    """Return the same for a text that a model is to answer: its template and budgets, and no data.

    Raises:
        ValueError: The template has columns of which ``given["columns"]`` has no value.
    """
    name = given.get("agent") or given.get("model")
    asked = format_of_model(name) if isinstance(name, str) else None
    if "env_id" in given or asked is None or asked.template is None:
        return taken_from_model(command, given, wanted)
    template = given.get("prompt_template", asked.template)
    lacking = [column for column in parse_template(template).columns if column not in given.get("columns", {})]
    if lacking:
        values = " ".join(f"--column {shlex.quote(column)}=VALUE" for column in lacking)
        raise ValueError(
            f"expected a value for every column of the prompt template {template!r} of {name}, got none for "
            f"{', '.join(lacking)}; give {values}, or another --prompt-template"
        )
    record = {"env_id": _NEUTRAL, **_of_format(asked)}
    record = {name: value for name, value in record.items() if name in wanted and name not in given}
    console.remark(f"From {name}: {_shown({key: record[key] for key in record if key != 'env_id'})}.")
    return record


def say_other_template(task: Task, model: str, columns: Mapping[str, str] | None = None) -> None:
    """Say so if a model learned with another prompt template than that of a task which it is asked about now.

    Of a chat model that no one says this about, it is said if a task puts a cue behind the prompt all the same.

    Args:
        task: The task.
        model: Name of the model.
        columns: Values that the task's template has in place of columns.
    """
    asked, here = format_of_model(model), templates_of(task)
    if asked is None:
        _say_cue(task, model)
    if asked is None or here is None or asked.template is None:
        return
    now = here.chat if asked.uses_chat_template else here.plain
    if now not in (asked.template, parse_template(asked.template).filled(columns or {})):
        console.warn(
            f"{model} learned with the prompt template {asked.template!r}, and gets its prompts by {now!r} here; "
            f"--prompt-template {_typed(asked.template)} keeps the one that it learned with."
        )


def say_other_budget(task: Task, model: str) -> None:
    """Say so if a model learned to write longer texts than a task leaves room for."""
    asked = format_of_model(model)
    if asked is not None and asked.max_new_tokens > task.max_new_tokens:
        console.warn(
            f"{model} learned with {argument('max_new_tokens', asked.max_new_tokens)}, and its texts are cut to "
            f"{task.max_new_tokens} tokens here; {argument('max_new_tokens', asked.max_new_tokens)} keeps them whole."
        )


def say_template(task: Task, choice: EnvChoice, model: str) -> None:
    """Say how a model is asked about a user's data, where the task puts something around prompts by itself."""
    here = templates_of(task)
    if here is None or choice.data is None or choice.prompt_template is not None:
        return
    template = here.chat if here.chat != here.plain and _has_chat_template(model) else here.plain
    if template != SLOT:
        console.remark(f"Every prompt is asked as {_typed(template)}; --prompt-template takes another.")


def say_cut_prompts(task: Task, tokenizer: Tokenizer, examples: Sequence[Example] | None = None) -> None:
    """Say how many prompts do not fit the budget of a task, whose model does not read all of them.

    Args:
        task: Task with the budgets of the run.
        tokenizer: The model's.
        examples: Those that are asked about; ``None`` takes the first of the data.

    Raises:
        ValueError: The budget leaves nothing of a prompt.
    """
    if examples is None:
        examples = [task.dataset[place] for place in range(min(_MOST_LOOKED_AT, len(task.dataset)))]
    with random_states_kept():  # a task of the user's may draw numbers
        asked = [prompt_of(task, each) for each in examples[:_MOST_LOOKED_AT]]
        cut = sum(prompt.truncated for prompt in tokenizer.encode_prompts(asked, task.max_prompt_tokens))
    if cut:
        first = "the first " if len(asked) == _MOST_LOOKED_AT else ""
        budget = argument("max_prompt_tokens", task.max_prompt_tokens)
        frame = ", the chat template around them included" if tokenizer.has_chat_template else ""
        console.remark(
            f"{cut} of {first}{len(asked)} prompts are cut to {budget}{frame}: the model does not read the rest; raise "
            "it to keep them whole."
        )


def _say_cue(task: Task, model: str) -> None:
    """Say how to leave out the cue that a task puts behind the prompts of all models, if a chat model reads it."""
    here = templates_of(task)
    cue = "" if here is None else here.chat.rpartition(SLOT)[2]
    is_chosen = "prompt_template" in vars(task)
    if here is None or not cue or here.plain != here.chat or is_chosen or not _has_chat_template(model):
        return
    instead = "; TextSumm-v1 gives an instruction instead" if isinstance(task, Summarization) else ""
    console.remark(
        f"{model} has a chat template, and {task.name} ends every turn of its user with {cue!r}. "
        f"--prompt-template {_typed(SLOT)} leaves that out{instead}."
    )


def _has_chat_template(model: str) -> bool:
    try:
        return Tokenizer.load(model).has_chat_template
    except (TextGymError, ImportError, ValueError):  # whoever loads the model says what is wrong
        return False


def run_of(model: str) -> RunFolder | None:
    """Return the run that a name means: its folder, or that of its model or agent; ``None`` if it is none."""
    path = user_path(model)
    for folder in (path, path.parent) if path.name in ("model", AGENT) else (path,):
        run = RunFolder(folder)
        if (folder / "config.json").is_file() and _made_by_command(run):
            return run
    return None


def choice_of_run(model: str) -> EnvChoice | None:
    """Return the environment and data of the run that a model is of; ``None`` for a model without one."""
    run = run_of(model)
    return None if run is None else EnvChoice.of(_of_run(run))


def _made_by_command(run: RunFolder) -> bool:
    """Say whether the ``config.json`` in a folder is a run's, and not a model's."""
    try:
        return bool(run.stored("command", "")) and bool(run.stored("settings", dict[str, object]()))
    except CheckpointError:
        return False


def _source_of(given: Mapping[str, Any]) -> _Source | None:
    """Find the run or model that options name."""
    for argument_name, option in _NAMING_A_RUN.items():
        name = given.get(argument_name)
        run = run_of(name) if isinstance(name, str) else None
        if run is not None:
            return _Source(option, str(name), run, _of_run(run))
    model = given.get("model")
    asked = format_of_model(model) if isinstance(model, str) and given.get("agent") is None else None
    if asked is None:
        return None
    own = {} if _is_own_template(asked) else {"prompt_template": asked.template}
    budgets = {name: value for name, value in _of_format(asked).items() if name in BUDGETS}
    return _Source("--model", str(model), None, {"env_id": asked.task, **own, **budgets})


def _of_run(run: RunFolder) -> dict[str, Any]:
    """Return the settings of a run by the names of options, checked; those that are not set are left out."""
    config = run.config()
    stored = value_of(config, "train", value_of(config, "settings", dict[str, Any]()))
    choice = value_of(stored, "choice", dict[str, Any]())
    found = {name: choice.get(name) for name in _OF_TASK} | {name: stored.get(name) for name in ("reward", *BUDGETS)}
    found |= {"split": stored.get("split"), "prompts": stored.get("eval_prompts", stored.get("prompts"))}
    record = {name: value for name, value in found.items() if value not in (None, {})}
    if str(record.get("reward", "")).endswith("/reward") and run.reward.is_dir():  # its own, wherever it is by now
        record["reward"] = str(run.reward.resolve())
    for name, value in record.items():
        if not _CHECKS[name](value):
            raise CheckpointError(
                f"expected another kind of {name} in {str(run.path / 'config.json')!r}, got {value!r:.60}; put the "
                "file back"
            )
    return record


def _of_format(asked: PromptFormat) -> dict[str, Any]:
    return {"prompt_template": asked.template, **{name: getattr(asked, name) for name in BUDGETS}}


def _is_own_template(asked: PromptFormat) -> bool:
    """Say whether a registered task asks by the template of a model anyway; unregistered ones are not imported."""
    if asked.task not in registered_ids():
        return asked.template is None
    own = EnvChoice(asked.task).own_templates()
    return asked.template is None or (asked.prompt_template, asked.chat_prompt_template) == own


def _task_id(env_id: str) -> str:
    """Return the id of a task's token grain, without the module that registers it."""
    return env_id.rpartition(":")[2].replace("Episode-v", "-v")


def _require_consent(command: str, source: _Source, record: Mapping[str, Any]) -> None:
    """Raise ``ConsentError`` if what would be taken names a module, which is somebody else's word until it is typed."""
    folder = source.run.path if source.run is not None else user_path(source.name)
    with names_from(folder, source.command_line(command)):
        try:
            check_names(record)
        except ConsentError as error:
            raise ConsentError(f"{error}. Or give others in their place.") from None


def _require_there(command: str, source: _Source, record: Mapping[str, Any]) -> None:
    """Raise if the data, or the folder of the reward, of a run is gone, or nobody registers the task of a model."""
    env_id = record.get("env_id")
    if source.run is None and env_id is not None and env_id not in registered_ids():
        raise UnknownEnvError(
            f"expected an environment, as the model {source.name!r} learned in {env_id!r}, which is not registered "
            f"here; name it with its module: {source.command_line(command)} module:{env_id}"
        )
    for name in ("data", "reward"):
        value = str(record.get(name, ""))
        if Path(value).is_absolute() and not Path(value).exists():
            raise DataError(
                f"expected the {name} of the run {source.name!r} at {value!r}, got nothing there: it was moved or "
                f"removed; give --{name}"
            )


def _shown(record: Mapping[str, Any]) -> str:
    """Return options and their values for people."""
    options = [f"{_option(name)} {_short(name, value)}" for name, value in record.items() if name != "task_options"]
    chosen: Mapping[str, str] = record.get("task_options", {})
    return ", ".join([*options, *(f"--task-option {name}={value}" for name, value in chosen.items())])


def _option(name: str) -> str:
    return _OPTIONS.get(name, f"--{name.replace('_', '-')}")


def _short(name: str, value: object) -> str:
    shown = _typed(str(value)) if name == "prompt_template" else str(value)
    here = f"{Path.cwd()}/"
    return shown.removeprefix(here) if name in ("data", "reward") else shown


def _typed(template: str) -> str:
    """Return a template as it is typed in a shell."""
    escaped = template.replace("\\", "\\\\").replace("\n", "\\n").replace("\t", "\\t")
    return shlex.quote(escaped)
