"""A decoder-only language model as a Stable-Baselines3 actor-critic policy."""

from __future__ import annotations

from textgym.agents.common.language_model_policy import LanguageModelPolicy
from textgym.errors import ModelError
from textgym.models.text_model import TextModel

__all__ = ["CausalLMPolicy"]


class CausalLMPolicy(LanguageModelPolicy):
    """The policy of a causal language model, which reads prompt and response as one text.

    Arguments and methods are those of :class:`~textgym.agents.common.language_model_policy.LanguageModelPolicy`.

    Raises:
        ModelError: The model is an encoder-decoder, which
            :class:`~textgym.agents.common.seq2seq_lm_policy.Seq2SeqLMPolicy` is for.
    """

    kind = "textgym.CausalLMPolicy"

    def check_model(self, model: TextModel) -> None:
        """Refuse an encoder-decoder."""
        if model.encodes_prompts:
            raise ModelError(
                f"expected a causal LM, got {type(model.network).__name__}, an encoder-decoder; use "
                "textgym.agents.Seq2SeqLMPolicy"
            )
