"""A language model as the Q network of Stable-Baselines3's DQN."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from gymnasium import spaces
from stable_baselines3.common.type_aliases import Schedule
from torch import Tensor, nn
from transformers import PreTrainedModel

from textgym.agents.common.cache_pool import CachePool
from textgym.agents.common.features import NoFeatures
from textgym.agents.common.health import refuse_bad_steps
from textgym.agents.common.observations import check_spaces, check_tokenizer, longest_prompt, read_ids, read_observation
from textgym.agents.common.stored_policy import StoredPolicy
from textgym.models.batch import EpisodeBatch, TextBatch, share_prefixes
from textgym.models.decoding.prefix_cache import last_hidden
from textgym.models.decoding.sampling import sample_tokens
from textgym.models.loading import load_language_model
from textgym.models.stored_values import Check, number, one_of, optional, positive
from textgym.models.text_model import Precision, TextModel
from textgym.spaces import TokenSpace
from textgym.values import attribute_of

Q_OPTIONS: Mapping[str, Check] = {
    "prior_scale": number,
    "temperature": number,
    "precision": one_of("fp32", "bf16"),
    "lora_rank": optional(positive),
}
"""Checks of :class:`QOptions` in a checkpoint."""


@dataclass(frozen=True, slots=True)
class QOptions:
    """Settings that build a :class:`TextQPolicy` from its model; plain data, stored with a checkpoint.

    Raises:
        ValueError: One is out of range.
    """

    prior_scale: float = 0.1
    temperature: float = 0.0
    precision: Precision = "fp32"
    lora_rank: int | None = None

    def __post_init__(self) -> None:
        if not self.prior_scale >= 0:
            raise ValueError(f"expected a prior_scale of at least 0, got {self.prior_scale}; 0 is no prior")
        if not self.temperature >= 0:
            raise ValueError(f"expected a temperature of at least 0, got {self.temperature}; 0 is greedy")
        if self.precision not in ("fp32", "bf16"):
            raise ValueError(f"expected precision 'fp32' or 'bf16', got {self.precision!r}")


class QNetwork(nn.Module):
    """Action values of all tokens behind a text, ``Q(s, a) = V(s) + A(s, a) + prior_scale log pi(a|s)``.

    V and A are linear heads on the last hidden state of the language model pi, which start at ``initial_value`` and 0
    (a dueling network, Wang et al. 2016, arXiv:1511.06581, without its centring). They fit values in a few steps;
    log-probabilities alone, as ``V + scale log pi``, take several times as many, because wrong ones have to be
    unlearnt. What is left of pi is a prior: at first its likeliest token has the largest value, so that training begins
    with what the model writes, and no value is above ``initial_value``.

    Args:
        model: The language model.
        prior_scale: Value of a nat of log-probability.
        initial_value: V of every text before training.
    """

    def __init__(self, model: TextModel, prior_scale: float, initial_value: float = 0.0) -> None:
        super().__init__()
        self.model, self.prior_scale = model, prior_scale
        self.value_head = nn.Linear(model.hidden_size, 1)
        self.advantage_head = nn.Linear(model.hidden_size, model.vocab_size)
        for parameter in (*self.value_head.parameters(), *self.advantage_head.parameters()):
            nn.init.zeros_(parameter)
        nn.init.constant_(self.value_head.bias, initial_value)

    def forward(self, obs: dict[str, Tensor] | EpisodeBatch) -> Tensor:
        """Action values (N, V), with gradients, of observations or of the transitions of whole episodes."""
        batch = obs if isinstance(obs, EpisodeBatch) else share_prefixes(read_observation(obs))
        return self.values_of(self.model.hidden(batch))

    def values_of(self, states: Tensor, model: TextModel | None = None) -> Tensor:
        """Action values (N, V) given hidden states (N, H); ``model`` has the head, where it is not the network's."""
        values: Tensor = self.value_head(states) + self.advantage_head(states)
        if self.prior_scale:
            values = values + self.prior_scale * (model or self.model).logits(states).log_softmax(-1)
        return values

    def set_training_mode(self, mode: bool) -> None:
        """Switch modes; dropout is off in both."""
        self.train(mode)


