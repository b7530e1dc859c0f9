"""A language model as a Stable-Baselines3 actor-critic policy."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.distributions import Distribution
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import Schedule
from stable_baselines3.common.utils import get_device
from torch import Tensor, nn
from transformers import PreTrainedModel

from textgym.agents.common.cache_pool import CachePool
from textgym.agents.common.decisions import ActionMasks, Decision
from textgym.agents.common.features import NoFeatures
from textgym.agents.common.first_ratio import FirstRatio
from textgym.agents.common.health import refuse_bad_steps
from textgym.agents.common.observations import (
    check_spaces,
    check_suppressed,
    check_tokenizer,
    longest_prompt,
    read_ids,
    read_observation,
)
from textgym.agents.common.policy_options import Attention, Critic, PolicyOptions
from textgym.agents.common.policy_record import (
    check_policy_record,
    rebuild_model,
    spaces_of,
)
from textgym.agents.common.prompt_format import write_model_folder
from textgym.agents.common.stored_policy import StoredPolicy, zero_schedule
from textgym.models.batch import EpisodeBatch, TextBatch, share_prefixes
from textgym.models.checkpoint import load_unique, read_checkpoint, unique_tensors, write_checkpoint
from textgym.models.decoding.cuda_graph import Recordings
from textgym.models.decoding.prefix_cache import last_hidden
from textgym.models.decoding.sampling import Sample, require_finite, tokens_at, uniform_numbers
from textgym.models.loading import load_language_model
from textgym.models.log_probs import log_prob_and_entropy, log_probs_of, token_log_probs
from textgym.models.text_model import Precision, TextModel
from textgym.models.weights import addresses
from textgym.spaces import TokenSpace
from textgym.types import BoolArray
from textgym.values import attribute_of

_FORBIDDEN = -1e9  # logit of a suppressed token: probability 0, and finite, so that 0 * logit stays 0


class LanguageModelPolicy(StoredPolicy, ActorCriticPolicy):
    """Actor-critic policy over tokens for *unmodified* on-policy algorithms of Stable-Baselines3 and sb3-contrib.

    The observation is the text so far (``input_ids``, ``attention_mask``), an action is the next token. Rollouts keep
    what the model has read (:class:`~textgym.models.decoding.prefix_cache.PrefixCache`), updates run one forward pass
    per episode (:class:`~textgym.models.batch.EpisodeBatch`), and one per prompt where episodes share it and the model
    can. The model is a :class:`~textgym.models.text_model.TextModel` of any family.

    Stable-Baselines3 calls :meth:`forward`, :meth:`predict_values` and :meth:`evaluate_actions`. An algorithm that
    knows text does better with :meth:`act`, which can leave out values, :meth:`predict_values` with the texts that
    ended, :meth:`critic_values` for the values of whole episodes at once, and :meth:`log_probs`, which scores given
    actions by this model or by a reference.

    Methods that choose or score actions take ``action_masks`` besides, as sb3-contrib's ``MaskablePPO`` hands them
    over: (N, V) whether an action may be taken. A forbidden action has probability 0.

    Actions are drawn from softmax(logits / temperature) and scored by the same distribution. Under Stable-Baselines3
    randomness comes from the global torch generator, which it seeds.

    Args:
        observation_space: Dict space of a token-level text environment.
        action_space: Its ``Discrete`` space; a :class:`~textgym.spaces.TokenSpace` names the tokenizer.
        lr_schedule: Learning rate as a function of the remaining progress.
        model: ``"tiny"``, a folder, a Hub id, a Hugging Face model or a ``TextModel``. Default: the model whose
            tokenizer the environment uses.
        critic: Value function: ``"detached"`` is a linear head on the policy's last hidden states without gradients
            into them, ``"shared"`` the same with gradients, which on little data hurt the language model, and
            ``"separate"`` a second model, initialized as a copy of the policy (memory: its weights, gradients and
            optimizer state). The value head starts at zero in all three.
        temperature: Sampling temperature, which also applies to the log-probabilities in the update.
        precision: Precision of the forward passes: ``"fp32"``, or ``"bf16"`` by autocast with losses in fp32.
        lora_rank: Rank of LoRA adapters, which are trained instead of all weights (needs ``textgym[lora]``).
        suppress_tokens: Ids that are never drawn and have probability 0 when scored.
        gradient_checkpointing: Recompute activations in the backward pass, which saves memory.
        compile: Compile the training passes with ``torch.compile``, which takes a minute to minutes at first (and
            a C++ compiler on CPUs). Faster on GPUs and in bf16.
        tolerate_mismatch: Warn, instead of raising an error, if the first update computes other probabilities for the
            tokens of the rollout than they were sampled with.
        attention: Way attention is computed: ``"auto"``, by fused kernels where there are some, or ``"eager"``,
            operation by operation, which takes longer and more memory, but can be differentiated twice.
        optimizer_class, optimizer_kwargs: AdamW by default, with eps 1e-5 and no weight decay.
        step_check: Called with the optimizer once it is made. By default that refuses to step along gradients that are
            not finite, which Stable-Baselines3's algorithms do not check; ``None`` is for algorithms that do.
        use_sde: Must be false; accepted because Stable-Baselines3 passes it.

    Raises:
        ModelError: If the context of the model is shorter than the observations, which hold prompt and response, or
            there is nothing to train.
        TokenizerMismatchError: If model and environment have different tokenizers.
        ValueError: For an observation or action space of another kind, or an option out of range.
    """

    options: PolicyOptions
    _suppressed: Tensor

    def __init__(
        self,
        observation_space: spaces.Space[object],
        action_space: spaces.Space[object],
        lr_schedule: Schedule,
        model: str | Path | PreTrainedModel | TextModel | None = None,
        *,
        critic: Critic = "detached",
        temperature: float = 1.0,
        precision: Precision = "fp32",
        lora_rank: int | None = None,
        suppress_tokens: Sequence[int] = (),
        gradient_checkpointing: bool = False,
        compile: bool = False,
        tolerate_mismatch: bool = False,
        attention: Attention = "auto",
        optimizer_class: type[torch.optim.Optimizer] = torch.optim.AdamW,
        optimizer_kwargs: dict[str, object] | None = None,
        step_check: Callable[[torch.optim.Optimizer], object] | None = refuse_bad_steps,
        use_sde: bool = False,
    ) -> None:
        texts, tokens = check_spaces(observation_space, action_space, use_sde)
        options = PolicyOptions(
            critic,
            temperature,
            precision,
            lora_rank,
            tuple(map(int, suppress_tokens)),
            gradient_checkpointing,
            compile,
            tolerate_mismatch,
            attention,
        )
        check_suppressed(options.suppress_tokens, int(tokens.n))
        if optimizer_kwargs is None:
            optimizer_kwargs = {"eps": 1e-5, "weight_decay": 0.0} if optimizer_class is torch.optim.AdamW else {}
        # _build, which the parent's constructor calls, needs these; they are no modules, so they may come first.
        self._build_arguments = (model, options, step_check)
        super().__init__(
            texts,
            tokens,
            lr_schedule,
            net_arch=[],
            features_extractor_class=NoFeatures,
            optimizer_class=optimizer_class,
            optimizer_kwargs=optimizer_kwargs,
        )
        del self._build_arguments

    def _build(self, lr_schedule: Schedule) -> None:
        model, self.options, step_check = self._build_arguments
        if model is None:
            model = self.action_space.tokenizer if isinstance(self.action_space, TokenSpace) else "tiny"
        self.model = load_language_model(model, precision=self.options.precision)
        self.check_model(self.model)
        self.model.compute_in(self.options.precision)  # a model that is a TextModel already, too
        if self.options.attention == "eager":
            self.model.attend_eagerly()
        check_tokenizer(self.model, self.action_space)
        ids, prompt = self.observation_space["input_ids"], longest_prompt(self.observation_space)
        assert ids.shape is not None
        tokens = ids.shape[0]
        self.model.require_context(tokens, turns=attribute_of(ids, "turns"), response=tokens - prompt)
        self.model.restrict_vocabulary(int(self.action_space.n))
        if self.options.lora_rank is None:
            self.model.require_trainable()
            self.model.hold_masters()
        self.critic = copy.deepcopy(self.model) if self.options.critic == "separate" else None
        for network in filter(None, (self.model, self.critic)):
            if self.options.lora_rank is not None:
                network.add_lora(self.options.lora_rank)
            if self.options.gradient_checkpointing:
                network.recompute_activations()
            if self.options.compile:
                network.compile_trunk()
        suppressed = torch.tensor(self.options.suppress_tokens, dtype=torch.long)
        self.register_buffer("_suppressed", suppressed, persistent=False)
        self.value_head = nn.Linear(self.model.hidden_size, 1)
        nn.init.zeros_(self.value_head.weight)
        nn.init.zeros_(self.value_head.bias)
        self._actor_caches = CachePool(self.model)
        self._critic_caches = self._actor_caches if self.critic is None else CachePool(self.critic)
        self._recordings = Recordings()
        self._first_ratio = FirstRatio(self.model, self.options.tolerate_mismatch)
        trainable = [parameter for parameter in self.parameters() if parameter.requires_grad]
        self.optimizer = self.optimizer_class(trainable, **{"lr": lr_schedule(1), **self.optimizer_kwargs})
        if step_check is not None:
            step_check(self.optimizer)

    def check_model(self, model: TextModel) -> None:
        """Check that the model is of the policy's family, and that it can read what is observed.

        Raises:
            ModelError: It is of another family.
            ValueError: The observations lack something that it needs.
        """

    # ------------------------------------------------------------------ acting
    def forward(  # type: ignore[override]
        self, obs: dict[str, Tensor], deterministic: bool = False, action_masks: ActionMasks = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Choose a token for every text: actions (B,), values (B, 1), log-probabilities (B,); see :meth:`act`."""
        return self.act(obs, deterministic=deterministic, action_masks=action_masks)

    def act(
        self,
        obs: dict[str, Tensor],
        *,
        deterministic: bool = False,
        with_values: bool = True,
        action_masks: ActionMasks = None,
        skipped: BoolArray | None = None,
    ) -> Decision:
        """Choose a token for every text.

        Args:
            obs: Batched observations, where the decision is wanted. On the host, a GPU need not wait for the next ones
                (:meth:`~textgym.models.decoding.prefix_cache.PrefixCache.act`).
            deterministic: Take the most likely token.
            with_values: Without, values are 0. Those of a separate critic cost a pass of their own, and
                :meth:`critic_values` gives them for less once the episodes are whole.
            action_masks: (B, V) tokens that may be chosen.
            skipped: (B,) texts whose tokens count for nothing: their prompts are not read, and tokens are arbitrary.
        """
        texts = read_ids(obs) if skipped is None else _without(skipped, read_ids(obs))
        (actions, log_probs), values = self._choose(texts, deterministic, action_masks)
        if not self.training:
            self._first_ratio.remember(texts, actions, log_probs)
        if not with_values:
            return Decision(actions, torch.zeros_like(log_probs)[:, None], log_probs)
        if self.critic is not None:
            values = self.value_head(self._states(self._critic_caches, texts)).to(actions.device)
        return Decision(actions, values, log_probs)

    def predict_values(  # type: ignore[override]
        self, obs: dict[str, Tensor] | EpisodeBatch, ended: BoolArray | None = None
    ) -> Tensor:
        """Values (B, 1) of the observed texts.

        Args:
            obs: Batched observations, or an episode batch, as in :meth:`evaluate_actions`.
            ended: (B,) texts whose values nobody needs: they are not read, and have value 0.
        """
        if isinstance(obs, EpisodeBatch):
            return self.critic_values(obs)
        texts = read_ids(obs)
        if ended is None:
            ended = np.zeros(len(texts.lengths), dtype=bool)
        if ended.all():
            return torch.zeros(len(ended), 1, device=texts.lengths.device)
        states = self._states(self._critic_caches, _without(ended, texts))
        skipped = torch.from_numpy(ended).to(texts.lengths.device)
        values: Tensor = self.value_head(states).to(skipped.device).masked_fill(skipped[:, None], 0.0)
        return values

    def get_distribution(  # type: ignore[override]
        self, obs: dict[str, Tensor] | EpisodeBatch, action_masks: ActionMasks = None
    ) -> Distribution:
        """The categorical distribution of the next token.

        Args:
            obs: Batched observations, or an episode batch, as in :meth:`evaluate_actions`.
            action_masks: (N, V) tokens that may be chosen.

        Raises:
            ModelError: In the first update that asks for it, if its log-probabilities are not those of the rollout.
        """
        if isinstance(obs, EpisodeBatch):
            batch, logits = obs, self.action_logits(self.model.hidden(obs), action_masks=action_masks)
        else:
            texts = read_ids(obs, maybe_stored=self.training)
            states = self._states(self._actor_caches, texts)
            batch, logits = texts.last_tokens(), self.action_logits(states, self._acting, action_masks)
        if self.training and torch.is_grad_enabled():
            self._first_ratio.compare_all(batch, logits)
        return self.action_dist.proba_distribution(action_logits=logits)

    def predict(
        self,
        observation: np.ndarray | dict[str, np.ndarray],
        state: tuple[np.ndarray, ...] | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
        action_masks: ActionMasks = None,
    ) -> tuple[np.ndarray, tuple[np.ndarray, ...] | None]:
        """Choose actions as Stable-Baselines3's policies do, among those that masks allow if there are some."""
        if action_masks is None:
            return super().predict(observation, state, episode_start, deterministic)
        self.set_training_mode(False)
        texts, are_several = self.obs_to_tensor(observation)
        with torch.no_grad():
            chosen = self._choose(read_ids(cast("dict[str, Tensor]", texts)), deterministic, action_masks)
            actions = chosen[0].tokens.cpu().numpy()
        return (actions if are_several else actions[0]), state

    def _predict(self, observation: dict[str, Tensor], deterministic: bool = False) -> Tensor:  # type: ignore[override]
        return self._choose(read_ids(observation), deterministic)[0].tokens

    # ---------------------------------------------------------------- learning
    def evaluate_actions(  # type: ignore[override]
        self, obs: dict[str, Tensor] | EpisodeBatch, actions: Tensor, action_masks: ActionMasks = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Score given actions, with gradients.

        Args:
            obs: Batched observations, or an :class:`~textgym.models.batch.EpisodeBatch` from an
                :class:`~textgym.agents.common.rollout_buffer.EpisodeRolloutBuffer`.
            actions: (N,) or (N, 1) ids.
            action_masks: (N, V) tokens that could be chosen.

        Returns:
            Values (N, 1), log-probabilities (N,), entropies (N,).

        Raises:
            ModelError: At the first update, if the log-probabilities are not those of the rollout.
        """
        batch = obs if isinstance(obs, EpisodeBatch) else share_prefixes(read_observation(obs))
        states = self.model.hidden(batch)  # (N, H)
        logits = self.action_logits(states, action_masks=action_masks)
        log_probs, entropy = log_prob_and_entropy(logits, actions.long().flatten())
        if self.training:
            self._first_ratio.compare(batch, actions, log_probs)
        if self.critic is not None:
            return self.critic_values(batch), log_probs, entropy
        return self.value_head(states.detach() if self.options.critic == "detached" else states), log_probs, entropy

    def critic_values(self, batch: EpisodeBatch) -> Tensor:
        """Values (N, 1) of whole episodes; a detached critic has gradients in its head alone."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.options.critic != "detached"):
            states = (self.critic or self.model).hidden(batch)
        values: Tensor = self.value_head(states)
        return values

    def log_probs(self, batch: EpisodeBatch, actions: Tensor, model: TextModel | None = None) -> Tensor:
        """Log-probabilities (N,) of given actions (N,), with gradients.

        Args:
            batch: ``N`` transitions.
            actions: (N,) ids.
            model: Model that computes them; by default the policy's. Temperature and suppressed tokens apply to any.
        """
        network = model or self.model
        return token_log_probs(network, batch, actions, lambda states: self.action_logits(states, network))

    def action_logits(self, states: Tensor, model: TextModel | None = None, action_masks: ActionMasks = None) -> Tensor:
        """Logits (..., V) of the distribution that actions are drawn from, given hidden states (..., H).

        ``model`` is the one whose head is meant, such as the reference's; temperature and suppressed tokens apply to it
        too.
        """
        logits = (model or self.model).logits(states)
        if self.options.temperature != 1.0:
            logits = logits / self.options.temperature
        if self.options.suppress_tokens:
            logits = logits.index_fill(-1, self._suppressed, _FORBIDDEN)
        if action_masks is not None:
            allowed = torch.as_tensor(action_masks, dtype=torch.bool, device=logits.device)
            logits = logits.masked_fill(~allowed.view_as(logits), _FORBIDDEN)
        return logits

    # ------------------------------------------------------------------- state
    def set_training_mode(self, mode: bool) -> None:
        """Switch modes; before an update (``True``) everything cached is dropped. Dropout stays off in both."""
        super().set_training_mode(mode)
        if mode:
            self._actor_caches.clear()
            self._critic_caches.clear()

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Load weights and drop everything cached."""
        self.drop_caches()
        return super().load_state_dict(*args, **kwargs)

    def drop_caches(self) -> None:
        """Forget cached keys and values, and whatever else was made to decode.

        Needed after a write through ``parameter.data`` into parts of parameters, and after PEFT's own calls that merge,
        switch or disable adapters; other changes are noticed.
        """
        self._actor_caches.reset()
        self._critic_caches.reset()
        self._recordings = Recordings()

    def save_pretrained(self, folder: str | Path, env: Any = None) -> None:
        """Write the language model as a Hugging Face folder that ``AutoModelForCausalLM.from_pretrained`` opens.

        It gets a model card, unless there is a ``README.md`` already.

        Args:
            folder: The folder.
            env: Environment that the policy acted in, whose prompt template, budgets and stop strings are then written
                beside the model, as ``textgym.json`` and in the card; ``None`` leaves them out.
        """
        write_model_folder(self.model, folder, env, self.options.temperature)

    def save(self, path: str | Path) -> None:
        """Write the whole policy to a folder of JSON and safetensors."""
        buffers = [name for name, _ in self.named_buffers()]
        tensors = unique_tensors(self.state_dict())
        write_checkpoint(Path(path), tensors, self.describe(), self.save_config, may_be_infinite=buffers)

    @classmethod
    def load(cls, path: str | Path, device: torch.device | str = "auto") -> Self:
        """Load a folder that :meth:`save` wrote. Nothing is unpickled.

        Raises:
            CheckpointError: If the folder is damaged or holds something else.
        """
        tensors, record = read_checkpoint(Path(path), cls.kind)
        check_policy_record(record)
        model = rebuild_model(record, Path(path))
        policy = cls(*spaces_of(record), zero_schedule, model, **record["options"])
        load_unique(policy, tensors, Path(path))
        return policy.to(get_device(device))

    @property
    def _acting(self) -> TextModel:
        """The network whose head follows on the states of :meth:`_states`."""
        return self.model if torch.is_grad_enabled() else self._actor_caches.decoder.current

    def _choose(self, texts: TextBatch, deterministic: bool, action_masks: ActionMasks = None) -> tuple[Sample, Tensor]:
        """Choose tokens for texts; also the values (B, 1) that the policy's head gives to them."""
        device = self.model.device
        uniform = None if deterministic else uniform_numbers(len(texts.lengths), device)
        masks = () if action_masks is None else (torch.as_tensor(action_masks, device=device),)
        choose = partial(self._decide, uniform=uniform, masks=masks)
        if torch.is_grad_enabled():
            chosen = choose(last_hidden(self.model, texts))
            tokens, log_probs, values = (each.to(texts.lengths.device) for each in chosen)
        else:
            tokens, log_probs, values = self._actor_caches.act(texts, choose)
        sample = Sample(tokens, log_probs)
        return sample if deterministic else require_finite(sample), values

    def _decide(self, states: Tensor, uniform: Tensor | None, masks: Sequence[Tensor]) -> Sequence[Tensor]:
        """Tokens (B,) after states (B, H), their log-probabilities (B,), and the values (B, 1) of the policy's head."""
        network = self._acting
        if uniform is None:
            logits = self.action_logits(states, network, *masks)
            tokens = logits.argmax(-1)
            return tokens, log_probs_of(logits, tokens), self.value_head(states)

        def draw(states: Tensor, uniform: Tensor, *masks: Tensor) -> tuple[Tensor, ...]:
            return *tokens_at(self.action_logits(states, network, *masks), uniform), self.value_head(states)

        if torch.is_grad_enabled():
            return draw(states, uniform, *masks)
        weights = addresses([*network.head_parameters(), *self.value_head.parameters()])
        read = id(network), weights, network.adapter_is_off
        return self._recordings.run(network, draw, (states, uniform, *masks), read)

    def _states(self, caches: CachePool, texts: TextBatch) -> Tensor:
        return last_hidden(caches.model, texts) if torch.is_grad_enabled() else caches.hidden(texts)


def _without(skipped: BoolArray, texts: TextBatch) -> TextBatch:
    """Leave of each text to be skipped the first token and what is behind its prompt.

    A cache wants as many rows as there are environments. A text that goes on grows by the token that was chosen, as the
    others do, and is read with them.
    """
    rows = torch.from_numpy(skipped).to(texts.lengths.device)[:, None]
    dropped = (texts.prompt_lengths - 1).clamp(min=0)[:, None]  # (B, 1) tokens of the prompt
    columns = torch.arange(texts.input_ids.shape[1], device=rows.device)
    places = torch.where(rows & (columns > 0), columns + dropped, columns).clamp(max=len(columns) - 1)  # (B, L)
    lengths = torch.where(rows, texts.lengths[:, None] - dropped, texts.lengths[:, None])[:, 0]
    return TextBatch(texts.input_ids.gather(1, places), lengths, texts.prompt_lengths.masked_fill(rows[:, 0], 1))
