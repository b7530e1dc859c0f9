"""Options of the shell for the ``Args`` of an example: ``python examples/stock_ppo.py --total-timesteps 10000``."""

import argparse
from collections.abc import Sequence
from dataclasses import fields
from typing import Any, get_args


def read_args(kind: type[Any], words: Sequence[str] | None = None) -> Any:
    """Return ``kind``, a dataclass whose fields have defaults, with what the shell gives instead of them."""
    parser = argparse.ArgumentParser(formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    for field in fields(kind):
        element = get_args(field.type)[:1]  # float of tuple[float, ...]
        parser.add_argument(
            f"--{field.name.replace('_', '-')}",
            type=element[0] if element else field.type,
            nargs="+" if element else None,
            default=field.default,
            help=" ",
        )
    given = vars(parser.parse_args(words))
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in given.items()})
