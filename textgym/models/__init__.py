"""Language models: loading, sampling, and keeping keys and values."""

from textgym.models.generation import generate
from textgym.models.language_model import LanguageModel, load_language_model

__all__ = ["LanguageModel", "generate", "load_language_model"]