class TextQPolicy(StoredPolicy):
    """Q network over tokens, with its target network, for an *unmodified* ``stable_baselines3.DQN``.

    The observation is the text so far, an action is the next token. Texts under way are continued from what the model
    has read of them; with ``replay_buffer_class=EpisodeReplayBuffer``
    (:class:`~textgym.agents.common.replay.EpisodeReplayBuffer`) every token is stored once, and an update reads every
    text once for all of its transitions.

    Args:
        observation_space: Dict space of a token-level text environment.
        action_space: Its ``Discrete`` space; a :class:`~textgym.spaces.TokenSpace` names the tokenizer.
        lr_schedule: Learning rate as a function of the remaining progress.
        model: ``"tiny"``, a folder, a Hub id, a Hugging Face model or a ``TextModel``. Default: the model whose
            tokenizer the environment uses.
        prior_scale: Weight of the language model's log-probabilities in the values, see :class:`QNetwork`; 0: values
            begin at 0 for all tokens.
        temperature: Temperature of softmax exploration: tokens that are not drawn by epsilon-greedy exploration are
            drawn from softmax(Q / temperature); 0 takes the best one. At ``prior_scale`` it begins with the tokens that
            the start model samples.
        initial_value: Value of every token before training, less the prior: about the return of the start model's
            texts. Where returns are negative, 0 makes texts that go on look better than any that end.
        precision: Precision of the forward passes: ``"fp32"``, or ``"bf16"`` by autocast with losses in fp32.
        lora_rank: Rank of LoRA adapters, which are trained instead of all weights (needs ``textgym[lora]``).
        optimizer_class, optimizer_kwargs: AdamW by default, with eps 1e-5 and no weight decay.
        step_check: Called with the optimizer once it is made; by default it refuses to step along gradients that are
            not finite, which Stable-Baselines3 does not check.
        use_sde: Must be false; accepted because Stable-Baselines3 passes it.

    Raises:
        ModelError: If the context of the model is shorter than the observations, or there is nothing to train.
        TokenizerMismatchError: If model and environment have different tokenizers.
        ValueError: For an observation or action space of another kind, or an option out of range.
    """

    kind: ClassVar[str] = "textgym.TextQPolicy"
    options: QOptions

    def __init__(
        self,
        observation_space: spaces.Space[object],
        action_space: spaces.Space[object],
        lr_schedule: Schedule,
        model: str | Path | PreTrainedModel | TextModel | None = None,
        *,
        prior_scale: float = 0.1,
        temperature: float = 0.0,
        initial_value: float = 0.0,
        precision: Precision = "fp32",
        lora_rank: int | None = None,
        optimizer_class: type[torch.optim.Optimizer] = torch.optim.AdamW,
        optimizer_kwargs: dict[str, Any] | None = None,
        step_check: Callable[[torch.optim.Optimizer], object] | None = refuse_bad_steps,
        use_sde: bool = False,
    ) -> None:
        texts, tokens = check_spaces(observation_space, action_space, use_sde)
        if optimizer_kwargs is None:
            optimizer_kwargs = {"eps": 1e-5, "weight_decay": 0.0} if optimizer_class is torch.optim.AdamW else {}
        super().__init__(
            texts,
            tokens,
            features_extractor_class=NoFeatures,
            optimizer_class=optimizer_class,
            optimizer_kwargs=optimizer_kwargs,
        )
        self.options = QOptions(float(prior_scale), float(temperature), precision, lora_rank)
        if not math.isfinite(initial_value):
            raise ValueError(f"expected an initial_value that is a finite number, got {initial_value}")
        self.q_net = QNetwork(self._load(model), self.options.prior_scale, initial_value)
        self.q_net_target = copy.deepcopy(self.q_net).requires_grad_(False)
        self.q_net_target.set_training_mode(False)
        self._caches = CachePool(self.q_net.model)
        trainable = [parameter for parameter in self.q_net.parameters() if parameter.requires_grad]
        self.optimizer = optimizer_class(trainable, **{"lr": lr_schedule(1), **optimizer_kwargs})
        if step_check is not None:
            step_check(self.optimizer)

    def _load(self, model: str | Path | PreTrainedModel | TextModel | None) -> TextModel:
        """Load the model, and check that it fits the environment."""
        if model is None:
            model = self.action_space.tokenizer if isinstance(self.action_space, TokenSpace) else "tiny"
        loaded = load_language_model(model, precision=self.options.precision)
        loaded.compute_in(self.options.precision)  # a model that is a TextModel already, too
        check_tokenizer(loaded, self.action_space)
        ids, prompt = self.observation_space["input_ids"], longest_prompt(self.observation_space)
        assert ids.shape is not None
        tokens = ids.shape[0]
        loaded.require_context(tokens, turns=attribute_of(ids, "turns"), response=tokens - prompt)
        loaded.restrict_vocabulary(int(self.action_space.n))
        if self.options.lora_rank is None:
            loaded.require_trainable()
            loaded.hold_masters()
        else:
            loaded.add_lora(self.options.lora_rank)
        return loaded

    @property
    def model(self) -> TextModel:  # type: ignore[override]  # read-only here
        """The language model of the Q network."""
        return self.q_net.model

    @property
    def value_head(self) -> nn.Linear:
        """The head of V."""
        return self.q_net.value_head

    # ------------------------------------------------------------------ acting
    def q_values(self, obs: dict[str, Tensor]) -> Tensor:
        """Action values (B, V) of the observed texts; without gradients, texts are continued from caches."""
        texts = read_ids(obs)
        if torch.is_grad_enabled():
            return self.q_net.values_of(last_hidden(self.model, texts))
        states = self._caches.hidden(TextBatch(*texts))
        return self.q_net.values_of(states, self._caches.decoder.current)

    def choose(
        self, obs: dict[str, Tensor], deterministic: bool = False, generator: torch.Generator | None = None
    ) -> Tensor:
        """Choose a token for every text: the best one, or by softmax exploration.

        Args:
            obs: Batched observations.
            deterministic: Take the best token, whatever the temperature.
            generator: Source of randomness; by default torch's global one.

        Returns:
            (B,) ids.
        """
        values = self.q_values(obs)
        if deterministic or self.options.temperature == 0:
            return values.argmax(-1)
        return sample_tokens(values / self.options.temperature, generator).tokens

    def forward(self, obs: dict[str, Tensor], deterministic: bool = True) -> Tensor:
        """Choose a token for every text, (B,)."""
        return self.choose(obs, deterministic)

    def _predict(self, observation: dict[str, Tensor], deterministic: bool = True) -> Tensor:  # type: ignore[override]
        return self.choose(observation, deterministic)

    # ------------------------------------------------------------------- state
    def set_training_mode(self, mode: bool) -> None:
        """Switch the mode of the Q network; before an update (``True``) everything cached is dropped."""
        self.q_net.set_training_mode(mode)
        self.training = mode
        if mode:
            self._caches.clear()

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Load weights and drop everything cached."""
        self._caches.reset()
        return super().load_state_dict(*args, **kwargs)

    def save(self, path: str | Path) -> None:
        """Refuse to pickle the policy: an agent saves it with all the rest.

        Raises:
            ValueError: Always.
        """
        raise ValueError("expected an agent to save, got its policy; use textgym.agents.dqn.DQN, or save_pretrained")

    @classmethod
    def load(cls, path: str | Path, device: torch.device | str = "auto") -> Self:
        """Refuse to unpickle a policy.

        Raises:
            ValueError: Always.
        """
        raise ValueError("expected the folder of an agent, got that of a policy; use textgym.agents.dqn.DQN.load")
