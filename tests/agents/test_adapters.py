"""A folder with a PEFT adapter is a model like any other: the adapter goes on training on the base that it names."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import stable_baselines3
import torch
from peft import IA3Config, LoraConfig, PrefixTuningConfig, get_peft_model
from safetensors.torch import load_file, save_file
from stable_baselines3.common.callbacks import BaseCallback
from transformers import AutoModelForCausalLM

from textgym.agents.common.causal_lm_policy import CausalLMPolicy
from textgym.agents.ppo import PPO
from textgym.agents.sft import TokenPair, supervised_fine_tune
from textgym.errors import CheckpointError, MissingExtraError, ModelError
from textgym.models.adapters import rebuild_adapter
from textgym.models.loading import load_language_model
from textgym.reward_models import PreferenceRewardModel
from textgym.text.tokenizer import Tokenizer

IDS = torch.tensor([[5, 6, 7, 8], [9, 10, 11, 12]])
LORA: dict[str, Any] = {"task_type": "CAUSAL_LM", "r": 2, "target_modules": "all-linear", "lora_dropout": 0.1}


def write_adapter(base: Path, folder: Path, config: Any) -> torch.Tensor:
    """Write an adapter with weights that change what the base computes; returns its logits of ``IDS``."""
    torch.manual_seed(3)
    wrapper = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config).eval()
    for name, parameter in wrapper.named_parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.2 if "lora" in name else 1.0)
    wrapper.save_pretrained(str(folder))
    with torch.no_grad():
        logits: torch.Tensor = wrapper(input_ids=IDS).logits
    return logits[..., :377]


@pytest.fixture
def adapter(model_folder: Path, tmp_path: Path) -> Path:
    write_adapter(model_folder, tmp_path / "adapter", LoraConfig(**LORA))
    return tmp_path / "adapter"


def logits_of(model: Any) -> torch.Tensor:
    with torch.no_grad():
        logits: torch.Tensor = model.logits(model.token_states(IDS))
    return logits


class SaveAt(BaseCallback):
    """Saves at the start of the rollout after ``steps`` steps."""

    def __init__(self, folder: Path, steps: int) -> None:
        super().__init__()
        self.folder, self.steps = folder, steps

    def _on_rollout_start(self) -> None:
        if self.num_timesteps == self.steps:
            self.model.save(self.folder)

    def _on_step(self) -> bool:
        return True


@pytest.mark.parametrize(
    "config",
    [
        LoraConfig(**LORA),
        LoraConfig(**{**LORA, "modules_to_save": ["embed_out"], "target_modules": ["query_key_value"]}),
        IA3Config(task_type="CAUSAL_LM", target_modules=["query_key_value"], feedforward_modules=[]),
    ],
    ids=["lora", "lora and a whole head", "ia3"],
)
def test_an_adapter_computes_what_peft_computes_and_is_saved_whole(
    config: Any, model_folder: Path, tmp_path: Path
) -> None:
    expected = write_adapter(model_folder, tmp_path / "adapter", config)
    model = load_language_model(tmp_path / "adapter")
    torch.testing.assert_close(logits_of(model), expected, rtol=0, atol=1e-4)
    assert not torch.allclose(logits_of(load_language_model(model_folder)), expected, atol=1e-2)
    assert 0 < sum(parameter.requires_grad for parameter in model.parameters()) < len(list(model.parameters()))
    model.save_pretrained(tmp_path / "whole")
    assert (tmp_path / "whole" / "config.json").is_file()
    assert not (tmp_path / "whole" / "adapter_config.json").exists()
    torch.testing.assert_close(logits_of(load_language_model(tmp_path / "whole")), expected, rtol=0, atol=1e-4)
    torch.testing.assert_close(logits_of(model), expected, rtol=0, atol=1e-4)  # merged in a copy


def test_the_tokenizer_is_the_base_models(adapter: Path, model_folder: Path) -> None:
    assert Tokenizer.load(adapter).fingerprint == Tokenizer.load(model_folder).fingerprint


def test_the_base_is_found_beside_the_adapter(adapter: Path, model_folder: Path) -> None:
    expected = logits_of(load_language_model(adapter))
    shutil.copytree(model_folder, adapter.parent / "base")
    change(adapter, base_model_name_or_path="../base")
    torch.testing.assert_close(logits_of(load_language_model(adapter)), expected)


def test_training_goes_on_with_its_start_as_reference(
    adapter: Path, make_env: Any, length_reward: Any, tmp_path: Path
) -> None:
    """KL 0 at first and not later, the base in memory once, and a resumed run bit for bit the same."""
    start = logits_of(load_language_model(adapter))

    def environment(seed: int = 0) -> Any:
        return make_env(4, seed=seed, model=str(adapter), reward=length_reward)

    settings: dict[str, Any] = {"n_steps": 11, "batch_size": 16, "n_epochs": 2, "learning_rate": 1e-2}
    policy = {"model": str(adapter), "suppress_tokens": range(20, 377)}
    run = PPO(CausalLMPolicy, environment(), seed=1, recompute_log_probs=True, policy_kwargs=policy, **settings)
    frozen = {name: value.clone() for name, value in run.policy.named_parameters() if not value.requires_grad}
    run.learn(4 * 11 * 4, callback=SaveAt(tmp_path / "saved", 4 * 11 * 2))
    assert run.history[0]["kl"] == run.history[0]["kl_k3"] == 0.0
    assert run.history[1]["kl_k3"] > 1e-4
    assert run.reference.network is None
    assert all(torch.equal(value, frozen[name]) for name, value in run.policy.named_parameters() if name in frozen)
    assert not torch.allclose(logits_of(run.policy.model), start, atol=1e-3)
    with torch.no_grad(), run.policy.model.as_start():
        torch.testing.assert_close(logits_of(run.policy.model), start, rtol=0, atol=0)
    again = PPO.load(tmp_path / "saved", env=environment(77))
    again.learn(4 * 11 * 2, reset_num_timesteps=False)
    ours, theirs = run.policy.state_dict(), again.policy.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    drop = {"tokens_per_second"}
    assert [{k: row[k] for k in row.keys() - drop} for row in run.history] == [
        {k: row[k] for k in row.keys() - drop} for row in again.history
    ]


def test_stock_algorithms_and_policies_of_an_adapter(adapter: Path, make_env: Any, tmp_path: Path) -> None:
    env = make_env(4, model=str(adapter))
    policy = {"model": str(adapter), "critic": "separate"}
    agent = stable_baselines3.PPO(CausalLMPolicy, env, n_steps=4, batch_size=8, device="cpu", policy_kwargs=policy)
    agent.learn(16)
    agent.policy.save(str(tmp_path / "policy"))
    again = CausalLMPolicy.load(tmp_path / "policy", "cpu")
    torch.testing.assert_close(logits_of(again.model), logits_of(agent.policy.model), rtol=0, atol=0)


def test_supervised_training_and_rewards(adapter: Path, tmp_path: Path) -> None:
    model = load_language_model(adapter)
    losses = supervised_fine_tune(model, [TokenPair([5, 6], [7, 8, 1])], steps=12, batch_size=1, learning_rate=1e-2)
    assert losses[-1] < losses[0]
    model.save_pretrained(tmp_path / "whole")
    torch.testing.assert_close(logits_of(load_language_model(tmp_path / "whole")), logits_of(model), rtol=0, atol=1e-4)
    reward = PreferenceRewardModel(adapter, max_length=40)
    reward.save(tmp_path / "reward")
    again = PreferenceRewardModel.load(tmp_path / "reward")
    assert again(["a"], ["b"], [None])[0] == pytest.approx(reward(["a"], ["b"], [None])[0], abs=1e-4)


def test_wrappers_of_peft(model_folder: Path, make_policy: Any) -> None:
    wrapper = get_peft_model(AutoModelForCausalLM.from_pretrained(model_folder), LoraConfig(**LORA))
    assert make_policy(wrapper).model.adapter is wrapper
    with pytest.raises(ModelError, match="leave lora_rank out"):
        make_policy(get_peft_model(AutoModelForCausalLM.from_pretrained(model_folder), LoraConfig(**LORA)), lora_rank=2)
    with pytest.raises(ModelError, match="got Linear"):
        load_language_model(torch.nn.Linear(2, 2))


def change(folder: Path, **changes: Any) -> None:
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_adapters_that_cannot_be_used(adapter: Path, model_folder: Path, make_network: Any, tmp_path: Path) -> None:
    prefix = tmp_path / "prefix"
    config = PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)
    get_peft_model(AutoModelForCausalLM.from_pretrained(model_folder), config).save_pretrained(str(prefix))
    with pytest.raises(ModelError, match=r"lives in the layers \(LoRA, IA3\), got .*PREFIX_TUNING"):
        load_language_model(prefix)
    weights = (adapter / "adapter_model.safetensors").read_bytes()
    (adapter / "adapter_model.safetensors").write_bytes(weights[:-10])
    with pytest.raises(CheckpointError, match="expected an adapter of GPTNeoXForCausalLM"):
        load_language_model(adapter)
    (adapter / "adapter_model.safetensors").unlink()
    torch.save({}, adapter / "adapter_model.bin")
    with pytest.raises(CheckpointError, match="pickled weights are not opened"):
        load_language_model(adapter)
    other = adapter / "adapter_model-other.safetensors"  # with which the pickle is not opened either
    other.write_bytes(weights)
    with pytest.raises(CheckpointError, match=r"does not fit \(.*adapter_model\.safetensors"):
        load_language_model(adapter)
    other.rename(adapter / "adapter_model.safetensors")
    change(adapter, megatron_config={"x": 1}, megatron_core="own.module")
    with pytest.raises(ModelError, match="names modules to import"):
        load_language_model(adapter)
    with pytest.raises(ModelError, match="names code to import"):
        rebuild_adapter(make_network(), adapter)
    for name, reason in (
        (None, "got None"),
        ("nowhere/to/be/found", "does not exist"),
        (str(prefix), "an adapter too"),
    ):
        change(adapter, megatron_config=None, base_model_name_or_path=name)
        with pytest.raises(CheckpointError, match=reason):
            load_language_model(adapter)
    make_network("llama").save_pretrained(tmp_path / "other")
    change(adapter, base_model_name_or_path=str(tmp_path / "other"))
    with pytest.raises(CheckpointError, match=r"got one that does not fit|expected all weights of the adapter"):
        load_language_model(adapter)


_ENDLESS = r"(([a-z_.0-9])+)+\$"
"""A pattern that tries as many ways as there are partitions of a name."""


@pytest.mark.parametrize(
    "changes",
    [
        {"target_modules": _ENDLESS},
        {"exclude_modules": _ENDLESS},
        {"modules_to_save": [_ENDLESS]},
        {"rank_pattern": {_ENDLESS: 4}},
        {"alpha_pattern": {_ENDLESS: 4}},
        {"layers_to_transform": [0], "layers_pattern": [_ENDLESS]},
    ],
    ids=lambda changes: list(changes)[-1],
)
def test_patterns_that_never_end_are_refused(
    changes: dict[str, Any], adapter: Path, make_network: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(adapter, **changes)
    monkeypatch.setattr("textgym.models.patterns.MOST_SECONDS", 0.5)
    with pytest.raises(CheckpointError, match=r"takes more than 0\.5 s, .*; write the names there instead"):
        load_language_model(adapter)
    with pytest.raises(CheckpointError, match=r"takes more than 0\.5 s"):
        rebuild_adapter(make_network(), adapter)


def test_patterns_that_others_write_are_used(model_folder: Path, tmp_path: Path) -> None:
    config = LoraConfig(
        **{**LORA, "target_modules": r"(?:.*?(?:layers).*?(?:attention|mlp).*?(?:query_key_value|dense).*?)"},
        rank_pattern={r".*\.[01]\.attention\.(?:dense|query_key_value)": 3},
    )
    expected = write_adapter(model_folder, tmp_path / "adapter", config)
    model = load_language_model(tmp_path / "adapter")
    torch.testing.assert_close(logits_of(model), expected, rtol=0, atol=1e-4)


def test_weights_that_an_adapter_lacks(adapter: Path) -> None:
    file = adapter / "adapter_model.safetensors"
    stored = load_file(file)
    save_file({name: value for name, value in stored.items() if ".1." not in name}, file)
    with pytest.raises(CheckpointError, match="expected all weights of the adapter"):
        load_language_model(adapter)


def test_without_peft(adapter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'textgym\[lora\]'"):
        load_language_model(adapter)
