"""Simulated people, and pairs to ask about."""
