"""Rollout, update, iteration and memory on one GPU: ``textgym bench gpu``.

Two models of random weights in bf16 autocast, a GPT-2 small and a Llama of a billion weights. The limits come from two
rates that are measured first, of copying memory and of multiplying matrices:

- A decoding step reads all weights and all keys and values once, two bytes each, and multiplies. The longer of the two
  is the floor of its time; no loop attains it.
- An update has to do a certain number of multiplications. Their share of what the GPU could have multiplied in the time
  is the utilisation. Work that an implementation does on top (recomputed activations, padding) does not count.
- The limit of an iteration is the floor of its rollout and the measured bare reference, reward and update passes.
"""

from __future__ import annotations

import gc
import importlib.util
import signal
import statistics
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import nn

from benchmarks.harness import Case, Measurement, Options, Report, clock, measure
from benchmarks.limit import Limit
from benchmarks.ppo import TimedReward, iteration_case, make_agent
from benchmarks.rollout import padded, stepper
from benchmarks.workload import Workload, environment, eos_ids

_TEXTS = Workload(prompt=256, response=128, precision="bf16")
MODELS = {
    "GPT-2 small": replace(_TEXTS, vocabulary=50_257, width=768, layers=12, heads=12),
    "Llama 1B": replace(
        _TEXTS, architecture="llama", vocabulary=128_256, width=2048, layers=16, heads=32, kv_heads=8, inner=8192
    ),
}
MEMORY: dict[str, dict[str, Any]] = {
    "full, shared": {},
    "full, separate": {"critic": "separate"},
    "full, shared, recomputed": {"gradient_checkpointing": True},
    "LoRA, shared": {"lora_rank": 16},
    "LoRA, separate": {"lora_rank": 16, "critic": "separate"},
}
_BYTES = 2  # of a number in bf16


class Rates(NamedTuple):
    """Throughput of the device, per second."""

    copied: float
    """Bytes, read and written."""
    multiplied: float
    """Floating-point operations of a bf16 matrix product."""


class Weights(NamedTuple):
    """Weights of a model that take part in a matrix product."""

    trunk: int
    head: int


def run(options: Options) -> Report:
    """Measure both models, then the memory of every way to train them."""
    device = torch.device(options.device)
    rates = measured_rates(device, options.smoke)
    figures: dict[str, Any] = {
        "copied, GB/s": round(rates.copied / 1e9, 1),
        "multiplied in bf16, TFLOP/s": round(rates.multiplied / 1e12, 2),
    }
    measurements: list[Measurement] = []
    works = {
        name: replace(replace(full.smaller(), vocabulary=4096) if options.smoke else full, device=options.device)
        for name, full in MODELS.items()
    }
    with _stopping(figures):
        for name, work in works.items():
            measurements += _speeds(name, work, rates, options, figures)
        for name, work in works.items():
            for way, policy in _ways_to_train().items():
                measurements += _memory(f"{name}: {way}", work, policy, options, figures)
        # Last: compiling takes minutes, of which whoever stops the benchmark loses nothing else.
        for name, work in {} if options.smoke else works.items():
            measurements += _compiled(name, work, rates, options, figures)
    example = next(iter(MODELS.values()))
    return Report(
        "gpu",
        f"One GPU, bf16: {example.texts} texts of {example.prompt} + {example.response} tokens"
        + (", smoke test" if options.smoke else ""),
        measurements,
        figures=figures,
        notes=[
            "The limit's rollout is computed from the two rates; no loop attains it.",
            "full or LoRA: weights that are trained; shared or separate: the critic; recomputed: activations.",
            "Peak memory is of one epoch with policy, reference and reward model on the GPU.",
            *([] if importlib.util.find_spec("peft") else ["No LoRA without the package peft."]),
        ],
    )


