"""Language models: loading, sampling, and keeping keys and values."""

from textgym.models.causal_lm import CausalLM, load_language_model
from textgym.models.decoding.generation import generate

__all__ = ["CausalLM", "generate", "load_language_model"]
