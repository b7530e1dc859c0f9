"""What is optional: without it everything else works, and what needs it says how to get it."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

from textgym.data import source
from textgym.data.files import _import_parquet
from textgym.errors import MissingExtraError
from textgym.feedback.server.requirements import require_page
from textgym.models.adapters import import_peft
from textgym.training.tolerance import Tolerance, tolerant_logger

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
TOOLS = ("dev", "docs")  # of developers, which the package does not import
FORMS = {"python-multipart", "mauve-text"}  # fastapi imports it to read forms; its module is called mauve

needs_checkout = pytest.mark.skipif(not (ROOT / "textgym").is_dir(), reason="needs the checkout")


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", re.split(r"[^\w.-]", name)[0].lower())


def imported() -> set[str]:
    """The top-level names that the package imports, also inside functions and by name."""
    found: set[str] = set()
    for folder in ("textgym", "agents", "reward_models"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Import):
                    found |= {alias.name.split(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                    found.add(node.module.split(".")[0])
                elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.isidentifier():
                    found.add(node.value)  # as `importlib.util.find_spec` takes it
    return found


@needs_checkout
def test_every_dependency_is_imported() -> None:
    users = [line for name, lines in PROJECT["optional-dependencies"].items() if name not in TOOLS for line in lines]
    wanted = {plain(line) for line in [*PROJECT["dependencies"], *users]}
    homes = {plain(owner): module for module, owners in metadata.packages_distributions().items() for owner in owners}
    names = imported()
    modules = {name: homes.get(name, name.replace("-", "_")) for name in wanted}
    by_owner: dict[str, set[str]] = {}
    for module, owners in metadata.packages_distributions().items():
        for owner in owners:
            by_owner.setdefault(plain(owner), set()).add(module)
    idle = {name for name in wanted if not names & (by_owner.get(name, set()) | {modules[name]})}
    assert idle == FORMS & idle


@needs_checkout
def test_the_base_holds_no_optional_package() -> None:
    base = {plain(line) for line in PROJECT["dependencies"]}
    optional = {"peft", "fastapi", "uvicorn", "tensorboard", "datasets", "sb3-contrib", "sacrebleu", "tqdm"}
    assert base & optional == set()
    assert {"sentence-transformers", "rouge-score", "matplotlib", "scipy", "jinja2"} <= base


@needs_checkout
def test_the_extra_for_sb3_contrib_has_the_name_of_the_package_too() -> None:
    extras = PROJECT["optional-dependencies"]
    assert extras["sb3-contrib"] == extras["contrib"] == ["sb3-contrib>=2.9"]


@needs_checkout
def test_no_extra_asks_again_for_what_is_always_installed() -> None:
    base = {plain(line) for line in PROJECT["dependencies"]}
    assert {name for name, lines in PROJECT["optional-dependencies"].items() if base & set(map(plain, lines))} == set()


@pytest.fixture
def blocked(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Make a package impossible to import, with all that it holds."""
    name: str = request.param
    for module in [each for each in sys.modules if each == name or each.startswith(f"{name}.")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, name, None)


@pytest.mark.parametrize(
    ("blocked", "needs", "extra"),
    [
        ("datasets", lambda: source._load_from_hub("owner/name", None), "data"),
        ("pyarrow", _import_parquet, "data"),
        ("peft", import_peft, "lora"),
    ],
    indirect=["blocked"],
)
@pytest.mark.usefixtures("blocked")
def test_what_needs_an_extra_names_the_command(needs: object, extra: str) -> None:
    assert callable(needs)
    with pytest.raises(MissingExtraError, match=rf"install it with: pip install 'textgym\[{extra}\]'"):
        needs()
    assert extra in PROJECT["optional-dependencies"]


@pytest.mark.parametrize("package", ["fastapi", "uvicorn", "python_multipart"])
def test_the_feedback_page_names_the_command(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == package else object())
    with pytest.raises(MissingExtraError, match=rf"{package} .*install it with: pip install 'textgym\[feedback\]'"):
        require_page()


def test_without_tensorboard_one_line_is_printed_and_training_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    logger = tolerant_logger(str(tmp_path / "tensorboard"), Tolerance(), name="PPO", resumed=False)
    logger.record("loss", 1.0)
    logger.dump(1)
    shown = "".join(capsys.readouterr())
    assert shown.count("\n") == 1
    assert "pip install 'textgym[tensorboard]'" in shown
    assert not (tmp_path / "tensorboard").exists()


@needs_checkout
def test_environments_and_rouge_need_no_extra(tmp_path: Path) -> None:
    blocked = ["peft", "fastapi", "uvicorn", "starlette", "pydantic", "tensorboard", "datasets", "pandas", "sacrebleu"]
    code = f"import sys\nfor name in {blocked}: sys.modules[name] = None\n"
    code += "import gymnasium, textgym\n"
    code += "env = gymnasium.make('TextSummEpisode-v0', reward='rouge')\nenv.reset(seed=0)\n"
    code += "print(len(env.step('The council met.')))"
    command = [sys.executable, "-P", "-c", code]
    assert subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True).stdout.strip() == "5"
