from __future__ import annotations

import json
import os
import pickle
import shutil
import warnings
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import stable_baselines3
import torch
from stable_baselines3 import A2C
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import DummyVecEnv
from transformers import AutoModelForCausalLM

from textgym.agents.common.causal_lm_policy import CausalLMPolicy
from textgym.agents.common.language_model_policy import _without
from textgym.agents.common.policy_record import rebuild_model
from textgym.agents.common.rollout_buffer import EpisodeRolloutBuffer
from textgym.agents.ppo import PPO
from textgym.errors import CheckpointError
from textgym.models.batch import TextBatch
from textgym.models.causal_lm import CausalLM
from textgym.text.tokenizer import Tokenizer

FEW_TOKENS = tuple(range(20, 377))  # suppressed, so that EOS (1) is drawn often and texts end at different times


def stock_ppo(venv: Any, network: Any, policy: dict[str, Any] | None = None, **options: Any) -> Any:
    settings: dict[str, Any] = {"n_steps": 11, "batch_size": 16, "n_epochs": 1, "gamma": 1.0, "seed": 1, **options}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*mini-batch size.*")
        return stable_baselines3.PPO(
            CausalLMPolicy, venv, policy_kwargs={"model": network, **(policy or {})}, **settings
        )


def weights(policy: Any) -> dict[str, torch.Tensor]:
    return {name: tensor.cpu().clone() for name, tensor in policy.state_dict().items()}


