"""Write the lock files: the newest release of everything that pyproject.toml asks for, torch apart.

Torch comes in builds for many kinds of hardware, and what only its CUDA build needs is several gigabytes: the Makefile
installs it by itself. Both files hold for Python 3.11 and newer, on Linux and on macOS.
"""

from __future__ import annotations

import argparse
import itertools
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RUNTIME, DEV = ROOT / "requirements.lock", ROOT / "requirements-dev.lock"
# All but wandb, which brings a dozen packages for three functions that tests stand in for.
EXTRAS = (
    *("bertscore", "contrib", "data", "feedback", "lora", "mauve", "metrics", "sb3-contrib", "tensorboard", "trl"),
    "docs",
    "dev",
)
PYTHONS = ("3.11", "3.12", "3.13")
PLATFORMS = ("x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu", "aarch64-apple-darwin")
OLDEST_MACOS = "14.0"  # that torch has wheels for
_SOURCE_ONLY = ("rouge-score",)  # pure Python, published without a wheel
_PIN = re.compile(r"^([a-z0-9][a-z0-9-]*)==([^\s;\\]+)", re.MULTILINE)
LEFT_OUT = re.compile(r"torch$|(cuda|nvidia|triton)\b")
_UNIVERSAL = ("--universal", "--generate-hashes", "--python-version", "3.11")


class ResolutionError(Exception):
    """No set of versions meets all bounds."""


def resolve(
    *requirements: str,
    options: Sequence[str] = (),
    extras: Sequence[str] = (),
    prefer: Path | None = None,
) -> str:
    """Choose versions for pyproject.toml, some of its extras and further requirements; install nothing.

    Args:
        requirements: Further requirements, such as ``"transformers==5.17.0"``.
        options: More options of ``uv pip compile``.
        extras: Names of extras of pyproject.toml.
        prefer: A lock file whose versions are kept where the requirements allow it.

    Returns:
        A requirements file, with torch and what its CUDA build needs.

    Raises:
        ResolutionError: If there is no such set of versions, in the words of uv.
    """
    names = [f"--extra={extra}" for extra in extras]
    with tempfile.TemporaryDirectory() as folder:
        chosen, further = Path(folder, "chosen.lock"), "\n".join(requirements)
        command = ["pip", "compile", "--quiet", "--custom-compile-command", "make lock", *options, *names]
        command += ["--output-file", str(chosen), str(ROOT / "pyproject.toml"), "-"]
        if prefer is not None:
            shutil.copy(prefer, chosen)
        run_uv(command, further)
        return chosen.read_text(encoding="utf-8")


def pins(text: str) -> dict[str, str]:
    """Return name and version of each line of a requirements file; the first where markers choose between several."""
    found: dict[str, str] = {}
    for name, version in _PIN.findall(text):
        found.setdefault(name, version)
    return found


def write_locks(torch: str) -> None:
    """Resolve everything, then the part of it that running textgym takes, and write both without torch."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    first = (torch, *project["build-system"]["requires"])
    everything = resolve(*first, options=_UNIVERSAL, extras=EXTRAS)
    left_out = [f"--no-emit-package={name}" for name in sorted(pins(everything)) if LEFT_OUT.match(name)]
    DEV.write_text(resolve(*first, options=(*_UNIVERSAL, *left_out), extras=EXTRAS), encoding="utf-8")
    # The versions of the larger set, so that the developer tools add to what is installed and change nothing of it.
    part = resolve(*first, options=(*_UNIVERSAL, *left_out, "--constraints", str(DEV)))
    RUNTIME.write_text(part, encoding="utf-8")


def check_platforms(lock: Path, torch: str) -> list[str]:
    """Choose a file for torch and every line of a lock file, on each Python and platform; install nothing.

    Returns:
        The pairs that were checked.

    Raises:
        ResolutionError: A package has no wheel for one of them, in the words of uv.
    """
    for version, system in itertools.product(PYTHONS, PLATFORMS):
        with tempfile.TemporaryDirectory() as folder:
            place = ["--python-version", version, "--python-platform", system, "--target", folder]
            wheels = ["--only-binary", ":all:", *(f"--no-binary={name}" for name in _SOURCE_ONLY)]
            command = ["pip", "install", "--dry-run", "--no-deps", *wheels, *place]
            run_uv([*command, "--require-hashes", "-r", str(lock)])
            run_uv([*command, torch])
    return [f"{version} on {system}" for version, system in itertools.product(PYTHONS, PLATFORMS)]


def run_uv(command: Sequence[str], text: str = "") -> None:
    """Run the uv that is installed beside this Python, with ``text`` as its input.

    Raises:
        ResolutionError: It failed, in its words.
    """
    uv = str(Path(sys.executable).with_name("uv"))
    oldest = os.environ | {"MACOSX_DEPLOYMENT_TARGET": OLDEST_MACOS}
    result = subprocess.run(
        [uv, *command], cwd=ROOT, env=oldest, input=text, capture_output=True, text=True, encoding="utf-8", check=False
    )
    if result.returncode:
        raise ResolutionError(result.stderr.strip())


def main() -> None:
    """Write both files, say what changed, and check them for each Python and platform."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("torch", help="which torch goes with them, such as torch==2.13.0")
    before = {path: pins(path.read_text(encoding="utf-8")) if path.is_file() else {} for path in (RUNTIME, DEV)}
    torch = parser.parse_args().torch
    try:
        write_locks(torch)
        checked = check_platforms(DEV, torch)  # which the other is a part of
    except ResolutionError as error:
        sys.exit(f"expected versions that go together and have wheels, got\n{error}")
    for path, old in before.items():
        new = pins(path.read_text(encoding="utf-8"))
        changed = [name for name in sorted(old.keys() | new) if old.get(name) != new.get(name)]
        print(f"{path.name}: {len(new)} packages")
        for name in changed:
            print(f"  {name} {old.get(name, '-')} -> {new.get(name, '-')}")
    print(f"There is a file of every package for Python {', '.join(checked)}")


if __name__ == "__main__":
    main()
