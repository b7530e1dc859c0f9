"""An encoder-decoder as a Stable-Baselines3 actor-critic policy."""

from __future__ import annotations

from textgym.agents.common.language_model_policy import LanguageModelPolicy
from textgym.errors import ModelError
from textgym.models.text_model import TextModel

__all__ = ["Seq2SeqLMPolicy"]


class Seq2SeqLMPolicy(LanguageModelPolicy):
    """The policy of an encoder-decoder (T5, BART): the encoder reads the prompt, the decoder writes the response.

    The observation says where the prompt ends (``prompt_length``). Arguments and methods are those of
    :class:`~textgym.agents.common.language_model_policy.LanguageModelPolicy`.

    Raises:
        ModelError: The model is a causal language model, which
            :class:`~textgym.agents.common.causal_lm_policy.CausalLMPolicy` is for.
        ValueError: The observations do not say where prompts end.
    """

    kind = "textgym.Seq2SeqLMPolicy"

    def check_model(self, model: TextModel) -> None:
        """Refuse a model that encodes no prompts, and observations that do not say where these end."""
        if not model.encodes_prompts:
            raise ModelError(
                f"expected an encoder-decoder, got {type(model.network).__name__}, a causal LM; use "
                "textgym.agents.CausalLMPolicy"
            )
        if not {"prompt_length"} <= self.observation_space.keys():
            raise ValueError(
                "expected observations with prompt_length, which says how many tokens the encoder reads, got "
                f"{', '.join(self.observation_space.keys())}; use a token-level environment of textgym"
            )
