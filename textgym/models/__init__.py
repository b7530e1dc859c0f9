"""Language models: loading, sampling, and keeping keys and values."""

from textgym.models.causal_lm import CausalLM
from textgym.models.decoding.generation import generate
from textgym.models.loading import load_language_model
from textgym.models.seq2seq_lm import Seq2SeqLM
from textgym.models.text_model import TextModel

__all__ = ["CausalLM", "Seq2SeqLM", "TextModel", "generate", "load_language_model"]
