"""Options of the shell for the ``Args`` of an example: ``python examples/sb3_stock.py --total-timesteps 10000``."""

import argparse
import ast
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, get_args


def read_args(kind: type[Any], words: Sequence[str] | None = None) -> Any:
    """Return ``kind``, a dataclass whose fields have defaults, with what the shell gives instead of them."""
    meanings = field_docs(kind)
    parser = argparse.ArgumentParser(formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    for field in fields(kind):
        element = get_args(field.type)[:1]  # float of tuple[float, ...]
        parser.add_argument(
            f"--{field.name.replace('_', '-')}",
            type=element[0] if element else field.type,
            nargs="+" if element else None,
            default=field.default,
            help=meanings[field.name],
        )
    given = vars(parser.parse_args(words))
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in given.items()})


def field_docs(kind: type[Any]) -> Mapping[str, str]:
    """Return the string under every field of a class; Python itself keeps only that of the class."""
    (definition,) = ast.parse(inspect.getsource(kind)).body
    docs = {}
    for statement, following in zip(definition.body, definition.body[1:], strict=False):  # type: ignore[attr-defined]
        match statement, following:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                docs[name] = text.replace("%", "%%")
    return docs
