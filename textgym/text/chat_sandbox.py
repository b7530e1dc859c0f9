"""Jinja as chat templates use it, in a sandbox that also bounds time and size.

Templates come with models, so they are foreign programs. Jinja's immutable sandbox keeps them from Python's internals;
what it does not bound is work: two nested loops, a string multiplied by a billion, a macro that calls itself. Here
every template is rewritten before it runs, so that each turn of a loop, each call, filter and operation that can grow,
and each piece of text it writes is counted. That needs no signal and no thread, so it works wherever Python does.
"""

from __future__ import annotations

import functools
import json
import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence, Sized
from contextvars import ContextVar
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

from textgym.values import as_text, attribute_of

MOST_STEPS = 2**17
"""Turns of loops, calls and pieces of text in one rendering, beside 256 for each message (templates take about 13)."""
MOST_CHARACTERS = 2**24
"""Characters that one rendering may write or build, beside 64 times those of its messages and 4,096 for each."""
MOST_SECONDS = 10.0
_MOST_SOURCE = 2**19  # characters of a template; the longest published ones have some 30,000
_MOST_NUMBER = 100_000  # of an argument, such as the width of `center`
_MOST_BITS = 2**16  # of a whole number
_NODE = 8  # characters that a thing in a collection counts
_STEPS_PER_LOOK = 64  # at the clock
_LINEAR = frozenset(  # methods and filters whose results are no longer than what they are given
    (
        *("startswith", "endswith", "split", "rsplit", "strip", "lstrip", "rstrip", "find", "rfind", "index", "rindex"),
        *("count", "partition", "rpartition", "splitlines", "removeprefix", "removesuffix", "lower", "upper", "title"),
        *("capitalize", "trim", "length", "string", "int", "safe", "default", "d", "first", "last", "list"),
        *("map", "select", "reject", "selectattr", "rejectattr", "sort", "unique", "items", "dictsort", "attr"),
    )
)
_SLOW = frozenset(("striptags", "urlize", "wordwrap", "xmlattr", "pprint", "encode"))  # than in proportion to a text
_MOST_SLOW = 10_000  # characters for those
_WRITES = frozenset(("tojson", "string", "join", "format", "format_map", "%", "urlencode"))  # what collections hold
_WIDTH = re.compile(r"\d{6}")


class LimitError(Exception):
    """A template did more than the limits allow."""


class _Budget:
    """The steps, characters and seconds that a rendering may still use."""

    def __init__(self, messages: int, characters: int) -> None:
        self.most_steps = self.steps = MOST_STEPS + 256 * messages
        self.characters = MOST_CHARACTERS + 64 * characters + 4096 * messages
        self.end = time.monotonic() + MOST_SECONDS

    def step(self) -> None:
        """Count one step; look at the clock now and then."""
        self.steps -= 1
        if self.steps < 0:
            raise LimitError(f"more than {self.most_steps:,} steps")
        if self.steps % _STEPS_PER_LOOK == 0 and time.monotonic() > self.end:
            raise LimitError(f"more than {MOST_SECONDS:g} seconds")

    def grow(self, size: int) -> None:
        """Count one step that makes ``size`` characters or items."""
        self.step()
        self.characters -= size
        if self.characters < 0:
            raise LimitError("a text that is too long")
        if size > MOST_CHARACTERS // 64 and time.monotonic() > self.end:
            raise LimitError(f"more than {MOST_SECONDS:g} seconds")


_BUDGET: ContextVar[_Budget] = ContextVar("chat_template_budget")


def compile_template(source: str, extra: Mapping[str, Callable[..., object]]) -> jinja2.Template:
    """Compile a chat template with limits built in.

    Args:
        source: Jinja source.
        extra: Functions that the template may call by name, such as ``raise_exception``.

    Raises:
        LimitError: The source is too long, or works too hard before it even runs.
        Exception: Whatever Jinja raises about source that is none.
    """
    if len(source) > _MOST_SOURCE:
        raise LimitError(f"a template of {len(source):,} characters")
    environment = _Environment(trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationBlock, loopcontrols])
    environment.globals.update(extra)
    token = _BUDGET.set(_Budget(0, 0))  # constants are computed while compiling
    try:
        tree = _Counting().visit(environment.parse(source))
        tree.set_environment(environment)
        return environment.from_string(tree)
    finally:
        _BUDGET.reset(token)


def render_template(template: jinja2.Template, variables: Mapping[str, Any], size: int) -> str:
    """Render a compiled chat template.

    Args:
        template: Template from :func:`compile_template`.
        variables: ``messages`` and the like.
        size: Characters of the messages; long conversations may write more.

    Raises:
        LimitError: It does more than the limits allow.
        Exception: Whatever the template makes Python or Jinja raise.
    """
    token = _BUDGET.set(_Budget(len(variables["messages"]), size))
    try:
        return template.render(variables)
    finally:
        _BUDGET.reset(token)


