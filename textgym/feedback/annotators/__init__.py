"""Simulated annotators, and pairs to ask about."""
