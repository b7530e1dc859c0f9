"""Installed and missing packages, and a check that a model takes the fast paths.

Nothing heavy is imported at the top: the report must also come where packages are missing.
"""

from __future__ import annotations

import importlib
import locale
import os
import platform
import re
import sys
from collections.abc import Iterator
from importlib import metadata
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from textgym import console
from textgym.errors import TextGymError

if TYPE_CHECKING:
    from textgym.models.text_model import TextModel

_REQUIREMENT = re.compile(
    r"(?P<name>[A-Za-z0-9._-]+).*?>=(?P<least>[0-9.]+)(?:.*extra == ['\"](?P<extra>[a-z0-9-]+)['\"])?"
)
_NOT_LISTED = ("dev", "docs", "sb3-contrib")  # extras of developers, and another name of contrib
_TASK_TOKENS = 560  # prompt and response of the built-in task, where a model does not say what it learned with
_PROMPT_TOKENS, _NEW_TOKENS = 48, 16


class Requirement(NamedTuple):
    """A package with its lower bound; ``extra`` is empty for what is always needed."""

    name: str
    least: str
    extra: str


class Package(NamedTuple):
    """An optional requirement: ``version`` is ``None`` if it is missing, ``command`` is the command that repairs it."""

    requirement: Requirement
    version: str | None
    command: str

    @property
    def is_needed(self) -> bool:
        """Return whether nothing works without it."""
        return not self.requirement.extra

    @property
    def state(self) -> str:
        """The state in words, for the table."""
        if not self.command:
            return "ok"
        return "missing" if self.version is None else f"older than {self.requirement.least}"


def run_doctor(model: str = "tiny", device: str = "auto") -> list[str]:
    """Print everything that decides whether and how fast textgym works here.

    Args:
        model: The model whose fast paths are reported: ``"tiny"``, a folder, or a Hub id.
        device: Device to load the model on.

    Returns:
        Problems of required parts, one sentence each; empty if there are none.
    """
    problems = [*_report_packages(), *_report_machine(), *_report_models(model, device)]
    console.say()
    for problem in problems:
        console.error(problem)
    if not problems:
        console.say("No problems found.")
    return problems


def requirements() -> list[Requirement]:
    """Return what the installed textgym asks for, with the extras that a user can need."""
    found = []
    for line in metadata.requires("textgym") or []:
        match = _REQUIREMENT.match(line)
        if match is not None and (match["extra"] not in _NOT_LISTED):
            found.append(Requirement(match["name"], match["least"], match["extra"] or ""))
    return found


def examine(requirement: Requirement) -> Package:
    """Look a package up among what is installed; nothing is imported."""
    try:
        version = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        version = None
    if version is not None and _release(version) >= _release(requirement.least):
        return Package(requirement, version, "")
    wanted = f"textgym[{requirement.extra}]" if requirement.extra else f"{requirement.name}>={requirement.least}"
    return Package(requirement, version, f"pip install '{wanted}'")


