"""The page on encoder-decoders is complete: its files and commands run as they stand, with fewer steps."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[1] / "docs" / "encoder-decoder.md"
pytestmark = [pytest.mark.skipif(not PAGE.is_file(), reason="needs the checkout"), pytest.mark.slow]
SMALL = {
    "sft": ["--limit", "64", "--eval-prompts", "4", "--batch-size", "4"],
    "train": ["--eval-prompts", "4", "--n-envs", "2", "--max-new-tokens", "8"],
    "evaluate": ["--max-new-tokens", "8"],
    "generate": ["--max-new-tokens", "8"],
}


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def run(folder: Path, *arguments: str) -> str:
    done = subprocess.run([sys.executable, *arguments], cwd=folder, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.timeout(1800)
def test_the_files_and_the_commands_run(tmp_path: Path) -> None:
    for code in blocks("python"):
        name = code.splitlines()[0].removeprefix("# ")
        (tmp_path / name).write_text(code, encoding="utf-8")
        run(tmp_path, name)
    assert (tmp_path / "t5-ppo" / "textgym.json").is_file()
    (commands,) = blocks("bash")
    for line in commands.splitlines():
        _, command, *words = re.sub(r"--(steps|prompts) \d+", r"--\1 4", line).split()
        assert run(tmp_path, "-c", "from textgym.cli import main; main()", command, *words, *SMALL[command])
    assert "AutoModelForSeq2SeqLM" in (tmp_path / "runs" / "t5-ppo" / "model" / "README.md").read_text()
