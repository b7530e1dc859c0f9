"""What a CausalLMPolicy refuses, and what it says then."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import stable_baselines3
import torch
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecNormalize

from textgym.agents.common.causal_lm_policy import CausalLMPolicy
from textgym.agents.ppo import PPO
from textgym.errors import ModelError, TokenizerMismatchError


def test_another_tokenizer_is_refused(make_env: Any, foreign_folder: Path, make_network: Any, tmp_path: Path) -> None:
    target = tmp_path / "foreign"
    make_network().save_pretrained(target)
    for file in foreign_folder.iterdir():
        shutil.copy(file, target / file.name)
    with pytest.raises(TokenizerMismatchError, match=r"make the environment with model="):
        PPO(CausalLMPolicy, make_env(), policy_kwargs={"model": str(target)})


def test_options_out_of_range(make_policy: Any, make_network: Any) -> None:
    for options, message in (
        ({"critic": "both"}, "critic 'detached', 'shared' or 'separate', got 'both'"),
        ({"temperature": 0.0}, "temperature above 0, got 0.0"),
        ({"precision": "fp16"}, "precision 'fp32' or 'bf16'"),
        ({"precision": "bf-16"}, "precision 'fp32' or 'bf16'"),
        ({"use_sde": True}, "use_sde=False"),
        ({"suppress_tokens": (3, 377)}, "suppress_tokens from 0 to 376, got 377"),
        ({"suppress_tokens": (3, -1)}, "suppress_tokens from 0 to 376, got -1"),
        ({"suppress_tokens": range(377)}, "a token that is not suppressed, got all 377 suppressed"),
    ):
        with pytest.raises(ValueError, match=message):
            make_policy(**options)
    with pytest.raises(ValueError, match="token-level text environment"):
        stable_baselines3.PPO(CausalLMPolicy, "CartPole-v1", policy_kwargs={"model": make_network()})
    wrong = spaces.Dict({"input_ids": spaces.Box(0, 9, (4,), np.int64)})
    with pytest.raises(ValueError, match="attention_mask"):
        CausalLMPolicy(wrong, spaces.Discrete(10), lambda _: 1e-3, make_network())


@pytest.mark.parametrize("algorithm", [stable_baselines3.PPO, PPO])
def test_a_context_shorter_than_the_texts(algorithm: Any, make_env: Any, make_network: Any) -> None:
    options = {"policy_kwargs": {"model": make_network("gpt2", n_positions=47)}, "n_steps": 4, "batch_size": 4}
    with pytest.raises(ModelError, match="at least 48 tokens for prompt and response, got 47; use max_prompt_tokens="):
        algorithm(CausalLMPolicy, make_env(1), **options)
    algorithm(CausalLMPolicy, make_env(1), policy_kwargs={"model": make_network("gpt2", n_positions=48)}, n_steps=4)


@pytest.mark.parametrize("algorithm", [stable_baselines3.PPO, PPO])
def test_normalized_observations_are_refused(algorithm: Any, make_env: Any, make_network: Any) -> None:
    settings = {"policy_kwargs": {"model": make_network()}, "n_steps": 4, "batch_size": 8}
    agent = algorithm(CausalLMPolicy, VecNormalize(make_env(2)), **settings)
    with pytest.raises(ValueError, match=r"token ids .* of integers, got torch\.float32 .* norm_obs=False"):
        agent.learn(8)
    with pytest.raises(ValueError, match="norm_obs=False"):
        agent.predict(agent.env.reset())
    algorithm(CausalLMPolicy, VecNormalize(make_env(2), norm_obs=False), **settings).learn(8)


@pytest.mark.parametrize("method", ["forward", "predict_values", "get_distribution", "_predict"])
@pytest.mark.parametrize("name", ["input_ids", "attention_mask"])
def test_observations_that_are_no_integers_are_refused(method: str, name: str, make_policy: Any) -> None:
    obs = {"input_ids": torch.full((2, 48), 5), "attention_mask": torch.ones(2, 48, dtype=torch.int8)}
    with pytest.raises(ValueError, match="expected token ids and a mask of integers, got"):
        getattr(make_policy(), method)({**obs, name: obs[name].float()})


def test_a_policy_with_nothing_to_train(make_policy: Any, make_network: Any) -> None:
    with pytest.raises(ModelError, match=r"expected a model with weights to train, got GPTNeoX.* all of them frozen"):
        make_policy(make_network().requires_grad_(False))
    assert make_policy(make_network().requires_grad_(False), lora_rank=2).model.adapter is not None
