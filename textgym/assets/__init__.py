"""Models that ship with the package: a tokenizer, a small language model, and a reward model for it."""

TINY_TEMPERATURE = 0.8
"""What the logits of the model ``tiny`` are divided by.

Supervision leaves a model this small too much probability on tokens that make no sense: sharpened, it writes at
temperature 1 as it would have at this one.
"""
