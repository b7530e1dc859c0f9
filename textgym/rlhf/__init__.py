"""Rounds of sampling, asking, fitting and training."""