class _Environment(ImmutableSandboxedEnvironment):
    """The sandbox, with every call, filter and growing operator counted."""

    intercepted_binops = frozenset(("+", "*", "**", "%"))

    def __init__(self, *, trim_blocks: bool, lstrip_blocks: bool, extensions: Sequence[type[Extension]]) -> None:
        super().__init__(trim_blocks=trim_blocks, lstrip_blocks=lstrip_blocks, extensions=extensions)
        self.filters["tojson"] = _to_json
        self.globals.pop("lipsum", None)
        self.filters = {name: _guarded(name, function) for name, function in self.filters.items()}
        self.filters |= {"_counted": _counted, "_written": _written, "_joined": _joined, "_held": _held}

    def call(self, __context: Context, __obj: Callable[..., object], *args: object, **kwargs: object) -> object:
        """Call an object, unless the sandbox or the limits forbid it."""
        owner = attribute_of(attribute_of(__obj, "__wrapped__") or __obj, "__self__")
        if isinstance(owner, str):
            _check_arguments(__obj.__name__, (owner, *args, *kwargs.values()))
        else:
            _BUDGET.get().step()
        return _measured(super().call(__context, __obj, *args, **kwargs))

    def call_binop(self, context: Context, operator: str, left: object, right: object) -> object:
        """Compute ``left operator right``, unless the result would be too large."""
        budget = _BUDGET.get()
        budget.step()
        match operator, left, right:
            case _, int(), int():
                _check_number(operator, left, right)
            case ("*", int(), float()) | ("*", float(), int()):
                pass
            case ("*", int(times), thing) | ("*", thing, int(times)):
                budget.grow(_size(thing) * max(0, times))
            case "%", str(), _:
                _check_arguments("%", (left, right))
        return _measured(super().call_binop(context, operator, left, right))


class _GenerationBlock(Extension):
    """``{% generation %}``: marks what the assistant wrote, and writes it."""

    tags = {"generation"}  # noqa: RUF012  Jinja's own declaration

    def parse(self, parser: Parser) -> nodes.Node:
        """Turn the block into a call of its body, whose variables stay inside."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_write"), [], [], body).set_lineno(line)

    def _write(self, caller: Callable[[], str]) -> str:
        return caller()


class _Counting(NodeTransformer):
    """Rewrites a template so that loops, texts and joined texts are counted."""

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802  named after Jinja's node
        """Count the turns of a loop."""
        self.generic_visit(node)
        node.iter = _through("_counted", node.iter)
        return node

    def visit_Output(self, node: nodes.Output) -> nodes.Node:  # noqa: N802
        """Count the characters that are written."""
        self.generic_visit(node)
        node.nodes = [_through("_written", child) for child in node.nodes]
        return node

    def visit_TemplateData(self, node: nodes.TemplateData) -> nodes.Node:  # noqa: N802
        """Make an expression of the text between tags."""
        return nodes.Const(node.data, lineno=node.lineno)

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802
        """Count the characters of ``a ~ b``."""
        self.generic_visit(node)
        return _through("_joined", nodes.List(node.nodes, lineno=node.lineno))

    def visit_List(self, node: nodes.List) -> nodes.Node:  # noqa: N802
        """Count what a list holds, which may hold the same list many times."""
        self.generic_visit(node)
        return _through("_held", node)

    def visit_Dict(self, node: nodes.Dict) -> nodes.Node:  # noqa: N802
        """Count what a dictionary holds."""
        self.generic_visit(node)
        return _through("_held", node)

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Node:  # noqa: N802
        """Count what a tuple holds, unless it is one of names to set."""
        self.generic_visit(node)
        return _through("_held", node) if node.ctx == "load" else node

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:  # noqa: N802
        """Count the length of slices, which are copies."""
        self.generic_visit(node)
        return _through("_held", node) if isinstance(node.arg, nodes.Slice) else node


def _through(name: str, node: nodes.Expr | nodes.Node) -> nodes.Filter:
    """Return the expression ``node|name``."""
    return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)


class _Turns:
    """The items of a loop, each counted against the budget."""

    def __init__(self, items: Iterable[object]) -> None:
        self.items = items

    def __iter__(self) -> Iterator[object]:
        budget = _BUDGET.get()
        for item in self.items:
            budget.step()
            yield item


class _SizedTurns(_Turns):
    """The same of something whose length is known, which loops tell as ``loop.length``."""

    items: Collection[object]

    def __len__(self) -> int:
        return len(self.items)


@jinja2.pass_context  # so that nothing of it is computed while compiling
def _counted(context: object, items: Iterable[object]) -> _Turns:
    iter(items)  # what cannot be looped over fails here as it does without limits
    return _SizedTurns(items) if isinstance(items, Sized) else _Turns(items)


@jinja2.pass_context
def _written(context: object, value: object) -> str:
    _count_texts(value)
    made = str(value)
    _BUDGET.get().grow(len(made))
    return made


@jinja2.pass_context
def _joined(context: object, values: list[object]) -> str:
    _count_texts(values)
    texts = [str(value) for value in values]
    _BUDGET.get().grow(sum(map(len, texts)))
    return "".join(texts)


@jinja2.pass_context
def _held(context: object, value: object) -> object:
    return _measured(value)


def _guarded(name: str, function: Callable[..., object]) -> Callable[..., object]:
    """Return a filter that checks its arguments first and counts its result."""

    @functools.wraps(function)  # what Jinja passes to it besides the value is noted on the function
    def run(*args: object, **kwargs: object) -> object:
        _check_arguments(name, (*args, *kwargs.values()))
        return _measured(function(*args, **kwargs))

    return run


def _check_arguments(name: str, arguments: Sequence[object]) -> None:
    """Refuse arguments that could make a result out of all proportion; ``name`` is the function's."""
    budget = _BUDGET.get()
    budget.step()
    product = 1
    for argument in arguments:
        if name in _WRITES:
            _count_texts(argument)
        product *= max(1, _check_argument(name, argument))
    if name not in _LINEAR and product > budget.characters:
        raise LimitError(f"{name!r} with texts that are too long")


