"""An encoder-decoder in about sixty lines: what decodes, scores and trains needs no change for another family."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import stable_baselines3
import torch
from torch import Tensor
from transformers import T5Config, T5ForConditionalGeneration

from textgym.agents.common.causal_lm_policy import CausalLMPolicy
from textgym.agents.common.policy_record import token_observation_space
from textgym.agents.common.rollout_buffer import EpisodeRolloutBuffer
from textgym.agents.common.vec_env import make_vec_env
from textgym.agents.ppo import PPO
from textgym.errors import ModelError
from textgym.models.batch import EpisodeBatch, TextBatch, pad_rows, share_prefixes
from textgym.models.decoding.generation import generate
from textgym.models.decoding.prefix_cache import PrefixCache
from textgym.models.log_probs import response_batch, response_log_probs, token_log_probs
from textgym.models.text_model import TextModel
from textgym.spaces import TokenSpace

ROWS = 384


class Seq2Seq(TextModel):
    """The prompt is encoded, the response decoded; states begin at the last token of the prompt."""

    def hidden(self, batch: EpisodeBatch) -> Tensor:
        """States (N, H)."""
        before = batch.prompt_lengths - 1  # (E,) where the states of each text begin
        steps = batch.positions - before[batch.rows]  # (N,)
        if bool((steps < 0).any()):
            raise ModelError("expected positions in responses, got one in a prompt; it is read, not written")
        width = int(batch.prompt_lengths.max())
        columns = torch.arange(width, device=before.device)
        mask = (columns < batch.prompt_lengths[:, None]).long()  # (E, P)
        encoded = self.network.get_encoder()(input_ids=batch.input_ids[:, :width], attention_mask=mask)[0]
        places = before[:, None] + torch.arange(int(steps.max()) + 1, device=before.device)  # (E, R)
        written = batch.input_ids.gather(1, places.clamp(max=batch.input_ids.shape[1] - 1))
        written[:, 0] = self.network.config.decoder_start_token_id  # in the place of the prompt's last token
        decoder = self.network.get_decoder()
        states = decoder(input_ids=written, encoder_hidden_states=encoded, encoder_attention_mask=mask)[0]
        chosen: Tensor = states[batch.rows, steps]
        return chosen

    def logits(self, hidden: Tensor) -> Tensor:
        """Logits (..., V)."""
        logits: Tensor = self.network.get_output_embeddings()(hidden)
        return logits[..., : self.vocab_size]


class Continued(Seq2Seq):
    """The same, of which decoding takes it that a token more costs less than the whole text."""

    def caches(self, tokens: int) -> bool:
        """Whatever the length."""
        return True


def build(family: type[TextModel] = Seq2Seq, dtype: torch.dtype = torch.float64, rows: int = 64) -> TextModel:
    torch.manual_seed(0)
    sizes = {"vocab_size": rows, "d_model": 32, "d_kv": 8, "num_heads": 4, "d_ff": 64, "num_layers": 2}
    ids = {"pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 3}
    config = T5Config(**sizes, **ids, dropout_rate=0.4, tie_word_embeddings=False, feed_forward_proj="gated-gelu")
    network = T5ForConditionalGeneration(config).to(dtype)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                parameter.mul_(3.0)
    return family(network)


def oracle(model: TextModel, text: list[int], prompt: int) -> Tensor:
    """Logits (V,) after one unpadded text, by the bare Hugging Face model."""
    with torch.no_grad():
        written = torch.tensor([[model.network.config.decoder_start_token_id, *text[prompt:]]])
        logits: Tensor = model.network(input_ids=torch.tensor([text[:prompt]]), decoder_input_ids=written).logits
    return logits[0, -1, : model.vocab_size]


PROMPTS = [[5, 6, 7, 8, 9], [10, 11], [5, 6, 7, 8, 9], [12]]
RESPONSES = [[20, 21, 1], [22, 23, 24, 25, 1], [20, 26], [27]]


@pytest.mark.parametrize("mode", [False, True])
def test_log_probs_are_those_of_the_bare_model(mode: bool) -> None:
    model = build().train(mode)  # dropout is off in both
    batch, actions = response_batch(model, PROMPTS, RESPONSES)
    ours = token_log_probs(model, batch, actions).detach()
    expected = [
        oracle(model, prompt + response[:step], len(prompt)).log_softmax(0)[response[step]]
        for prompt, response in zip(PROMPTS, RESPONSES, strict=True)
        for step in range(len(response))
    ]
    torch.testing.assert_close(ours, torch.stack(expected), rtol=0, atol=1e-9)
    sums = [part.sum() for part in torch.stack(expected).split([len(response) for response in RESPONSES])]
    found = response_log_probs(model, PROMPTS, RESPONSES)
    torch.testing.assert_close(torch.from_numpy(found), torch.stack(sums), rtol=0, atol=1e-9)


def test_a_prompt_is_not_written() -> None:
    model = build()
    with pytest.raises(ModelError, match="expected positions in responses"):
        model.hidden(share_prefixes(TextBatch(torch.tensor([[5, 6, 7]]), torch.tensor([1]), torch.tensor([3]))))


def test_generation_is_that_of_the_bare_model() -> None:
    model = build()
    found = generate(model, PROMPTS, max_new_tokens=6, eos_ids=[1], temperature=0, batch_size=3)
    for prompt, response in zip(PROMPTS, found, strict=True):
        for step, token in enumerate(response):
            assert token == int(oracle(model, prompt + response[:step], len(prompt)).argmax())
        assert response[-1] == 1 or len(response) == 6


@pytest.mark.parametrize("family", [Seq2Seq, Continued])
def test_rows_that_grow_end_and_swap_have_the_states_of_whole_texts(family: type[TextModel]) -> None:
    model, generator = build(family), torch.Generator().manual_seed(0)
    cache, texts, prompts = PrefixCache(model, 3, 16), [PROMPTS[0], PROMPTS[1], PROMPTS[3]], [5, 2, 1]
    for step in range(14):
        ids, lengths = pad_rows([*texts, [0] * 16], 0)
        states = cache.hidden(TextBatch(ids[:3], lengths[:3], torch.tensor(prompts)))
        expected = torch.stack([oracle(model, text, prompt) for text, prompt in zip(texts, prompts, strict=True)])
        torch.testing.assert_close(model.logits(states).detach(), expected, rtol=0, atol=1e-9)
        texts = [
            [*text, token] for text, token in zip(texts, torch.randint(4, 64, (3,), generator=generator), strict=True)
        ]
        texts = [[int(token) for token in text] for text in texts]
        if step == 4:  # the same ids, of which more were given
            prompts[1] = len(texts[1])
        if step in (3, 8):
            texts[step % 3], prompts[step % 3] = [9, 8, 7], 3


def observe(texts: list[list[int]], prompts: list[int]) -> dict[str, Tensor]:
    ids, lengths = pad_rows([*texts, [0] * 24], 0)
    mask = (torch.arange(24) < lengths[:, None]).to(torch.int8)
    return {"input_ids": ids[:-1], "attention_mask": mask[:-1], "prompt_length": torch.tensor(prompts)[:, None]}


@pytest.mark.parametrize("critic", ["detached", "separate"])
def test_a_policy_acts_and_scores_with_it(critic: str) -> None:
    model = build()
    policy = CausalLMPolicy(
        token_observation_space(24, 64, 16), TokenSpace(64, "none", "none"), lambda _: 1e-3, model, critic=critic,
        temperature=0.7,
    ).double()  # fmt: skip
    texts, prompts = [[5, 6, 7], [5, 6, 7, 20], [5, 6, 7, 20, 21], [9], [5, 6, 7, 20]], [3, 3, 3, 1, 4]
    obs = observe(texts, prompts)
    expected = torch.stack([oracle(model, text, prompt) for text, prompt in zip(texts, prompts, strict=True)])
    expected = (expected / 0.7).log_softmax(1)
    policy.set_training_mode(False)
    with torch.no_grad():
        actions, values, log_probs = policy(obs)
    torch.testing.assert_close(log_probs, expected[torch.arange(5), actions], rtol=0, atol=1e-9)
    assert values.shape == (5, 1)
    policy.set_training_mode(True)
    values, scored, entropy = policy.evaluate_actions(obs, actions)
    torch.testing.assert_close(scored.detach(), log_probs, rtol=0, atol=1e-9)
    torch.testing.assert_close(entropy.detach(), -(expected.exp() * expected).sum(1), rtol=0, atol=1e-9)
    (scored.sum() + values.sum()).backward()
    assert all(parameter.grad is not None for parameter in model.network.parameters())


@pytest.fixture
def venv(env_ids: tuple[str, str], tokenizer_folder: Path) -> Any:
    return make_vec_env(env_ids[0], 4, 0, model=str(tokenizer_folder), max_new_tokens=8)


@pytest.mark.parametrize("buffer", [None, EpisodeRolloutBuffer])
def test_texts_that_go_on_from_the_last_rollout_keep_their_prompts(buffer: Any, venv: Any) -> None:
    policy = {"model": build(dtype=torch.float32, rows=ROWS)}
    agent = stable_baselines3.PPO(
        CausalLMPolicy, venv, n_steps=5, batch_size=10, seed=0, rollout_buffer_class=buffer, policy_kwargs=policy
    )
    _, callback = agent._setup_learn(1000)
    for _ in range(2):
        agent.collect_rollouts(venv, callback, agent.rollout_buffer, agent.n_steps)
    assert not agent.rollout_buffer.episode_starts[0].any()
    for sample in agent.rollout_buffer.get(10):
        with torch.no_grad():
            _, log_probs, _ = agent.policy.evaluate_actions(sample.observations, sample.actions)
        torch.testing.assert_close(log_probs, sample.old_log_prob.flatten(), rtol=0, atol=1e-4)


def test_ppo_trains_it(venv: Any) -> None:
    """The first update finds the probabilities of the rollout, and those of the reference are the policy's."""
    model = build(dtype=torch.float32, rows=ROWS)
    before = [parameter.clone() for parameter in model.network.parameters()]
    options = {"n_steps": 5, "batch_size": 16, "n_epochs": 1, "learning_rate": 1e-4, "seed": 0}
    agent = PPO(CausalLMPolicy, venv, policy_kwargs={"model": model}, **options)
    agent.learn(4 * 5 * 2)
    assert abs(agent.history[0]["kl"]) < 1e-4
    assert any(not torch.equal(old, new) for old, new in zip(before, model.network.parameters(), strict=True))
