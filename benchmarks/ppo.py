"""One PPO iteration on workload W1, against the bare model computations: ``textgym bench ppo``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import Any

import stable_baselines3
import torch
from stable_baselines3.common.utils import obs_as_tensor
from stable_baselines3.common.vec_env import VecEnv

from benchmarks.harness import Case, Options, Report, clock, measure, timed
from benchmarks.limit import Limit
from benchmarks.naive import NaivePolicy
from benchmarks.workload import Workload, environment
from textgym.agents import PPO, CausalLMPolicy, EpisodeRolloutBuffer
from textgym.agents.common.on_policy import OnPolicyAgent
from textgym.models.causal_lm import CausalLM
from textgym.reward_models import PreferenceRewardModel
from textgym.text.tokenizer import Tokenizer
from textgym.types import Example, FloatArray

LIMIT, SEPARATE_LIMIT = "limit", "limit, separate critic"


def run(options: Options) -> Report:
    """Time one iteration of every agent, split into its parts."""
    work = Workload(device=options.device)
    work = work.smaller() if options.smoke else work
    with ExitStack() as stack:
        measurements = measure(list(_cases(work, stack, with_compiler=not options.smoke)), options)
        # Apart from the others: they give so much memory back that whoever runs next pays for getting it again.
        default_buffer = _agent_case("stock PPO, its default buffer", work, stack, LIMIT, {})
        measurements += measure([default_buffer, _naive_case(work, stack)], options)
    return Report(
        "ppo",
        f"One PPO iteration: {work.texts} texts of {work.prompt} + {work.response} tokens, {work.epochs} epochs",
        measurements,
        notes=[
            "Stock PPO has no reference model.",
            f"Of the usual policy, {_naive_steps(work)} of the {work.response} steps of a rollout and 1 of the "
            f"{work.minibatches} minibatches are timed, and multiplied.",
        ],
    )


def _cases(work: Workload, stack: ExitStack, with_compiler: bool) -> Iterator[Case]:
    limits = {
        LIMIT: Limit(work),
        SEPARATE_LIMIT: Limit(work, separate_critic=True),
        "limit, GELU as transformers has it": Limit(work, fused=False),
    }
    for name, limit in limits.items():
        case = Case(name, lambda: None, work.tokens, LIMIT if not limit.fused else None)
        case.run = partial(limit.iteration, case.parts)
        yield case
    low = replace(work, precision="bf16")
    kinds: dict[str, tuple[Workload, str, dict[str, Any]]] = {
        "textgym PPO": (work, LIMIT, {}),
        "textgym PPO, compiled": (work, LIMIT, {"compile": True}),
        "textgym PPO, bf16": (low, LIMIT, {}),
        "textgym PPO, bf16, compiled": (low, LIMIT, {"compile": True}),
        "textgym PPO, detached critic": (work, LIMIT, {"critic": "detached"}),
        "textgym PPO, separate critic": (work, SEPARATE_LIMIT, {"critic": "separate"}),
        "stock PPO, episode buffer": (work, LIMIT, {"buffer": EpisodeRolloutBuffer}),
    }
    for name, (shape, limit_name, settings) in kinds.items():
        if with_compiler or "compile" not in settings:  # half a minute of compiling each
            yield _agent_case(name, shape, stack, limit_name, settings)


def _agent_case(name: str, work: Workload, stack: ExitStack, limit: str, settings: dict[str, Any]) -> Case:
    scorer = TimedReward(work)
    agent = make_agent(work, stack.enter_context(environment(work, scorer)), name, **settings)
    return iteration_case(name, agent, scorer, work, limit)


def make_agent(
    work: Workload, venv: VecEnv, name: str, critic: str = "shared", buffer: type | None = None, **policy: Any
) -> Any:
    """An agent of textgym or of Stable-Baselines3, as ``name`` says, with the settings of the workload.

    ``policy`` has further options of :class:`~textgym.agents.common.causal_lm_policy.CausalLMPolicy`.
    """
    settings: dict[str, Any] = {
        "n_steps": work.response,
        "batch_size": work.minibatch * work.response,
        "n_epochs": work.epochs,
        "gamma": 1.0,
        "learning_rate": 1e-5,
        "device": work.device,
        "policy_kwargs": {
            "model": work.language_model(0),
            "critic": critic,
            "precision": work.precision,
            "suppress_tokens": Tokenizer.load("tiny").eos_ids,
            "optimizer_kwargs": {"eps": 1e-5, "weight_decay": 0.0, "fused": True},
            **policy,
        },
    }
    if name.startswith("textgym"):
        return PPO(CausalLMPolicy, venv, **settings)
    if buffer is not None:
        settings["rollout_buffer_class"] = buffer
    return stable_baselines3.PPO(CausalLMPolicy, venv, **settings)


def iteration_case(name: str, agent: Any, scorer: TimedReward, work: Workload, limit: str | None) -> Case:
    """One ``learn`` of one iteration, split into rollout, reference, reward, update and other."""
    case, device = Case(name, lambda: None, work.tokens, limit), torch.device(work.device)
    parts = {"collect_rollouts": "rollout", "train": "update"}
    if isinstance(agent, OnPolicyAgent):  # others have no reference model
        parts["shape_rewards"] = "reference"
    for method, part in parts.items():
        setattr(agent, method, _timed_method(getattr(agent, method), case, part, device))

    def learn() -> None:
        scorer.seconds, start = 0.0, clock(device)
        agent.learn(work.tokens, reset_num_timesteps=False)
        seconds, parts = clock(device) - start, case.parts
        parts["reward"] = scorer.seconds
        parts["rollout"] -= scorer.seconds + parts.get("reference", 0.0)
        parts["other"] = seconds - sum(parts.values())

    case.run = learn
    return case


def _timed_method(method: Callable[..., Any], case: Case, part: str, device: torch.device) -> Callable[..., Any]:
    def run(*args: Any, **kwargs: Any) -> Any:
        with timed(case.parts, part, device):
            return method(*args, **kwargs)

    return run


class TimedReward:
    """A reward model of random weights that knows how long it worked.

    It reads texts, with a tokenizer of its own. They are cut to the tokens that the limit's reward pass reads.
    """

    def __init__(self, work: Workload) -> None:
        trunk = CausalLM(work.language_model(1), "tiny", work.precision)
        self.model = PreferenceRewardModel(trunk, max_length=work.prompt + work.response)
        self.device, self.seconds, self.calls = torch.device(work.device), 0.0, 0

    def __call__(self, prompts: Sequence[str], responses: Sequence[str], examples: Sequence[Example]) -> FloatArray:
        """Score texts."""
        start = clock(self.device)
        scores: FloatArray = self.model(prompts, responses, examples)
        self.seconds, self.calls = self.seconds + clock(self.device) - start, self.calls + 1
        return scores


def _naive_case(work: Workload, stack: ExitStack) -> Case:
    """The usual policy; a part of an iteration is timed and multiplied."""
    venv = stack.enter_context(environment(work))
    agent = stable_baselines3.PPO(
        NaivePolicy,
        venv,
        n_steps=work.response,
        batch_size=work.minibatch * work.response,
        policy_kwargs={"model": work.language_model(0)},
        device=work.device,
    )
    policy: Any = agent.policy
    observation: Any = venv.reset()
    device, steps = torch.device(work.device), _naive_steps(work)
    case = Case("usual policy (extrapolated)", lambda: None, work.tokens, LIMIT, extrapolated=True)

    def some() -> None:
        rows: Any = obs_as_tensor(observation, device)
        with timed(case.parts, "rollout", device), torch.no_grad():
            for _ in range(steps):
                policy(rows)
        some_rows = {key: value.repeat(work.response, *[1] * (value.ndim - 1)) for key, value in rows.items()}
        take = slice(0, work.minibatch * work.response)
        batch = {key: value[take] for key, value in some_rows.items()}
        with timed(case.parts, "update", device):
            actions = torch.zeros(len(batch["input_ids"]), dtype=torch.long, device=device)
            values, log_probs, _ = policy.evaluate_actions(batch, actions)
            policy.optimizer.zero_grad()
            (values.mean() - log_probs.mean()).backward()
            policy.optimizer.step()
        case.parts["rollout"] *= work.response / steps
        case.parts["update"] *= work.minibatches

    case.run = some
    return case


def _naive_steps(work: Workload) -> int:
    return min(2, work.response)
