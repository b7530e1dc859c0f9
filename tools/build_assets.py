"""Rebuild the shipped models: ``python -P tools/build_assets.py PART...``.

    tokenizer   tiny: byte-level BPE of 4,096 entries, from the built-in reports and the docstrings of this machine
    model       tiny: a small GPT-NeoX causal LM, supervised on the reports' drafts and on docstrings; 40 minutes
    reward      tiny-reward: from simulated comparisons of the model's own samples; 10 minutes
    NAME        the start model NAME of another task, tokenizer and all, supervised on the drafts of its built-in data

Times are for 2 cores. Docstrings differ between machines: a rebuilt ``tiny`` is like the shipped one, not equal to it.
A start model that was interrupted is resumed from ``build/NAME`` when the command is given again.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import torch
import typer
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, pre_tokenizers, trainers
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

from textgym.agents.sft import TokenPair, encode_pairs, supervised_fine_tune
from textgym.assets import TINY_TEMPERATURE
from textgym.envs.choice import EnvChoice
from textgym.evaluation import evaluate, make_evaluation_set
from textgym.feedback.annotators.by_reward import annotator_reward
from textgym.hub import resolve_folder
from textgym.models.causal_lm import CausalLM
from textgym.models.loading import load_language_model
from textgym.reward_models import FitReport, PreferenceRewardModel
from textgym.reward_models.storage import convert_weights
from textgym.tasks import Summarization, prompt_text
from textgym.tasks.base import demonstrated
from textgym.text.messages import conversation_text
from textgym.text.tokenizer import Tokenizer
from textgym.training.reward_feedback import simulate_comparisons
from textgym.training.train import run_resume, run_train
from textgym.training.train_settings import train_settings
from textgym.types import Prompt, Task

ASSETS = Path(__file__).resolve().parents[1] / "textgym" / "assets"
PAD, EOS = 0, 1
TINY_STEPS = 5000
_TEXTS = 20_000  # examples whose texts a tokenizer is trained on


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of a model and of its tokenizer."""

    vocabulary: int = 4096
    width: int = 192
    layers: int = 4
    heads: int = 6
    context: int = 1024


@dataclass(frozen=True, slots=True)
class StartModel:
    """A start model of a task, and how it is made.

    Attributes:
        env_id: Environment whose built-in drafts it imitates.
        base: Shipped model to start from, tokenizer and all; ``None`` is a new one.
        options: Choices among the options of the task.
        data: Built-in corpus; ``None`` is the default one.
        alphabet: Characters that are the tokens; empty for a tokenizer that is trained on the texts.
        shape: Its sizes.
        steps, batch_size, learning_rate, prompt_share: Settings of supervised fine-tuning.
        limit: Maximum number of examples to imitate; ``None`` is all of them.
        temperature: Divisor of its logits in the end, as ``TINY_TEMPERATURE``.
        earlier: Stages of supervised fine-tuning before this one, such as easier data; their shapes do not count.
    """

    env_id: str
    base: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    data: str | None = None
    alphabet: str = ""
    shape: Shape = Shape(vocabulary=1024, width=128, layers=4, heads=4, context=512)
    steps: int = 3000
    batch_size: int = 64
    learning_rate: float = 2e-3
    prompt_share: float = 0.2
    limit: int | None = None
    temperature: float = 1.0
    earlier: tuple[StartModel, ...] = ()


