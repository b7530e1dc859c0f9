"""Rebuild the shipped models: ``python -P tools/build_assets.py [tokenizer] [model] [reward]`` (all three by default).

    tokenizer   byte-level BPE of 4,096 entries, from the built-in reports and the docstrings found on this machine
    model       a small GPT-NeoX causal LM, supervised on the reports' drafts and on docstrings; 40 minutes on 2 cores
    reward      a reward model, from simulated comparisons of the model's own samples; 10 minutes

Docstrings differ between machines, so a rebuilt model is like the shipped one, not equal to it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import torch
import typer
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, pre_tokenizers, trainers
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

from textgym.agents.sft import TokenPair, encode_pairs, supervised_fine_tune
from textgym.assets import TINY_TEMPERATURE
from textgym.feedback.annotators.by_reward import annotator_reward
from textgym.models.causal_lm import CausalLM
from textgym.models.loading import load_language_model
from textgym.reward_models import FitReport, PreferenceRewardModel
from textgym.reward_models.storage import convert_weights
from textgym.tasks import Summarization, prompt_text
from textgym.text.tokenizer import Tokenizer
from textgym.training.reward_feedback import simulate_comparisons

ASSETS = Path(__file__).resolve().parents[1] / "textgym" / "assets"
VOCABULARY, WIDTH, LAYERS, HEADS, CONTEXT = 4096, 192, 4, 6, 1024
PAD, EOS = 0, 1


def build_tokenizer(folder: Path, reports: int = 30_000) -> None:
    """Train the tokenizer and write it as a Hugging Face folder."""
    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<pad>", "<eos>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(_corpus(reports), trainer)
    folder.mkdir(parents=True, exist_ok=True)
    backend.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "pad_token": "<pad>",
        "eos_token": "<eos>",
        "model_max_length": CONTEXT,
        "clean_up_tokenization_spaces": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    (folder / "generation_config.json").write_text(
        json.dumps({"eos_token_id": EOS, "pad_token_id": PAD, "do_sample": True}, indent=1) + "\n", encoding="utf-8"
    )


def _corpus(reports: int) -> Iterator[str]:
    """Texts as they stand in prompts and responses: a response starts with a space."""
    for task, limit in ((Summarization("reports"), reports), (Summarization("docstrings"), 10**9)):
        for i in range(min(limit, len(task.dataset))):
            example = task.dataset[i]
            yield prompt_text(task, example)
            for text in (*example.references, *example.demonstrations):
                yield f" {text}"


def build_model(folder: Path, steps: int, seed: int = 0) -> None:
    """Supervise the causal LM on drafts and docstrings, and write it in half precision."""
    torch.manual_seed(seed)
    config = GPTNeoXConfig(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        intermediate_size=4 * WIDTH,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        hidden_act="gelu",
        bos_token_id=None,
        eos_token_id=EOS,
        pad_token_id=PAD,
    )
    model = CausalLM(GPTNeoXForCausalLM(config), str(folder))
    pairs = _training_pairs(Tokenizer.load(folder))
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters, {len(pairs):,} texts", flush=True)
    start = time.perf_counter()
    recent: list[float] = []

    def report(step: int, loss: float) -> None:
        recent.append(loss)
        if (step + 1) % 50 == 0:
            print(
                f"step {step + 1:5d}  loss {sum(recent[-50:]) / 50:.4f}  {time.perf_counter() - start:.0f} s",
                flush=True,
            )

    supervised_fine_tune(
        model, pairs, steps=steps, batch_size=64, learning_rate=2e-3, prompt_share=0.2, seed=seed, progress=report
    )
    save_model(model, folder)


def _training_pairs(tokenizer: Tokenizer) -> list[TokenPair]:
    """Drafts, and docstrings that are not too long for a quick step."""
    reports, docstrings = Summarization("reports"), Summarization("docstrings")
    prose = encode_pairs(docstrings, docstrings.dataset, tokenizer)
    return encode_pairs(reports, reports.dataset, tokenizer) + [pair for pair in prose if len(pair.prompt) <= 192]


def save_model(model: CausalLM, folder: Path) -> None:
    """Write the model as it ships: sharper (see ``TINY_TEMPERATURE``), its weights in half precision.

    Its configuration names float32: transformers then loads it as such, and plain AdamW, which turns weights held in
    float16 into NaN at its first step, trains it.
    """
    assert isinstance(model.config, GPTNeoXConfig)  # as it was built here
    network = GPTNeoXForCausalLM(model.config)
    network.load_state_dict(model.network.state_dict())
    network.tie_weights()
    for parameter in network.gpt_neox.final_layer_norm.parameters():  # read by the head alone, which is linear
        parameter.data /= TINY_TEMPERATURE
    network.save_pretrained(folder)
    convert_weights(folder, "float16")


def build_reward(folder: Path, model_folder: Path, pairs: int, epochs: int, seed: int = 0) -> FitReport:
    """Fit the reward model to simulated comparisons of the model's own samples on training prompts."""
    task = Summarization("reports")
    model = load_language_model(str(model_folder))
    records = simulate_comparisons(task, model, pairs, annotator_reward(task), seed=seed)
    reward = PreferenceRewardModel(model, max_length=CONTEXT)
    report = reward.fit(records, epochs=epochs, learning_rate=1e-4, seed=seed, progress=_print_progress)
    examples = [task.dataset[i] for i in range(512)]
    reward.normalise([prompt_text(task, example) for example in examples], [e.references[0] for e in examples])
    reward.save(folder, dtype="float16")
    return report


def _print_progress(step: int, total: int, loss: float) -> None:
    if (step + 1) % 50 == 0:
        print(f"step {step + 1:5d} of {total}  loss {loss:.4f}", flush=True)


def main(
    parts: Annotated[list[str] | None, typer.Argument(help="tokenizer, model, reward; all by default")] = None,
    steps: Annotated[int, typer.Option(help="Optimizer steps of the model")] = 5000,
    pairs: Annotated[int, typer.Option(help="Comparisons of the reward model")] = 4000,
    epochs: Annotated[int, typer.Option(help="Passes over them")] = 1,
    out: Annotated[Path, typer.Option(help="Folder to write tiny/ and tiny-reward/ into")] = ASSETS,
) -> None:
    """Rebuild the shipped models."""
    chosen = parts or ["tokenizer", "model", "reward"]
    if unknown := set(chosen) - {"tokenizer", "model", "reward"}:
        raise typer.BadParameter(f"expected tokenizer, model or reward, got {', '.join(sorted(unknown))}")
    if "tokenizer" in chosen:
        build_tokenizer(out / "tiny")
    if "model" in chosen:
        build_model(out / "tiny", steps)
    if "reward" in chosen:
        report = build_reward(out / "tiny-reward", out / "tiny", pairs, epochs)
        print(f"held-out accuracy {report.accuracy.mean:.3f} [{report.accuracy.low:.3f}, {report.accuracy.high:.3f}]")


if __name__ == "__main__":
    typer.run(main)
