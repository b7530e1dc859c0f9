"""Run by the Python of an environment: print which releases it really imports, as JSON."""

from __future__ import annotations

import importlib
import json
import re
import sys
from importlib import metadata
from pathlib import Path


def imported_version(name: str) -> str:
    """Import a package and return its version.

    Args:
        name: Name of the distribution, such as ``"stable-baselines3"``.

    Raises:
        ImportError: It cannot be imported, comes from outside this environment, or contradicts its own metadata.
    """
    plain = re.sub(r"[-.]+", "_", name.lower())
    modules = [module for module, owners in metadata.packages_distributions().items() if name in map(_plain, owners)]
    module = importlib.import_module(plain if plain in modules or not modules else sorted(modules)[0])
    file = module.__file__
    if file is None or not Path(file).is_relative_to(sys.prefix):
        raise ImportError(f"expected {name} from {sys.prefix}, got it from {file}")
    recorded = metadata.version(name)
    version = str(getattr(module, "__version__", recorded))
    if _release(version) != _release(recorded):
        raise ImportError(f"expected {name} {recorded}, which is installed, got {version} from {file}")
    return version


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name.lower())


def _release(version: str) -> str:
    return version.partition("+")[0]


if __name__ == "__main__":
    print(json.dumps({name: imported_version(name) for name in sys.argv[1:]}))
