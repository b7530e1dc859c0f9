"""Things named by texts, ``"module:attribute"``: the one place that imports a module because a text names it.

Importing a module runs it. What a user types may be imported; what stands in a file that somebody sent may not, unless
the user types the same name again. Whoever reads settings from a file therefore does so within :func:`names_from`.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import re
import shlex
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from textgym.errors import ConsentError, WrongNameError, exits_as
from textgym.files.paths import user_path
from textgym.security.missing import no_attribute, no_module
from textgym.terms import names_in

FIELDS: Mapping[str, str] = {
    "env_id": "",
    "agent": "--agent",
    "agents": "--agent",
    "annotator": "--annotator",
    "script": "--script",
    "reward": "--reward",
    "metric": "--metric",
}
"""Fields of stored settings whose value may be ``module:attribute``, with the option that names it on the command line
(none: it is the argument). A new kind of thing that is found by name gets its line here."""
_NAME = re.compile(r"(?P<module>[^\W\d]\w*(?:\.[^\W\d]\w*)*):(?P<attribute>.+)", re.DOTALL)


@dataclass(frozen=True, slots=True, eq=False)
class _Origin:
    """A folder whose files name things, the command that resumes it, and the names its user has repeated."""

    folder: Path
    command: str
    consent: frozenset[str]


# Of the whole process, not of a thread or task: what a file names is no more welcome in another thread.
_origins: list[_Origin] = []
_user_folders: list[str] = []


def find_user_modules_in(folder: str) -> None:
    """Let modules that a user names be found in ``folder`` too, after all others; nothing else is looked for there."""
    _user_folders[:] = [folder]


@contextlib.contextmanager
def names_from(folder: str | Path, command: str, consent: Collection[str] = ()) -> Iterator[None]:
    """Refuse to import what is named within the block, unless the user has consented.

    Args:
        folder: Where the names come from; nothing in it is ever imported, consent or not.
        command: Command with which a user resumes, such as ``"textgym train --resume RUN"``, for the error message.
        consent: Names the user has given besides. Within a block in this one they count too.
    """
    given = frozenset(name for text in consent for name in (text, *names_in(text)))
    origin = _Origin(user_path(folder).resolve(), command, given)
    _origins.append(origin)
    try:
        yield
    finally:
        _origins.remove(origin)


def check_names(record: Mapping[str, object]) -> None:
    """Check the names in settings from a file, before anything is built from them.

    Args:
        record: Settings as JSON, nested as they come.

    Raises:
        ConsentError: A field of :data:`FIELDS` names a module, and the user has not.
    """
    named = list(dict.fromkeys(_named(record)))
    if not all(_is_consented(name) for _, name in named):
        raise _refusal(named)


def resume_command(command: str, folder: str | Path, record: Mapping[str, object]) -> str:
    """Return the command line that resumes a run, with the names in its settings that need consent repeated.

    Args:
        command: Such as ``"train"``.
        folder: The run.
        record: Its settings.
    """
    return f"textgym {command} --resume {shlex.quote(str(folder))}{_repeated(list(dict.fromkeys(_named(record))))}"


def check_repeated(consent: Collection[str], record: object) -> None:
    """Check that what a user repeated is what stands in the file: anything else would be ignored in silence.

    Raises:
        ValueError: It is not.
    """
    known = set(_texts(record))
    for name in consent:
        if name not in known:
            raise ValueError(
                f"expected a name that stands in the run's own settings, got {name!r}: a run keeps its settings; "
                "leave it out"
            )


def names_module(name: str) -> bool:
    """Say whether a text, or a term of a sum of rewards, has the form ``module:attribute``."""
    return any(_NAME.fullmatch(each) for each in (name, *names_in(name)))


def import_named_module(name: str, field: str) -> ModuleType:
    """Import the module of ``"module:anything"``, which a user or a file named.

    Args:
        name: The whole name.
        field: Kind of code: a key of :data:`FIELDS`.

    Raises:
        ConsentError: It comes from a file, and the user has not named it; or the module lies in the folder that
            names it.
        ModuleNotFoundError: There is no such module.
        ValueError: ``name`` has another form.
    """
    _require_consent(name, field)
    return _import(_parts(name)[0])


def load_named(name: str, field: str) -> Any:
    """Return what ``"module:attribute"`` names, which a user or a file named; otherwise as :func:`load_attribute`.

    Raises:
        ConsentError: As :func:`import_named_module`.
    """
    _require_consent(name, field)
    return load_attribute(name)


def load_attribute(path: str) -> Any:
    """Return what ``"module:attribute"`` names in a table or registration of code that runs already.

    Raises:
        ValueError: There is no such module or attribute.
    """
    module_name, attribute = _parts(path)
    try:
        module = _import(module_name)
    except ModuleNotFoundError as error:
        if missing := explain_missing(module_name, error):
            raise ValueError(f"expected 'module:attribute', got {path!r}: {missing}") from error
        raise
    try:
        return getattr(module, attribute)
    except (AttributeError, WrongNameError) as error:
        raise no_attribute(path, module, attribute) from error


def explain_missing(module: str, error: ModuleNotFoundError) -> str | None:
    """Return a sentence about a module that is not there, with similar names; ``None`` if it lacks one that it imports.

    Args:
        module: The module that was to be imported.
        error: The error of its import.
    """
    if error.name is None or not f"{module}.".startswith(f"{error.name}."):
        return None
    return no_module(module, error.name, _user_folders or [str(Path.cwd())])


def _parts(name: str) -> tuple[str, str]:
    match = _NAME.fullmatch(name)
    if match is None:
        raise ValueError(f"expected 'module:attribute', got {name!r}; name a module and something in it")
    return match["module"], match["attribute"]


def _texts(value: object) -> Iterator[str]:
    match value:
        case str():
            yield value
        case Mapping():
            for item in value.values():
                yield from _texts(item)
        case list() | tuple():
            for item in value:
                yield from _texts(item)


def _require_consent(name: str, field: str) -> None:
    """Raise if a file is being followed, and the user has not given this very name."""
    if _origins and not _is_consented(name):
        raise _refusal([(field, name)])


def _is_consented(name: str) -> bool:
    return any(name in origin.consent for origin in _origins)


def _named(value: object, field: str = "") -> Iterator[tuple[str, str]]:
    """Yield field and value of every name of a module in settings.

    Args:
        value: Settings, or a part of them; what is composed of several things is nested.
        field: The innermost of :data:`FIELDS` that it is in.
    """
    match value:
        case Mapping():
            for name, item in value.items():
                yield from _named(item, name if name in FIELDS else field)
        case list() | tuple():
            for item in value:
                yield from _named(item, field)
        case str() if field and names_module(value):
            yield field, value


def _repeated(named: Sequence[tuple[str, str]]) -> str:
    """Return names as arguments of a command line, with a space before each."""
    words = [word for field, name in named for word in (FIELDS.get(field, f"--{field.replace('_', '-')}"), name)]
    return "".join(f" {shlex.quote(word)}" for word in words if word)


def _refusal(named: Sequence[tuple[str, str]]) -> ConsentError:
    where, command = (f"in {str(_origins[0].folder)!r}", _origins[0].command) if _origins else ("in a file", "...")
    names = " and ".join(f"{field} {name!r}" for field, name in named)
    return ConsentError(
        f"expected settings that name no Python module to import, got {names} {where}: importing a module runs its "
        f"code. "
        f"If you know and trust it, repeat the name: {command}{_repeated(named)}"
    )


def _import(module: str) -> ModuleType:
    """Import a module from the usual places, or last from the user's folder, but never from where a name came from."""
    places = contextlib.nullcontext() if _is_installed(module) else _user_modules()
    with places, exits_as(ValueError, f"a module that can be imported as {module!r}"):
        if _origins:
            _refuse_places(module)
        return importlib.import_module(module)