START_MODELS: Mapping[str, StartModel] = {
    "letters": StartModel(
        "TextSpell-v0",
        data="all-words",
        alphabet="abcdef=",
        shape=Shape(vocabulary=9, width=32, layers=2, heads=2, context=64),
        steps=1500,
        learning_rate=5e-3,
    ),
    "answers": StartModel(
        "TextQA-v0",
        shape=Shape(vocabulary=768, width=128, layers=3, heads=4, context=512),
        steps=1200,
        learning_rate=1.5e-3,
        earlier=(
            StartModel(
                "TextQA-v0",
                options={"difficulty": "easy"},  # where a fact is found more easily
                steps=2400,
                learning_rate=3e-3,
                prompt_share=0.3,
            ),
        ),
    ),
    "tiny-report": StartModel(
        "TextReport-v0",
        options={"difficulty": "hard"},
        shape=Shape(vocabulary=768, width=128, layers=3, heads=4, context=192),
        steps=1500,
        batch_size=32,
    ),
    "tiny-translate": StartModel(
        "TextTranslate-v0",
        options={"difficulty": "hard", "direction": "both"},
        shape=Shape(vocabulary=768, width=128, layers=3, heads=4, context=128),
        steps=2000,
        batch_size=32,
    ),
    "tiny-continue": StartModel(
        "TextContinue-v0",
        options={"difficulty": "mixed"},
        shape=Shape(vocabulary=768, width=96, layers=2, heads=4, context=256),
        steps=1600,
        batch_size=48,
        learning_rate=4e-3,
        temperature=0.9,
    ),
    "tiny-story": StartModel(
        "TextStory-v0",
        options={"difficulty": "mixed", "form": "any"},
        shape=Shape(vocabulary=768, width=128, layers=3, heads=4, context=256),
        steps=3000,
        batch_size=48,
        learning_rate=3e-3,
        temperature=0.9,
    ),
    "tiny-hurried": StartModel("TextSumm-v1", "tiny", steps=600, learning_rate=5e-4, prompt_share=0.0, temperature=0.8),
    "tiny-chat": StartModel(
        "TextChat-v0",
        options={"difficulty": "mixed"},
        shape=Shape(vocabulary=1024, width=128, layers=3, heads=4, context=512),
        steps=2200,
        batch_size=32,
        limit=25_000,
        temperature=0.85,
    ),
    "tiny-code": StartModel(
        "TextCode-v0",
        options={"difficulty": "mixed"},
        shape=Shape(vocabulary=512, width=128, layers=3, heads=4, context=256),
        steps=3000,
        batch_size=32,
        learning_rate=3e-3,
    ),
    "tiny-rec": StartModel(
        "TextRec-v0",
        shape=Shape(vocabulary=640, width=128, layers=3, heads=4, context=512),
        steps=800,
        batch_size=32,
        learning_rate=2e-3,
        prompt_share=0.0,
        earlier=(
            StartModel(
                "TextRec-v0",
                data="film-notes",  # where every attribute on offer is copied and looked up
                options={"difficulty": "easy"},
                steps=1200,
                batch_size=32,
                learning_rate=3e-3,
                prompt_share=0.0,
            ),
        ),
    ),
}
"""Name of the folder in ``textgym/assets`` -> how its model is made."""
PARTS = ("tokenizer", "model", "reward", *START_MODELS)


