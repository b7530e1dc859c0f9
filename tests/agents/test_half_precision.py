"""Weights that come in half precision are trained in fp32; what is frozen stays as it is."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from textgym.agents.ppo import PPO
from textgym.agents.sft import SFT, TokenPair, supervised_fine_tune
from textgym.models.causal_lm import CausalLM
from textgym.models.loading import load_language_model


def layers(network: Any) -> list[torch.Tensor]:
    """Their weights in fp32; those of tokens that no text has are left out, because they have no gradient."""
    return [parameter.detach().float().clone() for parameter in network.gpt_neox.layers.parameters()]


def share_moved(after: list[torch.Tensor], before: list[torch.Tensor]) -> float:
    moved = [(now != old).float().flatten() for now, old in zip(after, before, strict=True)]
    return float(torch.cat(moved).mean())


def said(caught: list[warnings.WarningMessage]) -> list[str]:
    return [str(each.message) for each in caught if "held, trained and saved in float32" in str(each.message)]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("policy", [{}, {"precision": "bf16"}, {"critic": "separate"}], ids=str)
def test_a_module_in_half_precision_is_trained_in_fp32(
    policy: dict[str, Any], dtype: torch.dtype, make_agent: Any, make_network: Any, tmp_path: Path
) -> None:
    """At a learning rate of 1e-5 nearly all weights move, and the ratio is 1 up to rounding."""
    network = make_network().to(dtype)
    before = layers(network)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        agent = make_agent({"model": network, **policy}, learning_rate=1e-5, n_epochs=1)
        agent.learn(4 * 11)
    assert len(said(caught)) == 1
    assert {parameter.dtype for parameter in agent.policy.parameters()} == {torch.float32}
    assert share_moved(layers(agent.policy.model.network), before) > 0.95
    assert agent.history[0]["kl"] == pytest.approx(0.0, abs=1e-4)
    assert agent.history[0]["ratio_max"] < 1.02
    agent.policy.save_pretrained(tmp_path / "saved")
    saved = AutoModelForCausalLM.from_pretrained(tmp_path / "saved")
    assert share_moved(layers(saved), layers(agent.policy.model.network)) == 0.0


@pytest.mark.parametrize("policy", [{}, {"precision": "bf16"}], ids=str)
def test_a_frozen_base_keeps_its_type(
    policy: dict[str, Any], make_agent: Any, make_network: Any, tmp_path: Path
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        agent = make_agent({"model": make_network().bfloat16(), "lora_rank": 2, **policy}, learning_rate=1e-3)
        agent.learn(4 * 11 * 2)
    trained = {parameter.dtype for parameter in agent.policy.model.parameters() if parameter.requires_grad}
    frozen = {parameter.dtype for parameter in agent.policy.model.parameters() if not parameter.requires_grad}
    assert (trained, frozen) == ({torch.float32}, {torch.bfloat16})
    first, second = agent.history
    assert first["kl"] == first["kl_k3"] == 0.0
    assert second["kl_k3"] != 0.0
    agent.save(tmp_path / "saved")
    again = PPO.load(tmp_path / "saved", env=agent.env)
    for (name, ours), theirs in zip(agent.policy.named_parameters(), again.policy.parameters(), strict=True):
        assert ours.dtype == theirs.dtype, name
        assert torch.equal(ours, theirs), name


def test_a_folder_in_half_precision_says_what_it_is_saved_as(
    make_network: Any, make_policy: Any, model_folder: Path, tmp_path: Path
) -> None:
    make_network().bfloat16().save_pretrained(tmp_path / "half")
    for file in model_folder.glob("token*"):
        (tmp_path / "half" / file.name).write_bytes(file.read_bytes())
    with pytest.warns(UserWarning, match=r"half come in bfloat16; they are held, trained and saved in float32 \("):
        make_policy(str(tmp_path / "half"))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        make_policy(str(model_folder))
        load_language_model(tmp_path / "half")  # nothing is trained or saved


def test_adapters_over_a_folder_in_half_precision_are_no_reason_to_warn(
    make_network: Any, model_folder: Path, tmp_path: Path
) -> None:
    """Supervised training, whose model has its adapters before it is prepared for training."""
    make_network().bfloat16().save_pretrained(tmp_path / "half")
    for file in model_folder.glob("token*"):
        (tmp_path / "half" / file.name).write_bytes(file.read_bytes())
    model = load_language_model(tmp_path / "half")
    assert model.stored_dtype is torch.bfloat16
    model.add_lora(2, seed=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        agent = SFT(model, [TokenPair([5, 6], [7, 1])], batch_size=1)
    agent.advance()
    assert {each.dtype for each in model.parameters() if each.requires_grad} == {torch.float32}


def test_a_module_that_was_cast_is_not_taken_for_its_folder(make_policy: Any, model_folder: Path) -> None:
    """Its tokenizer comes from the folder, and the folder's weights are in fp32."""
    network = AutoModelForCausalLM.from_pretrained(model_folder).bfloat16()
    with pytest.warns(UserWarning, match="the weights of the module GPTNeoXForCausalLM come in bfloat16; ") as caught:
        make_policy(network)
    (warning,) = [each for each in caught if "held, trained and saved" in str(each.message)]
    assert str(model_folder) not in str(warning.message)
    assert "stable_baselines3" not in warning.filename


def test_supervised_training_of_half_precision(make_network: Any) -> None:
    model = CausalLM(make_network().bfloat16())
    with pytest.warns(UserWarning, match="trained and saved in float32"):
        supervised_fine_tune(model, [TokenPair([5, 6], [7, 1])], steps=1, batch_size=1)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    ("policy", "off"),
    [({}, 1e-4), ({"critic": "separate"}, 1e-4), ({"precision": "bf16"}, 2e-3)],
    ids=["fp32", "separate", "bf16"],
)
def test_before_anything_is_trained_the_ratio_is_1(
    policy: dict[str, Any], off: float, make_agent: Any, make_network: Any
) -> None:
    """Also for a module that comes in half precision: at a learning rate of 0, for a whole iteration."""
    options = {"learning_rate": 0.0, "n_epochs": 1, "recompute_log_probs": "precision" in policy}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        agent = make_agent({"model": make_network().bfloat16(), **policy}, **options)
        agent.learn(4 * 11)
    assert agent.history[0]["ratio_max"] == pytest.approx(1.0, abs=off)
    assert agent.history[0]["kl"] == pytest.approx(0.0, abs=1e-4)