def _is_installed(module: str) -> bool:
    """Say whether a module is found without the user's folder: what it imports is then not looked for there either."""
    package = module.partition(".")[0]
    return package in sys.modules or importlib.util.find_spec(package) is not None


@contextlib.contextmanager
def _user_modules() -> Iterator[None]:
    """Append the user's folder to the module path for the block, unless it is part of a folder that is followed."""
    added = [str(folder) for folder in _user_folders if not _is_followed(folder)]
    sys.path.extend(added)
    try:
        yield
    finally:
        for folder in added:
            last = len(sys.path) - 1 - sys.path[::-1].index(folder) if folder in sys.path else None
            if last is not None:
                del sys.path[last]


def _refuse_places(module: str) -> None:
    """Look where a module and the packages it is in would come from, without running it."""
    words = module.split(".")
    for count in range(1, len(words) + 1):
        name = ".".join(words[:count])
        try:
            spec = importlib.util.find_spec(name)  # imports the packages above it, which were checked before
        except ValueError:  # such as __main__
            continue
        if spec is None:
            return
        for place in (spec.origin, *(spec.submodule_search_locations or ())):
            if place is not None and _is_followed(place):
                raise ConsentError(
                    f"expected a module outside of the folder that names it, got {name!r} in {place!r}; code from such "
                    "a folder is not run: read it, and copy it elsewhere if you trust it"
                )


def _is_followed(place: str) -> bool:
    path = Path(place).resolve()
    return any(path.is_relative_to(origin.folder) for origin in _origins)
