"""One iteration of textgym and of TRL on the same work, in turn: ``textgym bench peers``.

TRL 1.12, the last release with a PPO trainer, is compared by PPO; later ones by GRPO and RLOO. TRL gets the model
shapes, prompts, tokens, epochs and minibatches of textgym's agents, in fp32, without early stop.

TRL's PPO always has a value model of its own, so the separate critic is the like for like; the shared critic is what
textgym recommends. GRPO and RLOO have a policy and a reference, and the same reward model on both sides.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, redirect_stdout
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from transformers import GPT2ForSequenceClassification, PreTrainedTokenizerFast

from benchmarks.harness import Case, Options, Report, measure
from benchmarks.ppo import TimedReward, iteration_case, make_agent
from benchmarks.workload import Workload, environment, make_tokenizer, prompts_of
from textgym.agents import GRPO, RLOO, CausalLMPolicy
from textgym.errors import MissingExtraError
from textgym.text.tokenizer import Tokenizer

TRL = "TRL PPO"
GROUP, KL_COEF = 4, 0.05
_OURS = {"textgym PPO": "shared", "textgym PPO, separate critic": "separate"}
_GROUP_AGENTS: Mapping[str, Any] = {"GRPO": GRPO, "RLOO": RLOO}
_PAD, _EOS = "<pad>", "<eos>"


def run(options: Options) -> Report:
    """Time one iteration of each agent that the installed TRL has as well.

    Raises:
        MissingExtraError: TRL is not installed, or is a release without these trainers.
    """
    trl = _import_trl()
    work = Workload(device=options.device)
    work = work.smaller() if options.smoke else work
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        if "PPOTrainer" in trl:
            trainer = make_trainer(work, folder, trl["PPOTrainer"], trl["PPOConfig"])
            cases = [Case(TRL, partial(_train, trainer), work.tokens), *_our_cases(work, stack)]
            note = "TRL has a separate value model, and collects garbage twice an iteration"
        else:
            cases = list(_group_cases(work, folder, stack, trl))
            note = f"both sides write {GROUP} texts for each prompt, and have the same reward model"
        measurements = measure(cases, options)
    report = Report(
        "peers",
        f"One iteration: {work.texts} texts of {work.prompt} + {work.response} tokens, {work.epochs} epochs",
        measurements,
        notes=[f"The ratio is the time over TRL's; {note}."],
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
    tokenizer = _tokenizer(work, folder)
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


def _group_cases(work: Workload, folder: Path, stack: ExitStack, trl: Mapping[str, Any]) -> Iterator[Case]:
    for name, agent_class in _GROUP_AGENTS.items():
        trainer = make_group_trainer(work, folder / name, trl[f"{name}Trainer"], trl[f"{name}Config"])
        yield Case(f"TRL {name}", partial(_train, trainer), work.tokens)
        reward = TimedReward(work)
        agent = make_group_agent(work, stack.enter_context(environment(work, reward)), agent_class)
        yield iteration_case(f"textgym {name}", agent, reward, work, f"TRL {name}")


def make_group_trainer(work: Workload, folder: Path, trainer_class: Any, config_class: Any) -> Any:
    """TRL's trainer for one iteration of ``work`` in groups; every ``train()`` is one more."""
    from datasets import Dataset

    steps = work.texts // work.minibatch
    config = config_class(
        output_dir=str(folder / "trl"),
        per_device_train_batch_size=work.minibatch,
        steps_per_generation=steps,
        num_iterations=work.epochs,
        max_steps=steps * work.epochs,
        num_generations=_group_size(work),
        max_completion_length=work.response,
        generation_kwargs={"suppress_tokens": list(Tokenizer.load("tiny").eos_ids)},
        temperature=1.0,
        learning_rate=1e-5,
        lr_scheduler_type="constant",
        optim="adamw_torch_fused",
        adam_epsilon=1e-5,
        weight_decay=0.0,
        max_grad_norm=0.5,
        beta=KL_COEF,
        bf16=False,
        gradient_checkpointing=False,
        report_to="none",
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        use_cpu=work.device == "cpu",
        model_init_kwargs={"dtype": "float32"},
    )
    model = folder / "model"
    work.language_model(0).save_pretrained(model)
    _tokenizer(work, folder).save_pretrained(model)
    prompts = prompts_of(work, 4 * work.texts)
    return trainer_class(
        str(model), _CompletionReward(work), args=config, train_dataset=Dataset.from_dict({"prompt": prompts})
    )