def build_tokenizer(folder: Path, texts: Iterable[str], shape: Shape) -> None:
    """Train a tokenizer and write it as a Hugging Face folder."""
    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=shape.vocabulary,
        special_tokens=["<pad>", "<eos>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    _save_tokenizer(backend, folder, shape)


def build_letters(folder: Path, alphabet: str, shape: Shape) -> None:
    """Write a tokenizer whose tokens are single characters; all others are left out of texts."""
    pieces = ["<pad>", "<eos>", *alphabet]
    backend = Backend(models.BPE(vocab={piece: id_ for id_, piece in enumerate(pieces)}, merges=[]))
    backend.decoder = decoders.Fuse()
    backend.add_special_tokens(pieces[:2])
    _save_tokenizer(backend, folder, shape)


def _save_tokenizer(backend: Backend, folder: Path, shape: Shape) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    backend.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "pad_token": "<pad>",
        "eos_token": "<eos>",
        "model_max_length": shape.context,
        "clean_up_tokenization_spaces": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    _write_generation_config(folder)


def _write_generation_config(folder: Path) -> None:
    (folder / "generation_config.json").write_text(
        json.dumps({"eos_token_id": EOS, "pad_token_id": PAD, "do_sample": True}, indent=1) + "\n", encoding="utf-8"
    )


def _corpus() -> Iterator[str]:
    """Texts as they stand in prompts and responses: a response starts with a space."""
    for task, limit in ((Summarization("reports"), 30_000), (Summarization("docstrings"), 10**9)):
        yield from _texts_of(task, limit)


def _texts_of(task: Task, limit: int) -> Iterator[str]:
    for place in range(min(limit, len(task.dataset))):
        example = task.dataset[place]
        yield prompt_text(task, example)
        for text in (*example.references, *example.demonstrations):
            yield f" {text}"
        for conversation in demonstrated(task, example) if task.max_turns > 1 else ():
            yield conversation_text(Prompt("", "", ""), conversation)


def new_network(shape: Shape, seed: int = 0) -> GPTNeoXForCausalLM:
    """Make a language model with random weights."""
    torch.manual_seed(seed)
    return GPTNeoXForCausalLM(
        GPTNeoXConfig(
            vocab_size=shape.vocabulary,
            hidden_size=shape.width,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            intermediate_size=4 * shape.width,
            max_position_embeddings=shape.context,
            tie_word_embeddings=True,
            hidden_act="gelu",
            bos_token_id=None,
            eos_token_id=EOS,
            pad_token_id=PAD,
        )
    )


def build_start(name: str, out: Path, work: Path = Path("build")) -> None:
    """Build a start model, or go on building it, and print what its texts are worth."""
    recipe, folder = START_MODELS[name], work / name
    choice = EnvChoice(recipe.env_id, recipe.data, task_options=recipe.options)
    begun = folder / "begun"
    if recipe.base is not None:
        shutil.copytree(resolve_folder(recipe.base), begun, dirs_exist_ok=True)
    elif not (begun / "model.safetensors").is_file():
        if recipe.alphabet:
            build_letters(begun, recipe.alphabet, recipe.shape)
        else:
            build_tokenizer(begun, _texts_of(choice.make("train"), _TEXTS), recipe.shape)
        new_network(recipe.shape).save_pretrained(begun)
    model_folder = begun
    for number, stage in enumerate((*recipe.earlier, recipe), start=1):
        model_folder = _run_stage(stage, model_folder, folder / f"sft-{number}")
    model = load_language_model(str(model_folder))
    assert isinstance(model, CausalLM)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (out / name).mkdir(parents=True, exist_ok=True)
        shutil.copy(begun / file, out / name / file)
    save_model(model, out / name, recipe.temperature)
    _write_generation_config(out / name)
    _print_worth(str(out / name), choice)


def _run_stage(stage: StartModel, start: Path, run: Path) -> Path:
    """Run one stage of supervised fine-tuning, or go on with it; return the folder of its model."""
    if (run / "checkpoints").is_dir():
        run_resume(str(run), command="sft")
    elif not (run / "model").is_dir():
        choice = EnvChoice(stage.env_id, stage.data, task_options=stage.options)
        sizes = {"batch_size": stage.batch_size, "learning_rate": stage.learning_rate, "limit": stage.limit}
        settings = train_settings(
            choice, "sft", model=str(start), steps=stage.steps, out=str(run), prompt_share=stage.prompt_share, **sizes
        )
        run_train(settings, "sft")
    return run / "model"


def _print_worth(folder: str, choice: EnvChoice) -> None:
    """Print the gold score at temperature 1 and 0; the start has something to learn where they are below 0.7."""
    model = load_language_model(folder)
    for temperature in (1.0, 0.0):
        questions = make_evaluation_set(choice.make("test"), None, 200, temperature=temperature)
        measures = evaluate(model, questions).measures
        shown = ", ".join(f"{name} {interval.mean:.3f}" for name, interval in measures.intervals().items())
        print(f"temperature {temperature:g}: {shown}")


def build_model(folder: Path, steps: int, seed: int = 0) -> None:
    """Supervise the causal LM on drafts and docstrings, and write it in half precision."""
    model = CausalLM(new_network(Shape(), seed), str(folder))
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
    save_model(model, folder, TINY_TEMPERATURE)


def _training_pairs(tokenizer: Tokenizer) -> list[TokenPair]:
    """Drafts, and docstrings that are not too long for a quick step."""
    reports, docstrings = Summarization("reports"), Summarization("docstrings")
    prose = encode_pairs(docstrings, docstrings.dataset, tokenizer)
    return encode_pairs(reports, reports.dataset, tokenizer) + [pair for pair in prose if len(pair.prompt) <= 192]


def save_model(model: CausalLM, folder: Path, temperature: float) -> None:
    """Write a model as it ships: sharper (see ``TINY_TEMPERATURE``), its weights in half precision.

    Its configuration names float32: transformers then loads it as such, and plain AdamW, which turns weights held in
    float16 into NaN at its first step, trains it.
    """
    assert isinstance(model.config, GPTNeoXConfig)  # as it was built here
    network = GPTNeoXForCausalLM(model.config)
    network.load_state_dict(model.network.state_dict())
    network.tie_weights()
    for parameter in network.gpt_neox.final_layer_norm.parameters():  # read by the head alone, which is linear
        parameter.data /= temperature
    network.save_pretrained(folder)
    convert_weights(folder, "float16")


def build_reward(folder: Path, model_folder: Path, pairs: int, epochs: int, seed: int = 0) -> FitReport:
    """Fit the reward model to simulated comparisons of the model's own samples on training prompts."""
    task = Summarization("reports")
    model = load_language_model(str(model_folder))
    records = simulate_comparisons(task, model, pairs, annotator_reward(task), seed=seed)
    reward = PreferenceRewardModel(model, max_length=Shape().context)
    report = reward.fit(records, epochs=epochs, learning_rate=1e-4, seed=seed, progress=_print_progress)
    examples = [task.dataset[i] for i in range(512)]
    reward.normalise([prompt_text(task, example) for example in examples], [e.references[0] for e in examples])
    reward.save(folder, dtype="float16")
    return report


def _print_progress(step: int, total: int, loss: float) -> None:
    if (step + 1) % 50 == 0:
        print(f"step {step + 1:5d} of {total}  loss {loss:.4f}", flush=True)


def main(
    parts: Annotated[
        list[str], typer.Argument(help=f"tokenizer, model, reward{''.join(f', {n}' for n in START_MODELS)}")
    ],
    steps: Annotated[int, typer.Option(help="Optimizer steps of the model tiny")] = TINY_STEPS,
    pairs: Annotated[int, typer.Option(help="Comparisons of the reward model")] = 4000,
    epochs: Annotated[int, typer.Option(help="Passes over them")] = 1,
    out: Annotated[Path, typer.Option(help="Folder to write the models' folders into")] = ASSETS,
) -> None:
    """Rebuild shipped models."""
    if unknown := set(parts) - set(PARTS):
        raise typer.BadParameter(f"expected some of {', '.join(PARTS)}, got {', '.join(sorted(unknown))}")
    if "tokenizer" in parts:
        build_tokenizer(out / "tiny", _corpus(), Shape())
    if "model" in parts:
        build_model(out / "tiny", steps)
    if "reward" in parts:
        report = build_reward(out / "tiny-reward", out / "tiny", pairs, epochs)
        print(f"held-out accuracy {report.accuracy.mean:.3f} [{report.accuracy.low:.3f}, {report.accuracy.high:.3f}]")
    for name in parts:
        if name in START_MODELS:
            build_start(name, out)


if __name__ == "__main__":
    typer.run(main)