def _release(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", re.split(r"[^0-9.]", version, maxsplit=1)[0]))


def _report_packages() -> list[str]:
    packages = [examine(requirement) for requirement in requirements()]
    console.heading("Packages")
    rows = [(each.requirement.name, each.version or "-", each.requirement.extra, each.state) for each in packages]
    console.print_rows(["package", "version", "needed for", "state"], [(n, v, e or "all", s) for n, v, e, s in rows])
    for wrong in packages:
        if wrong.command and not wrong.is_needed:  # below the table, where no column breaks a command in two
            console.say(f"{wrong.requirement.name} is {wrong.state}: {wrong.command}")
    return [
        f"expected {each.requirement.name} >= {each.requirement.least}, got {each.version or 'none'}; {each.command}"
        for each in packages
        if each.command and each.is_needed
    ]


def _report_machine() -> list[str]:
    console.heading("Machine")
    console.say(f"textgym {metadata.version('textgym')}, Python {platform.python_version()} in {sys.prefix}")
    console.say(f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores")
    console.say(
        f"Encoding: output {sys.stdout.encoding}, files {locale.getpreferredencoding(False)}, "
        f"file names {sys.getfilesystemencoding()}"
    )
    if "utf" not in str(sys.stdout.encoding).lower():
        console.warn("what the terminal cannot show is replaced; for all characters: export PYTHONUTF8=1")
    try:
        torch = importlib.import_module("torch")
    except (ImportError, OSError) as error:  # a library of CUDA that is not there is an OSError
        return [f"expected torch to be importable, got {error}; install it again"]
    given = os.environ.get("OMP_NUM_THREADS")
    console.say(f"Threads of torch: {torch.get_num_threads()}{f' (OMP_NUM_THREADS={given})' if given else ''}")
    for line in _devices(torch):
        console.say(line)
    return []


def _devices(torch: ModuleType) -> Iterator[str]:
    if not torch.cuda.is_available():
        built = torch.version.cuda
        yield f"Devices: cpu{f' (torch is built for CUDA {built}, but finds no GPU)' if built else ''}"
        return
    for index in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(index)
        bf16 = "bf16" if torch.cuda.is_bf16_supported() else "no bf16"
        yield f"Device cuda:{index}: {about.name}, {about.total_memory / 2**30:.0f} GiB, {bf16}"


def _report_models(model: str, device: str) -> list[str]:
    names = dict.fromkeys(("tiny", model))
    return [problem for name in names for problem in _report_model(name, device)]


def _report_model(name: str, device: str) -> list[str]:
    console.heading(f"Model {name}")
    try:
        from textgym.cli.quiet import quiet_libraries
        from textgym.evaluation.loading import load_model
        from textgym.models.prompt_format import format_of_model

        quiet_libraries()  # what is slower than it might be is a warning, with the reason and what it costs
        asked = format_of_model(name)
        tokens = _TASK_TOKENS if asked is None else asked.max_prompt_tokens + asked.max_new_tokens
        _describe(load_model(name, device), tokens)
    except (TextGymError, ImportError, ValueError) as error:
        return [f"{name} does not load: {error}"]
    return []


def _describe(model: TextModel, wanted: int) -> None:
    parameters = sum(parameter.numel() for parameter in model.network.parameters())
    dtype = str(next(model.network.parameters()).dtype).removeprefix("torch.")
    longest = model.context_length
    tokens = min(wanted, longest or wanted)
    model.require_context(tokens)
    console.say(
        f"{type(model.network).__name__}, {parameters:,} parameters in {dtype} on {model.device}, vocabulary "
        f"{model.vocab_size:,}, context {f'{longest:,} tokens' if longest is not None else 'unlimited'}"
    )
    length = _PROMPT_TOKENS if longest is None else max(1, min(_PROMPT_TOKENS, longest - _NEW_TOKENS))
    read = tokens_read(model, length, _NEW_TOKENS)
    whole = sum(length + step for step in range(_NEW_TOKENS))
    state = "on: keys and values are kept" if model.caches(tokens) else "off: every token reads its whole text again"
    console.say(f"Cached decoding of texts of {tokens} tokens is {state}")
    console.say(
        f"A response of {_NEW_TOKENS} tokens to a prompt of {length} reads {read:,} tokens (without a cache {whole:,})"
    )


def tokens_read(model: TextModel, prompt_tokens: int, new_tokens: int) -> int:
    """Count the tokens that the model reads while one response is sampled.

    Args:
        model: The model; the text is arbitrary and has no end-of-text token.
        prompt_tokens: Length of the prompt.
        new_tokens: Length of the response.
    """
    from torch.nn import Embedding

    from textgym.models.decoding.generation import generate

    counts: list[int] = []

    def count(module: object, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        del module
        ids = named.get("input_ids", arguments[0] if arguments else None)
        counts.append(int(ids.numel()) if ids is not None else 0)

    # An encoder and a decoder look ids up in tables of their own, with the same weights.
    table = model.network.get_input_embeddings()
    tables = [part for part in model.network.modules() if isinstance(part, Embedding) and part.weight is table.weight]
    hooks = [part.register_forward_pre_hook(count, with_kwargs=True) for part in tables or [table]]
    try:
        prompt = [index % model.vocab_size for index in range(prompt_tokens)]
        with model.without_recording():
            generate(model, [prompt], max_new_tokens=new_tokens, eos_ids=(), temperature=0.0)
    finally:
        for hook in hooks:
            hook.remove()
    return sum(counts)