def equal(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    same = (torch.equal(left[name], right[name]) and left[name].dtype == right[name].dtype for name in left)
    return left.keys() == right.keys() and all(same)


def observe(texts: list[list[int]], width: int = 48) -> dict[str, np.ndarray]:
    ids, mask = np.zeros((len(texts), width), dtype=np.int64), np.zeros((len(texts), width), dtype=np.int8)
    for row, text in enumerate(texts):
        ids[row, : len(text)], mask[row, : len(text)] = text, 1
    return {"input_ids": ids, "attention_mask": mask, "prompt_length": np.array([[2]] * len(texts))}


# ------------------------------------------------------------------ Stable-Baselines3
@pytest.mark.parametrize("kind", ["gpt_neox", "gpt2"])
@pytest.mark.parametrize("buffer", [None, EpisodeRolloutBuffer])
def test_stock_ppo(kind: str, buffer: Any, make_env: Any, make_network: Any, tmp_path: Path) -> None:
    venv = make_env()
    agent = stock_ppo(venv, make_network(kind), rollout_buffer_class=buffer, learning_rate=1e-3)
    before = weights(agent.policy)
    agent.learn(4 * 11 * 2)
    assert not equal(before, weights(agent.policy))
    mean, _ = evaluate_policy(agent, venv, n_eval_episodes=4, deterministic=True)
    assert np.isfinite(mean)
    obs = venv.reset()
    actions, _ = agent.predict(obs, deterministic=True)
    agent.save(tmp_path / "agent.zip")
    again = stable_baselines3.PPO.load(tmp_path / "agent.zip", env=venv)
    assert equal(weights(agent.policy), weights(again.policy))
    assert again.predict(obs, deterministic=True)[0].tolist() == actions.tolist()
    again.learn(4 * 11)


def test_stock_a2c(make_env: Any, make_network: Any, tmp_path: Path) -> None:
    agent = A2C(CausalLMPolicy, make_env(), n_steps=6, seed=0, policy_kwargs={"model": make_network()})
    before = weights(agent.policy)
    agent.learn(4 * 6 * 2)
    assert not equal(before, weights(agent.policy))
    agent.save(tmp_path / "a2c.zip")
    assert equal(weights(A2C.load(tmp_path / "a2c.zip").policy), weights(agent.policy))


@pytest.mark.parametrize("policy", [{"lora_rank": 2}, {"critic": "separate", "temperature": 0.7}])
def test_stock_save_and_load_of_other_policies(
    policy: dict[str, Any], make_env: Any, make_network: Any, tmp_path: Path
) -> None:
    agent = stock_ppo(make_env(), make_network(), policy, learning_rate=1e-2)
    agent.learn(4 * 11)
    agent.save(tmp_path / "agent.zip")
    again = stable_baselines3.PPO.load(tmp_path / "agent.zip")
    assert equal(weights(agent.policy), weights(again.policy))
    obs = observe([[5, 6, 7], [9]])
    assert again.predict(obs, deterministic=True)[0].tolist() == agent.predict(obs, deterministic=True)[0].tolist()
    assert again.policy.options == agent.policy.options


@pytest.mark.parametrize("algorithm", [stable_baselines3.PPO, PPO])
def test_eval_callback(algorithm: Any, make_env: Any, make_network: Any, tmp_path: Path) -> None:
    """Training and evaluation environments of the same size and seed take turns, in the middle of rollouts."""
    settings = {"n_steps": 11, "batch_size": 22, "n_epochs": 1, "seed": 0, "learning_rate": 1e-3}
    agent = algorithm(CausalLMPolicy, make_env(2), policy_kwargs={"model": make_network()}, **settings)
    callback = EvalCallback(make_env(2), eval_freq=5, n_eval_episodes=3, best_model_save_path=str(tmp_path), verbose=0)
    agent.learn(2 * 11 * 2, callback=callback)
    assert callback.evaluations_timesteps == [] or np.isfinite(callback.last_mean_reward)
    best = tmp_path / ("best_model" if algorithm is PPO else "best_model.zip")
    assert best.exists()
    assert algorithm.load(best).policy.options == agent.policy.options


def test_evaluation_in_between_does_not_change_training(make_env: Any, make_network: Any, tmp_path: Path) -> None:
    """Deterministic evaluation draws no random numbers, so it must leave no trace."""

    def train(evaluate: bool) -> dict[str, torch.Tensor]:
        agent = stock_ppo(make_env(2), make_network(), learning_rate=1e-2)
        callback = EvalCallback(make_env(2), eval_freq=3, n_eval_episodes=2, verbose=0) if evaluate else None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            agent.learn(2 * 11 * 2, callback=callback)
        return weights(agent.policy)

    alone, watched = train(False), train(True)
    for name in alone:
        torch.testing.assert_close(alone[name], watched[name], rtol=1e-3, atol=1e-5)


def test_dummy_vec_env_of_single_environments(
    env_ids: tuple[str, str], tokenizer_folder: Path, make_network: Any
) -> None:
    def single() -> gym.Env[Any, Any]:
        return gym.make(env_ids[0], model=str(tokenizer_folder), max_new_tokens=5)

    for buffer in (None, EpisodeRolloutBuffer):
        agent = stock_ppo(DummyVecEnv([single] * 3), make_network(), rollout_buffer_class=buffer)
        agent.learn(33)
        obs, _ = single().reset(seed=0)
        action, _ = agent.predict(obs, deterministic=True)
        assert action.shape == ()
        assert action in agent.action_space


def test_an_id_as_the_environment(make_network: Any) -> None:
    rows = Tokenizer.load("tiny").vocab_size
    network = make_network("gpt_neox", rows=rows + 8, max_position_embeddings=2048)
    agent = stock_ppo(
        "textgym:TextSumm-v0", network, n_steps=3, batch_size=3, rollout_buffer_class=EpisodeRolloutBuffer
    )
    agent.learn(3)
    assert agent.policy.model.vocab_size == rows


# ------------------------------------------------------------------ probabilities
POLICIES: dict[str, dict[str, Any]] = {
    "detached": {},
    "shared": {"critic": "shared"},
    "separate": {"critic": "separate"},
    "lora": {"lora_rank": 2},
    "temperature": {"temperature": 0.7},
    "suppressed": {"suppress_tokens": FEW_TOKENS},
    "all": {"temperature": 1.3, "suppress_tokens": FEW_TOKENS, "critic": "separate", "lora_rank": 2},
    "checkpointing": {"gradient_checkpointing": True},
}


@pytest.mark.parametrize("options", POLICIES.values(), ids=POLICIES.keys())
@pytest.mark.parametrize("buffer", [None, EpisodeRolloutBuffer])
def test_the_ratio_is_one_before_the_first_step(
    buffer: Any, options: dict[str, Any], make_env: Any, make_network: Any
) -> None:
    """Checklist 9: with texts left over from the last rollout, after an update, with dropout in the config."""
    venv = make_env(4)
    agent = stock_ppo(venv, make_network(), options, rollout_buffer_class=buffer, learning_rate=1e-2)
    _, callback = agent._setup_learn(1000)
    for _ in range(3):
        agent.collect_rollouts(venv, callback, agent.rollout_buffer, agent.n_steps)
        agent.policy.set_training_mode(True)
        for sample in agent.rollout_buffer.get(16):
            with torch.no_grad():
                scored = agent.policy.evaluate_actions(sample.observations, sample.actions.long().flatten())
            values, log_probs, _ = scored
            assert float((log_probs - sample.old_log_prob).exp().sub(1).abs().max()) < 1e-4
            torch.testing.assert_close(values.flatten(), sample.old_values, rtol=0, atol=1e-4)
        agent.train()
    assert not agent._last_episode_starts.all()  # there are texts left over


def test_bf16_recomputes_with_the_training_forward(
    make_env: Any, make_network: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    venv = make_env(4)

    def first_ratios(recompute: bool | None) -> float:
        policy = {"model": make_network("llama"), "precision": "bf16"}
        agent = PPO(
            CausalLMPolicy,
            venv,
            n_steps=11,
            batch_size=1000,
            seed=1,
            recompute_log_probs=recompute,
            policy_kwargs=policy,
        )
        act = agent.policy.forward

        def act_roughly(obs: Any, deterministic: bool = False) -> Any:
            """As where other kernels decode than train."""
            actions, values, log_probs = act(obs, deterministic)
            return actions, values, log_probs + 0.01

        monkeypatch.setattr(agent.policy, "forward", act_roughly)
        _, callback = agent._setup_learn(1000)
        agent.collect_rollouts(venv, callback, agent.rollout_buffer, agent.n_steps)
        agent.policy.set_training_mode(True)
        worst = 0.0
        for sample in agent.rollout_buffer.get(1000):
            with torch.no_grad():
                _, log_probs, entropy = agent.policy.evaluate_actions(sample.observations, sample.actions.flatten())
            assert log_probs.dtype == entropy.dtype == torch.float32
            worst = max(worst, float((log_probs - sample.old_log_prob).exp().sub(1).abs().max()))
        return worst

    assert first_ratios(None) < 1e-4
    assert first_ratios(False) > 1e-3  # or this test would prove nothing


@pytest.mark.parametrize("options", POLICIES.values(), ids=POLICIES.keys())
def test_acting_equals_the_bare_model(
    options: dict[str, Any], make_env: Any, make_network: Any, make_policy: Any, oracle_of: Any
) -> None:
    """Values, log-probabilities and greedy actions of cached decoding, against one text at a time in float64."""
    venv, policy = make_env(3), make_policy(make_network("llama", attention_dropout=0.5), **options).double()
    torch.nn.init.normal_(policy.value_head.weight)
    for name, parameter in policy.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    oracle, obs = oracle_of(policy), venv.reset()
    policy.set_training_mode(False)
    with torch.no_grad():
        for step in range(14):
            tensors = {name: torch.from_numpy(array) for name, array in obs.items()}
            actions, values, log_probs = policy(tensors)
            greedy, _, _ = policy(tensors, deterministic=True)
            texts = [row[:n] for row, n in zip(obs["input_ids"], obs["attention_mask"].sum(1), strict=True)]
            expected_values, expected, _ = oracle.evaluate(texts, actions.tolist())
            torch.testing.assert_close(log_probs, expected, rtol=0, atol=1e-9)
            torch.testing.assert_close(values, expected_values, rtol=0, atol=1e-6)  # Llama's norm computes in fp32
            assert greedy.tolist() == [int(oracle.logits(text).argmax()) for text in texts]
            assert actions.max() < 377
            if options.get("suppress_tokens"):
                assert actions.max() < 20
            obs, *_ = venv.step(np.where(np.arange(3) == step % 3, 1, actions.numpy()))


def test_distribution(make_policy: Any, oracle_of: Any) -> None:
    policy = make_policy(temperature=0.5, suppress_tokens=(4,))
    texts = [[5, 6, 7], [8]]
    obs = {name: torch.from_numpy(array) for name, array in observe(texts).items()}
    with torch.no_grad():
        distribution = policy.get_distribution(obs)
        expected = torch.stack([oracle_of(policy).logits(text) for text in texts]).softmax(1)
    torch.testing.assert_close(distribution.distribution.probs, expected, rtol=0, atol=1e-5)
    assert distribution.distribution.probs[:, 4].tolist() == [0.0, 0.0]
    torch.testing.assert_close(policy.predict_values(obs), torch.zeros(2, 1))


def test_the_value_head_starts_at_zero(make_policy: Any) -> None:
    for critic in ("detached", "shared", "separate"):
        policy = make_policy(critic=critic)
        obs = {name: torch.from_numpy(array) for name, array in observe([[5, 6, 7], [8]]).items()}
        assert policy.predict_values(obs).flatten().tolist() == [0.0, 0.0]


def test_pad_ids_inside_a_text_count(make_policy: Any, oracle_of: Any) -> None:
    """Lengths come from the mask: 0 is a pad id, 1 is EOS, and both are tokens like others where they are attended."""
    policy = make_policy()
    for text in ([0, 0, 5, 0], [1, 5, 1]):
        obs = {name: torch.from_numpy(array) for name, array in observe([text]).items()}
        with torch.no_grad():
            logits = policy.get_distribution(obs).distribution.logits[0]
            torch.testing.assert_close(logits, oracle_of(policy).logits(text).log_softmax(0), rtol=0, atol=1e-5)


def test_caches_are_dropped_before_updates_and_kept_while_predicting(make_policy: Any) -> None:
    policy = make_policy(critic="separate")
    obs = {name: torch.from_numpy(array) for name, array in observe([[5, 6, 7], [8]]).items()}
    with torch.no_grad():
        policy(obs)
        policy.set_training_mode(False)
        pools = policy._actor_caches, policy._critic_caches
        assert [[cache.is_empty for cache in pool._caches] for pool in pools] == [[False], [False]]
        policy.set_training_mode(True)
        assert [[cache.is_empty for cache in pool._caches] for pool in pools] == [[True], [True]]
        policy(obs)
        policy.load_state_dict(policy.state_dict())
        assert [pool._caches for pool in pools] == [[], []]


def test_predict(make_policy: Any, make_env: Any) -> None:
    policy, obs = make_policy(), make_env(3).reset()
    first = policy.predict(obs, deterministic=True)[0]
    assert first.tolist() == policy.predict(obs, deterministic=True)[0].tolist()
    single = {name: array[0] for name, array in obs.items()}
    assert policy.predict(single, deterministic=True)[0] == first[0]
    torch.manual_seed(0)
    sampled = policy.predict(obs)[0].tolist()
    torch.manual_seed(0)
    assert policy.predict(obs)[0].tolist() == sampled


def test_precision_of_a_given_language_model(make_network: Any, make_policy: Any) -> None:
    """The option decides, also where a wrapped model comes with a precision of its own."""
    assert make_policy(CausalLM(make_network()), precision="bf16").model.precision == "bf16"
    assert make_policy(CausalLM(make_network(), precision="bf16")).model.precision == "fp32"


# ------------------------------------------------------------------ seeds
@pytest.mark.parametrize("buffer", [None, EpisodeRolloutBuffer])
def test_seeds(buffer: Any, make_env: Any, make_network: Any) -> None:
    def train(seed: int) -> dict[str, torch.Tensor]:
        agent = stock_ppo(make_env(), make_network(), seed=seed, rollout_buffer_class=buffer, learning_rate=1e-3)
        agent.learn(4 * 11 * 2)
        return weights(agent.policy)

    first = train(1)
    assert equal(first, train(1))
    assert not equal(first, train(2))


# ------------------------------------------------------------------ storage
def nudge(policy: Any) -> None:
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))