def make_group_agent(work: Workload, venv: Any, agent_class: Any) -> Any:
    """The agent of textgym for the same."""
    as_trl = {"unbiased_kl": True} if agent_class is GRPO else {}
    return agent_class(
        CausalLMPolicy,
        venv,
        **as_trl,
        group_size=_group_size(work),
        n_minibatches=work.texts // work.minibatch,
        n_epochs=work.epochs,
        kl_coef=KL_COEF,
        learning_rate=1e-5,
        max_grad_norm=0.5,
        device=work.device,
        policy_kwargs={
            "model": work.language_model(0),
            "suppress_tokens": Tokenizer.load("tiny").eos_ids,
            "optimizer_kwargs": {"eps": 1e-5, "weight_decay": 0.0, "fused": True},
        },
    )


class _CompletionReward:
    """The reward model of textgym's side, as a reward function of TRL."""

    __name__ = "reward_model"

    def __init__(self, work: Workload) -> None:
        self.reward = TimedReward(work)

    def __call__(self, prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> list[float]:
        nothing: Any = [None] * len(prompts)  # it reads the texts alone
        scores: list[float] = self.reward(prompts, completions, nothing).tolist()
        return scores


def _group_size(work: Workload) -> int:
    return min(GROUP, work.minibatch)


def _tokenizer(work: Workload, folder: Path) -> PreTrainedTokenizerFast:
    make_tokenizer(folder / "tokenizer", work.vocabulary)
    file = str(folder / "tokenizer" / "tokenizer.json")
    return PreTrainedTokenizerFast(tokenizer_file=file, pad_token=_PAD, eos_token=_EOS)


def _train(trainer: Any) -> None:
    with open(os.devnull, "w", encoding="utf-8") as nowhere, redirect_stdout(nowhere):  # it prints its metrics
        trainer.train()


def _scorer(work: Workload, seed: int) -> Any:
    """The trunk of a language model of ``work`` with a scalar head."""
    language_model = work.language_model(seed)
    language_model.config.num_labels = 1
    network: Any = GPT2ForSequenceClassification(language_model.config)
    return network.to(work.device)


def _import_trl() -> dict[str, Any]:
    """Return the trainers and configurations to compare with, by name: those of PPO, or else of GRPO and RLOO."""
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")  # it warns of the import itself
    problem = ""
    for import_them in (_import_ppo, _import_group_trainers):
        try:
            return import_them()
        except ImportError as error:
            problem = problem or str(error)
    raise MissingExtraError(
        f"expected a TRL with trainers to compare with, got {_trl_version()} ({problem}); install one: for PPO the "
        "last release that has it, pip install 'trl<1.13', for GRPO and RLOO pip install 'trl>=1.16'"
    )


def _import_ppo() -> dict[str, Any]:
    from trl.experimental.ppo import PPOConfig, PPOTrainer

    return {"PPOConfig": PPOConfig, "PPOTrainer": PPOTrainer}


def _import_group_trainers() -> dict[str, Any]:
    from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer

    return {"GRPOConfig": GRPOConfig, "GRPOTrainer": GRPOTrainer, "RLOOConfig": RLOOConfig, "RLOOTrainer": RLOOTrainer}


def _trl_version() -> str:
    try:
        return version("trl")
    except PackageNotFoundError:
        return "none"
