"""Write the lock files: the newest release of everything that pyproject.toml asks for, torch apart.

Torch comes in builds for many kinds of hardware, and what only its CUDA build needs is several gigabytes: the Makefile
installs it by itself. Both files hold for Python 3.11 and newer, on Linux and on macOS.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RUNTIME, DEV = ROOT / "requirements.lock", ROOT / "requirements-dev.lock"
EXTRAS = ("lora", "feedback", "dev")
_PIN = re.compile(r"^([a-z0-9][a-z0-9-]*)==([^ ;\\]+)", re.MULTILINE)
_LEFT_OUT = re.compile(r"torch$|(cuda|nvidia|triton)\b")
_UNIVERSAL = ("--universal", "--generate-hashes", "--python-version", "3.11")


class ResolutionError(Exception):
    """No set of versions meets all bounds."""


def resolve(*requirements: str, options: Sequence[str] = (), extras: Sequence[str] = ()) -> str:
    """Choose versions for pyproject.toml, some of its extras and further requirements; install nothing.

    Args:
        requirements: Further requirements, such as ``"transformers==5.17.0"``.
        options: More options of ``uv pip compile``.
        extras: Names of extras of pyproject.toml.

    Returns:
        A requirements file without torch and what only its CUDA build needs.

    Raises:
        ResolutionError: If there is no such set of versions, in the words of uv.
    """
    names = [f"--extra={extra}" for extra in extras]
    with tempfile.TemporaryDirectory() as folder:
        further = Path(folder, "further.in")
        further.write_text("\n".join(requirements) + "\n", encoding="utf-8")
        command = ["pip", "compile", "--quiet", "--custom-compile-command", "make lock", *options, *names]
        command += [str(ROOT / "pyproject.toml"), str(further)]
        left_out = {name for name in pins(_uv(command)) if _LEFT_OUT.match(name)}
        return _uv([*command, *(f"--no-emit-package={name}" for name in sorted(left_out))])


def pins(text: str) -> dict[str, str]:
    """Return name and version of each line of a requirements file; the first where markers choose between several."""
    found: dict[str, str] = {}
    for name, version in _PIN.findall(text):
        found.setdefault(name, version)
    return found


def write_locks(torch: str) -> None:
    """Resolve everything, then the part of it that running textgym takes, and write both."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    first = (torch, *project["build-system"]["requires"])
    DEV.write_text(resolve(*first, options=_UNIVERSAL, extras=EXTRAS), encoding="utf-8")
    # The versions of the larger set, so that the developer tools add to what is installed and change nothing of it.
    part = resolve(*first, options=(*_UNIVERSAL, "--constraints", str(DEV)))
    RUNTIME.write_text(part, encoding="utf-8")


def _uv(command: Sequence[str]) -> str:
    result = subprocess.run([_executable(), *command], cwd=ROOT, capture_output=True, text=True, encoding="utf-8")
    if result.returncode:
        raise ResolutionError(result.stderr.strip())
    return result.stdout


def _executable() -> str:
    return str(Path(sys.executable).with_name("uv"))


def main() -> None:
    """Write both files, and say what changed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("torch", help="which torch goes with them, such as torch==2.13.0")
    before = {path: pins(path.read_text(encoding="utf-8")) if path.is_file() else {} for path in (RUNTIME, DEV)}
    try:
        write_locks(parser.parse_args().torch)
    except ResolutionError as error:
        sys.exit(f"expected versions that go together, got\n{error}")
    for path, old in before.items():
        new = pins(path.read_text(encoding="utf-8"))
        changed = [name for name in sorted(old.keys() | new) if old.get(name) != new.get(name)]
        print(f"{path.name}: {len(new)} packages")
        for name in changed:
            print(f"  {name} {old.get(name, '-')} -> {new.get(name, '-')}")


if __name__ == "__main__":
    main()