@pytest.mark.parametrize("options", POLICIES.values(), ids=POLICIES.keys())
def test_save_and_load(options: dict[str, Any], make_network: Any, make_policy: Any, tmp_path: Path) -> None:
    policy = make_policy(make_network("gpt2"), **options)
    nudge(policy)
    policy.save(tmp_path / "policy")
    again = CausalLMPolicy.load(tmp_path / "policy", device="cpu")
    assert type(again.model.network) is type(policy.model.network)
    assert equal(weights(policy), weights(again))
    assert again.options == policy.options
    assert again.action_space == policy.action_space
    obs = observe([[5, 6, 7], [9], [200, 3]])
    assert again.predict(obs, deterministic=True)[0].tolist() == policy.predict(obs, deterministic=True)[0].tolist()
    files = {file.name for file in (tmp_path / "policy").rglob("*") if file.is_file()}
    assert files <= {"config.json", "manifest.json", "state.json", "tensors.safetensors"}


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_weights_keep_their_type(dtype: torch.dtype, make_network: Any, make_policy: Any, tmp_path: Path) -> None:
    """Whatever the configuration says, what is loaded is what was saved."""
    network = make_network("llama", dtype="bfloat16" if dtype is torch.float64 else "float32").to(dtype)
    policy = make_policy(network)
    if dtype is torch.float64:
        policy = policy.double()
    nudge(policy)
    policy.save(tmp_path / "policy")
    again = CausalLMPolicy.load(tmp_path / "policy", device="cpu")
    assert equal(weights(policy.model), weights(again.model))


