"""One PPO iteration of textgym and of TRL on the same work, in turn: ``textgym bench peers``.

TRL 1.12 is the last release with a PPO trainer. It gets the model shapes, prompts, tokens, epochs and minibatches of
textgym's agents: a policy, a reference, a reward model and a value model of one size, no early stop, fp32. Its trainer
always has a value model of its own, so the separate critic is the like for like; the shared critic is what textgym
recommends.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, redirect_stdout
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from transformers import GPT2ForSequenceClassification, PreTrainedTokenizerFast

from benchmarks.harness import Case, Options, Report, measure
from benchmarks.ppo import TimedReward, iteration_case, make_agent
from benchmarks.workload import Workload, environment, make_tokenizer
from textgym.errors import MissingExtraError

TRL = "TRL PPO"
_OURS = {"textgym PPO": "shared", "textgym PPO, separate critic": "separate"}
_PAD, _EOS = "<pad>", "<eos>"


def run(options: Options) -> Report:
    """Time one iteration of each.

    Raises:
        MissingExtraError: TRL is not installed, or is a release without PPO.
    """
    trainer_class, config_class = _import_trl()
    work = Workload(device=options.device)
    work = work.smaller() if options.smoke else work
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        trainer = make_trainer(work, folder, trainer_class, config_class)
        cases = [Case(TRL, lambda: _train(trainer), work.tokens), *_our_cases(work, stack)]
        measurements = measure(cases, options)
    report = Report(
        "peers",
        f"One PPO iteration: {work.texts} texts of {work.prompt} + {work.response} tokens, {work.epochs} epochs",
        measurements,
        notes=[
            "The ratio is the time over TRL's; TRL has a separate value model, and collects garbage twice an iteration."
        ],
    )
    report.figures["TRL"] = _trl_version()
    for item in measurements:
        if ratio := report.ratio(item):
            report.figures[f"{item.name}, times as fast as TRL"] = round(1 / ratio, 2)
    return report


def make_trainer(work: Workload, folder: Path, trainer_class: Any, config_class: Any) -> Any:
    """TRL's trainer for one iteration of ``work``; every ``train()`` is one more.

    A "device batch" of all texts cut into minibatches steps the optimizer at every minibatch. Gradient accumulation,
    the other way to make a batch of minibatches, would step once per epoch.
    """
    from datasets import Dataset

    config = config_class(
        output_dir=str(folder / "trl"),
        per_device_train_batch_size=work.texts,
        gradient_accumulation_steps=1,
        num_mini_batches=work.minibatches // work.epochs,
        num_ppo_epochs=work.epochs,
        total_episodes=work.texts,
        local_rollout_forward_batch_size=work.texts,
        response_length=work.response,
        temperature=1.0,
        learning_rate=1e-5,
        kl_coef=0.05,
        bf16=False,
        gradient_checkpointing=False,
        num_sample_generations=0,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
        use_cpu=work.device == "cpu",
    )
    make_tokenizer(folder / "tokenizer", work.vocabulary)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer" / "tokenizer.json"), pad_token=_PAD, eos_token=_EOS
    )
    generator = torch.Generator().manual_seed(0)
    prompts = torch.randint(2, work.vocabulary, (4 * work.texts, work.prompt), generator=generator)  # without pad, EOS
    return trainer_class(
        args=config,
        processing_class=tokenizer,
        model=work.language_model(0),
        ref_model=work.language_model(0),
        reward_model=_scorer(work, 1),
        value_model=_scorer(work, 2),
        train_dataset=Dataset.from_dict({"input_ids": prompts.tolist()}),
    )


def _our_cases(work: Workload, stack: ExitStack) -> Iterator[Case]:
    for name, critic in _OURS.items():
        reward = TimedReward(work)
        agent = make_agent(work, stack.enter_context(environment(work, reward)), name, critic)
        yield iteration_case(name, agent, reward, work, TRL)


def _train(trainer: Any) -> None:
    with open(os.devnull, "w", encoding="utf-8") as nowhere, redirect_stdout(nowhere):  # it prints its metrics
        trainer.train()


def _scorer(work: Workload, seed: int) -> Any:
    """The trunk of a language model of ``work`` with a scalar head."""
    language_model = work.language_model(seed)
    language_model.config.num_labels = 1
    network: Any = GPT2ForSequenceClassification(language_model.config)
    return network.to(work.device)


def _import_trl() -> tuple[Any, Any]:
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")  # it warns of the import itself
    try:
        from trl.experimental.ppo import PPOConfig, PPOTrainer
    except ImportError as error:
        raise MissingExtraError(
            f"expected a TRL with a PPO trainer, got {_trl_version()} ({error}); install the last release that "
            "has one: pip install 'trl<1.13'"
        ) from error
    return PPOTrainer, PPOConfig


def _trl_version() -> str:
    try:
        return version("trl")
    except PackageNotFoundError:
        return "none"