def _check_argument(name: str, argument: object) -> int:
    """Refuse an argument that is too large by itself; return its size."""
    match argument:
        case int():
            if abs(argument) > _MOST_NUMBER and name not in _LINEAR:
                raise LimitError(f"{name!r} with a number above {_MOST_NUMBER:,}")
            return abs(argument)
        case Namespace():
            raise LimitError(f"{name!r} with a namespace")
        case str() if name in ("format", "format_map", "%") and _WIDTH.search(argument):
            raise LimitError(f"the format {argument[:20]!r}")
    if name in _SLOW and sum(_size(item) for item in _walk(argument, _MOST_SLOW)) > _MOST_SLOW:
        raise LimitError(f"{name!r} with a text of more than {_MOST_SLOW:,} characters")
    return _weight(argument)


def _check_number(operator: str, left: int, right: int) -> None:
    """Refuse whole numbers of too many digits."""
    bits = left.bit_length() * max(1, right) if operator == "**" else left.bit_length() + right.bit_length()
    if bits > _MOST_BITS:
        raise LimitError("a number that is too large")


def _size(value: object) -> int:
    """Return the length of a text or collection, 1 of anything else."""
    return len(value) if isinstance(value, str | list | tuple | dict) else 1


def _weight(value: object) -> int:
    """Return the characters of a text, or of the texts in a collection."""
    items: Iterable[object] = ()
    match value:
        case dict():
            items = value.values()
        case list() | tuple():
            items = value
    return _size(value) + sum(len(as_text(item)) for item in items)


def _measured(value: object) -> object:
    """Count the length of a result, and everything that a collection holds, each time it holds it."""
    budget = _BUDGET.get()
    match value:
        case str():
            budget.grow(len(value))
        case list() | tuple() | dict():
            budget.grow(_NODE * sum(1 for _ in _walk(value, budget.characters // _NODE)))
    return value


def _count_texts(value: object) -> None:
    """Count the characters that writing a value takes at least."""
    if not isinstance(value, str):
        most = _BUDGET.get().characters
        if sum(_size(item) for item in _walk(value, most // _NODE)) > most:
            raise LimitError("a collection of texts that are too long")


def _walk(value: object, most: int) -> Iterator[object]:
    """Yield a value and all that it holds, at most ``most`` times something."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        most -= 1
        if most < 0:
            raise LimitError("a collection that is too large")
        match item:
            case Namespace():
                raise LimitError("a namespace as text, or in a collection")
            case dict():
                waiting.extend(item)
                waiting.extend(item.values())
            case list() | tuple():
                waiting.extend(item)
        yield item


def _to_json(
    value: object,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: Sequence[str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Chat templates expect a ``tojson`` that does not escape HTML, with these options of ``json.dumps``."""
    pair = None if separators is None else (separators[0], separators[1])
    encoder = json.JSONEncoder(ensure_ascii=ensure_ascii, indent=indent, separators=pair, sort_keys=sort_keys)
    pieces: list[str] = []
    for piece in encoder.iterencode(value):
        _BUDGET.get().grow(len(piece))
        pieces.append(piece)
    return "".join(pieces)
