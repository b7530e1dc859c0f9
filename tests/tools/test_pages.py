"""The documentation site: what the package has is on it, links lead to its pages, and it builds without warnings."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
from pages import api, commands, environments, references, registries, repository
from pages.links import page_of, site_links, with_toctrees
from pages.markdown import docstring, headline, plain, table, write

import textgym
from textgym.agents import AGENTS, agent_options
from textgym.agents.registry import can_learn, installed_agents, resolve_agent
from textgym.metrics.names import LOWER_IS_BETTER
from textgym.naming import argument
from textgym.rewards.names import NAMED_REWARDS

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
pytestmark = pytest.mark.skipif(not DOCS.is_dir(), reason="needs the checkout")


@pytest.fixture(scope="module")
def registry_pages() -> dict[str, str]:
    return dict(registries.registry_pages())


def names_in(text: str) -> set[str]:
    """The names in the first column of the tables of a page."""
    return {name for cell in re.findall(r"^\| `([^`]+)` \|", text, re.M) for name in re.split(r"[\s,/]+", cell)}


# What the package has, and what the site says.


def test_every_environment_has_a_page_that_names_both_ids() -> None:
    found = environments.environment_pages()
    own = [each for each in textgym.registered_ids() if str(gym.registry[each].kwargs["task"]).startswith("textgym.")]
    assert "TextSumm-v1" in own
    for env_id in (each for each in own if "Episode" not in each):
        text = found[f"environments/{env_id}.md"]
        assert f"`{env_id}`" in text
        assert f"({env_id}.md)" in found["environments/index.md"]
        assert all(
            f"## {part}" in text for part in ("Description", "Rewards", "Metrics", "Arguments", "Version History")
        )
    shown = " ".join(found.values())
    assert [env_id for env_id in own if f"`{env_id}`" not in shown] == []


def test_every_command_has_a_page_with_all_its_options() -> None:
    found = commands.command_pages()
    assert argument("max_new_tokens") == "max_new_tokens"  # reading a command leaves no names of its options behind
    for words, command in commands.commands().items():
        text = found[f"commands/{'-'.join(words)}.md"]
        own = [each for each in command.params if each.param_type_name == "option" and not each.hidden]
        flags = {flag for each in own if each.expose_value for flag in (*each.opts, *each.secondary_opts)}
        assert flags - names_in(text) - {"-h", "--help"} == set(), words
        assert f"`textgym {' '.join(words)}`" in found["commands/index.md"]


def test_every_agent_is_there_with_all_its_options(registry_pages: dict[str, str]) -> None:
    parts = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", registry_pages["agents.md"], re.M | re.S))
    assert parts.keys() == AGENTS.keys()
    for name in installed_agents():
        options = {f"--{option.name.replace('_', '-')}" for option in agent_options(resolve_agent(name))}
        assert options - names_in(parts[name]) == set(), name
        assert not can_learn(resolve_agent(name)) or (DOCS / f"{name}.md").is_file()


def test_every_reward_and_measure_is_there(registry_pages: dict[str, str]) -> None:
    assert names_in(registry_pages["rewards.md"]) == NAMED_REWARDS.keys()
    assert names_in(registry_pages["metrics.md"]) == LOWER_IS_BETTER.keys() | registries.task_metrics().keys()
    cells = [
        line.split(" | ")[1]
        for page in ("rewards.md", "metrics.md")
        for line in registry_pages[page].splitlines()
        if line.startswith("| `")
    ]
    assert [cell for cell in cells if len(cell.split()) < 3] == []  # each has a docstring


def test_every_public_name_is_in_the_reference() -> None:
    names = set(api.modules_of("textgym"))
    assert {"textgym.types", "textgym.rewards.length"} <= names
    assert not any("._" in name or name.startswith("textgym.cli") for name in names)
    text = api.package_page("textgym.rewards", ["textgym.rewards.length"])
    import textgym.rewards as rewards

    assert [name for name in rewards.__all__ if f"`{name} <textgym.rewards.{name}>`" not in text] == []
    assert ".. automodule:: textgym.rewards.length" in text


# Links.


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[PPO](ppo.md#usage)", "[PPO](ppo.md#usage)"),
        ("[ppo.md](ppo.md)", "[](ppo.md)"),
        ("[ppo.md](ppo.md#usage)", "[](ppo.md#usage)"),
        ("[a task](../examples/own_task.py)", "[a task](generated/examples/own_task.md)"),
        ("[lesson](../lessons/05_ppo.py)", "[lesson](generated/lessons/05_ppo.ipynb)"),
        ("[read](../README.md), [all](../examples)", "[read](index.md), [all](generated/examples/index.md)"),
        ("[`x`](../textgym/tasks)", "[`x`](generated/environments/index.md)"),
        ("```\n[no](../README.md)\n```\n", "```\n[no](../README.md)\n```\n"),
        ("[web](https://example.org/a.md) ![plot](demo.png)", "[web](https://example.org/a.md) ![plot](demo.png)"),
    ],
)
def test_links_lead_to_pages_of_the_site(text: str, expected: str) -> None:
    assert site_links(text, "docs/page.md", "page.md") == expected


def test_links_of_files_outside_of_the_folder_are_relative_to_their_page() -> None:
    text = site_links("[a](docs/ppo.md) [b](examples/own_task.py) [c](LICENSE)", "README.md", "generated/x.md")
    assert text == "[a](../ppo.md) [b](examples/own_task.md) [c](../../LICENSE)"


def test_every_link_to_a_file_of_the_repository_has_a_page() -> None:
    found = [repository.root_pages(ROOT), repository.example_pages(ROOT)]
    known = {f"generated/{name}" for pages in found for name in pages} | {path.name for path in DOCS.glob("*.md")}
    made = re.compile(r"generated/(environments|commands|api|lessons)/|generated/(rewards|metrics|agents)\.md")
    for page in DOCS.glob("*.md"):
        for file in re.findall(r"\]\((\.\./[^)#]+)", page.read_text(encoding="utf-8")):
            target = page_of(os.path.normpath(Path("docs", file)))
            assert target is not None, (page.name, file)
            assert target in known or made.match(target), (page.name, file)


def test_the_navigation_is_that_of_the_start_page() -> None:
    text = with_toctrees(
        "# T\n\n[x](x.md)\n\n## Start\n\n| [A](a.md), [B](b.md#c) |\n\n## Other\n\n[A](a.md) [N](n.ipynb)\n"
    )
    trees = re.findall(r"```{toctree}\n:hidden:\n:caption: ([^\n]*)\n\n(.*?)\n```", text, re.S)
    assert trees == [("Start", "a\nb"), ("Other", "n")]


# Examples and lessons.


def test_examples_are_shown_whole_with_their_docstrings() -> None:
    found = repository.example_pages(ROOT)
    text = found["examples/own_task.md"]
    assert text.startswith("# Define a task of your own, and train the shipped model on it\n\nDefine a task")
    assert "```{literalinclude} ../../../examples/own_task.py" in text
    assert len(found) == len(list((ROOT / "examples").glob("*.py"))) + 1


def notebook(*cells: str) -> str:
    made = [
        {"id": f"text-{number}", "cell_type": "markdown", "metadata": {}, "source": cell.splitlines(True)}
        for number, cell in enumerate(cells)
    ]
    python = {"language_info": {"name": "python", "pygments_lexer": "ipython3"}}
    return json.dumps({"cells": made, "metadata": python, "nbformat": 4, "nbformat_minor": 5})


def test_lessons_are_listed_as_in_their_folder(tmp_path: Path) -> None:
    (tmp_path / "lessons" / "notebooks").mkdir(parents=True)
    (tmp_path / "lessons" / "shared.py").write_text("")
    assert repository.lesson_pages(tmp_path) == {}
    (tmp_path / "lessons" / "README.md").write_text("# Lessons\n\n[First](01_first.py), [all](../docs/glossary.md)\n")
    (tmp_path / "lessons" / "01_first.py").write_text("# %% [markdown]\n")
    with pytest.raises(ValueError, match=r"01_first\.ipynb, got no such file"):
        repository.lesson_pages(tmp_path)
    prose = "# A text is an episode\n\nWhat is an [episode]({})?"
    stored = notebook(prose.format("../../docs/glossary.md"), "[Next](../02_second.py)")
    (tmp_path / "lessons" / "notebooks" / "01_first.ipynb").write_text(stored)
    found = repository.lesson_pages(tmp_path)
    shown = notebook(prose.format("../../glossary.md"), "[Next](02_second.ipynb)")
    assert json.loads(found["lessons/01_first.ipynb"]) == json.loads(shown)
    assert "[First](01_first.ipynb), [all](../../glossary.md)" in found["lessons/index.md"]
    assert found["lessons/index.md"].endswith("01_first\n```\n")


# Parts of pages.


class Documented:
    """Return ``x``, see :func:`~a.b` and :class:`Other`: more. And so on."""


def test_docstrings_become_markdown() -> None:
    home = Documented.__module__
    assert docstring(Documented).startswith(f"Return `x`, see {{py:func}}`~a.b` and {{py:class}}`~{home}.Other`: more")
    assert headline(lambda: None) == ""
    assert plain("a_b <c> `d_e`") == r"a\_b \<c> `d_e`"
    assert table(["a"], [["1|2"]]).splitlines()[-1] == r"| 1\|2 |"


def test_pages_that_stay_the_same_are_left_alone(tmp_path: Path) -> None:
    write(tmp_path, {"a.md": "1", "b/c.md": "2"})
    os.utime(tmp_path / "a.md", (1, 1))
    write(tmp_path, {"a.md": "1"})
    assert (tmp_path / "a.md").stat().st_mtime == 1
    assert not (tmp_path / "b" / "c.md").exists()


@pytest.mark.parametrize(
    ("target", "module", "kind", "expected"),
    [
        ("~textgym.agents.PPO", None, None, "textgym.agents.ppo.PPO"),  # exported by the package
        (
            "save",
            "textgym.agents.ppo",
            "PPO",
            "textgym.agents.common.on_policy_state.ResumableAlgorithm.save",
        ),  # inherited
        ("Example", "textgym.rewards.length", None, "textgym.types.Example"),  # imported
        ("ValueError", "textgym.types", None, "ValueError"),
        ("numpy.ndarray", None, None, "numpy.ndarray"),
        ("nothing", "textgym.types", None, None),
        ("textgym.types.Nothing", None, None, None),
        ("Example.nothing", "textgym.types", None, None),
    ],
)
def test_references_are_found_as_python_finds_names(
    target: str, module: str | None, kind: str | None, expected: str | None
) -> None:
    assert next(references.meanings(target, module, kind), None) == expected


def test_foreign_and_private_names_have_no_page() -> None:
    assert references.has_no_page("numpy.ndarray")
    assert references.has_no_page("textgym.types._Hidden")
    assert not references.has_no_page("textgym.types.Example")


# The settings of Sphinx, and the site itself.

needs_sphinx = pytest.mark.skipif(
    not all(map(find_spec, ("sphinx", "furo", "myst_nb", "sphinx_copybutton"))), reason="needs: pip install '.[docs]'"
)


@pytest.fixture
def build(tmp_path: Path) -> Callable[..., str]:
    """Builds a folder with the settings of the site; returns what Sphinx warns of."""

    def run(source: Path, out: Path, *arguments: str) -> str:
        command = [sys.executable, "-P", "-m", "sphinx", "-q", "-n", *arguments, str(source), str(out)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, encoding="utf-8", check=False)
        return done.stderr

    return run


@needs_sphinx
@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_site_builds_without_warnings(build: Callable[..., str], tmp_path: Path) -> None:
    assert build(DOCS, tmp_path / "site", "-d", str(tmp_path / "doctrees")) == ""
    for page in (
        "index",
        "ppo",
        "generated/environments/TextSpell-v0",
        "generated/commands/train",
        "generated/api/textgym.agents",
    ):
        assert (tmp_path / "site" / f"{page}.html").is_file()
    start = (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    assert all(caption in start for caption in ("Environments", "How-to guides", "Explanations"))
    assert not re.search(r'(src|href)="https?://[^"]+\.(js|css|woff2?)"', start)  # it is read without a network


@needs_sphinx
@pytest.mark.slow
def test_a_lesson_is_shown_with_its_stored_output(build: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "lessons" / "notebooks").mkdir(parents=True)
    (tmp_path / "lessons" / "README.md").write_text("# Lessons\n\n[Sums](01_sum.py)\n")
    (tmp_path / "lessons" / "01_sum.py").write_text("# %%\nraise RuntimeError\n")
    stored = json.loads(notebook("# Sums\n\nHow much is $6 \\cdot 7$?"))
    output = {"output_type": "stream", "name": "stdout", "text": ["forty-two\n"]}
    cell = {"id": "code", "cell_type": "code", "execution_count": 1, "metadata": {}, "source": ["raise RuntimeError"]}
    stored["cells"].append({**cell, "outputs": [output]})
    (tmp_path / "lessons" / "notebooks" / "01_sum.ipynb").write_text(json.dumps(stored))
    source = tmp_path / "source"
    write(source, {**repository.lesson_pages(tmp_path), "index.md": "# T\n\n```{toctree}\nlessons/index\n```\n"})
    settings = ["extensions = ['myst_nb']", "nb_execution_mode = 'off'", "myst_enable_extensions = ['dollarmath']"]
    (source / "conf.py").write_text("\n".join(settings))
    assert build(source, tmp_path / "site") == ""
    page = (tmp_path / "site" / "lessons" / "01_sum.html").read_text(encoding="utf-8")
    assert "forty-two" in page
    assert "Sums" in (tmp_path / "site" / "lessons" / "index.html").read_text(encoding="utf-8")


@needs_sphinx
def test_the_settings_are_those_that_the_pages_need(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr("pages.markdown.write", lambda *_: None)
    monkeypatch.setattr("pages.every_page", lambda _: {})
    settings: dict[str, Any] = {"__file__": str(DOCS / "conf.py"), "__name__": "conf"}
    exec(compile((DOCS / "conf.py").read_text(encoding="utf-8"), "conf.py", "exec"), settings)
    assert settings["nb_execution_mode"] == "off"
    assert settings["nitpicky"]
    source = ["[a task](../examples/own_task.py)"]
    settings["use_site_links"](None, "extend", source)
    assert source == ["[a task](generated/examples/own_task.md)"]
    lines = ["A task.", "", "## Description", "| a |"]
    settings["keep_first_paragraph"](None, "class", "x", None, None, lines)
    assert lines[0] == "A task."
    assert ":doc:" in lines[2]
    assert len(lines) == 4
