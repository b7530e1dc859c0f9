"""Defaults of a fit in steps, for those who state them before a model is loaded. Nothing is imported."""

EPOCHS = 1
BATCH_SIZE = 16
LEARNING_RATE = 1e-4