# ------------------------------------------------------------------ limits
def measured_rates(device: torch.device, smoke: bool = False) -> Rates:
    """Copy 1 GiB, and multiply square bf16 matrices of 8,192 rows; medians."""
    size, rows = (2**20, 64) if smoke else (2**30, 8192)
    source = torch.zeros(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    left, right = torch.randn(2, rows, rows, device=device, dtype=torch.bfloat16)
    product = torch.empty_like(left)
    copying = _seconds(lambda: target.copy_(source), device)
    multiplying = _seconds(lambda: torch.mm(left, right, out=product), device)
    return Rates(2 * size / copying, 2 * rows**3 / multiplying)


def weights_of(network: Any) -> Weights:
    """Count the weights of a Hugging Face causal LM; tables that are looked up in do not count."""
    layers = (module for module in network.base_model.modules() if not isinstance(module, nn.Embedding))
    trunk = sum(parameter.numel() for layer in layers for parameter in layer.parameters(recurse=False))
    return Weights(trunk, network.get_output_embeddings().weight.numel())


def rollout_floor(work: Workload, weights: Weights, rates: Rates) -> float:
    """The least seconds of a rollout: of the prompts and of every later token, what memory or arithmetic takes.

    Attention counts half of the square of a prompt, and everything that is cached of a later token.
    """
    cached = 2 * _BYTES * work.layers * work.width // work.heads * (work.kv_heads or work.heads)  # bytes per token
    read = _BYTES * (weights.trunk + weights.head)
    prompts = 2 * weights.trunk * work.prompt + 2 * weights.head + 2 * work.layers * work.width * work.prompt**2
    seconds = max(read / rates.copied, work.texts * prompts / rates.multiplied)
    for length in range(work.prompt + 1, work.prompt + work.response):
        flops = work.texts * (2 * (weights.trunk + weights.head) + 4 * work.layers * work.width * length)
        seconds += max((read + work.texts * length * cached) / rates.copied, flops / rates.multiplied)
    return seconds


def update_flops(work: Workload, weights: Weights) -> float:
    """Operations that an update cannot do without: forward, and twice as many backward (Kaplan et al. 2020).

    The head works where a token was chosen, attention looks back only.
    """
    length = work.prompt + work.response
    forward = 2 * weights.trunk * length + 2 * weights.head * work.response + 2 * work.layers * work.width * length**2
    return 3.0 * work.texts * work.epochs * forward


def _seconds(run: Callable[[], Any], device: torch.device, times: int = 10, repetitions: int = 5) -> float:
    """Median seconds of one of ``times`` runs in a row."""
    found = []
    for _ in range(repetitions + 1):
        start = clock(device)
        for _ in range(times):
            run()
        found.append((clock(device) - start) / times)
    return statistics.median(found[1:])


# ------------------------------------------------------------ measurements
def _speeds(
    name: str, work: Workload, rates: Rates, options: Options, figures: dict[str, Any]
) -> list[Measurement]:  # fmt: skip
    """Limit, generate(), rollout and iteration of one model, one after the other: together they fill a card."""
    plain, limit = work.language_model(0), f"{name}: limit"
    weights = weights_of(plain)
    floor = rollout_floor(work, weights, rates)
    del plain
    generated, stepped = f"{name}: generate()", f"{name}: env.step + policy"
    agent = f"{name}: textgym PPO"
    builders: dict[str, Callable[[ExitStack], Case]] = {
        limit: lambda stack: _limit_case(limit, Limit(work), work, floor),
        generated: lambda stack: _generate_case(generated, work),
        stepped: lambda stack: _step_case(stepped, work, stack, generated),
        agent: partial(_agent_case, agent, work, policy={}, limit=limit),
    }
    found = {case: item for case, build in builders.items() for item in _alone(build, work, options, figures, case)}
    figures |= {
        f"{name}, weights in matrix products, millions": round(sum(weights) / 1e6, 1),
        f"{name}, floor of a rollout, seconds": float(f"{floor:.3g}"),
    }
    figures |= {
        f"{case}, times the floor of a rollout": round(found[case].median / floor, 2)
        for case in (generated, stepped)
        if case in found
    }
    if generated in found and stepped in found:
        ratio = found[generated].median / found[stepped].median
        figures[f"{name}, rollout, tokens/s over those of generate()"] = round(ratio, 2)
    for case in (limit, agent):
        if case in found:
            figures[f"{case}, utilisation in the update"] = _utilisation(
                found[case], update_flops(work, weights), rates
            )
    return list(found.values())


def _compiled(
    name: str, work: Workload, rates: Rates, options: Options, figures: dict[str, Any]
) -> list[Measurement]:  # fmt: skip
    """The same agent with compiled passes."""
    case, limit = f"{name}: textgym PPO, compiled", f"{name}: limit"
    build = partial(_agent_case, case, work, policy={"compile": True}, limit=limit)
    found = _alone(build, work, options, figures, case)
    flops = update_flops(work, weights_of(work.language_model(0)))
    figures |= {f"{case}, utilisation in the update": _utilisation(item, flops, rates) for item in found}
    return found


@contextmanager
def _stopping(figures: dict[str, Any]) -> Iterator[None]:
    """Let Ctrl-C, and the signal that ``timeout`` sends, end the block: what was measured until then is reported."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        figures["stopped early"] = "what is missing was not measured"
    finally:
        signal.signal(signal.SIGTERM, before)


def _alone(
    build: Callable[[ExitStack], Case], work: Workload, options: Options, figures: dict[str, Any], name: str
) -> list[Measurement]:  # fmt: skip
    """Measure one case with nothing else on the card; one that does not fit is a line of the report."""
    try:
        with ExitStack() as stack:
            return measure([build(stack)], options)
    except torch.OutOfMemoryError:
        figures[name] = "out of memory"
        return []
    finally:
        _free(torch.device(work.device))


def _generate_case(name: str, work: Workload) -> Case:
    prompts = torch.randint(0, work.vocabulary, (work.texts, work.prompt), device=work.device)
    return Case(name, padded(work.language_model(0).to(torch.bfloat16).eval(), prompts, work, []))


def _step_case(name: str, work: Workload, stack: ExitStack, limit: str) -> Case:
    venv = stack.enter_context(environment(work))
    return Case(name, stepper(venv, work, work.response, eos_ids(venv)), limit=limit)


def _agent_case(name: str, work: Workload, stack: ExitStack, policy: dict[str, Any], limit: str | None) -> Case:
    scorer = TimedReward(work)
    agent = make_agent(work, stack.enter_context(environment(work, scorer)), "textgym PPO", **policy)
    return iteration_case(name, agent, scorer, work, limit)


def _limit_case(name: str, limit: Limit, work: Workload, floor: float) -> Case:
    case = Case(name, lambda: None, work.tokens, extrapolated=True)
    shape = (work.texts, work.prompt + work.response)
    texts = torch.randint(0, work.vocabulary, shape, device=work.device)
    old_log_probs = limit.reference_log_probs(texts).clone()

    def learn() -> None:
        case.parts["rollout"] = floor
        limit.learn(texts, old_log_probs, case.parts)

    case.run = learn
    return case


def _utilisation(item: Measurement, flops: float, rates: Rates) -> float:
    return float(f"{flops / statistics.median(item.parts['update']) / rates.multiplied:.3g}")


def _memory(
    name: str, work: Workload, policy: dict[str, Any], options: Options, figures: dict[str, Any]
) -> list[Measurement]:  # fmt: skip
    """One iteration of one epoch."""
    work = replace(work, epochs=1)
    build = partial(_agent_case, name, work, policy=policy, limit=None)
    return _alone(build, work, replace(options, repetitions=1), figures, name)


def _ways_to_train() -> dict[str, dict[str, Any]]:
    with_lora = importlib.util.find_spec("peft") is not None
    return {way: policy for way, policy in MEMORY.items() if with_lora or "lora_rank" not in policy}


def _free(device: torch.device) -> None:
    """Agents hold themselves in cycles; the next measurement must not find their memory taken."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
