"""The code on the pages: every Python block runs, here or in a test of its page, and every `textgym` command is one."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import pytest
import typer.main

from textgym.cli.app import app
from textgym.naming import options_named

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = {path.stem: path for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md")))}
pytestmark = pytest.mark.skipif(not DOCS.is_dir(), reason="needs the checkout")

ELSEWHERE: Mapping[str, str] = {
    "comparison": "test_docs_comparison.py",
    "encoder-decoder": "test_docs_encoder_decoder.py",
    "extend": "test_docs_extend.py",
    "notebooks": "test_docs_runs.py",
    "feedback": "feedback_server/test_docs.py",
    "from-trl": "test_docs_trl.py",
    **dict.fromkeys(("dpo", "ipo", "kto", "orpo", "simpo"), "test_docs_preferences.py"),
    **dict.fromkeys(("expert_iteration", "best_of_n"), "test_docs_preferences.py"),
    **dict.fromkeys(
        (
            *("rloo", "grpo", "reinforce_pp", "sb3_ppo", "a2c", "maskable_ppo", "trpo", "consensus_ppo"),
            *("decentralized_po", "dqn", "q_learning", "sarsa", "ilql", "awr"),
        ),
        "test_docs_agents.py",
    ),
}
"""Page -> the test file that runs its Python."""
_ROWS = 'import json\nrows = [{"article": f"Report {n}.", "summary": f"Sum {n}."} for n in range(40)]\n'
_VOTES = """
import gzip
from pathlib import Path

from textgym.feedback import write_records
from textgym.feedback.types import Comparison, Demonstration
from textgym.types import Example

votes = [Comparison(f"k{n}", f"p{n}", f"good {n}", f"bad {n}", "a", annotator="ann") for n in range(24)]
write_records("votes.jsonl", votes)
Path("votes.jsonl.gz").write_bytes(gzip.compress(Path("votes.jsonl").read_bytes()))
good = [Demonstration(f"k{n}", f"p{n}", f"good {n}") for n in range(4)]
prompts, responses, examples = ["p"], ["good"], [Example("k", "p")]
"""


class Code(NamedTuple):
    """How the Python of a page is run.

    Attributes:
        given: Code that runs before it: files and names that the page takes for granted.
        smaller: Numbers, and names of files, by what stands in their place.
    """

    given: str = ""
    smaller: Mapping[str, str] = {}


_LEARN = {
    "learn(100_000)": "learn(1)",
    "learn(50_000": "learn(1",
    "learn(10_000)": "learn(1)",
    "learn(100)": "learn(1)",
}
_FEW = {"n_envs=64": "n_envs=2", "n_envs=16": "n_envs=2", "rollout_texts=64": "rollout_texts=2"}
_STOCK = {"n_envs=64": "n_envs=2", "43_000": "32", '"n_steps": 48': '"n_steps": 16', "768": "32"}
RUN: Mapping[str, Code] = {
    "README": Code(smaller=_STOCK),
    "agents": Code(smaller={**_LEARN, **_FEW}),
    "dialogue": Code("from dialogue import TextTask, count_words, rougeL\n"),
    "metrics": Code(smaller={"runs/ppo": "tiny", "prompts=100": "prompts=2"}),
    "ppo": Code(smaller={**_LEARN, **_FEW, 'agent.policy.save_pretrained("out", env=env)': 'agent.save("checkpoint")'}),
    "quickstart": Code(
        f'{_ROWS}open("mine.jsonl", "w").write("\\n".join(map(json.dumps, rows)))\n',
        {**_STOCK, " 300,": " 2,", "num_envs=64": "num_envs=2", "range(1000)": "range(3)"},
    ),
    "reinforce": Code(smaller={**_LEARN, **_FEW}),
    "reward-models": Code(_VOTES),
    "rewards": Code(),
    "rl-for-language-people": Code(),
    "rl-on-text-for-rl-people": Code(
        smaller={"learn(1_000)": "learn(1)", "n_envs=8": "n_envs=2", "n_steps=32": "n_steps=4"}
    ),
    "sandbox": Code(),
    "several-processes": Code(smaller={"learn(96)": "learn(8)"}),
    "sft": Code(
        smaller={"limit=1000": "limit=4", "batch_size=16": "batch_size=2", "range(1000)": "range(4)", **_LEARN}
    ),
    "sweeps": Code(smaller={"learn(6_000)": "learn(1)", "range(3)": "range(2)", "n_envs=16": "n_envs=2"}),
    "your-data": Code(),
}


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder, whose modules and the examples can be imported; what they register is gone afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    monkeypatch.syspath_prepend(str(tmp_path))
    known, modules = set(gym.registry), set(sys.modules)
    yield tmp_path
    for env_id in set(gym.registry) - known:
        del gym.registry[env_id]
    for name in set(sys.modules) - modules:
        if "." not in name and (name == "dialogue" or (tmp_path / f"{name}.py").is_file()):
            del sys.modules[name]


def test_the_python_of_every_page_is_run_somewhere() -> None:
    with_python = {name for name, path in PAGES.items() if blocks(path, "python")}
    assert with_python == RUN.keys() | ELSEWHERE.keys()
    assert [file for file in ELSEWHERE.values() if not (ROOT / "tests" / file).is_file()] == []


@pytest.mark.parametrize("name", RUN)
def test_the_python_of_a_page_runs(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found: dict[str, Any] = {"__name__": "page"}
    exec(RUN[name].given, found)
    text = "\n".join(blocks(PAGES[name], "python"))
    assert [each for each in RUN[name].smaller if each not in text and each not in {**_LEARN, **_FEW}] == []
    for code in blocks(PAGES[name], "python"):
        for number, small in RUN[name].smaller.items():
            code = code.replace(number, small)
        if file := re.match(r"# (\w+\.py)\n", code):
            (folder / file[1]).write_text(code, encoding="utf-8")
            monkeypatch.delitem(sys.modules, file[1].removesuffix(".py"), raising=False)  # of another test
        exec(compile(code, f"{name}.md", "exec"), found)


def commands(page: Path) -> list[str]:
    """The `textgym` commands in the shell blocks of a page, one per line."""
    shell = [block.replace("\\\n", " ") for block in (*blocks(page, ""), *blocks(page, "bash"))]
    lines = [line.strip().removeprefix("$ ") for block in shell for line in block.splitlines()]
    found = [re.search(r"^(?:PYTHONPATH=\S+ |torchrun .*\$\(which )?textgym\)? (?P<words>.*)", line) for line in lines]
    return [each["words"] for each in found if each is not None]


@pytest.mark.parametrize("name", [name for name, path in PAGES.items() if path.is_file() and commands(path)])
def test_every_command_of_a_page_is_one(name: str, folder: Path) -> None:
    for line in commands(PAGES[name]):
        if "..." not in line.split(" #")[0] and "-completion" not in line:  # which runs at once
            parse(shlex.split(line, comments=True))


def parse(words: list[str]) -> None:
    """Read the arguments of a command, and run nothing."""
    command: Any = typer.main.get_command(app)
    while words and words[0] in getattr(command, "commands", {}):
        command, words = command.commands[words[0]], words[1:]
    typed = [word for word in words if word != "--help"]
    with options_named({}), command.make_context("textgym", typed):  # which leaves no names of options behind
        pass


def test_a_wrong_command_is_seen(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```\n$ textgym train TextSumm-v0 --no-such-option 1  # a comment\nmake demo\n```\n")
    (line,) = commands(page)
    with pytest.raises(Exception, match="no-such-option"):
        parse(shlex.split(line, comments=True))
