"""Tokens per second through the environment, against generate() and a bare decoding loop: ``textgym bench rollout``.

Fixed lengths: all texts run to the budget. Mixed lengths: a text ends with the same probability at every token, so
padded generation waits for the longest text of a batch, while the environment gives a finished row to the next prompt.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor

from benchmarks.harness import Case, Measurement, Options, Report, measure, timed
from benchmarks.limit import Limit
from benchmarks.workload import Workload, environment, eos_ids
from textgym.agents import CausalLMPolicy
from textgym.agents.common.observations import require_texts, to_tensors
from textgym.models import CausalLM, generate

MEAN_LENGTH = 24  # of mixed texts, if the budget did not cut them
_ROUNDS = 4  # batches of prompts in a run with mixed lengths


def run(options: Options) -> Report:
    """Time all ways to write the texts."""
    work = Workload(device=options.device)
    work = work.smaller() if options.smoke else work
    ends = max(2, work.vocabulary // MEAN_LENGTH)
    with ExitStack() as stack:
        fixed, mixed = stack.enter_context(environment(work)), stack.enter_context(environment(work, ends=ends))
        limit, model = Limit(work), work.language_model(0).eval()
        eos, fixed_eos = eos_ids(mixed), eos_ids(fixed)
        step, plain, refilled = "env.step + policy", "generate()", "textgym generate()"
        cases = [
            Case("fixed: bare loop", lambda: _discard(limit.decode()), work.tokens),
            Case(f"fixed: {plain}", padded(model, limit.prompts, work, []), limit="fixed: bare loop"),
            _stepping(f"fixed: {step}", fixed, work, work.response, fixed_eos, "fixed: bare loop"),
            Case(f"mixed: {plain}", padded(model, limit.prompts, work, eos)),
            Case(f"mixed: {refilled}", _refilled(model, limit.prompts, work, eos), limit=f"mixed: {plain}"),
            _stepping(f"mixed: {step}", mixed, work, _ROUNDS * work.response, [], f"mixed: {plain}"),
        ]
        found = {item.name: item for item in measure(cases, options)}
    return Report(
        "rollout",
        f"Rollout: {work.texts} texts at a time, {work.prompt} prompt tokens, at most {work.response} new ones",
        list(found.values()),
        figures={
            f"{lengths} lengths, tokens/s of env.step + policy over those of generate()": round(
                _speed_ratio(found[f"{lengths}: {step}"], found[f"{lengths}: {plain}"]), 2
            )
            for lengths in ("fixed", "mixed")
        }
        | {
            f"{lengths} lengths, percent of the time in env.step": round(_percent(found[f"{lengths}: {step}"]), 1)
            for lengths in ("fixed", "mixed")
        },
        notes=["Mixed lengths: useful tokens are counted; times are per useful token."],
    )


def _stepping(name: str, venv: VecEnv, work: Workload, steps: int, suppress: list[int], limit: str) -> Case:
    case = Case(name, lambda: None, limit=limit)
    case.run = stepper(venv, work, steps, suppress, case.parts)
    return case


def stepper(
    venv: VecEnv, work: Workload, steps: int, suppress: list[int], parts: dict[str, float] | None = None
) -> Callable[[], int]:
    """The environment's way: one policy call and one step for each token of all texts, timed apart in ``parts``."""
    policy = CausalLMPolicy(
        venv.observation_space,
        venv.action_space,
        lambda _: 0.0,
        model=CausalLM(work.language_model(0)),
        suppress_tokens=tuple(suppress),
        precision=work.precision,
    ).to(work.device)
    policy.set_training_mode(False)
    observation = venv.reset()
    seconds: dict[str, float] = {} if parts is None else parts
    host = torch.device("cpu")  # whose seconds count: a GPU goes on while the environment steps

    def write() -> int:
        nonlocal observation
        with torch.no_grad():
            for _ in range(steps):
                with timed(seconds, "policy", host):
                    actions = policy.act(to_tensors(require_texts(observation))).actions.numpy()
                with timed(seconds, "env.step", host):
                    observation, _, _, _ = venv.step(actions)
        return steps * work.texts

    return write


def padded(model: Any, prompts: Tensor, work: Workload, ends: list[int]) -> Callable[[], int]:
    """Hugging Face's way: a batch is done when its longest text is."""
    settings: dict[str, Any] = {"do_sample": True, "top_k": 0, "max_new_tokens": work.response, "pad_token_id": 0}
    settings |= {"eos_token_id": ends} if ends else {"min_new_tokens": work.response}

    @torch.inference_mode()
    def write() -> int:
        useful = 0
        for _ in range(_ROUNDS if ends else 1):
            texts = model.generate(prompts, attention_mask=torch.ones_like(prompts), **settings)[:, work.prompt :]
            ended = torch.isin(texts, torch.tensor(ends, device=texts.device)).int()
            useful += int(((ended.cumsum(1) - ended) == 0).sum())
        return useful

    return write


def _refilled(model: Any, prompts: Tensor, work: Workload, ends: list[int]) -> Callable[[], int]:
    """Textgym's own generate, which refills rows too."""
    language_model, rows = CausalLM(model), prompts.tolist() * _ROUNDS

    def write() -> int:
        texts = generate(
            language_model, rows, max_new_tokens=work.response, eos_ids=ends, batch_size=work.texts
        )  # fmt: skip
        return sum(map(len, texts))

    return write


def _speed_ratio(item: Measurement, other: Measurement) -> float:
    assert item.rate is not None
    assert other.rate is not None
    return item.rate / other.rate


def _percent(item: Measurement) -> float:
    """Median share of the environment in a rollout."""
    shares = zip(item.parts["env.step"], item.seconds, strict=True)
    return 100 * statistics.median([part / whole for part, whole in shares])


def _discard(_: object) -> None:
    """So that a result is not taken for a count of work."""
