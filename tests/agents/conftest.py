"""Small random networks over the test tokenizer (377 ids, in a table of 384 rows), policies, and environments."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

from tests.recorded_steps import recorded
from textgym.agents.common.causal_lm_policy import CausalLMPolicy
from textgym.agents.common.vec_env import make_vec_env
from textgym.agents.ppo import PPO
from textgym.spaces import TokenSpace
from textgym.text.tokenizer import Tokenizer

__all__ = ["recorded"]
ROWS = 384
FEW_TOKENS = tuple(range(20, 377))  # suppressed, so that EOS (1) is drawn often and texts end at different times
_NEW = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
_CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt_neox": ("GPTNeoXConfig", {**_NEW, "hidden_dropout": 0.3, "attention_dropout": 0.3}),
    "llama": ("LlamaConfig", {**_NEW, "num_key_value_heads": 2, "attention_dropout": 0.3}),
    "gpt2": ("GPT2Config", {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, "tie_word_embeddings": True}),
}


def build_network(
    kind: str = "gpt_neox", seed: int = 0, *, rows: int = ROWS, scale: float = 4.0, **changes: Any
) -> Any:
    """Build a random causal LM with dropout in its config; ``scale`` enlarges its weights."""
    name, sizes = _CONFIGS[kind]
    torch.manual_seed(seed)
    settings = {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": None, "vocab_size": rows, **sizes, **changes}
    network = transformers.AutoModelForCausalLM.from_config(getattr(transformers, name)(**settings))
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                parameter.mul_(scale)
    return network.eval()


class Oracle:
    """A policy's numbers from the bare Hugging Face model on one unpadded text at a time."""

    def __init__(self, policy: Any) -> None:
        self.policy, self.options = policy, policy.options
        self.vocabulary = int(policy.action_space.n)

    def logits(self, ids: Sequence[int]) -> Tensor:
        logits = self.policy.model.network(input_ids=torch.tensor([list(ids)]), use_cache=False).logits[0, -1]
        logits = logits[: self.vocabulary] / self.options.temperature
        forbidden = torch.zeros(self.vocabulary, dtype=torch.bool)
        forbidden[list(self.options.suppress_tokens)] = True
        return logits.masked_fill(forbidden, -1e9)

    def value(self, ids: Sequence[int]) -> Tensor:
        network = (self.policy.critic or self.policy.model).network
        output = network(input_ids=torch.tensor([list(ids)]), use_cache=False, output_hidden_states=True)
        state = output.hidden_states[-1][0, -1]
        value: Tensor = self.policy.value_head(state.detach() if self.options.critic == "detached" else state)
        return value

    def evaluate(self, texts: Sequence[Sequence[int]], actions: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
        """Values (N, 1), log-probabilities (N,), entropies (N,)."""
        log_probs = [self.logits(text).log_softmax(0) for text in texts]
        entropies = [-(row.exp() * row).sum() for row in log_probs]
        chosen = [row[action] for row, action in zip(log_probs, actions, strict=True)]
        return torch.stack([self.value(text) for text in texts]), torch.stack(chosen), torch.stack(entropies)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def make_network() -> Callable[..., Any]:
    """``make_network(kind, seed, scale=..., **config)``."""
    return build_network


@pytest.fixture(scope="session")
def oracle_of() -> Callable[[Any], Oracle]:
    """``oracle_of(policy)``."""
    return Oracle


@pytest.fixture(scope="session")
def make_env(env_ids: tuple[str, str], tokenizer_folder: Path) -> Callable[..., Any]:
    """``make_env(n, seed=0, **env_kwargs)``: prompts of up to 40 tokens, texts of up to 8."""

    def make(n: int = 4, seed: int | None = 0, **kwargs: Any) -> Any:
        settings = {"model": str(tokenizer_folder), "max_new_tokens": 8, **kwargs}
        return make_vec_env(env_ids[0], n, seed, **settings)

    return make


@pytest.fixture(scope="session")
def token_space(tokenizer_folder: Path) -> TokenSpace:
    tokenizer = Tokenizer.load(tokenizer_folder)
    return TokenSpace(tokenizer.vocab_size, str(tokenizer_folder), tokenizer.fingerprint)


@pytest.fixture(scope="session")
def make_policy(token_space: TokenSpace) -> Callable[..., CausalLMPolicy]:
    """``make_policy(network, width, **options)``."""
    from textgym.agents.common.policy_record import token_observation_space

    def make(network: Any = None, width: int = 48, **options: Any) -> CausalLMPolicy:
        model = build_network() if network is None else network
        spaces = token_observation_space(width, int(token_space.n), 40), token_space
        return CausalLMPolicy(*spaces, lambda _: 1e-3, model, **options)

    return make


@pytest.fixture(scope="session")
def model_folder(tokenizer_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with its tokenizer, in Hugging Face layout."""
    folder = tmp_path_factory.mktemp("with_weights")
    build_network().save_pretrained(folder)
    for file in tokenizer_folder.iterdir():
        shutil.copy(file, folder / file.name)
    return folder


def length_of_text(prompts: Sequence[str], responses: Sequence[str], examples: Sequence[Any]) -> list[float]:
    """A reward that differs between most texts."""
    return [0.3 * (len(text) % 5) - 0.5 for text in responses]


@pytest.fixture(scope="session")
def length_reward() -> Callable[..., list[float]]:
    """The reward of :func:`make_agent`."""
    return length_of_text


@pytest.fixture(scope="session")
def make_agent(make_env: Any, make_network: Any) -> Any:
    """``make_agent(policy={...}, env={...}, n_envs=4, **ppo_arguments)``."""

    def make(policy: dict[str, Any] | None = None, env: Any = None, n_envs: int = 4, **options: Any) -> PPO:
        settings = {"n_steps": 11, "batch_size": 16, "n_epochs": 2, "learning_rate": 1e-3, "seed": 1, **options}
        arguments = {"reward": length_of_text, **(env or {})}
        kwargs = {"model": make_network(), "suppress_tokens": FEW_TOKENS, **(policy or {})}
        return PPO(CausalLMPolicy, make_env(n_envs, **arguments), policy_kwargs=kwargs, **settings)

    return make
