"""Suggestions for options that a command does not have: typing errors, and names from other libraries."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from textgym.errors import most_similar
from textgym.values import attribute_of

SYNONYMS: Mapping[str, tuple[str, ...]] = {
    "--agent": ("algo", "algorithm", "policy", "trainer"),
    "--agents": ("algos", "algorithms", "methods", "policies", "trainers"),
    "--batch-size": (
        "mini-batch-size",
        "minibatch-size",
        "per-device-train-batch-size",
        "per-device-batch-size",
        "train-batch-size",
    ),
    "--budget": ("tokens", "seconds", "labels", "total-timesteps", "timesteps", "total-steps", "steps", "minutes"),
    "--clip-range": ("cliprange", "clip-eps", "clip-epsilon", "epsilon", "clip-coef"),
    "--clip-range-high": ("epsilon-high", "clip-higher", "cliprange-high", "clip-ratio-high"),
    "--clip-range-vf": ("cliprange-value", "clip-value"),
    "--data": ("dataset", "dataset-name", "dataset-path", "data-path", "data-file", "train-file", "input-file", "file"),
    "--device": ("cuda", "gpu", "use-cpu", "no-cuda"),
    "--ent-coef": ("entropy-coef", "entropy-coeff", "entropy-coefficient", "entropy-beta"),
    "--epochs": ("num-epochs", "num-train-epochs", "n-epochs", "ppo-epochs", "num-ppo-epochs", "update-epochs"),
    "--eval-prompts": ("n-eval-episodes", "eval-episodes", "num-eval-prompts", "eval-samples", "prompts"),
    "--feedback": ("preferences", "preference-data", "preference-file", "comparison-file"),
    "--gae-lambda": ("lam", "lambda", "lmbda"),
    "--gamma": ("discount", "discount-factor"),
    "--group-size": ("num-generations", "rloo-k", "n-generations", "samples-per-prompt", "k"),
    "--held-out": ("validation-split", "validation-fraction", "eval-fraction", "test-size"),
    "--kl-coef": ("init-kl-coef", "beta", "kl-beta", "kl-penalty", "kl-coeff", "kl-coefficient", "kl-weight"),
    "--kl-horizon": ("horizon",),
    "--kl-target": ("target", "target-kl", "adap-kl-target"),
    "--limit": ("max-samples", "max-train-samples", "max-examples", "n-examples"),
    "--log-every": ("logging-steps", "log-interval"),
    "--lora-rank": ("lora-r", "lora", "rank", "peft-rank", "use-peft"),
    "--lr": ("learning-rate", "step-size"),
    "--max-grad-norm": ("grad-clip", "clip-grad-norm", "max-gradient-norm", "gradient-clipping", "grad-norm"),
    "--max-new-tokens": (
        "max-completion-length",
        "max-length",
        "max-response-length",
        "max-target-length",
        "max-tokens",
        "response-length",
    ),
    "--max-prompt-tokens": ("max-prompt-length", "max-source-length", "query-length"),
    "--members": ("ensemble-size", "n-members", "num-members"),
    "--micro-batch-size": ("gradient-accumulation-steps", "forward-batch-size", "mini-batch"),
    "--minutes": ("max-time", "time", "time-limit", "duration"),
    "--model": (
        "model-name-or-path",
        "model-name",
        "model-path",
        "base-model",
        "pretrained-model",
        "checkpoint",
        "sft-model-path",
    ),
    "--n": ("num-return-sequences", "num-samples", "n-samples"),
    "--n-envs": ("num-envs", "n-env", "nenvs", "parallel-envs", "num-workers", "rollout-batch-size"),
    "--out": (
        "output-dir",
        "output",
        "output-path",
        "out-dir",
        "save-dir",
        "save-path",
        "log-dir",
        "logdir",
        "run-dir",
    ),
    "--precision": ("dtype", "torch-dtype", "bf16", "fp16", "mixed-precision"),
    "--prompt-column": ("text-column", "query-column", "source-column", "input-column", "text-field", "prompt-field"),
    "--prompts": ("n-prompts", "num-prompts", "n-episodes", "eval-prompts", "n-eval-episodes", "num-samples"),
    "--reference-column": (
        "target-column",
        "label-column",
        "summary-column",
        "completion-column",
        "response-column",
        "answer-column",
    ),
    "--reference-model": ("ref-model", "reference", "ref-model-name", "baseline-model"),
    "--resume": ("resume-from-checkpoint", "resume-from", "continue", "from-checkpoint", "load"),
    "--reward": ("reward-model", "reward-model-path", "reward-fn", "reward-func", "reward-funcs", "reward-function"),
    "--reward-epochs": ("epochs", "num-epochs", "num-train-epochs"),
    "--reward-lr": ("reward-learning-rate",),
    "--save-every": ("save-steps", "save-freq", "checkpoint-every", "save-interval", "checkpoint-freq"),
    "--seeds": ("num-seeds", "n-seeds", "runs", "n-runs", "num-runs", "repeats", "repetitions"),
    "--steps": (
        "total-timesteps",
        "timesteps",
        "total-steps",
        "max-steps",
        "num-steps",
        "num-training-steps",
        "num-train-epochs",
    ),
    "--vf-coef": ("value-coef", "vf-coeff", "value-loss-coef", "vf-coefficient"),
    "--warmup": ("warmup-ratio", "warmup-steps", "lr-warmup"),
    "ENV_ID": ("env", "env-id", "environment", "task", "gym-id"),
}
"""Names in other libraries and programs by our option; the first that a command has is suggested."""


def suggestion(name: str, context: Any) -> str:
    """Return what to write in place of an option that a command does not have, as a sentence behind a space.

    Args:
        name: The option, with its dashes.
        context: Context of the command.
    """
    known = {option: param for param in context.command.params for option in _options(param)}
    found = _same(name, known) or _synonym(name, known)
    if found == "ENV_ID":
        return f" The environment has no option, only its id: {context.command_path} TextSumm-v0."
    if found is None:
        elsewhere = _in_another_agent(name, context)
        if elsewhere:
            return elsewhere
        found = most_similar(name, known)
    return f" Did you mean {found!r}?" if found else _in_another_command(name, context)


def _options(param: Any) -> list[str]:
    if param.param_type_name == "argument":
        return ["ENV_ID"] if param.metavar in ("ENV_ID", "ENV_ID|RUN") else []
    return [*param.opts, *param.secondary_opts]


def _same(name: str, known: Iterable[str]) -> str | None:
    """Return the option that differs by underscores or capital letters only."""
    plain = _plain(name)
    return next((option for option in known if _plain(option) == plain), None)


def _plain(name: str) -> str:
    return name.lower().lstrip("-").replace("_", "-")


def _synonym(name: str, known: Iterable[str]) -> str | None:
    options, plain = set(known), _plain(name)
    return next((option for option, others in SYNONYMS.items() if plain in others and option in options), None)


def _in_another_agent(name: str, context: Any) -> str:
    """Return which other agents have an option, for commands that make them."""
    from textgym.agents.registry import installed_agents
    from textgym.cli.agent_options import actor_parameters, agent_parameters

    makers = {"train": agent_parameters, "evaluate": actor_parameters, "play": actor_parameters}
    make = makers.get(context.command.name)
    if make is None:
        return ""
    having = [agent for agent in installed_agents() if _same(name, _all_options(make(agent, set()))) is not None]
    listed = " and ".join(filter(None, (", ".join(having[:-1]), *having[-1:])))
    return f" It is an option of --agent {listed}." if having else ""


def _in_another_command(name: str, context: Any) -> str:
    having = [path for path, command in _commands(context.find_root()) if name in _all_options(command.params)]
    return f" It is an option of {', '.join(having)}." if having else ""


def _all_options(params: Iterable[Any]) -> list[str]:
    return [option for param in params for option in _options(param)]


def _commands(context: Any) -> Iterator[tuple[str, Any]]:
    """Yield the commands of a group and of the groups in it, as they are typed."""
    waiting = [(str(context.command_path), context.command)]
    while waiting:
        path, command = waiting.pop(0)
        within = attribute_of(command, "commands")
        if within is None:
            yield path, command
        else:
            waiting += [(f"{path} {name}", each) for name, each in within.items()]