def test_save_and_load_with_a_tokenizer(model_folder: Path, make_policy: Any, tmp_path: Path) -> None:
    policy = make_policy(str(model_folder))
    nudge(policy)
    policy.save(tmp_path / "policy")
    again = CausalLMPolicy.load(tmp_path / "policy")
    assert again.model.tokenizer.fingerprint == Tokenizer.load(model_folder).fingerprint
    again.save_pretrained(tmp_path / "hf")
    shutil.rmtree(tmp_path / "policy")
    again.save(tmp_path / "policy")  # into the place it was loaded from
    assert equal(weights(CausalLMPolicy.load(tmp_path / "policy")), weights(policy))
    network = AutoModelForCausalLM.from_pretrained(tmp_path / "hf")
    torch.testing.assert_close(network.state_dict(), policy.model.network.state_dict())
    assert Tokenizer.load(tmp_path / "hf").fingerprint == Tokenizer.load(model_folder).fingerprint


class Hostile:
    """Leaves a trace when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.trace),)


def test_nothing_is_unpickled(model_folder: Path, make_policy: Any, make_env: Any, tmp_path: Path) -> None:
    folder, trace = tmp_path / "policy", tmp_path / "trace"
    make_policy(str(model_folder)).save(folder)
    PPO(CausalLMPolicy, make_env(), policy_kwargs={"model": str(model_folder)}).save(tmp_path / "run")
    hostile = pickle.dumps(Hostile(trace))
    for place in (folder, folder / "model", tmp_path / "run", tmp_path / "run" / "model"):
        for name in ("pytorch_model.bin", "policy.pth", "data.pkl", "optimizer.pt", "training_args.bin"):
            (place / name).write_bytes(hostile)
    CausalLMPolicy.load(folder)
    PPO.load(tmp_path / "run")
    assert not trace.exists()
    pickle.loads(hostile)
    assert trace.exists()  # it would have been seen


def test_code_in_a_checkpoint_is_not_run(make_policy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy, trace = make_policy(), tmp_path / "trace"
    policy.save_config(tmp_path)
    (tmp_path / "model" / "own.py").write_text(f"open({str(trace)!r}, 'w')\nfrom transformers import GPT2Config as C\n")
    own = {"model_type": "own", "auto_map": {"AutoConfig": "own.C", "AutoModelForCausalLM": "own.M"}}
    file = tmp_path / "model" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | own))
    monkeypatch.setattr("builtins.input", lambda *_: "y")  # the answer, if transformers should ask
    with pytest.raises(CheckpointError, match="code from a checkpoint is not run"):
        rebuild_model(policy.describe(), tmp_path)
    assert not trace.exists()


def test_dropout_is_saved_as_it_was_given(make_network: Any, make_policy: Any, tmp_path: Path) -> None:
    make_policy(make_network(hidden_dropout=0.25)).save(tmp_path / "policy")
    again = CausalLMPolicy.load(tmp_path / "policy", device="cpu")
    again.save_pretrained(tmp_path / "hf")
    for file in (tmp_path / "policy" / "model" / "config.json", tmp_path / "hf" / "config.json"):
        assert json.loads(file.read_text())["hidden_dropout"] == 0.25
    assert again.model.config.hidden_dropout == 0.0


def test_the_model_card(model_folder: Path, make_policy: Any, tmp_path: Path) -> None:
    card = tmp_path / "README.md"
    make_policy(str(model_folder), temperature=0.7).save_pretrained(tmp_path)
    for row in (f"Start model | {model_folder.name}", "Temperature it acted at | 0.7"):
        assert f"| {row} |" in card.read_text()
    assert "Stable-Baselines3 policy" in card.read_text()
    card.write_text("my own")
    make_policy().save_pretrained(tmp_path)
    assert card.read_text() == "my own"
    card.unlink()
    make_policy().save_pretrained(tmp_path)
    assert "| Start model | a GPTNeoXForCausalLM, given as a module |" in card.read_text()


def test_other_folders_are_refused(make_policy: Any, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="none that is complete"):
        CausalLMPolicy.load(tmp_path)
    make_policy().save(tmp_path / "policy")
    with pytest.raises(CheckpointError, match=r"expected a checkpoint of textgym\.PPO"):
        PPO.load(tmp_path / "policy")
    record = json.loads((tmp_path / "policy" / "state.json").read_text())
    (tmp_path / "policy" / "state.json").write_text(json.dumps({**record, "width": 3}))
    with pytest.raises(CheckpointError, match="another content"):
        CausalLMPolicy.load(tmp_path / "policy")


def test_the_model_is_that_of_the_environment_by_default(env_ids: tuple[str, str], model_folder: Path) -> None:
    from textgym.agents.common.vec_env import make_vec_env

    agent = PPO("CausalLMPolicy", make_vec_env(env_ids[0], 2, 0, model=str(model_folder)))
    assert agent.policy.model.source == str(model_folder)


def test_a_checkpoint_keeps_the_source_and_has_its_own_tokenizer(
    env_ids: tuple[str, str], model_folder: Path, tmp_path: Path
) -> None:
    from textgym.agents.common.vec_env import make_vec_env

    start = shutil.copytree(model_folder, tmp_path / "start")
    agent = PPO("CausalLMPolicy", make_vec_env(env_ids[0], 2, 0, model=str(start)))
    agent.save(tmp_path / "agent")
    agent.policy.save(tmp_path / "policy")
    shutil.rmtree(start)  # nothing is read from there again
    for model in (PPO.load(tmp_path / "agent").text_model, CausalLMPolicy.load(tmp_path / "policy").model):
        assert model.source == str(start)
        assert model.tokenizer.fingerprint == agent.text_model.tokenizer.fingerprint


def test_optimizer_arguments(make_policy: Any) -> None:
    group = make_policy().optimizer.param_groups[0]
    assert (group["eps"], group["weight_decay"], group["lr"]) == (1e-5, 0.0, 1e-3)
    policy = make_policy(optimizer_class=torch.optim.SGD, optimizer_kwargs={"momentum": 0.5})
    assert isinstance(policy.optimizer, torch.optim.SGD)
    assert policy.optimizer.param_groups[0]["momentum"] == 0.5
    lora = make_policy(lora_rank=2)
    trained = {id(parameter) for group in lora.optimizer.param_groups for parameter in group["params"]}
    names = {name for name, parameter in lora.named_parameters() if id(parameter) in trained}
    assert all("lora" in name or "value_head" in name for name in names)


def test_what_is_left_of_a_skipped_text_grows_by_the_tokens_that_are_chosen() -> None:
    """Or else what a GPU reads ahead would be of no use."""
    ids = torch.tensor([[5, 6, 7, 8, 9, 0], [5, 6, 7, 8, 9, 0], [3, 4, 0, 0, 0, 0]])
    texts = TextBatch(ids, torch.tensor([5, 5, 2]), torch.tensor([3, 3, 2]))
    left = _without(np.array([True, False, True]), texts)
    shown = [row[:length].tolist() for row, length in zip(left.input_ids, left.lengths, strict=True)]
    assert shown == [[5, 8, 9], [5, 6, 7, 8, 9], [3]]
    assert left.prompt_lengths.tolist() == [1, 3, 1]
