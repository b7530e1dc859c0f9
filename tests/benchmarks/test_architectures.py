"""What textgym computes with every architecture of transformers, and what became of each in the first table."""

from __future__ import annotations

import json
import math
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import architectures as tool
from benchmarks import bare_model
from benchmarks.bare_model import BareModel, Comparison
from benchmarks.small_networks import WINDOW, Architecture, architectures, small_config
from textgym.models.causal_lm import CausalLM

BASELINE = tool.read_results(Path(__file__).with_name("architectures_5_23.json"))
FAST = ("bart (encoder-decoder)", "bloom", "gpt_neo", "llama", "mixtral (router jitter)")
# Cached and right in the first table, and uncached since; each with the reason.
NO_LONGER_CACHED: dict[str, str] = {}
KNOWN = {architecture.name: architecture for architecture in architectures()}


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def check(result: Comparison, before: Comparison | None, may_be_uncached: bool = False) -> None:
    """The promises that hold for every architecture."""
    assert result.status != "failed", result.reason
    assert result.deviation is None or result.deviation <= tool.TOLERANCE, result.paths
    assert result.signal is None or result.signal > 0.01, "mistakes would not show"
    if before is not None and tool.is_right(before):
        assert result.status != "refused", result.reason
        if before.status == "cached" and not may_be_uncached:
            assert result.status == "cached", result.warnings


@pytest.mark.timeout(2 * tool.TIME_LIMIT)
@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in FAST else pytest.mark.slow) for n in BASELINE])
def test_architecture_of_the_first_table(name: str) -> None:
    if name not in KNOWN:
        pytest.skip("not in this release of transformers")
    result = tool.compare_one(KNOWN[name], set())
    assert result is not None
    if result.status == "not built":
        pytest.skip(f"not built: {result.reason}")
    check(result, BASELINE[name], name in NO_LONGER_CACHED)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_architectures_that_came_later_are_right_or_refused() -> None:
    """Those of the installed transformers that the first table lacks."""
    later = [name for name in KNOWN if name not in BASELINE]
    for name, result in (tool.run(later) if later else {}).items():
        if result.status != "not built":
            assert result.status != "failed", (name, result.reason)
            assert result.deviation is None or tool.is_right(result), (name, result.paths)


def test_the_first_table_holds_what_it_should() -> None:
    compared = [name for name, result in BASELINE.items() if result.status != "not built"]
    assert len(compared) >= 60
    assert {"gpt_neo", "bart (encoder-decoder)", "xlnet", "xlm"} <= set(tool.wrong(BASELINE))
    assert set(FAST) <= set(compared)


def test_every_name_is_one_architecture() -> None:
    assert len(KNOWN) == len(architectures()) >= 200


@pytest.mark.parametrize(
    ("model_type", "field"),
    [("mistral", "sliding_window"), ("gemma3_text", "sliding_window"), ("gpt_neo", "window_size")],
)
def test_texts_are_longer_than_windows(model_type: str, field: str) -> None:
    assert getattr(small_config(model_type, {}), field) == WINDOW
    assert KNOWN[model_type].width > 4 * WINDOW


def test_a_mistake_shows() -> None:
    """A network whose positions begin at 1 is distinguished from one whose positions begin at 0."""
    network = Architecture("gpt2", "gpt2").build()
    bare = BareModel(network)
    row = list(range(10, 30))
    shifted = torch.arange(1, len(row) + 1)[None]
    with torch.no_grad():
        logits = network(input_ids=torch.tensor([row]), position_ids=shifted).logits[0, -1]
    assert float((logits.log_softmax(-1) - bare(row)).abs().max()) > 1000 * tool.TOLERANCE
    assert bare.signal() > 1000 * tool.TOLERANCE


def test_a_deviation_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """A head that goes wrong by little once the model is loaded."""
    load = bare_model.load_language_model

    def load_and_disturb(network: Any) -> CausalLM:
        model = load(network)
        off = 0.01 * (torch.arange(model.vocab_size) == 7)
        model.network.get_output_embeddings().register_forward_hook(lambda module, inputs, logits: logits + off)
        return model

    monkeypatch.setattr(bare_model, "load_language_model", load_and_disturb)
    result = bare_model.compare(KNOWN["gpt2"].build())
    assert result.deviation == pytest.approx(0.01, rel=0.2)
    assert result.paths.keys() == {"padded", "cache", "generate", "policy"}
    assert min(result.paths.values()) > tool.TOLERANCE
    assert tool.wrong({"gpt2": result}) == ["gpt2"]


def test_what_is_not_a_number_is_wrong() -> None:
    result = Comparison("cached", math.nan, {"padded": 0.0, "cache": math.nan})
    assert tool.wrong({"a": result, "b": Comparison("cached", 1e-6), "c": Comparison("refused")}) == ["a"]
    record = json.loads(json.dumps(tool.as_json({"a": result}), allow_nan=False))["architectures"]["a"]
    assert (record["deviation"], record["paths"]) == (-1.0, {"padded": 0.0, "cache": -1.0})
    assert tool.wrong({"a": Comparison(**record)}) == ["a"]


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ValueError, match="Did you mean 'llama'"):
        tool.run(["lama"])


def test_one_that_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Architecture, "build", lambda self: signal.pause())
    result = tool.compare_one(KNOWN["gpt2"], set(), limit=0.1)
    assert result is not None
    assert (result.status, result.reason) == ("failed", "expected a result within 0.1 s, got none")


def test_the_same_network_is_compared_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tool, "compare", lambda network, width: Comparison("cached"))
    built: set[str] = set()
    first = tool.compare_one(Architecture("a", "opt"), built)
    assert first is not None
    assert tool.compare_one(Architecture("b", "opt"), built) is None


def test_the_table_replaces_what_stood_between_its_markers(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{tool.BEGIN}\nold\n{tool.END}\nafter\n", encoding="utf-8")
    results = {"a": Comparison("cached", 1e-6), "b": Comparison("refused", reason="no | causal LM")}
    for _ in range(2):
        tool.write_page(page, results)
        text = page.read_text(encoding="utf-8")
        assert text.startswith(f"before\n{tool.BEGIN}\n")
        assert text.endswith(f"\n{tool.END}\nafter\n")
        assert "| a | cached | 1.0e-06 |  |" in text
        assert r"| b | refused |  | no \| causal LM |" in text
        assert "old" not in text


def test_a_page_without_markers_is_an_error(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("text", encoding="utf-8")
    with pytest.raises(ValueError, match="<!-- architectures -->"):
        tool.write_page(page, {})
