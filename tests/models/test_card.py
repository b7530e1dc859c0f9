from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

from textgym.models.card import write_card


def front_matter(text: str) -> object:
    return yaml.safe_load(text.split("---\n")[1])


def test_the_card(tmp_path: Path) -> None:
    write_card(tmp_path, method="magic", start_model="tiny", facts=[("Data", "mine")], sections={"Measures": "none\n"})
    text = (tmp_path / "README.md").read_text()
    expected = {"library_name": "transformers", "pipeline_tag": "text-generation", "tags": ["textgym"]}
    assert front_matter(text) == expected
    assert "| Start model | tiny |\n| Method | magic |\n| Data | mine |\n" in text
    assert "\n## Measures\n\nnone\n" in text
    for package in ("textgym", "torch", "transformers", "stable-baselines3"):
        assert f"| {package} | {version(package)} |" in text


@pytest.mark.parametrize(
    ("start_model", "base"),
    [
        ("gpt2", "gpt2"),
        ("someone/Some-model_1.5", "someone/Some-model_1.5"),
        ("1e5", "1e5"),
        ("tiny", None),  # shipped, not on the Hub
        ("/runs/sft", None),
        ("a/b/c", None),
        ("a module", None),
        ("runs", None),  # a folder, see below
    ],
)
def test_the_base_model_is_one_of_the_hub(
    start_model: str, base: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    write_card(tmp_path, method="magic", start_model=start_model)
    matter = front_matter((tmp_path / "README.md").read_text())
    assert isinstance(matter, dict)
    assert matter.get("base_model") == base


@pytest.mark.parametrize("tokenizer", [False, True])
def test_how_to_load_it(tokenizer: bool, tmp_path: Path) -> None:
    if tokenizer:
        (tmp_path / "tokenizer.json").write_text("{}")
    write_card(tmp_path, method="magic", start_model="tiny")
    code = (tmp_path / "README.md").read_text().split("```python\n")[1].split("```")[0]
    compile(code, "card", "exec")
    assert 'model = AutoModelForCausalLM.from_pretrained(".")' in code
    assert ('tokenizer = AutoTokenizer.from_pretrained(".")' in code) is tokenizer
