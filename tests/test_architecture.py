"""The house rules that a program can check: floors, cycles, heavy imports, sizes, annotations, unsafe calls."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = {
    "textgym": "textgym",
    "textgym.agents": "agents",
    "textgym.reward_models": "reward_models",
    "benchmarks": "benchmarks",
}

# From the ground up; an import goes down, or stays on its floor. The longest matching name counts.
FLOORS: tuple[tuple[str, ...], ...] = (
    (
        "textgym.assets",
        "textgym.checks",
        "textgym.console",
        "textgym.deferred",
        "textgym.errors",
        "textgym.figures",
        "textgym.files",
        "textgym.history",
        "textgym.hub",
        "textgym.naming",
        "textgym.pages",
        "textgym.plots",
        "textgym.progress",
        "textgym.registration",
        "textgym.security",
        "textgym.spaces",
        "textgym.teaching",
        "textgym.terms",
        "textgym.types",
        "textgym.values",
        "textgym.versions",
    ),
    ("textgym.sandbox", "textgym.text", "textgym.text.chat_sandbox"),
    ("textgym.data", "textgym.metrics"),
    ("textgym.tasks",),
    ("textgym.rewards",),
    ("textgym.envs", "textgym.testing", "textgym.trl", "textgym.wrappers"),
    ("textgym.feedback.types",),
    ("textgym.feedback.records",),
    ("textgym.feedback.store",),
    ("textgym.feedback.annotators", "textgym.feedback.statistics"),
    ("textgym.feedback",),
    ("textgym.feedback.server",),
    ("textgym.models",),
    ("textgym.evaluation",),
    ("textgym.agents", "textgym.reward_models"),
    ("textgym.training",),
    ("textgym.rlhf",),
    ("textgym", "textgym.__main__", "textgym.cli"),
    ("benchmarks",),
)
NEIGHBOURS_APART = {("textgym.agents", "textgym.reward_models"), ("textgym.reward_models", "textgym.agents")}
MAY_IMPORT_TORCH = {
    "benchmarks",
    "textgym.agents",
    "textgym.cli",
    "textgym.evaluation",
    "textgym.models",
    "textgym.reward_models",
    "textgym.rlhf",
    "textgym.training",
}
HEAVY = {"accelerate", "peft", "sentence_transformers", "stable_baselines3", "torch", "transformers"}
OPTIONAL = {"fastapi", "jinja2", "pydantic", "starlette", "uvicorn"}  # of the extra "feedback"
MAY_IMPORT_OPTIONAL = {"textgym.text.chat_sandbox", "textgym.feedback.server"}
MAX_FUNCTION_LINES = 80
MAX_FILE_LINES = 500


@dataclass(frozen=True)
class Module:
    """One source file under the name it is imported by."""

    name: str
    is_package: bool
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)


def read_modules() -> list[Module]:
    found = []
    for package, folder in SOURCES.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            name = ".".join((package, *(part for part in parts if part != "__init__")))
            found.append(Module(name, path.name == "__init__.py", path.read_text(encoding="utf-8")))
    return found


MODULES = read_modules()
NAMES = frozenset(module.name for module in MODULES)
SCRIPTS = [
    Module(str(path.relative_to(ROOT)), False, path.read_text(encoding="utf-8"))
    for folder in ("examples", "tools")
    for path in sorted((ROOT / folder).rglob("*.py"))
]


def area(name: str) -> str | None:
    """Return the entry of FLOORS that a module belongs to; a new module of the root package belongs to none."""
    parts = name.split(".")
    prefixes = [".".join(parts[:count]) for count in range(len(parts), 0, -1)]
    known = {entry for floor in FLOORS for entry in floor}
    found = next((prefix for prefix in prefixes if prefix in known), None)
    return None if found == "textgym" and name != "textgym" else found


def floor(name: str) -> int:
    """Return the floor's number; what has no floor lies above all, so that nothing may import it."""
    return next((height for height, entries in enumerate(FLOORS) if area(name) in entries), len(FLOORS))


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def import_time_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """Walk what runs when the module is imported: no function bodies, nothing under TYPE_CHECKING."""
    yield node
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) and not is_type_checking(child):
            yield from import_time_nodes(child)


