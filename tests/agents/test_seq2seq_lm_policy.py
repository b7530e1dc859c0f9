"""The policy of encoder-decoders, under every algorithm, against the bare Hugging Face model."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import stable_baselines3
import torch
from gymnasium import spaces
from torch import Tensor
from transformers import AutoModelForSeq2SeqLM

from tests.agents.test_ppo_state import SaveAt, assert_same_run
from tests.envs.guessing import Guessing, write_tokenizer
from tests.seq2seq_models import KINDS, build_network, write_folder
from textgym.agents import PPO, CausalLMPolicy, Seq2SeqLMPolicy, make_vec_env, resolve_agent
from textgym.agents.common.policy_record import token_observation_space
from textgym.agents.common.rollout_buffer import EpisodeRolloutBuffer
from textgym.agents.reinforce import REINFORCE
from textgym.agents.sft import SFT, response_loss
from textgym.errors import CheckpointError, ModelError, TokenizerMismatchError
from textgym.evaluation import evaluate, make_evaluation_set
from textgym.models import Seq2SeqLM, load_language_model
from textgym.registration import register_task
from textgym.spaces import TokenSpace
from textgym.text.tokenizer import Tokenizer

GUESSING, _ = register_task("TestSeq2SeqGuessing", Guessing)
EnvFactory = Callable[..., Any]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return {kind: str(write_folder(tmp_path_factory.mktemp(kind), kind)) for kind in KINDS}


@pytest.fixture(scope="module")
def envs(env_ids: tuple[str, str], folders: dict[str, str]) -> EnvFactory:
    """``envs(kind, n, seed)``: prompts of up to 40 tokens, texts of up to 8."""

    def make(kind: str, n: int = 4, seed: int = 0, **options: Any) -> Any:
        return make_vec_env(env_ids[0], n, seed, model=folders[kind], max_new_tokens=8, **options)

    return make


def few(folder: str) -> tuple[int, ...]:
    """Most tokens, to be suppressed: EOS is drawn often then, and texts end at different times."""
    return tuple(range(9, Tokenizer.load(folder).vocab_size))


def make_policy(envs: EnvFactory, folders: dict[str, str], kind: str, **options: Any) -> tuple[Any, Any]:
    env, model = envs(kind, 3), load_language_model(folders[kind], dtype=torch.float64)
    policy = Seq2SeqLMPolicy(env.observation_space, env.action_space, lambda _: 1e-3, model, **options).double()
    torch.nn.init.normal_(policy.value_head.weight)
    return env, policy


def bare(policy: Any, text: list[int], prompt: int) -> tuple[Tensor, Tensor]:
    """Log-probabilities (V,) and value () after one unpadded text, by the bare model."""
    start, options = policy.model.start_ids, policy.options
    given = {"input_ids": torch.tensor([text[:prompt]]), "decoder_input_ids": torch.tensor([[*start, *text[prompt:]]])}
    logits = policy.model.network(**given).logits[0, -1] / options.temperature
    logits[list(options.suppress_tokens)] = -1e9
    network = (policy.critic or policy.model).network
    state = network(**given, output_hidden_states=True).decoder_hidden_states[-1][0, -1]
    return logits.log_softmax(0), policy.value_head(state)[0]


def texts_of(obs: dict[str, np.ndarray]) -> list[tuple[list[int], int]]:
    lengths = obs["attention_mask"].sum(1)
    rows = zip(obs["input_ids"], lengths, obs["prompt_length"][:, 0], strict=True)
    return [(row[:length].tolist(), int(prompt)) for row, length, prompt in rows]


def tensors(obs: dict[str, np.ndarray]) -> dict[str, Tensor]:
    return {name: torch.from_numpy(array) for name, array in obs.items()}


# ------------------------------------------------------------------ numbers
POLICIES: dict[str, tuple[str, dict[str, Any]]] = {
    "t5, separate critic": ("t5", {"critic": "separate", "temperature": 0.7}),
    "bart": ("bart", {}),
    "mbart, LoRA, shared critic": ("mbart", {"lora_rank": 2, "critic": "shared"}),
}


@pytest.mark.parametrize(("kind", "options"), POLICIES.values(), ids=POLICIES)
def test_acting_and_scoring_equal_the_bare_model(
    kind: str, options: dict[str, Any], envs: EnvFactory, folders: dict[str, str]
) -> None:
    env, policy = make_policy(envs, folders, kind, suppress_tokens=few(folders[kind]), **options)
    for name, parameter in policy.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    obs = env.reset()
    for step in range(11):
        policy.set_training_mode(False)
        with torch.no_grad():
            actions, values, log_probs = policy(tensors(obs))
            found = [bare(policy, *text) for text in texts_of(obs)]
        expected = torch.stack([log_prob[action] for (log_prob, _), action in zip(found, actions, strict=True)])
        torch.testing.assert_close(log_probs, expected, rtol=0, atol=1e-9)
        torch.testing.assert_close(values[:, 0], torch.stack([value for _, value in found]), rtol=0, atol=1e-6)
        if step == 4:
            policy.set_training_mode(True)
            values, scored, entropy = policy.evaluate_actions(tensors(obs), actions)
            torch.testing.assert_close(scored.detach(), expected, rtol=0, atol=1e-9)
            entropies = torch.stack([-(row.exp() * row).sum() for row, _ in found])
            torch.testing.assert_close(entropy.detach(), entropies, rtol=0, atol=1e-9)
            (scored.sum() + entropy.sum() + values.sum()).backward()
            moved = [each for each in policy.model.parameters() if each.requires_grad and each.grad is not None]
            assert moved
        obs, *_ = env.step(np.where(np.arange(3) == step % 3, Tokenizer.load(folders[kind]).eos_ids[0], actions))


def test_the_families_have_a_policy_each(folders: dict[str, str]) -> None:
    tokens, texts = TokenSpace(64, "none", "none"), token_observation_space(24, 64, 16)
    network = build_network("t5")
    with pytest.raises(ModelError, match=r"expected a causal LM, got T5.*, an encoder-decoder; use .*Seq2SeqLMPolicy"):
        CausalLMPolicy(texts, tokens, lambda _: 1e-3, network)
    with pytest.raises(ModelError, match=r"expected an encoder-decoder, got GPTNeoX.*; use .*CausalLMPolicy"):
        Seq2SeqLMPolicy(texts, tokens, lambda _: 1e-3, "tiny")
    silent = spaces.Dict({name: space for name, space in texts.items() if name != "prompt_length"})
    with pytest.raises(ValueError, match=r"expected observations with prompt_length, .* got attention_mask, input_ids"):
        Seq2SeqLMPolicy(silent, tokens, lambda _: 1e-3, network)
    short = build_network("bart", max_position_embeddings=16)
    Seq2SeqLMPolicy(token_observation_space(16 + 14, 64, 16), tokens, lambda _: 1e-3, short)
    with pytest.raises(ModelError, match="context of at least 17 tokens"):
        Seq2SeqLMPolicy(token_observation_space(16 + 15, 64, 16), tokens, lambda _: 1e-3, short)


def test_an_environment_with_the_tokenizer_alone_does_not_fit(
    env_ids: tuple[str, str], folders: dict[str, str], tmp_path: Path
) -> None:
    Tokenizer.load(folders["t5"]).save(tmp_path)
    env = make_vec_env(env_ids[0], 2, 0, model=str(tmp_path))
    with pytest.raises(TokenizerMismatchError, match="make the environment with model="):
        PPO("Seq2SeqLMPolicy", env, policy_kwargs={"model": folders["t5"]})


# ------------------------------------------------------------------ Stable-Baselines3
@pytest.mark.parametrize(("kind", "buffer"), [("t5", None), ("bart", EpisodeRolloutBuffer)])
def test_stock_ppo(kind: str, buffer: Any, envs: EnvFactory, folders: dict[str, str], tmp_path: Path) -> None:
    """The ratio is 1 before the first step, with texts that go on from the last rollout; it learns, saves and loads."""
    env, policy = envs(kind), {"model": folders[kind], "suppress_tokens": few(folders[kind])}
    settings = {"n_steps": 11, "batch_size": 22, "n_epochs": 1, "gamma": 1.0, "seed": 1, "learning_rate": 1e-3}
    agent = stable_baselines3.PPO(Seq2SeqLMPolicy, env, policy_kwargs=policy, rollout_buffer_class=buffer, **settings)
    _, callback = agent._setup_learn(1000)
    before = {name: tensor.clone() for name, tensor in agent.policy.state_dict().items()}
    for _ in range(2):
        agent.collect_rollouts(env, callback, agent.rollout_buffer, agent.n_steps)
        agent.policy.set_training_mode(True)
        for sample in agent.rollout_buffer.get(22):
            with torch.no_grad():
                _, log_probs, _ = agent.policy.evaluate_actions(sample.observations, sample.actions.long().flatten())
            torch.testing.assert_close(log_probs, sample.old_log_prob, rtol=0, atol=1e-4)
        agent.train()
    assert not agent._last_episode_starts.all()
    assert not all(torch.equal(before[name], tensor) for name, tensor in agent.policy.state_dict().items())
    agent.save(tmp_path / "agent.zip")
    again = stable_baselines3.PPO.load(tmp_path / "agent.zip")
    obs = env.reset()
    assert again.predict(obs, deterministic=True)[0].tolist() == agent.predict(obs, deterministic=True)[0].tolist()


def test_stock_a2c(envs: EnvFactory, folders: dict[str, str]) -> None:
    agent = stable_baselines3.A2C(
        Seq2SeqLMPolicy, envs("mbart"), n_steps=6, seed=0, policy_kwargs={"model": folders["mbart"]}
    )
    before = [parameter.clone() for parameter in agent.policy.parameters()]
    agent.learn(4 * 6 * 2)
    assert any(not torch.equal(old, new) for old, new in zip(before, agent.policy.parameters(), strict=True))


# ------------------------------------------------------------------ agents
RUNS: dict[str, tuple[str, dict[str, Any]]] = {
    "t5": ("t5", {}),
    "bart": ("bart", {"critic": "separate", "temperature": 0.7}),
    "mbart, LoRA": ("mbart", {"lora_rank": 2}),
}


@pytest.mark.parametrize(("kind", "options"), RUNS.values(), ids=RUNS)
def test_ppo_begins_at_kl_0_and_resumes_bit_for_bit(
    kind: str, options: dict[str, Any], envs: EnvFactory, folders: dict[str, str], length_reward: Any, tmp_path: Path
) -> None:
    policy = {"suppress_tokens": few(folders[kind]), **options}
    settings = {"n_steps": 11, "batch_size": 44, "n_epochs": 1, "learning_rate": 1e-2}
    run = PPO.create(
        envs(kind, reward=length_reward), folders[kind], seed=1, device="cpu", policy_kwargs=policy, **settings
    )
    assert type(run.policy) is Seq2SeqLMPolicy
    run.learn(4 * 11 * 3, callback=SaveAt(tmp_path / "checkpoint", 4 * 11))
    assert run.history[0]["kl"] == pytest.approx(0, abs=1e-4)
    assert run.history[0]["ratio_max"] == pytest.approx(1, abs=1e-4)
    assert abs(run.history[-1]["kl"]) > 1e-4
    torch.manual_seed(123)
    again = PPO.load(tmp_path / "checkpoint", env=envs(kind, seed=77, reward=length_reward), device="cpu")
    assert type(again.policy) is Seq2SeqLMPolicy
    assert again.policy.model.start_ids == run.policy.model.start_ids  # type: ignore[attr-defined]
    again.learn(4 * 11 * 2, reset_num_timesteps=False)
    assert_same_run(run, again)


def test_reinforce(envs: EnvFactory, folders: dict[str, str]) -> None:
    agent = REINFORCE.create(envs("bart"), folders["bart"], seed=0, device="cpu", baseline="learned", rollout_texts=4)
    agent.learn(1)
    assert agent.history[0]["texts"] == 4
    assert agent.history[0]["kl"] == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("kind", ["t5", "bart"])
def test_supervised_training(kind: str, envs: EnvFactory, folders: dict[str, str], tmp_path: Path) -> None:
    """The loss is that of the bare model, falls, and a run goes on bit for bit."""
    env, options = envs(kind), {"batch_size": 4, "learning_rate": 1e-2, "log_every": 4}
    agent = SFT.create(env, folders[kind], seed=0, device="cpu", limit=8, **options)
    pair = agent.pairs[0]
    network = agent.text_model.network
    assert isinstance(agent.text_model, Seq2SeqLM)
    with torch.no_grad():
        written = torch.tensor([[*agent.text_model.start_ids, *pair.response[:-1]]])
        logits = network(input_ids=torch.tensor([pair.prompt]), decoder_input_ids=written).logits[0]
        expected = torch.nn.functional.cross_entropy(logits[-len(pair.response) :], torch.tensor(pair.response))
        torch.testing.assert_close(response_loss(agent.text_model, [pair]), expected, rtol=0, atol=1e-4)
    agent.learn(16)
    agent.save(tmp_path / "sft")
    again = SFT.load(tmp_path / "sft", env, device="cpu")
    for each in (agent, again):
        each.learn(4, reset_num_timesteps=False)
    assert agent.losses == again.losses
    assert np.mean(agent.losses[-4:]) < np.mean(agent.losses[:4]) - 0.3
    with pytest.raises(ModelError, match=r"expected positions in responses, .* leave prompt_share at 0"):
        response_loss(agent.text_model, agent.pairs[:2], 0.5, np.random.default_rng(0))


@pytest.mark.parametrize("name", ["dpo", "kto", "expert_iteration"])
def test_preferences_and_expert_iteration(
    name: str, envs: EnvFactory, folders: dict[str, str], length_reward: Any, tmp_path: Path
) -> None:
    """They learn from whole responses, and go on bit for bit."""
    env = envs("t5", 1, reward=length_reward)
    options = {"labels": 24, "batch_size": 4} if name != "expert_iteration" else {"n": 4, "prompts": 4}
    agent: Any = resolve_agent(name).create(env, folders["t5"], seed=0, device="cpu", learning_rate=1e-2, **options)
    agent.learn(8)
    agent.save(tmp_path / "agent")
    again = type(agent).load(tmp_path / "agent", env=env, device="cpu")
    for each in (agent, again):
        each.learn(2, reset_num_timesteps=False)
    assert agent.losses == again.losses
    if name == "dpo":
        assert agent.losses[0] == pytest.approx(np.log(2), abs=1e-4)
        assert np.mean(agent.losses[-3:]) < np.log(2)


def test_a_policy_in_a_folder(envs: EnvFactory, folders: dict[str, str], tmp_path: Path) -> None:
    env = envs("bart", 3)
    spaces_of_env = (env.observation_space, env.action_space)
    policy = Seq2SeqLMPolicy(*spaces_of_env, lambda _: 1e-3, folders["bart"], critic="separate")
    policy.save(tmp_path / "policy")
    again = Seq2SeqLMPolicy.load(tmp_path / "policy", "cpu")
    obs = env.reset()
    for one, other in zip(policy(tensors(obs), True), again(tensors(obs), True), strict=True):
        torch.testing.assert_close(one, other)
    with pytest.raises(CheckpointError, match=r"textgym\.CausalLMPolicy"):
        CausalLMPolicy.load(tmp_path / "policy")
    policy.save_pretrained(tmp_path / "model", env)
    assert json.loads((tmp_path / "model" / "textgym.json").read_text())["max_new_tokens"] == 8
    assert "AutoModelForSeq2SeqLM" in (tmp_path / "model" / "README.md").read_text()
    weights = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "model").state_dict()
    assert all(torch.equal(tensor, weights[name]) for name, tensor in policy.model.network.state_dict().items())


def test_evaluation(env_ids: tuple[str, str], folders: dict[str, str], length_reward: Any) -> None:
    questions = make_evaluation_set(env_ids[0], length_reward, prompts=4, max_new_tokens=6)
    model, other = (load_language_model(folders["t5"]) for _ in range(2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        same = evaluate(model, questions, reference=other)
    assert same.measures.values["kl"] == pytest.approx(np.zeros(4), abs=1e-4)
    greedy = resolve_agent("greedy").create(make_vec_env(env_ids[0], 2, 0, model=folders["t5"]), folders["t5"])
    assert len(evaluate(greedy, questions, tokenizer=folders["t5"]).texts) == 4


def test_conversations_are_prompts_of_their_next_turn(tmp_path: Path) -> None:
    """What was said so far is encoded again, the agent's own turns too; each part ends as the tokenizer ends a text."""
    folder = write_tokenizer(tmp_path)
    file = folder / "tokenizer.json"
    description = json.loads(file.read_text())
    ids = {token["content"]: token["id"] for token in description["added_tokens"]}
    end = Tokenizer.load(folder).eos_ids[0]
    name = next(text for text, id_ in ids.items() if id_ == end)
    description["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": name, "type_id": 0}}],
        "pair": [],
        "special_tokens": {name: {"id": name, "ids": [end], "tokens": [name]}},
    }
    file.write_text(json.dumps(description))
    build_network("t5", 24, eos_token_id=end).save_pretrained(folder)
    env = make_vec_env(GUESSING, n_envs=4, seed=0, model=str(folder))
    agent = PPO.create(env, str(folder), seed=0, device="cpu", n_steps=12, batch_size=48, n_epochs=1)
    agent.learn(4 * 12)
    buffer: Any = agent.rollout_buffer
    segments = buffer.segments()
    assert all(segment.prefix[-1] == end and segment.prompt_length == len(segment.prefix) for segment in segments)
    assert any((segment.prefix == end).sum() > 1 for segment in segments)
    assert agent.history[0]["ratio_max"] == pytest.approx(1, abs=1e-4)
    assert agent.history[0]["kl"] == pytest.approx(0, abs=1e-4)


def many_e(prompts: Any, responses: Any, examples: Any) -> list[float]:
    """The share of the letter e in what is written."""
    return [text.count("e") / max(1, len(text)) for text in responses]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "rate"), [("t5", 1e-2), ("bart", 3e-3)])
def test_ppo_learns(kind: str, rate: float, envs: EnvFactory, folders: dict[str, str]) -> None:
    settings = {"n_steps": 8, "batch_size": 64, "n_epochs": 2, "learning_rate": rate, "kl_coef": 0.0}
    agent = PPO.create(envs(kind, 16, reward=many_e), folders[kind], seed=0, device="cpu", **settings)
    agent.learn(16 * 8 * 25)
    rewards = [record["reward"] for record in agent.history]
    assert np.mean(rewards[-4:]) > 1.7 * np.mean(rewards[:4]), agent.history[-1]