def imported_names(module: Module, nodes: Iterable[ast.AST]) -> Iterator[str]:
    """Yield absolute dotted names; ``from a import b`` gives ``a.b``, which may be a module or a thing in one."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = module.name.split(".") if module.is_package else module.name.split(".")[:-1]
            base = package[: len(package) - node.level + 1] if node.level else []
            head = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{head}.{alias.name}" for alias in node.names)


def own_imports(module: Module, names: frozenset[str] = NAMES) -> set[str]:
    """Return the modules of the package that a module imports anywhere, also inside functions."""
    targets = set()
    for name in imported_names(module, ast.walk(module.tree)):
        if name.split(".")[0] in ("textgym", "benchmarks"):
            targets.add(name if name in names else name.rpartition(".")[0])
    return targets - {module.name}


def heavy_imports(module: Module, heavy: set[str] = HEAVY) -> set[str]:
    tops = {name.split(".")[0] for name in imported_names(module, import_time_nodes(module.tree))}
    return tops & heavy


def upward(module: Module, names: frozenset[str] = NAMES) -> list[str]:
    """Return the imports of a module that leave its floor upwards, or cross to a neighbour kept apart."""
    here = area(module.name)
    return [
        f"{module.name} -> {target}"
        for target in sorted(own_imports(module, names))
        if floor(target) > floor(module.name) or (here, area(target)) in NEIGHBOURS_APART
    ]


def cycle(edges: dict[str, set[str]]) -> list[str]:
    try:
        graphlib.TopologicalSorter(edges).prepare()
    except graphlib.CycleError as error:
        return [str(name) for name in error.args[1]]
    return []


def functions(module: Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(module.tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def missing_annotations(module: Module) -> list[str]:
    missing = []
    for node in functions(module):
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        arguments += [extra for extra in (node.args.vararg, node.args.kwarg) if extra]
        bare = [each.arg for each in arguments if each.annotation is None and each.arg not in ("self", "cls")]
        bare += ["return"] if node.returns is None else []
        missing += [f"{module.name}:{node.lineno} {node.name}: {name}" for name in bare]
    return missing


def long_functions(module: Module) -> list[str]:
    return [
        f"{module.name}:{node.lineno} {node.name}"
        for node in functions(module)
        if (node.end_lineno or node.lineno) - node.lineno + 1 > MAX_FUNCTION_LINES
    ]


def unsafe_calls(module: Module) -> list[str]:
    """Return calls of ``zip`` without ``strict``, of ``torch.load`` without ``weights_only=True``, of unpicklers."""
    found = []
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            options = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            loose_zip = name == "zip" and "strict" not in options
            loose_load = name == "torch.load" and options.get("weights_only") != "True"
            if loose_zip or loose_load:
                found.append(f"{module.name}:{node.lineno} {name}")
    unpicklers = {"cPickle", "cloudpickle", "dill", "joblib", "marshal", "pickle", "shelve"}
    imported = {name.split(".")[0] for name in imported_names(module, ast.walk(module.tree))}
    return found + [f"{module.name} imports {name}" for name in sorted(imported & unpicklers)]


def test_every_module_has_a_floor() -> None:
    assert [module.name for module in MODULES if area(module.name) is None] == []


def test_imports_go_down() -> None:
    assert [arrow for module in MODULES for arrow in upward(module)] == []


def test_no_import_cycle_between_modules() -> None:
    assert cycle({module.name: own_imports(module) for module in MODULES}) == []


def test_no_import_cycle_between_parts() -> None:
    edges: dict[str, set[str]] = {}
    for module in MODULES:
        here = str(area(module.name))
        edges.setdefault(here, set()).update({str(area(target)) for target in own_imports(module)} - {here})
    assert cycle(edges) == []


def test_reward_models_know_records_and_no_store() -> None:
    of_feedback = {
        target
        for module in MODULES
        if area(module.name) == "textgym.reward_models"
        for target in own_imports(module)
        if target.startswith("textgym.feedback")
    }
    assert {area(target) for target in of_feedback} <= {"textgym.feedback.types", "textgym.feedback.records"}


def test_only_models_and_above_import_torch() -> None:
    light = [module for module in MODULES if area(module.name) not in MAY_IMPORT_TORCH]
    assert {module.name: heavy_imports(module) for module in light if heavy_imports(module)} == {}


def test_only_the_feedback_page_imports_what_an_extra_brings() -> None:
    others = [module for module in MODULES if area(module.name) not in MAY_IMPORT_OPTIONAL]
    assert {module.name: found for module in others if (found := heavy_imports(module, OPTIONAL))} == {}
    (page,) = [module for module in MODULES if module.name == "textgym.feedback.server"]
    assert heavy_imports(page, OPTIONAL) == set()  # the package itself can be imported without the extra


def test_light_modules_load_no_torch() -> None:
    light = [name for name in sorted(NAMES - MAY_IMPORT_OPTIONAL) if floor(name) < floor("textgym.feedback.server")]
    code = f"import importlib, sys\nfor name in {light!r}: importlib.import_module(name)\n"
    code += f"print(*sorted(set(sys.modules) & {HEAVY | OPTIONAL!r}))"
    result = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == []


@pytest.mark.parametrize("module", MODULES + SCRIPTS, ids=lambda module: module.name)
def test_size_annotations_and_unsafe_calls(module: Module) -> None:
    assert module.text.count("\n") <= MAX_FILE_LINES
    assert long_functions(module) == []
    assert missing_annotations(module) == []
    assert unsafe_calls(module) == []


def sample(text: str, name: str = "textgym.envs.sample") -> Module:
    return Module(name, False, text)


def test_the_checks_see_upward_imports() -> None:
    names = frozenset({"textgym.agents.ppo", "textgym.reward_models", "textgym.types", "textgym.envs.summ"})
    lazy = sample("def load() -> None:\n    from textgym.agents.ppo import PPO\n")
    assert upward(lazy, names) == ["textgym.envs.sample -> textgym.agents.ppo"]
    across = sample("from ..reward_models import fit", "textgym.agents.ppo")
    assert upward(across, names) == ["textgym.agents.ppo -> textgym.reward_models"]
    assert upward(sample("from textgym.types import Example\nfrom . import summ"), names) == []
    assert area("textgym.brand_new") is None
    assert cycle({"a": {"b"}, "b": {"c"}, "c": {"a"}}) != []


def test_the_checks_see_heavy_imports() -> None:
    assert heavy_imports(sample("try:\n    from torch.nn import Module\nexcept ImportError: ...")) == {"torch"}
    lazy = "if TYPE_CHECKING:\n    import torch\ndef f() -> None:\n    import transformers"
    assert heavy_imports(sample(lazy)) == set()


def test_the_checks_see_bad_functions_and_calls() -> None:
    assert len(missing_annotations(sample("def f(self, a, *b, c: int, **d): ..."))) == 4
    assert missing_annotations(sample("def f(self, a: int) -> None: ...")) == []
    body = "    pass\n" * MAX_FUNCTION_LINES
    assert len(long_functions(sample(f"def f() -> None:\n{body}"))) == 1
    bad = "import pickle\nzip(a, b)\ntorch.load(x)\ntorch.load(x, weights_only=False)"
    assert len(unsafe_calls(sample(bad))) == 4
    assert unsafe_calls(sample("zip(a, b, strict=True)\ntorch.load(x, weights_only=True)")) == []
